"""`DELETE /private/output/project/{id}/dlc`: throw away what docker_layer_caching keeps of a project (spec 8.4)."""

from __future__ import annotations

from aiohttp import web

from appliance.api.auth import user_of
from appliance.api.parts import parts_of
from appliance.api.routes import Policy, Route
from appliance.api.wire import message
from appliance.errors import NotFound
from appliance.model import ProjectId, User
from appliance.store import docker_layers, projects
from appliance.store.database import Tx


async def purge(request: web.Request) -> web.Response:
    user, project_id = user_of(request), ProjectId(request.match_info["project"])
    await parts_of(request).db.write(lambda tx: _purge(tx, user, project_id))
    return message("Docker layers purged.")


def _purge(tx: Tx, user: User, project_id: ProjectId) -> None:
    if not projects.may_enter(tx, user, project_id):
        raise NotFound("Project not found.")
    docker_layers.purge(tx, project_id)


ROUTES = (
    Route("DELETE", "/private/output/project/{project}/dlc", purge, Policy.TOKEN),
    Route("DELETE", "/api/private/output/project/{project}/dlc", purge, Policy.TOKEN),
)
