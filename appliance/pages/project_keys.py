"""The SSH keys on a project's settings page: made, added and removed by its forms."""

from __future__ import annotations

import asyncio
import logging

from aiohttp import web

from appliance import ssh_keys
from appliance.api.auth import user_of
from appliance.api.parts import parts_of
from appliance.api.projects import project_to_change
from appliance.api.routes import SLUG, Policy, Route
from appliance.api.wire import form_of
from appliance.pages.settings import tried, typed
from appliance.store import keys

log = logging.getLogger(__name__)


async def make(request: web.Request) -> web.Response:
    """A new checkout key; a user key, which speaks for whoever asks, where the form says so."""
    project, parts, user = await project_to_change(request), parts_of(request), user_of(request)
    owner = user.id if (await form_of(request)).get("type") == "user-key" else None
    now_ms = parts.clock.now_ms()

    async def write() -> None:
        pair = await asyncio.to_thread(ssh_keys.generate, f"rondo {project.name}")
        key = await parts.db.write(lambda tx: keys.add_checkout_key(tx, parts.box, project.id, pair, now_ms, owner))
        log.info("checkout key made", extra={"project": project.name, "key": key.fingerprint, "user": user.name})

    return await tried(request, project, write)


async def remove(request: web.Request) -> web.Response:
    project, parts = await project_to_change(request), parts_of(request)
    wanted = (await form_of(request)).get("fingerprint", "")

    async def write() -> None:
        await parts.db.write(lambda tx: keys.remove_checkout_key(tx, project.id, wanted))
        log.info("checkout key removed", extra={"project": project.name, "key": wanted, "user": user_of(request).name})

    return await tried(request, project, write)


async def add(request: web.Request) -> web.Response:
    project, parts = await project_to_change(request), parts_of(request)
    form, now_ms = await form_of(request), parts.clock.now_ms()
    host = form.get("hostname", "").strip()

    async def write() -> None:
        pair = await asyncio.to_thread(ssh_keys.read, typed(form))
        await parts.db.write(lambda tx: keys.add_additional_key(tx, parts.box, project.id, pair, host, now_ms))
        facts = {"project": project.name, "key": pair.sha256, "host": host, "user": user_of(request).name}
        log.info("ssh key added", extra=facts)

    return await tried(request, project, write)


async def take_away(request: web.Request) -> web.Response:
    project, parts, form = await project_to_change(request), parts_of(request), await form_of(request)
    wanted, host = form.get("fingerprint", ""), form.get("hostname", "")

    async def write() -> None:
        await parts.db.write(lambda tx: keys.remove_additional_key(tx, project.id, wanted, host))
        facts = {"project": project.name, "key": wanted, "host": host, "user": user_of(request).name}
        log.info("ssh key removed", extra=facts)

    return await tried(request, project, write)


ROUTES = (
    Route("POST", f"/projects/{SLUG}/checkout-keys", make, Policy.FORM),
    Route("POST", f"/projects/{SLUG}/checkout-keys/remove", remove, Policy.FORM),
    Route("POST", f"/projects/{SLUG}/ssh-keys", add, Policy.FORM),
    Route("POST", f"/projects/{SLUG}/ssh-keys/remove", take_away, Policy.FORM),
)
