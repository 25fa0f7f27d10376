"""Webhooks: verify the raw bytes, write the event down once, answer. All work comes later, from the database.

A delivery for a project that we do not have is answered exactly like one with a wrong signature, so that nobody can
ask which repositories build here; what was wrong stands in the log.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from urllib.parse import parse_qs

from aiohttp import web

from appliance.api.parts import Parts, parts_of
from appliance.api.routes import Policy, Route
from appliance.api.wire import message, read_capped
from appliance.crypto import signature_matches
from appliance.errors import BadRequest, NotFound, Refused
from appliance.model import Project, Trigger, Vcs
from appliance.store import projects
from appliance.vcs.base import Ignored

log = logging.getLogger(__name__)

_REFUSED = "The signature is missing or wrong, or there is no such project here."
_SMALL = 64 << 10  # as many of these as there are connections may lie in memory

LARGE_BODIES = web.AppKey("large_bodies", asyncio.Semaphore)
LARGE_AT_ONCE = 4


async def github(request: web.Request) -> web.Response:
    """`POST /hooks/github[/ORG/REPO]`: the project is named by the path, or else by the body."""
    parts = parts_of(request)
    _refuse_doubled_headers(request)
    # Anybody may send a large body: only so many of them lie in memory at once. Real pushes are small.
    async with request.app[LARGE_BODIES] if _is_large(request) else contextlib.nullcontext():
        return await _answer(request, parts)


async def _answer(request: web.Request, parts: Parts) -> web.Response:
    body = await read_capped(request, parts.settings.integer("web.webhook_limit"))
    org, repo = request.match_info.get("org"), request.match_info.get("repo")
    name = f"{org}/{repo}" if org else await asyncio.to_thread(_repository_in, body)
    try:
        meaning = await _verified(parts, name, request, body)
    except Refused as error:
        log.warning("a webhook was refused", extra={"repository": name[:200], "error": str(error)})
        return message(_REFUSED, 401)
    if isinstance(meaning, Ignored):
        return message(f"ignored: {meaning.reason}", 202)
    return await _accepted(parts, meaning)


async def _verified(parts: Parts, name: str, request: web.Request, body: bytes) -> Trigger | Ignored:
    """What the delivery means. Raises Refused, BadRequest."""
    found = await _project(parts, name)
    if found is None:
        # The same work as for a real project: the time of the answer tells nothing either.
        await asyncio.to_thread(signature_matches, "", body, request.headers.get("X-Hub-Signature-256"))
        raise Refused("there is no such project")
    project, secret = found
    # Hashing and parsing 25 MB takes long enough to stop everybody else.
    return await asyncio.to_thread(parts.providers[Vcs.GITHUB].receive, project, secret, request.headers, body)


async def _project(parts: Parts, name: str) -> tuple[Project, str | None] | None:
    try:
        project = await parts.db.read(lambda tx: projects.find(tx, name))
    except NotFound:
        return None
    if project.vcs is not Vcs.GITHUB:
        return None
    return project, await parts.db.read(lambda tx: projects.webhook_secret(tx, parts.box, project.id))


async def _accepted(parts: Parts, trigger: Trigger) -> web.Response:
    accepted = await parts.commands.accept(trigger)
    if accepted.trigger_id is None:
        return message(f"nothing to do: {accepted.reason}", 202)
    return web.json_response({"message": "accepted", "trigger": accepted.trigger_id}, status=202)


def _repository_in(body: bytes) -> str:
    """Which repository an unverified body speaks of: only to know whose secret to check it with."""
    try:
        # GitHub's other content type hides the JSON in a form field.
        text = parse_qs(body.decode("ascii"))["payload"][0] if body.startswith(b"payload=") else body
        name = json.loads(text)["repository"]["full_name"]
    except (ValueError, RecursionError, LookupError, TypeError):
        return ""
    return name if isinstance(name, str) and name.count("/") == 1 and name.isascii() else ""


def _is_large(request: web.Request) -> bool:
    return request.content_length is None or request.content_length > _SMALL


def _refuse_doubled_headers(request: web.Request) -> None:
    # With two signatures a proxy and we might look at different ones.
    for name in ("X-Hub-Signature-256", "X-GitHub-Event", "X-GitHub-Delivery"):
        if len(request.headers.getall(name, ())) > 1:
            raise BadRequest(f"The header {name} came twice.")


ROUTES = (
    Route("POST", "/hooks/github", github, Policy.OPEN),
    Route("POST", "/hooks/github/{org}/{repo}", github, Policy.OPEN),
)
