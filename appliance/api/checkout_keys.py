"""`/project/{slug}/checkout-key`: the keys by which a project's repository is fetched; only their public halves come out."""

from __future__ import annotations

import asyncio
import logging
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from appliance import ssh_keys
from appliance.api.auth import user_of
from appliance.api.parts import parts_of
from appliance.api.projects import project_to_change, wanted_project
from appliance.api.routes import SLUG, Policy, Route
from appliance.api.wire import answer, json_body, listing, message, time_of
from appliance.errors import BadRequest
from appliance.store import keys

log = logging.getLogger(__name__)

_FINGERPRINT = "{fingerprint:[^{}]{1,200}}"  # SHA256's base64 may hold a slash


async def index(request: web.Request) -> web.Response:
    parts, project, digest = parts_of(request), await wanted_project(request), _digest(request)
    found = await parts.db.read(lambda tx: keys.checkout_keys(tx, project.id))
    return listing(_wire(key, digest) for key in found)


async def create(request: web.Request) -> web.Response:
    """A `user-key` speaks for whoever asks: in their jobs and those of everybody who can push to the project."""
    parts, project, user = parts_of(request), await project_to_change(request), user_of(request)
    kind = (await json_body(request, ("type",))).get("type")
    if kind not in ("deploy-key", "user-key"):
        raise BadRequest("type must be deploy-key or user-key.")
    pair = await asyncio.to_thread(ssh_keys.generate, f"rondo {project.name}")
    owner = user.id if kind == "user-key" else None
    now_ms = parts.clock.now_ms()
    key = await parts.db.write(lambda tx: keys.add_checkout_key(tx, parts.box, project.id, pair, now_ms, owner))
    log.info("checkout key made", extra={"project": project.name, "key": key.fingerprint, "kind": kind, "user": user.name})
    return answer(_wire(key, "md5"), 201)


async def show(request: web.Request) -> web.Response:
    parts, project, wanted = parts_of(request), await wanted_project(request), _fingerprint(request)
    key = await parts.db.read(lambda tx: keys.find_checkout_key(tx, project.id, wanted))
    return answer(_wire(key, "sha256" if wanted.upper().startswith("SHA256:") else "md5"))


async def remove(request: web.Request) -> web.Response:
    parts, project, wanted = parts_of(request), await project_to_change(request), _fingerprint(request)
    await parts.db.write(lambda tx: keys.remove_checkout_key(tx, project.id, wanted))
    return message("Deleted.")


def _fingerprint(request: web.Request) -> str:
    return unquote(request.match_info["fingerprint"])


def _digest(request: web.Request) -> str:
    digest = request.query.get("digest", "md5")
    if digest not in ("md5", "sha256"):
        raise BadRequest("digest must be md5 or sha256.")
    return digest


def _wire(key: keys.CheckoutKey, digest: str) -> dict[str, Any]:
    return {
        "public-key": key.public,
        "type": "deploy-key" if key.user_id is None else "github-user-key",
        "fingerprint": key.md5 if digest == "md5" else key.fingerprint,
        "preferred": key.is_preferred,
        "created-at": time_of(key.created_at_ms),
    }


ROUTES = (
    Route("GET", f"/api/v2/project/{SLUG}/checkout-key", index, Policy.TOKEN),
    Route("POST", f"/api/v2/project/{SLUG}/checkout-key", create, Policy.TOKEN),
    Route("GET", f"/api/v2/project/{SLUG}/checkout-key/{_FINGERPRINT}", show, Policy.TOKEN),
    Route("DELETE", f"/api/v2/project/{SLUG}/checkout-key/{_FINGERPRINT}", remove, Policy.TOKEN),
)
