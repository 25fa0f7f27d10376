"""`/project/{slug}/schedule` and `/schedule/{id}`: pipelines that start by a timetable (spec 4.3, 6.2).

A timetable is replaced whole. Schedules of configs are not here, as with CircleCI; the page of a project shows both.
"""

from __future__ import annotations

import logging
from typing import Any

from aiohttp import web

from appliance.api.auth import user_of
from appliance.api.parts import parts_of
from appliance.api.projects import project_to_change, wanted_project
from appliance.api.routes import SLUG, Policy, Route
from appliance.api.triggers import parameters_in, text_in
from appliance.api.wire import PAGE_SIZE, answer, json_body, listing, message, page_mark, page_token, time_of
from appliance.engine import rights, timetables
from appliance.engine.moves_schedules import Wish
from appliance.errors import BadRequest, NotFound
from appliance.model import SYSTEM_ACTOR, Project, User, uuid_of
from appliance.store import people, projects, schedules
from appliance.store.database import Tx
from appliance.store.overview import Mark
from appliance.store.schedules import Schedule

log = logging.getLogger(__name__)

_FIELDS = ("name", "description", "timetable", "attribution-actor", "parameters")
_LONGEST_NAME = 256
_LONGEST_DESCRIPTION = 2_000


def _wire(tx: Tx, schedule: Schedule, project: Project) -> dict[str, Any]:
    where = {"branch": schedule.branch} if schedule.branch is not None else {"tag": schedule.tag}
    return {
        "id": schedule.id,
        "name": schedule.name,
        "description": schedule.description,
        "timetable": schedule.timing,
        "parameters": {**schedule.parameters, **where},
        "actor": _actor(tx, schedule),
        "project-slug": project.slug,
        "created-at": time_of(schedule.created_at_ms),
        "updated-at": time_of(schedule.updated_at_ms),
    }


def _actor(tx: Tx, schedule: Schedule) -> dict[str, str]:
    if schedule.is_system:
        return {"id": uuid_of("actor", SYSTEM_ACTOR), "login": SYSTEM_ACTOR, "name": "Scheduled"}
    if schedule.actor_id is None:
        return {"id": uuid_of("person", ""), "login": "", "name": "(gone)"}
    name = people.by_id(tx, schedule.actor_id).name
    return {"id": schedule.actor_id, "login": name, "name": name}


async def create(request: web.Request) -> web.Response:
    parts, project, user = parts_of(request), await project_to_change(request), user_of(request)
    body = await json_body(request, _FIELDS)
    for name in ("name", "timetable", "attribution-actor", "parameters"):
        if body.get(name) is None:
            raise BadRequest(f"{name} is required.")
    made = await parts.commands.create_schedule(project.id, wish_in(body), user)
    _note("created", made, project, user)
    return answer(await parts.db.read(lambda tx: _wire(tx, made, project)), 201)


async def show_all(request: web.Request) -> web.Response:
    """The newest first."""
    parts, project, mark = parts_of(request), await wanted_project(request), page_mark(request)
    after = None if mark is None else (mark.created_at_ms, mark.row)

    def read(tx: Tx) -> tuple[list[Schedule], list[dict[str, Any]]]:
        found = schedules.page(tx, project.id, after, PAGE_SIZE + 1)
        return found, [_wire(tx, one, project) for one in found[:PAGE_SIZE]]

    found, items = await parts.db.read(read)
    if len(found) <= PAGE_SIZE:
        return listing(items)
    last = found[PAGE_SIZE - 1]
    return listing(items, page_token(Mark(last.created_at_ms, last.row)))


async def show(request: web.Request) -> web.Response:
    user, wanted = user_of(request), request.match_info["id"]

    def read(tx: Tx) -> dict[str, Any]:
        schedule, project = _for(tx, user, wanted)
        return _wire(tx, schedule, project)

    return answer(await parts_of(request).db.read(read))


async def change(request: web.Request) -> web.Response:
    parts, user = parts_of(request), user_of(request)
    schedule, project = await _to_change(request)
    wish = wish_in(await json_body(request, _FIELDS))
    changed = await parts.commands.change_schedule(schedule.id, wish, user)
    _note("changed", changed, project, user)
    return answer(await parts.db.read(lambda tx: _wire(tx, changed, project)))


async def remove(request: web.Request) -> web.Response:
    schedule, project = await _to_change(request)
    await parts_of(request).commands.remove_schedule(schedule.id)
    _note("removed", schedule, project, user_of(request))
    return message("Schedule deleted.")


def _for(tx: Tx, user: User, schedule_id: str) -> tuple[Schedule, Project]:
    """Raises NotFound, also when it is not for this user."""
    schedule = schedules.of_api(tx, schedule_id)
    if not projects.may_enter(tx, user, schedule.project_id):
        raise NotFound("Schedule not found.")
    return schedule, projects.by_id(tx, schedule.project_id)


async def _to_change(request: web.Request) -> tuple[Schedule, Project]:
    """Raises NotFound, Refused."""
    user, wanted = user_of(request), request.match_info["id"]

    def read(tx: Tx) -> tuple[Schedule, Project]:
        schedule, project = _for(tx, user, wanted)
        rights.check_changes_project(user, projects.flags(tx, project.id))
        return schedule, project

    return await parts_of(request).db.read(read)


def wish_in(body: dict[str, Any]) -> Wish:
    """What a body asks for; what it does not name, or is null, stays. Raises BadRequest."""
    timetable, parameters, actor = body.get("timetable"), body.get("parameters"), body.get("attribution-actor")
    if actor not in (None, "current", "system"):
        raise BadRequest("attribution-actor must be current or system.")
    branch = tag = None
    if parameters is not None:
        parameters = parameters_in(parameters)
        branch, tag = text_in(parameters, "branch"), text_in(parameters, "tag")
        if (branch is None) == (tag is None):
            raise BadRequest("parameters must have either branch or tag.")
    return Wish(
        name=_text(body, "name", 1, _LONGEST_NAME),
        description=_text(body, "description", 0, _LONGEST_DESCRIPTION),
        timetable=None if timetable is None else timetables.checked(timetable),
        branch=branch,
        tag=tag,
        parameters=None
        if parameters is None
        else {name: value for name, value in parameters.items() if name not in ("branch", "tag")},
        is_system=None if actor is None else actor == "system",
    )


def _text(body: dict[str, Any], name: str, shortest: int, longest: int) -> str | None:
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not shortest <= len(value.strip()) or len(value) > longest:
        raise BadRequest(f"{name} must be a text of {shortest} to {longest} characters.")
    return value


def _note(what: str, schedule: Schedule, project: Project, user: User) -> None:
    log.info(f"schedule {what}", extra={"project": project.name, "schedule": schedule.name, "user": user.name})


ROUTES = (
    Route("POST", f"/api/v2/project/{SLUG}/schedule", create, Policy.TOKEN),
    Route("GET", f"/api/v2/project/{SLUG}/schedule", show_all, Policy.TOKEN),
    Route("GET", "/api/v2/schedule/{id}", show, Policy.TOKEN),
    Route("PATCH", "/api/v2/schedule/{id}", change, Policy.TOKEN),
    Route("DELETE", "/api/v2/schedule/{id}", remove, Policy.TOKEN),
)
