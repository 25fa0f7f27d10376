"""`POST /pipeline/continue`: a setup job gives its pipeline the second config. The key in the body is all that counts."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from aiohttp import web

from appliance.api.hooks import LARGE_BODIES
from appliance.api.limits import FAILED_LOGINS, address_of
from appliance.api.parts import Parts, parts_of
from appliance.api.routes import Policy, Route
from appliance.api.triggers import parameters_in
from appliance.api.wire import fields_of, message, read_capped
from appliance.errors import BadRequest, NotFound

_FIELDS = ("continuation-key", "configuration", "parameters")
_SMALL = 64 << 10


async def carry_on(request: web.Request) -> web.Response:
    parts, failed = parts_of(request), request.app[FAILED_LOGINS]
    who = f"continuation {address_of(request)}"
    failed.check(who, parts.settings.integer("web.logins_per_minute"), "wrong continuation keys")
    is_large = request.content_length is None or request.content_length > _SMALL
    async with request.app[LARGE_BODIES] if is_large else contextlib.nullcontext():
        # In JSON a character may take two bytes (a line's end), and more only where nobody writes configs so.
        raw = await read_capped(request, 2 * parts.settings.integer("git.largest_config") + _SMALL)
        body = await asyncio.to_thread(fields_of, raw, _FIELDS)
        parameters = parameters_in(body.get("parameters"))
        try:
            await parts.commands.continue_pipeline(_text(body, "continuation-key"), _configuration(parts, body), parameters)
        except NotFound:
            failed.add(who)
            raise
    return message("Accepted.")


def _configuration(parts: Parts, body: dict[str, Any]) -> str:
    text = _text(body, "configuration")
    most = parts.settings.integer("git.largest_config")
    if len(text.encode()) > most:
        raise BadRequest(f"The configuration is larger than {most} bytes.")
    return text


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or "\0" in value:
        raise BadRequest(f"{name} must be given as a string.")
    return value


ROUTES = (Route("POST", "/api/v2/pipeline/continue", carry_on, Policy.OPEN),)
