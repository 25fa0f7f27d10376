"""`/project/{slug}/{number}/coverage`: what ran of a job's source files. CircleCI has no such route; this one is ours."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from appliance.api.jobs import job_of_project
from appliance.api.parts import parts_of
from appliance.api.projects import wanted_project
from appliance.api.routes import NUMBER, SLUG, Policy, Route
from appliance.api.wire import answer
from appliance.errors import NotFound
from appliance.store import coverage
from appliance.store.coverage import Counts
from appliance.store.database import Tx

_MOST_REPORTS, _MOST_FILES = 200, 100


def _counts(counts: Counts) -> dict[str, Any]:
    branches = counts.branch_percent
    return {
        "lines": {"total": counts.lines, "covered": counts.lines_ran, "percent": round(counts.percent, 2)},
        "branches": None
        if branches is None
        else {"total": counts.branches, "covered": counts.branches_ran, "percent": round(branches, 2)},
    }


async def show(request: web.Request) -> web.Response:
    """The whole job's, its reports, and the files with the most lines that never ran; 404 when it has no report."""
    parts, project, number = parts_of(request), await wanted_project(request), int(request.match_info["number"])

    def read(tx: Tx) -> dict[str, Any]:
        job = job_of_project(tx, project.id, number)
        found = coverage.of_job(tx, job.id)
        if found is None:
            raise NotFound("Coverage not found.")
        base = coverage.newest(tx, project.id, project.default_branch, job.name, found.created_at_ms - 1)
        return {
            **_counts(found),
            "files": found.files,
            "change_since_default_branch": None if base is None else round(found.percent - base.percent, 2),
            "reports": [
                {"path": report.path, "node_index": report.index, "format": report.format, **_counts(report)}
                for report in coverage.reports_of(tx, job.id, _MOST_REPORTS)
            ],
            "worst_files": [{"path": file.path, **_counts(file)} for file in coverage.worst_files(tx, job.id, _MOST_FILES)],
        }

    return answer(await parts.db.read(read))


ROUTES = (Route("GET", f"/api/v2/project/{SLUG}/{NUMBER}/coverage", show, Policy.TOKEN),)
