"""`/me`: whose token this is."""

from __future__ import annotations

from aiohttp import web

from appliance.api.auth import user_of
from appliance.api.routes import Policy, Route
from appliance.api.wire import answer


async def me(request: web.Request) -> web.Response:
    user = user_of(request)
    return answer({"id": user.id, "login": user.name, "name": user.name, "avatar_url": None})


ROUTES = (Route("GET", "/api/v2/me", me, Policy.TOKEN),)
