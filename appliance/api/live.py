"""`GET /live?topics=…`: server-sent events that say which part of a page to ask for again. They carry no news.

Topics: `project:ID`, `pipeline:ID`, `workflow:ID`, `job:ID`, `mine` for every project the visitor may see, `machines`.
"""

from __future__ import annotations

import asyncio

from aiohttp import web

from appliance.api.auth import user_of
from appliance.api.parts import Parts, parts_of
from appliance.api.routes import Policy, Route
from appliance.api.streams import STREAMS, has_gone, send
from appliance.errors import BadRequest, NotFound
from appliance.model import STRANGER, JobId, PipelineId, ProjectId, User, WorkflowId
from appliance.store import jobs, overview, projects
from appliance.store.database import Tx

_TOPICS = 50
_REST_S = 0.2  # at most five events a second
_LOOK_S = 1.0  # how soon a closed tab is noticed
_HEARTBEAT_S = 15.0
_STUCK_S = 60.0


async def live(request: web.Request) -> web.StreamResponse:
    parts, user = parts_of(request), user_of(request)
    wanted = [topic for topic in request.query.get("topics", "").split(",") if topic]
    if not wanted or len(wanted) > _TOPICS:
        raise BadRequest(f"Give 1 to {_TOPICS} topics.")
    topics = await parts.db.read(lambda tx: _allowed(tx, user, wanted))
    with request.app[STREAMS].hold(user.id):
        return await _stream(request, parts, topics)


async def _stream(request: web.Request, parts: Parts, topics: dict[str, str]) -> web.StreamResponse:
    """`topics` leads from what the bell rings to what the page asked for."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
    with parts.bell.listen(*topics) as listener:
        await response.prepare(request)
        is_open = await send(request, response, b"retry: 2000\n: open\n\n", _STUCK_S)
        quiet_since_s = parts.clock.monotonic_s()
        while is_open and not has_gone(request):
            heard = await listener.wait(_LOOK_S)
            if heard:
                names = sorted({topics[topic] for topic in heard if topic in topics})
                is_open = await send(request, response, "".join(f"data: {name}\n\n" for name in names).encode(), _STUCK_S)
                await asyncio.sleep(_REST_S)
            elif parts.clock.monotonic_s() - quiet_since_s < _HEARTBEAT_S:
                continue
            else:
                is_open = await send(request, response, b": still here\n\n", _STUCK_S)
            quiet_since_s = parts.clock.monotonic_s()
    return response


def _allowed(tx: Tx, user: User, wanted: list[str]) -> dict[str, str]:
    """Raises NotFound when one of the topics is unknown or not for this user."""
    topics: dict[str, str] = {}
    for topic in wanted:
        if topic == "machines" and user.id != STRANGER.id:
            topics[topic] = topic
            continue
        if topic == "mine":
            topics |= dict.fromkeys(_of_all(tx, user), topic)
            continue
        if not projects.may_enter(tx, user, _project_of(tx, topic)):
            raise NotFound("There is no such topic.")
        topics[topic] = topic
    return topics


def _of_all(tx: Tx, user: User) -> list[str]:
    """What rings for the projects of a user: for those who see all, one topic instead of thousands."""
    return ["projects"] if user.sees_everything else [f"project:{one}" for one in projects.ids_of(tx, user)]


def _project_of(tx: Tx, topic: str) -> ProjectId:
    kind, _, name = topic.partition(":")
    match kind:
        case "project":
            return projects.by_id(tx, ProjectId(name)).id
        case "pipeline":
            return overview.line(tx, PipelineId(name)).project_id
        case "workflow":
            return overview.project_of_workflow(tx, WorkflowId(name))
        case "job":
            return jobs.by_id(tx, JobId(name)).project_id
        case _:
            raise NotFound("There is no such topic.")


ROUTES = (Route("GET", "/live", live, Policy.GUEST),)
