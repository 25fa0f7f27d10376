"""`/workflow/{id}`: a workflow, its jobs, cancelling and approving."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from appliance.api.auth import user_of
from appliance.api.parts import parts_of
from appliance.api.routes import Policy, Route
from appliance.api.wire import answer, json_body, listing, message, time_of
from appliance.engine import reruns
from appliance.errors import BadRequest, NotFound
from appliance.model import JobId, Project, User, WorkflowId, uuid_of
from appliance.store import jobs, overview, pipelines, projects
from appliance.store.database import Tx
from appliance.store.overview import JobChip, Line
from appliance.store.pipelines import Workflow


def person(tx: Tx, name: str) -> str:
    """The id of who did something; rows know people by name, for they outlive their accounts."""
    return overview.person_id(tx, name) or uuid_of("person", name)


def workflow_for(tx: Tx, user: User, workflow_id: WorkflowId) -> Workflow:
    """A workflow. Raises NotFound, also when it is not for this user."""
    project_id = overview.project_of_workflow(tx, workflow_id)
    if not projects.may_enter(tx, user, project_id):
        raise NotFound("Workflow not found")
    return pipelines.workflow(tx, workflow_id)


def workflow_wire(tx: Tx, workflow: Workflow, line: Line, project: Project) -> dict[str, Any]:
    data: dict[str, Any] = {
        "id": workflow.id,
        "name": workflow.name,
        "status": workflow.status,
        "pipeline_id": workflow.pipeline_id,
        "pipeline_number": line.number,
        "project_slug": project.slug,
        "started_by": person(tx, workflow.started_by),
        "created_at": time_of(workflow.created_at_ms),
        "stopped_at": time_of(workflow.stopped_at_ms),
    }
    if workflow.is_setup:
        data["tag"] = "setup"
    if workflow.canceled_by is not None:
        data["canceled_by"] = person(tx, workflow.canceled_by)
    if workflow.max_auto_reruns:
        data["max_auto_reruns"] = workflow.max_auto_reruns
        data["auto_rerun_number"] = workflow.auto_rerun_number
    return data


def _job_wire(tx: Tx, job: JobChip, by_name: dict[str, JobChip], project: Project) -> dict[str, Any]:
    needed = [(by_name[require.job].id, require.statuses) for require in job.requires if require.job in by_name]
    data: dict[str, Any] = {
        "id": job.id,
        "name": job.name,
        "status": job.status,
        "type": job.type,
        "project_slug": project.slug,
        "dependencies": [job_id for job_id, _ in needed],
        "requires": {job_id: list(statuses) for job_id, statuses in needed},
        "started_at": time_of(job.started_at_ms),
        "stopped_at": time_of(job.stopped_at_ms),
    }
    if job.number is not None:
        data["job_number"] = job.number
    if job.type == "approval":
        data["approval_request_id"] = job.id
    if job.approved_by is not None:
        data["approved_by"] = person(tx, job.approved_by)
    if job.canceled_by is not None:
        data["canceled_by"] = person(tx, job.canceled_by)
    return data


async def show(request: web.Request) -> web.Response:
    user, wanted = user_of(request), WorkflowId(request.match_info["id"])

    def read(tx: Tx) -> dict[str, Any]:
        workflow = workflow_for(tx, user, wanted)
        line = overview.line(tx, workflow.pipeline_id)
        return workflow_wire(tx, workflow, line, projects.by_id(tx, line.project_id))

    return answer(await parts_of(request).db.read(read))


async def show_jobs(request: web.Request) -> web.Response:
    user, wanted = user_of(request), WorkflowId(request.match_info["id"])

    def read(tx: Tx) -> list[dict[str, Any]]:
        workflow = workflow_for(tx, user, wanted)
        project = projects.by_id(tx, overview.project_of_workflow(tx, workflow.id))
        found = overview.job_chips(tx, [workflow.id])[workflow.id]
        by_name = {job.name: job for job in found}
        return [_job_wire(tx, job, by_name, project) for job in found]

    return listing(await parts_of(request).db.read(read))


async def cancel(request: web.Request) -> web.Response:
    parts, user, wanted = parts_of(request), user_of(request), WorkflowId(request.match_info["id"])
    await parts.db.read(lambda tx: workflow_for(tx, user, wanted))
    await parts.commands.cancel_workflow(wanted, user)
    return message("Accepted.", 202)


async def approve(request: web.Request) -> web.Response:
    parts, user, wanted = parts_of(request), user_of(request), WorkflowId(request.match_info["id"])
    job_id = JobId(request.match_info["job"])

    def check(tx: Tx) -> None:
        workflow = workflow_for(tx, user, wanted)
        if jobs.by_id(tx, job_id).workflow_id != workflow.id:
            raise NotFound("Job not found")

    await parts.db.read(check)
    await parts.commands.approve(job_id, user)
    return message("Accepted.", 202)


_SWITCHES = ("from_failed", "sparse_tree", "enable_ssh", "failed_tests")


async def rerun(request: web.Request) -> web.Response:
    """Run a workflow again (spec 4.5). `failed_tests` is ours: CircleCI has it on its pages only."""
    parts, user, wanted = parts_of(request), user_of(request), WorkflowId(request.match_info["id"])
    await parts.db.read(lambda tx: workflow_for(tx, user, wanted))
    wish = wish_of(await json_body(request, ("jobs", *_SWITCHES)))
    return answer({"workflow_id": await parts.commands.rerun(wanted, wish, user)}, 202)


def wish_of(body: Mapping[str, Any]) -> reruns.Wish:
    """What a body asks for; a field that is null is not there. Raises BadRequest."""
    switches = {name: body[name] for name in _SWITCHES if body.get(name) is not None}
    for name, value in switches.items():
        if not isinstance(value, bool):
            raise BadRequest(f"The parameter {name} must be true or false.")
    found = body.get("jobs") or []
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise BadRequest("The parameter jobs must be a list of job ids.")
    return reruns.Wish(jobs=tuple(JobId(one) for one in dict.fromkeys(found)), **switches)


ROUTES = (
    Route("GET", "/api/v2/workflow/{id}", show, Policy.GUEST_TOKEN),
    Route("GET", "/api/v2/workflow/{id}/job", show_jobs, Policy.GUEST_TOKEN),
    Route("POST", "/api/v2/workflow/{id}/cancel", cancel, Policy.TOKEN),
    Route("POST", "/api/v2/workflow/{id}/rerun", rerun, Policy.TOKEN),
    Route("POST", "/api/v2/workflow/{id}/approve/{job}", approve, Policy.TOKEN),
)
