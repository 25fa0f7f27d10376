"""The log of a step as raw bytes, by offset: a growing file and an old one are read the same way.

With `follow=1` the bytes are sent as they come until the step has ended. The reader's pace is the pace: one chunk is in
memory, nothing is queued, and a reader that comes back asks for the rest by offset.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass

from aiohttp import web

from appliance.api.auth import as_now, user_of
from appliance.api.jobs import numbered_job_for
from appliance.api.parts import Parts, parts_of
from appliance.api.routes import NUMBER, Policy, Route
from appliance.api.streams import STREAMS, has_gone, send
from appliance.bell import Listener
from appliance.errors import BadRequest, NotFound
from appliance.model import JobId
from appliance.store import overview
from appliance.store.database import Tx

LARGEST_ANSWER = 1 << 20
_CHUNK = 256 << 10
_LOOK_S = 1.0  # rings are hints
_REST_S = 0.03  # a thousand small writes a second become thirty looks
_STUCK_S = 300.0  # a reader that takes nothing for so long has gone


@dataclass(frozen=True)
class _Place:
    job_id: JobId
    index: int
    position: int

    @property
    def topic(self) -> str:
        return f"log:{self.job_id}/{self.index}/{self.position}"


async def log(request: web.Request) -> web.StreamResponse:
    parts = parts_of(request)
    offset = _number(request, "offset", 0)
    limit = min(_number(request, "limit", LARGEST_ANSWER), LARGEST_ANSWER)
    # Whether it has ended is asked before how much there is: what is read then is all of it.
    place, is_done = await _look(request)
    size = await asyncio.to_thread(_size, parts, place)
    if offset > size:
        return web.Response(status=416, text="There is no such offset.\n", headers=_headers(size, is_done))
    if request.query.get("follow") == "1":
        with request.app[STREAMS].hold(user_of(request).id), parts.bell.listen(place.topic) as listener:
            return await _follow(request, place, listener, offset, _headers(size, is_done))
    body = await asyncio.to_thread(_read, parts, place, offset, limit)
    return web.Response(
        body=body,
        content_type="text/plain",
        charset="utf-8",
        headers=_headers(size, is_done and offset + len(body) >= size),
    )


async def _follow(
    request: web.Request, place: _Place, listener: Listener, offset: int, headers: dict[str, str]
) -> web.StreamResponse:
    response = web.StreamResponse(headers=headers | {"X-Accel-Buffering": "no"})  # nginx would hold lines back
    response.content_type = "text/plain"
    response.charset = "utf-8"
    await response.prepare(request)
    while not has_gone(request):
        try:
            _, is_done = await _look(request)
        except NotFound:  # the job was removed, or the right to see it
            break
        chunk = await asyncio.to_thread(_read, parts_of(request), place, offset, _CHUNK)
        if chunk:
            if not await send(request, response, chunk, _STUCK_S):
                return response
            offset += len(chunk)
        elif is_done:
            with contextlib.suppress(ConnectionError):
                await response.write_eof()
            return response
        elif await listener.wait(_LOOK_S):
            await asyncio.sleep(_REST_S)
    if request.transport is not None:
        request.transport.abort()  # a stream that stops in the middle must not look like one that ended
    return response


async def _look(request: web.Request) -> tuple[_Place, bool]:
    """The step that the path names, and whether it has ended. Raises NotFound, also when it is no longer for this user."""
    asker, number = user_of(request), int(request.match_info["number"])
    index, position = int(request.match_info["node"]), int(request.match_info["step"])

    def read(tx: Tx) -> tuple[_Place, bool]:
        user = as_now(tx, asker)  # again: a stream may outlive the account
        job = numbered_job_for(tx, user, number)
        status = overview.step_status(tx, job.id, index, position)
        if status is None:
            raise NotFound("Step not found")
        return _Place(job.id, index, position), status.is_done

    return await parts_of(request).db.read(read)


def _size(parts: Parts, place: _Place) -> int:
    return parts.blobs.log_size(place.job_id, place.index, place.position)


def _read(parts: Parts, place: _Place, offset: int, limit: int) -> bytes:
    return parts.blobs.read_log(place.job_id, place.index, place.position, offset, limit)


def _headers(size: int, is_done: bool) -> dict[str, str]:
    return {"X-Rondo-Size": str(size), "X-Rondo-Done": "1" if is_done else "0"}


def _number(request: web.Request, name: str, default: int) -> int:
    text = request.query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal()) or len(text) > 15:
        raise BadRequest(f"{name} must be a whole number, 0 or more.")
    return int(text)


ROUTES = (Route("GET", f"/jobs/{NUMBER}/{{node:[0-9]{{1,6}}}}/{{step:[0-9]{{1,6}}}}/log", log, Policy.GUEST),)
