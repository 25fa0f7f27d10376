"""What goes wrong in a door, as an answer: `{"message": …}` for programs, a page for people."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.typedefs import Middleware

from appliance.api.auth import Unauthorized
from appliance.api.limits import TooMany
from appliance.api.routes import Handler
from appliance.api.wire import TooLarge, TooSlow, message
from appliance.errors import BadRequest, Conflict, DiskFull, NotFound, Refused, RondoError, VcsError

log = logging.getLogger(__name__)

ErrorPage = Callable[[web.Request, int, str], Awaitable[web.Response]]

_STATUS: tuple[tuple[type[RondoError], int], ...] = (
    (Unauthorized, 401),
    (TooMany, 429),
    (TooLarge, 413),
    (TooSlow, 408),
    (BadRequest, 400),
    (Refused, 403),
    (NotFound, 404),
    (Conflict, 409),
    (VcsError, 502),
    (DiskFull, 503),
)
_WORDS = {404: "There is nothing here.", 405: "This cannot be asked in this way.", 413: "That was too large."}
_FOR_PROGRAMS = ("/api/", "/hooks/", "/live", "/health", "/static/")


def is_for_program(request: web.Request) -> bool:
    """By the path, and elsewhere by a token that only programs bring; a proxy's Basic comes with browsers too."""
    if "Circle-Token" in request.headers or request.headers.get("Authorization", "").lower().startswith("bearer "):
        return True
    return request.path.startswith(_FOR_PROGRAMS) or (request.path.startswith("/jobs/") and request.path.endswith("/log"))


def translating(error_page: ErrorPage) -> Middleware:
    """The middleware that turns exceptions into answers; `error_page` draws the page for people."""

    async def answer(request: web.Request, status: int, text: str) -> web.Response:
        if is_for_program(request):
            return message(text, status)
        if status == 401:
            return _to_login(request)
        return await error_page(request, status, text)

    @web.middleware
    async def translate(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPException as error:
            if error.status < 400:
                raise
            response = await answer(request, error.status, _WORDS.get(error.status, error.reason))
            for name in ("Allow", "Retry-After"):
                if name in error.headers:
                    response.headers[name] = error.headers[name]
            return response
        except RondoError as error:
            status = status_of(error)
            if status >= 500:
                log.error("a request failed", extra={"path": request.path, "error": str(error)})
            response = await answer(request, status, str(error) if status != 500 else "Something went wrong here.")
            if isinstance(error, TooMany):
                response.headers["Retry-After"] = str(error.retry_after_s)
            return response
        except UnicodeEncodeError:  # a lone surrogate on its way into the database
            return await answer(request, 400, "This is not valid Unicode.")
        except Exception:
            if request.transport is None or request.transport.is_closing():
                raise  # the visitor has gone; nobody to tell
            log.exception("a request broke", extra={"path": request.path})
            return await answer(request, 500, "Something went wrong here.")

    return translate


def status_of(error: RondoError) -> int:
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def _to_login(request: web.Request) -> web.Response:
    # 303: a form that was sent too late becomes a visit of the login page.
    back = request.path_qs if request.method == "GET" else "/"
    location = request.url.with_path("/login").with_query({"next": back}).relative()
    return web.Response(status=303, headers={"Location": str(location)})
