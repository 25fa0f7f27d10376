"""`POST /pipeline/continue`: a setup job gives its pipeline the second config. The key in the body is all that counts."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from appliance.api.failures import status_of
from appliance.api.hooks import LARGE_BODIES
from appliance.api.limits import FAILED_LOGINS, address_of
from appliance.api.parts import parts_of
from appliance.api.routes import Policy, Route
from appliance.api.triggers import parameters_in
from appliance.api.wire import fields_of, message, read_capped
from appliance.engine.commands import Commands
from appliance.errors import BadRequest, NotFound, RondoError
from appliance.settings import Settings

log = logging.getLogger(__name__)

_FIELDS = ("continuation-key", "configuration", "parameters")
_SMALL = 64 << 10
_ACCEPTED = "Accepted."


async def carry_on(request: web.Request) -> web.Response:
    parts, failed = parts_of(request), request.app[FAILED_LOGINS]
    settings = parts.settings
    who = f"continuation {address_of(request)}"
    failed.check(who, settings.integer("web.logins_per_minute"), "wrong continuation keys")
    is_large = request.content_length is None or request.content_length > _SMALL
    async with request.app[LARGE_BODIES] if is_large else contextlib.nullcontext():
        # In JSON a character may take two bytes (a line's end), and more only where nobody writes configs so.
        raw = await read_capped(request, 2 * settings.integer("git.largest_config") + _SMALL)
        try:
            await _continue(parts.commands, settings, raw, None)
        except NotFound:
            failed.add(who)
            raise
    return message(_ACCEPTED)


def for_jobs(commands: Commands, settings: Settings) -> Callable[[bytes, str], Awaitable[tuple[int, bytes]]]:
    """The same for jobs that are heard in their sandboxes: takes a body and the request's name, gives status and body."""

    async def answer(raw: bytes, name: str) -> tuple[int, bytes]:
        status, text = 200, _ACCEPTED
        try:
            await _continue(commands, settings, raw, name)
        except RondoError as error:
            status, text = status_of(error), str(error)
        except UnicodeEncodeError:  # a lone surrogate on its way into the database
            status, text = 400, "This is not valid Unicode."
        except Exception:  # the top of a request
            log.exception("a continuation broke", extra={"request": name})
            status, text = 500, "Something went wrong here."
        return status, json.dumps({"message": text}).encode()

    return answer


async def _continue(commands: Commands, settings: Settings, raw: bytes, name: str | None) -> None:
    body = await asyncio.to_thread(fields_of, raw, _FIELDS)
    configuration, parameters = _configuration(settings, body), parameters_in(body.get("parameters"))
    await commands.continue_pipeline(_text(body, "continuation-key"), configuration, parameters, name)


def _configuration(settings: Settings, body: dict[str, Any]) -> str:
    text = _text(body, "configuration")
    most = settings.integer("git.largest_config")
    if len(text.encode()) > most:
        raise BadRequest(f"The configuration is larger than {most} bytes.")
    return text


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or "\0" in value:
        raise BadRequest(f"{name} must be given as a string.")
    return value


ROUTES = (Route("POST", "/api/v2/pipeline/continue", carry_on, Policy.OPEN),)
