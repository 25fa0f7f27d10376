"""Who is asking: by a personal token, or by the session cookie of the pages. And whether a form is really ours."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from dataclasses import replace
from urllib.parse import urlsplit

from aiohttp import web

from appliance.api.parts import Addresses, parts_of
from appliance.api.routes import Policy
from appliance.api.wire import form_of
from appliance.errors import Refused
from appliance.model import STRANGER, User
from appliance.store import people
from appliance.store.database import Tx

_USER = web.RequestKey("user", User)
_SESSION = web.RequestKey("session", str)
CSRF_FIELD = "csrf"


class Unauthorized(Refused):
    """Nobody we know is asking."""


async def admit(request: web.Request, policy: Policy) -> None:
    """Let the request through and note who asks. Raises Unauthorized or Refused."""
    if policy is Policy.OPEN:
        return
    user = await _by_token(request, in_query=policy in (Policy.TOKEN, Policy.GUEST_TOKEN))
    if policy is Policy.FORM or (user is None and policy in (Policy.USER, Policy.GUEST)):
        user = await _by_session(request)
    if policy in (Policy.GUEST, Policy.GUEST_TOKEN):
        # What such a route's handler asks the store with may see open projects; no other route's may.
        user = STRANGER if user is None else replace(user, is_reader=True)
    if user is None:
        raise Unauthorized("Invalid token provided.")
    request[_USER] = user
    if policy is Policy.FORM:
        await check_form(request)


def user_of(request: web.Request) -> User:
    """Who asks; only on routes that are not open."""
    return request[_USER]


async def visitor(request: web.Request) -> User | None:
    """Who is logged in on the pages, on open routes too."""
    user = await _by_session(request)
    if user is not None:
        request[_USER] = user
    return user


def user_or_stranger(request: web.Request) -> User | None:
    """Who asks, as far as it was looked up."""
    user = request.get(_USER)
    return None if user is STRANGER else user


def is_stranger(request: web.Request) -> bool:
    """Whether this is nobody we know, let in to read."""
    return request.get(_USER) is STRANGER


def as_now(tx: Tx, user: User) -> User:
    """The same asker with the rights of this moment. Raises NotFound when the account is gone."""
    return user if user is STRANGER else replace(people.by_id(tx, user.id), is_reader=user.is_reader)


async def _by_token(request: web.Request, *, in_query: bool) -> User | None:
    token = _token_in(request, in_query)
    if token is None:
        return None
    parts = parts_of(request)
    now_ms = parts.clock.now_ms()
    return await parts.db.read(lambda tx: people.by_token(tx, token, ("api",), now_ms))


def _token_in(request: web.Request, in_query: bool) -> str | None:
    """The token as clients send it (spec 6.1); some send it twice, the plain header counts first."""
    plain = request.headers.get("Circle-Token")
    if plain:
        return plain
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).decode("ascii").partition(":")[0]
        except (binascii.Error, ValueError):
            return ""
    return request.query.get("circle-token") if in_query else None


def cookie_name(addresses: Addresses) -> str:
    # The __Host- prefix keeps other hosts of the same domain from planting a session; browsers want TLS for it.
    return "__Host-rondo" if addresses.is_tls else "rondo"


async def _by_session(request: web.Request) -> User | None:
    parts = parts_of(request)
    session = request.cookies.get(cookie_name(parts.addresses))
    if not session:
        return None
    request[_SESSION] = session
    now_ms = parts.clock.now_ms()
    return await parts.db.read(lambda tx: people.by_token(tx, session, ("session",), now_ms))


def session_of(request: web.Request) -> str | None:
    """The session cookie's value, once somebody was looked for by it."""
    return request.get(_SESSION)


def csrf_token(request: web.Request) -> str:
    """What every form of this session carries; says nothing about the session itself."""
    session = session_of(request)
    return "" if session is None else hmac.new(session.encode(), b"form", hashlib.sha256).hexdigest()


async def check_form(request: web.Request) -> None:
    """Raises Refused unless the form was made by our own page for this session."""
    check_origin(request)
    sent = (await form_of(request)).get(CSRF_FIELD, "")
    if not sent.isascii() or not hmac.compare_digest(sent, csrf_token(request)):
        raise Refused("This form is out of date. Go back, reload the page and try again.")


def check_origin(request: web.Request) -> None:
    """Raises Refused when a browser says that another site's page sent this."""
    if request.headers.get("Sec-Fetch-Site") in ("cross-site", "same-site"):
        raise Refused("This form was sent by another site.")
    origin = request.headers.get("Origin")
    if origin is None or origin == parts_of(request).addresses.origin:
        return
    # The same server under another name: a tunnel, an address instead of a name.
    if origin == "null" or urlsplit(origin).netloc != request.host:
        raise Refused("This form was sent by another site.")


def local_path(wanted: str | None) -> str:
    """Where to go after a login: a path of ours, or the front page for anything else."""
    if not wanted or not wanted.startswith("/") or wanted.startswith(("//", "/\\")):
        return "/"
    if "\\" in wanted or any(ord(char) < 33 or ord(char) > 126 for char in wanted):
        return "/"
    return wanted
