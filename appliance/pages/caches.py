"""The caches of a project: how large, when used, and throwing them out."""

from __future__ import annotations

from aiohttp import web

from appliance.api.caches import throw_out
from appliance.api.parts import parts_of
from appliance.api.projects import wanted_project
from appliance.api.routes import SLUG, Policy, Route
from appliance.api.wire import form_of
from appliance.pages.links import caches_path, project_path
from appliance.pages.render import back_to, page
from appliance.store import caches
from appliance.store.caches import Cache, Total
from appliance.store.database import Tx

_MOST = 300


async def show(request: web.Request) -> web.Response:
    parts, project, prefix = parts_of(request), await wanted_project(request), request.query.get("prefix", "")

    def read(tx: Tx) -> tuple[list[Cache], Total, Total]:
        found = [cache for _, cache in caches.page(tx, project.id, prefix, None, _MOST)]
        return found, caches.total(tx, project.id, prefix), caches.total(tx, project.id, "")

    found, listed, total = await parts.db.read(read)
    return await page(
        request,
        "caches.html",
        {
            "project": project,
            "prefix": prefix,
            "caches": found,
            "listed": listed,
            "total": total,
            "quota": parts.settings.integer("caches.quota"),
            "project_path": project_path(project),
            "path": caches_path(project),
        },
    )


async def remove(request: web.Request) -> web.Response:
    project, fields = await wanted_project(request), await form_of(request)
    cache_id, prefix = fields.get("id", ""), fields.get("prefix", "")
    if cache_id:
        await throw_out(request, project, lambda tx: caches.remove_all(tx, project.id, [cache_id]))
    elif prefix:
        await throw_out(request, project, lambda tx: caches.remove_prefix(tx, project.id, prefix))
    return back_to(caches_path(project, prefix if cache_id else ""))


ROUTES = (
    Route("GET", f"/projects/{SLUG}/caches", show, Policy.USER),
    Route("POST", f"/projects/{SLUG}/caches", remove, Policy.FORM),
)
