"""The log of a step as raw bytes, by offset: a growing file and an old one are read the same way.

With `follow=1` the bytes are sent as they come until the step has ended. The reader's pace is the pace: one chunk is in
memory, nothing is queued, and a reader that comes back asks for the rest by offset.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from aiohttp import web

from appliance.api.auth import user_of
from appliance.api.jobs import numbered_job_for
from appliance.api.parts import Parts, parts_of
from appliance.api.routes import NUMBER, Policy, Route
from appliance.api.streams import STREAMS, has_gone, send
from appliance.errors import BadRequest, NotFound
from appliance.model import JobId, User
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
    parts, user = parts_of(request), user_of(request)
    offset = _number(request, "offset", 0)
    limit = min(_number(request, "limit", LARGEST_ANSWER), LARGEST_ANSWER)
    place = await parts.db.read(lambda tx: _place(tx, user, request))
    # Whether it has ended is asked before how much there is: what is read then is all of it.
    is_done = await _has_ended(parts, place)
    size = await asyncio.to_thread(_size, parts, place)
    if offset > size:
        return web.Response(status=416, text="There is no such offset.\n", headers=_headers(size, is_done))
    if request.query.get("follow") == "1":
        return await _follow(request, parts, place, offset, size, is_done)
    body = await asyncio.to_thread(_read, parts, place, offset, limit)
    return web.Response(
        body=body,
        content_type="text/plain",
        charset="utf-8",
        headers=_headers(size, is_done and offset + len(body) >= size),
    )


async def _follow(
    request: web.Request, parts: Parts, place: _Place, offset: int, size: int, is_done: bool
) -> web.StreamResponse:
    with request.app[STREAMS].hold(user_of(request).id), parts.bell.listen(place.topic) as listener:
        response = web.StreamResponse(headers=_headers(size, is_done))
        response.content_type = "text/plain"
        response.charset = "utf-8"
        response.headers["X-Accel-Buffering"] = "no"  # nginx would hold lines back
        await response.prepare(request)
        while not has_gone(request):
            is_done = await _has_ended(parts, place)
            while chunk := await asyncio.to_thread(_read, parts, place, offset, _CHUNK):
                if not await send(request, response, chunk, _STUCK_S):
                    return response
                offset += len(chunk)
            if is_done:
                await response.write_eof()
                break
            if await listener.wait(_LOOK_S):
                await asyncio.sleep(_REST_S)
    return response


def _place(tx: Tx, user: User, request: web.Request) -> _Place:
    """The step that the path names. Raises NotFound, also when the job is not for this user."""
    job = numbered_job_for(tx, user, int(request.match_info["number"]))
    index, position = int(request.match_info["node"]), int(request.match_info["step"])
    if overview.step_status(tx, job.id, index, position) is None:
        raise NotFound("Step not found")
    return _Place(job.id, index, position)


async def _has_ended(parts: Parts, place: _Place) -> bool:
    status = await parts.db.read(lambda tx: overview.step_status(tx, place.job_id, place.index, place.position))
    return status is None or status.is_done


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


ROUTES = (Route("GET", f"/jobs/{NUMBER}/{{node:[0-9]{{1,6}}}}/{{step:[0-9]{{1,6}}}}/log", log, Policy.USER),)
