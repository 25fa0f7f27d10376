"""Logging in and out: by a link that works once, or by name and password."""

from __future__ import annotations

import asyncio

from aiohttp import web

from appliance.api.auth import check_origin, cookie_name, local_path, session_of, visitor
from appliance.api.limits import FAILED_LOGINS, address_of
from appliance.api.parts import parts_of
from appliance.api.routes import Policy, Route
from appliance.api.wire import form_of
from appliance.crypto import password_matches
from appliance.model import User
from appliance.pages.render import back_to, page
from appliance.store import people
from appliance.store.database import Tx

# A hash that no password has: an unknown name takes as long as a wrong password.
_NOBODY = "scrypt$" + "00" * 16 + "$" + "00" * 32
_LONGEST = 1000
_DAY_MS = 86_400_000


async def show(request: web.Request) -> web.Response:
    """The form; with `?token=` a button, for mail scanners and previews follow links but press no buttons."""
    user = await visitor(request)
    token, after = request.query.get("token", ""), local_path(request.query.get("next"))
    if user is not None and not token:
        return back_to(after)
    return await _form(request, token=token, after=after)


async def _form(request: web.Request, *, token: str, after: str, problem: str = "", status: int = 200) -> web.Response:
    return await page(request, "login.html", {"token": token, "after": after, "problem": problem}, status)


async def enter(request: web.Request) -> web.Response:
    check_origin(request)
    form = await form_of(request)
    after, failed, keys = local_path(form.get("next")), request.app[FAILED_LOGINS], _keys(request, form)
    for key, limit in keys.items():
        failed.check(key, limit)
    for key in keys:
        failed.add(key)  # before we know: a thousand guesses at once must count as well
    if form.get("token"):
        user, problem = await _by_link(request, form["token"]), "This link was used or is too old. Ask for a new one."
    else:
        user, problem = await _by_password(request, form), "Name or password is wrong."
    if user is None:
        return await _form(request, token="", after=after, problem=problem, status=403)
    for key in keys:
        failed.forget(key)
    return await _welcome(request, user, after)


def _keys(request: web.Request, form: dict[str, str]) -> dict[str, int]:
    """Whose failures count here, and how many may be: the address's, and more slowly the name's."""
    limit = parts_of(request).settings.integer("web.logins_per_minute")
    keys = {f"address {address_of(request)}": limit}
    if form.get("name"):
        keys[f"name {form['name'].lower()[:_LONGEST]}"] = limit * 5
    return keys


async def _by_link(request: web.Request, token: str) -> User | None:
    parts = parts_of(request)
    now_ms = parts.clock.now_ms()

    def consume(tx: Tx) -> User | None:
        user = people.by_token(tx, token, ("link",), now_ms)
        if user is not None:
            people.drop_token(tx, token)
        return user

    return await parts.db.write(consume)


async def _by_password(request: web.Request, form: dict[str, str]) -> User | None:
    parts = parts_of(request)
    name, password = form.get("name", ""), form.get("password", "")
    if len(name) > _LONGEST or len(password) > _LONGEST:
        return None
    found = await parts.db.read(lambda tx: people.stored_password(tx, name))
    async with request.app[FAILED_LOGINS].hashing:
        is_right = await asyncio.to_thread(password_matches, password, found[1] if found else _NOBODY)
    return found[0] if found is not None and is_right else None


async def _welcome(request: web.Request, user: User, after: str) -> web.Response:
    """A new session; one that was there ends, so that nobody can plant theirs."""
    parts = parts_of(request)
    old, now_ms = request.cookies.get(cookie_name(parts.addresses)), parts.clock.now_ms()
    lasts_ms = parts.settings.integer("web.session_days") * _DAY_MS

    def begin(tx: Tx) -> str:
        if old:
            people.drop_token(tx, old)
        people.drop_expired(tx, now_ms)
        return people.make_token(tx, user.id, "session", now_ms, lasts_ms)

    session = await parts.db.write(begin)
    response = back_to(after)
    response.set_cookie(
        cookie_name(parts.addresses),
        session,
        max_age=lasts_ms // 1000,
        path="/",
        httponly=True,
        samesite="Lax",
        secure=parts.addresses.is_tls,
    )
    return response


async def leave(request: web.Request) -> web.Response:
    parts, session = parts_of(request), session_of(request)
    assert session is not None  # the policy saw it
    await parts.db.write(lambda tx: people.drop_token(tx, session))
    response = back_to("/login")
    response.del_cookie(cookie_name(parts.addresses), path="/", httponly=True, samesite="Lax", secure=parts.addresses.is_tls)
    response.headers["Clear-Site-Data"] = '"cache"'
    return response


ROUTES = (
    Route("GET", "/login", show, Policy.OPEN),
    Route("POST", "/login", enter, Policy.OPEN),
    Route("POST", "/logout", leave, Policy.FORM),
)
