"""`/project/{slug}/job/{number}` and `/jobs/{id}`: a job, and cancelling it."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from appliance.api.auth import user_of
from appliance.api.parts import Parts, parts_of
from appliance.api.projects import repository_url, wanted_project
from appliance.api.routes import NUMBER, SLUG, Policy, Route
from appliance.api.wire import answer, message, time_of
from appliance.engine import rules
from appliance.errors import NotFound
from appliance.language import plan as plans
from appliance.model import JobId, Project, ProjectId, User
from appliance.store import jobs, pipelines, projects
from appliance.store.database import Tx
from appliance.store.jobs import Job


def job_for(tx: Tx, user: User, job_id: JobId) -> Job:
    """A job. Raises NotFound, also when it is not for this user."""
    return _checked(tx, user, jobs.by_id(tx, job_id))


def numbered_job_for(tx: Tx, user: User, number: int) -> Job:
    """A job by its number. Raises NotFound, also when it is not for this user."""
    return _checked(tx, user, jobs.by_number(tx, number))


def _checked(tx: Tx, user: User, job: Job) -> Job:
    if not projects.may_enter(tx, user, job.project_id):
        raise NotFound("Job not found")
    return job


def executor_kind(plan: plans.Job) -> str:
    return {plans.Docker: "docker", plans.Machine: "machine", plans.Macos: "macos"}.get(type(plan.executor), "")


def job_of_project(tx: Tx, project_id: ProjectId, number: int) -> Job:
    """A project's job by its number. Raises NotFound."""
    job = jobs.by_number(tx, number)
    if job.project_id != project_id:
        raise NotFound("Job not found")
    return job


def _wire(tx: Tx, parts: Parts, project: Project, number: int) -> dict[str, Any]:
    job = job_of_project(tx, project.id, number)
    plan, workflow = jobs.plan_of(tx, job.id), pipelines.workflow(tx, job.workflow_id)
    nodes = jobs.nodes_of(tx, job.id)
    took_ms = None if job.started_at_ms is None or job.stopped_at_ms is None else job.stopped_at_ms - job.started_at_ms
    return {
        "number": job.number,
        "name": job.name,
        "status": job.status,
        "web_url": f"{parts.addresses.web}/jobs/{job.number}",
        "created_at": time_of(job.created_at_ms),
        "queued_at": time_of(job.queued_at_ms or job.created_at_ms),
        "started_at": time_of(job.started_at_ms),
        "stopped_at": time_of(job.stopped_at_ms),
        "duration": took_ms,
        "executor": {
            "type": executor_kind(plan),
            "resource_class": plan.resource_class or parts.settings.text("jobs.default_class"),
        },
        "parallelism": plan.parallelism,
        "parallel_runs": [{"index": node.index, "status": node.status} for node in nodes],
        "project": {
            "id": project.id,
            "slug": project.slug,
            "name": project.repo,
            "external_url": repository_url(project, parts.addresses),
        },
        "organization": {"name": project.org},
        "latest_workflow": {"id": workflow.id, "name": workflow.name},
        "pipeline": {"id": workflow.pipeline_id},
        "contexts": [{"name": name} for name in plan.contexts],
        "messages": [
            *({"type": "warning", "reason": "lost", "message": said} for said in map(_loss, nodes) if said),
            *([{"type": "info", "message": job.message}] if job.message else []),
        ],
    }


def _loss(node: jobs.Node) -> str:
    """Of a node that was started again: the job has one status, and what went before stands here."""
    if not node.lost_why:
        return ""
    return f"Node {node.index}, attempt {node.attempt}: {rules.said_of_loss(node.executor, node.lost_why)}"


async def show(request: web.Request) -> web.Response:
    parts, project, number = parts_of(request), await wanted_project(request), int(request.match_info["number"])
    return answer(await parts.db.read(lambda tx: _wire(tx, parts, project, number)))


async def cancel_numbered(request: web.Request) -> web.Response:
    parts, project, number = parts_of(request), await wanted_project(request), int(request.match_info["number"])
    job = await parts.db.read(lambda tx: job_of_project(tx, project.id, number))
    await parts.commands.cancel_job(job.id, user_of(request))
    return message("Job cancelled successfully.")


async def cancel(request: web.Request) -> web.Response:
    parts, user, wanted = parts_of(request), user_of(request), JobId(request.match_info["id"])
    await parts.db.read(lambda tx: job_for(tx, user, wanted))
    await parts.commands.cancel_job(wanted, user)
    return message("Job cancelled successfully.")


ROUTES = (
    Route("GET", f"/api/v2/project/{SLUG}/job/{NUMBER}", show, Policy.GUEST_TOKEN),
    Route("POST", f"/api/v2/project/{SLUG}/job/{NUMBER}/cancel", cancel_numbered, Policy.TOKEN),
    Route("POST", "/api/v2/jobs/{id}/cancel", cancel, Policy.TOKEN),
)
