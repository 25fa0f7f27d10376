"""The form of API v2 on the wire: JSON bodies in, JSON answers, page tokens, names of things."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from appliance.clock import rfc3339
from appliance.errors import BadRequest
from appliance.store.overview import Mark

PAGE_SIZE = 20
LARGEST_JSON = 1 << 20
SLOWEST_BODY_S = 30.0


class TooLarge(BadRequest):
    """More bytes came than are read."""


class TooSlow(BadRequest):
    """The rest of the body does not come."""


def answer(data: Mapping[str, Any], status: int = 200) -> web.Response:
    return web.json_response(dict(data), status=status)


def message(text: str, status: int = 200) -> web.Response:
    return answer({"message": text}, status)


def listing(items: Iterable[Mapping[str, Any]], next_page: str | None = None) -> web.Response:
    return answer({"items": list(items), "next_page_token": next_page})


def time_of(at_ms: int | None) -> str | None:
    return None if at_ms is None else rfc3339(at_ms)


async def read_capped(request: web.Request, limit_bytes: int) -> bytes:
    """The raw body. Raises TooLarge as soon as there is too much, however it is sent, and TooSlow."""
    if (request.content_length or 0) > limit_bytes:
        raise TooLarge(f"the body is larger than {limit_bytes} bytes")
    async with _in_time():
        body = bytearray()
        async for chunk in request.content.iter_any():
            body += chunk
            if len(body) > limit_bytes:
                raise TooLarge(f"the body is larger than {limit_bytes} bytes")
        return bytes(body)


async def form_of(request: web.Request) -> dict[str, str]:
    """The text fields of a form; files are left out. May be asked for again. Raises TooSlow."""
    async with _in_time():
        fields = await request.post()
    return {name: value for name, value in fields.items() if isinstance(value, str)}


@asynccontextmanager
async def _in_time() -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(SLOWEST_BODY_S):
            yield
    except TimeoutError:
        raise TooSlow("The body came too slowly.") from None


async def json_body(request: web.Request, fields: Sequence[str]) -> dict[str, Any]:
    """The JSON object of a request, with no other than `fields`; empty when there is no body."""
    return fields_of(await read_capped(request, LARGEST_JSON), fields)


def fields_of(raw: bytes, fields: Sequence[str]) -> dict[str, Any]:
    """The JSON object in a body, with no other than `fields`; empty for an empty body. A large one is for a thread."""
    if not raw.strip():
        return {}
    data = parsed(raw)
    if not isinstance(data, dict):
        raise BadRequest("The request body must be a JSON object.")
    for name in data:
        if name not in fields:
            raise BadRequest(f"Unexpected JSON field '{name[:100]}'.")
    return data


def parsed(raw: bytes) -> Any:
    """JSON that can also be stored: no lone surrogates, no numbers without end, no endless depth."""
    try:
        data = json.loads(raw.decode("utf-8"))
        json.dumps(data, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError):  # UnicodeError is a ValueError
        raise BadRequest("The request body is not valid JSON.") from None
    return data


def page_token(mark: Mark | None) -> str | None:
    """An opaque token for the page after `mark`."""
    if mark is None:
        return None
    return base64.urlsafe_b64encode(f"{mark.created_at_ms}.{mark.row}".encode()).decode()


def page_mark(request: web.Request, name: str = "page-token") -> Mark | None:
    """What a `page-token` of ours says. Raises BadRequest for another's."""
    token = request.query.get(name, "")
    if not token:
        return None
    try:
        at_ms, row = base64.urlsafe_b64decode(token.encode("ascii")).decode("ascii").split(".")
        mark = Mark(int(at_ms), int(row))
    except (ValueError, binascii.Error):
        raise BadRequest("The page-token is not one of ours.") from None
    if not (0 <= mark.created_at_ms < 1 << 62 and 0 <= mark.row < 1 << 62):
        raise BadRequest("The page-token is not one of ours.")
    return mark
