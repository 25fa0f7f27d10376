"""`GET /health`: whether we serve. Says nothing else, for anybody may ask."""

from __future__ import annotations

from aiohttp import web

from appliance.api.parts import parts_of
from appliance.api.routes import Policy, Route
from appliance.api.wire import message


async def health(request: web.Request) -> web.Response:
    is_ready = parts_of(request).ready.is_set()
    return message("ready" if is_ready else "starting", 200 if is_ready else 503)


ROUTES = (
    Route("GET", "/health", health, Policy.OPEN),
    Route("HEAD", "/health", health, Policy.OPEN),  # what many monitors send
)
