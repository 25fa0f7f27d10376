"""The web server: routes with their policies, and what every request passes on its way.

A route is known only with a policy (`routes.Route`); a request whose route has none is refused. Nothing but /health
answers before recovery is done.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager

from aiohttp import web
from aiohttp.web_urldispatcher import SystemRoute

from appliance.api import auth
from appliance.api.failures import ErrorPage, translating
from appliance.api.headers import add_headers
from appliance.api.hooks import LARGE_AT_ONCE, LARGE_BODIES
from appliance.api.limits import FAILED_LOGINS, FailedLogins
from appliance.api.parts import PARTS, Parts
from appliance.api.patience import PatientSite
from appliance.api.routes import Handler, Policy, Route
from appliance.api.streams import STREAMS, Streams
from appliance.errors import NotFound

POLICIES: web.AppKey[Mapping[web.AbstractRoute, Policy]] = web.AppKey("policies", Mapping)
_HEALTH = "/health"
_KEEP_ALIVE_S = 75.0
_LARGEST_FORM = 64 << 10  # strangers send them too, to log in: as many at once as there are connections


def make_app(parts: Parts, routes: Iterable[Route], error_page: ErrorPage) -> web.Application:
    """The application. `pages.site.make_site` calls this with every route there is."""
    app = web.Application(middlewares=[translating(error_page), _guard], client_max_size=_LARGEST_FORM)
    app[PARTS] = parts
    app[FAILED_LOGINS] = FailedLogins(parts.clock)
    app[STREAMS] = Streams()
    app[LARGE_BODIES] = asyncio.Semaphore(LARGE_AT_ONCE)
    policies = {app.router.add_route(route.method, route.path, route.handler): route.policy for route in routes}
    app[POLICIES] = policies
    app.on_response_prepare.append(add_headers)
    app.on_shutdown.append(_end_streams)
    return app


async def _end_streams(app: web.Application) -> None:
    app[STREAMS].end_all()


@web.middleware
async def _guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Nobody passes without a policy that says so."""
    route = request.match_info.route
    if isinstance(route, SystemRoute):
        return await handler(request)  # answers 404 or 405
    policy = request.app[POLICIES].get(route)
    if policy is None:
        raise web.HTTPForbidden
    if request.path != _HEALTH and not request.app[PARTS].ready.is_set():
        raise web.HTTPServiceUnavailable(reason="Starting up. Try again in a moment.", headers={"Retry-After": "2"})
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        # A packed body could be a bomb, and a signature speaks of the bytes as they were sent.
        raise web.HTTPUnsupportedMediaType(reason="Send the body without Content-Encoding.")
    await auth.admit(request, policy)
    try:
        return await handler(request)
    except NotFound:
        if auth.is_stranger(request):  # what is not open to everybody and what is not there look alike: log in
            raise auth.Unauthorized("Invalid token provided.") from None
        raise


def listen(host: str, port: int) -> socket.socket:
    """A bound socket; port 0 takes a free one. Raises OSError when the port is taken."""
    family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    return listener


@asynccontextmanager
async def serving(app: web.Application, listener: socket.socket, drain_s: float) -> AsyncIterator[None]:
    """Answer on `listener` during the block; at its end answers in flight have `drain_s`, live streams end at once."""
    # No access log: request lines may carry login tokens. Bodies stay as sent, signatures speak of those bytes.
    runner = web.AppRunner(
        app, access_log=None, auto_decompress=False, shutdown_timeout=drain_s, keepalive_timeout=_KEEP_ALIVE_S
    )
    await runner.setup()
    try:
        await PatientSite(runner, listener).start()
        yield
    finally:
        await asyncio.shield(runner.cleanup())
