"""`/project/{provider}/{organization}/{project}/settings`: what a project does with what happens (spec 6.2)."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from aiohttp import web

from appliance.api.auth import user_of
from appliance.api.parts import parts_of
from appliance.api.projects import project_to_change, wanted_project
from appliance.api.routes import SLUG, Policy, Route
from appliance.api.wire import answer, json_body
from appliance.errors import BadRequest
from appliance.model import ProjectFlags
from appliance.store import projects

_OURS = ("blocks_new_work", "is_stopped")


async def show(request: web.Request) -> web.Response:
    project = await wanted_project(request)
    return answer(_wire(await parts_of(request).db.read(lambda tx: projects.flags(tx, project.id))))


async def change(request: web.Request) -> web.Response:
    project = await project_to_change(request)
    wanted = (await json_body(request, ("advanced",))).get("advanced", {})
    if not isinstance(wanted, dict):
        raise BadRequest("advanced must be a JSON object.")
    for name in wanted:
        if name in _OURS:
            raise BadRequest(f"Unexpected JSON field '{name}'.")
    return answer(_wire(await parts_of(request).commands.change_settings(project.id, wanted, user_of(request))))


def _wire(flags: ProjectFlags) -> dict[str, Any]:
    advanced = {name: value for name, value in asdict(flags).items() if name not in _OURS}
    return {"advanced": {**advanced, "pr_only_branch_overrides": list(flags.pr_only_branch_overrides)}}


ROUTES = (
    Route("GET", f"/api/v2/project/{SLUG}/settings", show, Policy.TOKEN),
    Route("PATCH", f"/api/v2/project/{SLUG}/settings", change, Policy.TOKEN),
)
