"""The paths of our pages, made in one place."""

from __future__ import annotations

from urllib.parse import quote

from appliance.model import Project


def project_path(project: Project) -> str:
    return f"/projects/{quote(project.slug)}"


def settings_path(project: Project) -> str:
    return f"{project_path(project)}/settings"


def context_path(context_id: str) -> str:
    return f"/contexts/{quote(context_id, safe='')}"


def pipelines_path(project: Project, branch: str | None = None) -> str:
    return f"/pipelines/{quote(project.slug)}" + (f"?branch={quote(branch, safe='')}" if branch is not None else "")


def pipeline_path(project: Project, number: int) -> str:
    return f"/pipelines/{quote(project.slug)}/{number}"


def job_path(number: int, index: int = 0) -> str:
    return f"/jobs/{number}" + (f"?node={index}" if index else "")


def caches_path(project: Project, prefix: str = "") -> str:
    return f"/projects/{quote(project.slug)}/caches" + (f"?prefix={quote(prefix, safe='')}" if prefix else "")


def schedules_path(project: Project) -> str:
    return f"{project_path(project)}/schedules"


def artifacts_path(number: int, index: int, folder: str = "") -> str:
    return f"/jobs/{number}/artifacts?node={index}" + (f"&in={quote(folder, safe='')}" if folder else "")
