"""`POST /project/{slug}/pipeline` and the newer `/pipeline/run`: start a pipeline by hand."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from appliance.api.auth import user_of
from appliance.api.parts import Parts, parts_of
from appliance.api.projects import wanted_project
from appliance.api.routes import SLUG, Policy, Route
from appliance.api.wire import answer, json_body, message, time_of
from appliance.errors import BadRequest, NotFound
from appliance.model import Project, Trigger, TriggerKind, User
from appliance.store import overview
from appliance.vcs.base import RefNotFound

_PARAMETERS = 100
_LONGEST_NAME = 128
_LONGEST_VALUE = 512
_WAIT_S = 30.0


async def start(request: web.Request) -> web.Response:
    parts, project = parts_of(request), await wanted_project(request)
    body = await json_body(request, ("branch", "tag", "parameters"))
    branch, tag = _ref(body)
    return await _start(parts, project, user_of(request), branch, tag, body)


async def run(request: web.Request) -> web.Response:
    """The same with the places of config and code told apart, and for one of several definitions (spec 6.2).

    A project has one definition here, whose id is its own; config and code come from one commit.
    """
    parts, project = parts_of(request), await wanted_project(request)
    body = await json_body(request, ("definition_id", "config", "checkout", "parameters"))
    if body.get("definition_id") not in (None, project.id):
        raise NotFound("Pipeline definition not found.")
    refs = {_ref(place) for place in (_place(body, "config"), _place(body, "checkout")) if place is not None}
    if len(refs) > 1:
        raise BadRequest("Rondo reads the config where it checks out the code: both must name the same branch or tag.")
    branch, tag = next(iter(refs), (None, None))
    return await _start(parts, project, user_of(request), branch, tag, body)


async def _start(
    parts: Parts, project: Project, user: User, branch: str | None, tag: str | None, body: dict[str, Any]
) -> web.Response:
    parameters = parameters_in(body.get("parameters"))
    trigger = await _trigger(parts, project, user, branch, tag, parameters)
    accepted = await parts.commands.accept(trigger)
    if accepted.trigger_id is None:
        return message(f"No pipeline was created: {accepted.reason}.")
    pipeline_id = await parts.commands.pipeline_of(accepted.trigger_id, _WAIT_S)
    if pipeline_id is None:
        return message("Accepted; the pipeline will follow.", 202)
    line = await parts.db.read(lambda tx: overview.line(tx, pipeline_id))
    created_at = time_of(line.created_at_ms)
    return answer({"id": line.id, "state": line.state, "number": line.number, "created_at": created_at}, 201)


async def _trigger(
    parts: Parts,
    project: Project,
    user: User,
    branch: str | None,
    tag: str | None,
    parameters: dict[str, str | int | bool],
) -> Trigger:
    provider = parts.providers[project.vcs]
    try:
        resolved = await provider.resolve(project, branch=branch, tag=tag)
    except RefNotFound as error:
        raise BadRequest(str(error)) from error
    commit = await provider.commit(project, resolved.revision)
    return Trigger(
        project_id=project.id,
        kind=TriggerKind.API,
        semantic_key=f"api {uuid.uuid4()}",  # asking twice means twice
        branch=resolved.branch,
        tag=resolved.tag,
        revision=resolved.revision,
        actor=user.name,
        actor_id=user.id,
        commit=commit,
        parameters=parameters,
    )


def _place(body: dict[str, Any], name: str) -> dict[str, Any] | None:
    place = body.get(name)
    if place is not None and (not isinstance(place, dict) or not set(place) <= {"branch", "tag"}):
        raise BadRequest(f"{name} must be an object with branch or tag.")
    return place


def _ref(body: dict[str, Any]) -> tuple[str | None, str | None]:
    """Branch and tag, at most one of them."""
    branch, tag = text_in(body, "branch"), text_in(body, "tag")
    if branch is not None and tag is not None:
        raise BadRequest("Give branch or tag, not both.")
    return branch, tag


def text_in(body: Mapping[str, Any], name: str) -> str | None:
    """The name of a branch or tag as a body has it; None when it does not."""
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not value or len(value) > 1000 or any(ord(char) < 32 for char in value):
        raise BadRequest(f"{name} must be the name of one.")
    return value


def parameters_in(value: object) -> dict[str, str | int | bool]:
    """Values for pipeline parameters as a body has them. Raises BadRequest past CircleCI's bounds."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadRequest("parameters must be a JSON object.")
    if len(value) > _PARAMETERS:
        raise BadRequest(f"There are more than {_PARAMETERS} parameters.")
    for name, item in value.items():
        if len(name) > _LONGEST_NAME:
            raise BadRequest(f"The name of a parameter is longer than {_LONGEST_NAME}.")
        if not isinstance(item, str | int | bool):
            raise BadRequest(f"The parameter {name} must be a string, an integer or a boolean.")
        if len(str(item)) > _LONGEST_VALUE:
            raise BadRequest(f"The value of {name} is longer than {_LONGEST_VALUE}.")
    return value


ROUTES = (
    Route("POST", f"/api/v2/project/{SLUG}/pipeline", start, Policy.TOKEN),
    Route("POST", f"/api/v2/project/{SLUG}/pipeline/run", run, Policy.TOKEN),
)
