"""A route and who may take it. There is no default: a route without a policy cannot be written down."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Policy(StrEnum):
    """Who may take a route."""

    OPEN = "open"  # anybody
    USER = "user"  # logged in on the pages, or a token; for what only reads
    FORM = "form"  # logged in on the pages, with the form's own token, from our own origin
    TOKEN = "token"  # a personal API token; cookies count for nothing, so a foreign page can do nothing
    GUEST = "guest"  # as USER, and strangers: all see what is of a project that is open to everybody (`oss`). Only GET
    GUEST_TOKEN = "guest token"  # the same, as TOKEN


@dataclass(frozen=True)
class Route:
    method: str
    path: str
    handler: Handler
    policy: Policy


SLUG = "{slug:[^/%]+(?:/|%2F)[^/%]+(?:/|%2F)[^/%]+}"
"""PREFIX/ORG/REPO, its slashes literal or escaped (spec 6.1)."""

NUMBER = "{number:[0-9]{1,15}}"
"""Small enough for SQLite."""
