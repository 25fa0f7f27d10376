"""Static files, kept in memory: they are few and small."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web

from appliance.api.routes import Policy, Route
from appliance.pages.assets import Asset

ASSETS: web.AppKey[Mapping[str, Asset]] = web.AppKey("assets", Mapping)
VERSION = web.AppKey("static_version", str)


async def file(request: web.Request) -> web.Response:
    asset = request.app[ASSETS].get(request.match_info["name"])
    if asset is None:
        raise web.HTTPNotFound
    is_current = request.match_info["version"] == request.app[VERSION]
    # A page from before an update asks for the old version: it gets the new one, and must not keep it under that name.
    cache = "public, max-age=31536000, immutable" if is_current else "no-cache"
    return web.Response(
        body=asset.body,
        content_type=asset.content_type,
        charset="utf-8" if asset.content_type.startswith("text/") else None,
        headers={"Cache-Control": cache},
    )


async def icon(request: web.Request) -> web.Response:
    """Browsers ask for this by themselves."""
    asset = request.app[ASSETS]["logo.svg"]
    return web.Response(body=asset.body, content_type=asset.content_type, headers={"Cache-Control": "public, max-age=86400"})


ROUTES = (
    Route("GET", "/static/{version}/{name}", file, Policy.OPEN),
    Route("GET", "/favicon.ico", icon, Policy.OPEN),
)
