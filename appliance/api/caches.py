"""`/project/{slug}/caches`: what a project has cached, and throwing it out. CircleCI has no such routes; these are ours."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from aiohttp import web

from appliance.api.auth import user_of
from appliance.api.parts import parts_of
from appliance.api.projects import wanted_project
from appliance.api.routes import SLUG, Policy, Route
from appliance.api.wire import answer, listing, page_mark, page_token, time_of
from appliance.blobs import Blobs
from appliance.errors import BadRequest, NotFound
from appliance.model import Project, User
from appliance.store import caches
from appliance.store.caches import Cache
from appliance.store.database import Tx
from appliance.store.overview import Mark

log = logging.getLogger(__name__)

PAGE_SIZE = 100


def _wire(cache: Cache) -> dict[str, Any]:
    return {
        "id": cache.id,
        "key": cache.shown,
        "scope": cache.scope,
        "size_bytes": cache.size_bytes,
        "created_at": time_of(cache.created_at_ms),
        "used_at": time_of(cache.used_at_ms),
        "expires_at": time_of(cache.expires_at_ms),
    }


async def show(request: web.Request) -> web.Response:
    """The newest first; `prefix` says how their keys begin."""
    parts, project, mark = parts_of(request), await wanted_project(request), page_mark(request)
    prefix = request.query.get("prefix", "")
    after = None if mark is None else (mark.created_at_ms, mark.row)
    found = await parts.db.read(lambda tx: caches.page(tx, project.id, prefix, after, PAGE_SIZE + 1))
    items = [_wire(cache) for _, cache in found[:PAGE_SIZE]]
    if len(found) <= PAGE_SIZE:
        return listing(items)
    row, last = found[PAGE_SIZE - 1]
    return listing(items, page_token(Mark(last.created_at_ms, row)))


async def remove(request: web.Request) -> web.Response:
    project, cache_id = await wanted_project(request), request.match_info["cache"]
    if not await throw_out(request, project, lambda tx: caches.remove_all(tx, project.id, [cache_id])):
        raise NotFound("Cache not found.")
    return answer({"message": "Cache deleted."})


async def remove_by_prefix(request: web.Request) -> web.Response:
    """Every cache whose key begins with `prefix`. None is no prefix: nobody loses all by leaving it out."""
    project, prefix = await wanted_project(request), request.query.get("prefix", "")
    if not prefix:
        raise BadRequest("Say which caches: ?prefix=BEGINNING-OF-THE-KEY.")
    gone = await throw_out(request, project, lambda tx: caches.remove_prefix(tx, project.id, prefix))
    return answer({"message": f"{len(gone)} caches deleted.", "deleted": len(gone)})


async def throw_out(request: web.Request, project: Project, forget: Callable[[Tx], Sequence[str]]) -> Sequence[str]:
    """Forget caches, then drop their files; who has one open reads it to its end. The ids."""
    parts, user = parts_of(request), user_of(request)
    gone = await parts.db.write(forget)
    for cache_id in gone:
        parts.blobs.drop(Blobs.CACHES, cache_id)
    if gone:
        _note(user, project, gone)
    return gone


def _note(user: User, project: Project, gone: Sequence[str]) -> None:
    log.info("caches were deleted", extra={"by": user.name, "project": project.name, "count": len(gone)})


ROUTES = (
    Route("GET", f"/api/v2/project/{SLUG}/caches", show, Policy.TOKEN),
    Route("DELETE", f"/api/v2/project/{SLUG}/caches", remove_by_prefix, Policy.TOKEN),
    Route("DELETE", f"/api/v2/project/{SLUG}/caches/{{cache:[0-9a-f]{{32}}}}", remove, Policy.TOKEN),
)
