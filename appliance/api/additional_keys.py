"""`/project/:slug/ssh-key` of API v1.1: the keys that `add_ssh_keys` brings into jobs (spec 6.4). They go in only."""

from __future__ import annotations

import asyncio
import logging

from aiohttp import web

from appliance import ssh_keys
from appliance.api.auth import user_of
from appliance.api.parts import parts_of
from appliance.api.projects import project_to_change
from appliance.api.routes import SLUG, Policy, Route
from appliance.api.wire import answer, json_body, message
from appliance.errors import BadRequest
from appliance.store import keys

log = logging.getLogger(__name__)


async def add(request: web.Request) -> web.Response:
    parts, project = parts_of(request), await project_to_change(request)
    body = await json_body(request, ("hostname", "private_key"))
    hostname, private = _text(body.get("hostname"), "hostname"), _text(body.get("private_key"), "private_key")
    pair = await asyncio.to_thread(ssh_keys.read, private)
    now_ms = parts.clock.now_ms()
    key = await parts.db.write(lambda tx: keys.add_additional_key(tx, parts.box, project.id, pair, hostname, now_ms))
    facts = {"project": project.name, "key": key.fingerprint, "host": hostname, "user": user_of(request).name}
    log.info("ssh key added", extra=facts)
    return answer({"hostname": key.hostname or None, "fingerprint": key.md5, "public_key": pair.public}, 201)


async def remove(request: web.Request) -> web.Response:
    """Without a hostname the key goes from every host."""
    parts, project = parts_of(request), await project_to_change(request)
    body = await json_body(request, ("hostname", "fingerprint"))
    fingerprint, hostname = _text(body.get("fingerprint"), "fingerprint"), _text(body.get("hostname"), "hostname")
    await parts.db.write(lambda tx: keys.remove_additional_key(tx, project.id, fingerprint, hostname or None))
    facts = {"project": project.name, "key": fingerprint, "host": hostname, "user": user_of(request).name}
    log.info("ssh key removed", extra=facts)
    return message("ok")


def _text(value: object, name: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadRequest(f"{name} must be a text.")
    return value


ROUTES = (
    Route("POST", f"/api/v1.1/project/{SLUG}/ssh-key", add, Policy.TOKEN),
    Route("DELETE", f"/api/v1.1/project/{SLUG}/ssh-key", remove, Policy.TOKEN),
)
