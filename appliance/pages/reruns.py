"""Buttons that run things again: a workflow from its start or from what failed, a job, the tests of a job that failed."""

from __future__ import annotations

from aiohttp import web

from appliance.api.auth import user_of
from appliance.api.jobs import numbered_job_for
from appliance.api.parts import parts_of
from appliance.api.routes import NUMBER, Handler, Policy, Route
from appliance.api.workflows import workflow_for
from appliance.engine.reruns import Wish
from appliance.language import plan as plans
from appliance.model import WorkflowId
from appliance.pages.links import pipeline_path
from appliance.pages.render import back_to
from appliance.store import overview, pipelines, projects
from appliance.store.database import Tx


def splits_tests(plan: plans.Job) -> bool:
    """Whether a job looks as if it could be told which tests to run (spec 2.5)."""
    return any(isinstance(step, plans.Run) and "tests run" in step.command for step in plan.steps)


def _of_workflow(wish: Wish) -> Handler:
    async def rerun(request: web.Request) -> web.Response:
        parts, user, wanted = parts_of(request), user_of(request), WorkflowId(request.match_info["id"])
        await parts.db.read(lambda tx: workflow_for(tx, user, wanted))
        return await _done(request, wanted, wish)

    return rerun


def _of_job(*, failed_tests: bool = False, enable_ssh: bool = False) -> Handler:
    async def rerun(request: web.Request) -> web.Response:
        parts, user, number = parts_of(request), user_of(request), int(request.match_info["number"])
        job = await parts.db.read(lambda tx: numbered_job_for(tx, user, number))
        return await _done(request, job.workflow_id, Wish(jobs=(job.id,), failed_tests=failed_tests, enable_ssh=enable_ssh))

    return rerun


async def _done(request: web.Request, workflow_id: WorkflowId, wish: Wish) -> web.Response:
    """Rerun, and show the new workflow."""
    parts = parts_of(request)
    new = await parts.commands.rerun(workflow_id, wish, user_of(request))

    def read(tx: Tx) -> str:
        line = overview.line(tx, pipelines.workflow(tx, new).pipeline_id)
        return pipeline_path(projects.by_id(tx, line.project_id), line.number)

    return back_to(f"{await parts.db.read(read)}#workflow-{new}")


ROUTES = (
    Route("POST", "/workflows/{id}/rerun", _of_workflow(Wish()), Policy.FORM),
    Route("POST", "/workflows/{id}/rerun-from-failed", _of_workflow(Wish(from_failed=True)), Policy.FORM),
    Route("POST", f"/jobs/{NUMBER}/rerun", _of_job(), Policy.FORM),
    Route("POST", f"/jobs/{NUMBER}/rerun-with-ssh", _of_job(enable_ssh=True), Policy.FORM),
    Route("POST", f"/jobs/{NUMBER}/rerun-failed-tests", _of_job(failed_tests=True), Policy.FORM),
)
