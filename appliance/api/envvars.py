"""`/project/{slug}/envvar`: the secrets of a project. Values go in and never come out: `xxxx` and the last four."""

from __future__ import annotations

import logging

from aiohttp import web

from appliance.api.auth import user_of
from appliance.api.parts import parts_of
from appliance.api.projects import project_to_change, wanted_project
from appliance.api.routes import SLUG, Policy, Route
from appliance.api.wire import answer, json_body, listing, message
from appliance.errors import BadRequest, NotFound
from appliance.store import projects

log = logging.getLogger(__name__)

_SHORTEST_SHOWN = 8


def masked(value: str) -> str:
    """As the API shows it. Of a short value four letters would be too many."""
    return "xxxx" + (value[-4:] if len(value) >= _SHORTEST_SHOWN else "")


async def index(request: web.Request) -> web.Response:
    parts, project = parts_of(request), await wanted_project(request)
    values = await parts.db.read(lambda tx: projects.secrets(tx, parts.box, project.id))
    return listing({"name": name, "value": masked(value), "created-at": None} for name, value in values.items())


async def show(request: web.Request) -> web.Response:
    parts, project = parts_of(request), await wanted_project(request)
    name = request.match_info["name"]
    values = await parts.db.read(lambda tx: projects.secrets(tx, parts.box, project.id))
    if name not in values:
        raise NotFound("Environment variable not found.")
    return answer({"name": name, "value": masked(values[name]), "created-at": None})


async def put(request: web.Request) -> web.Response:
    parts, project = parts_of(request), await project_to_change(request)
    body = await json_body(request, ("name", "value"))
    name, value = body.get("name"), body.get("value")
    if not isinstance(name, str) or not isinstance(value, str):
        raise BadRequest("name and value must be texts.")
    now_ms = parts.clock.now_ms()
    await parts.db.write(lambda tx: projects.set_secret(tx, parts.box, project.id, name, value, now_ms))
    log.info("project variable set", extra={"project": project.name, "variable": name, "user": user_of(request).name})
    return answer({"name": name, "value": masked(value), "created-at": None}, 201)


async def remove(request: web.Request) -> web.Response:
    parts, project = parts_of(request), await project_to_change(request)
    name = request.match_info["name"]
    if not await parts.db.write(lambda tx: projects.remove_secret(tx, project.id, name)):
        raise NotFound("Environment variable not found.")
    log.info("project variable removed", extra={"project": project.name, "variable": name, "user": user_of(request).name})
    return message("Environment variable deleted.")


ROUTES = (
    Route("GET", f"/api/v2/project/{SLUG}/envvar", index, Policy.TOKEN),
    Route("POST", f"/api/v2/project/{SLUG}/envvar", put, Policy.TOKEN),
    Route("GET", f"/api/v2/project/{SLUG}/envvar/{{name}}", show, Policy.TOKEN),
    Route("DELETE", f"/api/v2/project/{SLUG}/envvar/{{name}}", remove, Policy.TOKEN),
)
