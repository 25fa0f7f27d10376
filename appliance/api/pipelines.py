"""`/pipeline` and `/project/{slug}/pipeline`: reading pipelines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from appliance.api.auth import user_of
from appliance.api.parts import Addresses, parts_of
from appliance.api.projects import repository_url, wanted_project
from appliance.api.routes import NUMBER, SLUG, Policy, Route
from appliance.api.wire import PAGE_SIZE, answer, listing, message, page_mark, page_token, time_of
from appliance.api.workflows import workflow_wire
from appliance.errors import BadRequest, NotFound
from appliance.model import PipelineId, Project, ProjectId, User, Vcs
from appliance.store import continuations, overview, pipelines, projects
from appliance.store.database import Tx
from appliance.store.overview import Line


def line_for(tx: Tx, user: User, pipeline_id: PipelineId) -> tuple[Line, Project]:
    """A pipeline and its project. Raises NotFound, also when it is not for this user."""
    line = overview.line(tx, pipeline_id)
    if not projects.may_enter(tx, user, line.project_id):
        raise NotFound("Pipeline not found")
    return line, projects.by_id(tx, line.project_id)


def wire(line: Line, project: Project, addresses: Addresses) -> dict[str, Any]:
    trigger = line.trigger
    return {
        "id": line.id,
        "number": line.number,
        "project_slug": project.slug,
        "state": line.state,
        "errors": [{"type": item.type, "message": item.text or item.message} for item in _errors(line)],
        "created_at": time_of(line.created_at_ms),
        "updated_at": time_of(line.updated_at_ms),
        "trigger": {
            "type": trigger.kind,
            "received_at": time_of(line.created_at_ms),
            "actor": {"login": trigger.actor, "avatar_url": None},
        },
        "trigger_parameters": dict(trigger.parameters),
        "vcs": _vcs(line, project, addresses),
    }


def _errors(line: Line) -> list[pipelines.Problem]:
    return [problem for problem in line.problems if problem.kind == "error"]


def _vcs(line: Line, project: Project, addresses: Addresses) -> dict[str, Any]:
    trigger, url = line.trigger, repository_url(project, addresses)
    ref = {"tag": trigger.tag} if trigger.tag is not None else {"branch": trigger.branch}
    return {
        "provider_name": "GitHub" if project.vcs is Vcs.GITHUB else "CircleCI",
        "target_repository_url": url,
        "origin_repository_url": url,
        "revision": trigger.revision,
        **ref,
        "commit": {"subject": trigger.commit.subject, "body": trigger.commit.body},
    }


def _page(
    lines: list[Line], seen: Mapping[ProjectId, Project], addresses: Addresses, actor: str | None = None
) -> web.Response:
    """One page of a list that was read one row further; with `actor` only theirs, so a page may be short."""
    shown = lines[:PAGE_SIZE]
    more = shown[-1].mark if len(lines) > PAGE_SIZE else None
    items = [
        wire(line, seen[line.project_id], addresses)
        for line in shown
        if line.project_id in seen and actor in (None, line.trigger.actor)
    ]
    return listing(items, page_token(more))


async def of_everything(request: web.Request) -> web.Response:
    parts, user, after = parts_of(request), user_of(request), page_mark(request)
    org = request.query.get("org-slug", "").rpartition("/")[2] or None
    lines, seen = await parts.db.read(lambda tx: overview.lines_for(tx, user, org=org, after=after, limit=PAGE_SIZE + 1))
    return _page(lines, seen, parts.addresses, user.name if request.query.get("mine") == "true" else None)


async def of_project(request: web.Request, actor: str | None = None) -> web.Response:
    parts, project, after = parts_of(request), await wanted_project(request), page_mark(request)
    branch = request.query.get("branch")
    lines = await parts.db.read(lambda tx: overview.lines(tx, [project.id], branch=branch, after=after, limit=PAGE_SIZE + 1))
    return _page(lines, {project.id: project}, parts.addresses, actor)


async def mine_of_project(request: web.Request) -> web.Response:
    return await of_project(request, user_of(request).name)


async def show(request: web.Request) -> web.Response:
    parts, user, wanted = parts_of(request), user_of(request), PipelineId(request.match_info["id"])
    line, project = await parts.db.read(lambda tx: line_for(tx, user, wanted))
    return answer(wire(line, project, parts.addresses))


async def by_number(request: web.Request) -> web.Response:
    parts, project, number = parts_of(request), await wanted_project(request), int(request.match_info["number"])
    line = await parts.db.read(lambda tx: overview.line_by_number(tx, project.id, number))
    return answer(wire(line, project, parts.addresses))


async def texts(request: web.Request) -> web.Response:
    """`/pipeline/{id}/config`: the source as read and as compiled; of a dynamic pipeline both configs (spec 6.2)."""
    parts, user, wanted = parts_of(request), user_of(request), PipelineId(request.match_info["id"])

    def read(tx: Tx) -> dict[str, str]:
        line_for(tx, user, wanted)
        pipeline, setup = pipelines.pipeline(tx, wanted), continuations.of_pipeline(tx, wanted)
        found = {"source": pipeline.source, "compiled": pipeline.compiled}
        if setup is None:
            return found
        return {**found, "setup-config": setup.setup_source, "compiled-setup-config": setup.setup_compiled}

    return answer(await parts.db.read(read))


async def values(request: web.Request) -> web.Response:
    """`/pipeline/{id}/values`: the pipeline values, flat."""
    parts, user, wanted = parts_of(request), user_of(request), PipelineId(request.match_info["id"])

    def read(tx: Tx) -> pipelines.Pipeline:
        line_for(tx, user, wanted)
        return pipelines.pipeline(tx, wanted)

    return answer((await parts.db.read(read)).values)


async def workflows(request: web.Request) -> web.Response:
    parts, user, wanted = parts_of(request), user_of(request), PipelineId(request.match_info["id"])
    if request.query.get("page-token"):
        raise BadRequest("The page-token is not one of ours.")  # all workflows are on the first page

    def read(tx: Tx) -> list[dict[str, Any]]:
        line, project = line_for(tx, user, wanted)
        return [workflow_wire(tx, workflow, line, project) for workflow in pipelines.workflows_of(tx, wanted)]

    return listing(await parts.db.read(read))


async def cancel(request: web.Request) -> web.Response:
    """Ours: CircleCI's API cancels workflows and jobs only."""
    parts, user, wanted = parts_of(request), user_of(request), PipelineId(request.match_info["id"])
    await parts.db.read(lambda tx: line_for(tx, user, wanted))
    await parts.commands.cancel_pipeline(wanted, user)
    return message("Accepted.", 202)


ROUTES = (
    Route("GET", "/api/v2/pipeline", of_everything, Policy.TOKEN),
    Route("GET", "/api/v2/pipeline/{id}", show, Policy.GUEST_TOKEN),
    Route("POST", "/api/v2/pipeline/{id}/cancel", cancel, Policy.TOKEN),
    Route("GET", "/api/v2/pipeline/{id}/config", texts, Policy.TOKEN),
    Route("GET", "/api/v2/pipeline/{id}/values", values, Policy.TOKEN),
    Route("GET", "/api/v2/pipeline/{id}/workflow", workflows, Policy.GUEST_TOKEN),
    Route("GET", f"/api/v2/project/{SLUG}/pipeline", of_project, Policy.GUEST_TOKEN),
    Route("GET", f"/api/v2/project/{SLUG}/pipeline/mine", mine_of_project, Policy.TOKEN),
    Route("GET", f"/api/v2/project/{SLUG}/pipeline/{NUMBER}", by_number, Policy.GUEST_TOKEN),
)
