"""Templates into answers. A page asked for with `X-Fragment: 1` comes without its frame, for a page that is open already."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from aiohttp import web
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from appliance import __version__
from appliance.api.auth import csrf_token, user_or_stranger, visitor
from appliance.api.parts import parts_of
from appliance.clock import rfc3339
from appliance.errors import RondoError
from appliance.pages import words
from appliance.quantities import counted, size

ENVIRONMENT = web.AppKey("environment", Environment)


def make_environment(folder: Path, static_version: str) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(folder / "templates"),
        autoescape=True,  # always, whatever a template is called
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters |= {
        "tone": words.tone,
        "label": words.label,
        "first_line": words.first_line,
        "icon": words.icon,
        "duration": words.duration,
        "machine_time": rfc3339,
        "size": size,
        "counted": counted,
        "path": lambda text: quote(text, safe="/"),
    }
    environment.globals |= {
        "static": f"/static/{static_version}",
        "version": __version__,
        "ago": words.ago,
        "one_line": lambda text: " ".join(str(text).split())[:500],
    }
    return environment


async def page(request: web.Request, template: str, values: Mapping[str, Any], status: int = 200) -> web.Response:
    """Draw a page for whoever asks. `values` must not be named like the ones added here."""
    is_fragment = request.headers.get("X-Fragment") == "1"
    everything = {
        **values,
        "layout": "fragment.html" if is_fragment else "base.html",
        "user": user_or_stranger(request),
        "csrf": csrf_token(request),
        "now_ms": parts_of(request).clock.now_ms(),
    }
    # A job of two hundred steps takes 20 ms to draw: not on the loop that serves everybody.
    text = await asyncio.to_thread(request.app[ENVIRONMENT].get_template(template).render, everything)
    return web.Response(text=text, content_type="text/html", status=status, headers={"Vary": "X-Fragment, Cookie"})


async def error_page(request: web.Request, status: int, text: str) -> web.Response:
    """What a person sees when a page cannot be shown."""
    if user_or_stranger(request) is None:
        with contextlib.suppress(RondoError):  # the page must come even when the database does not answer
            await visitor(request)
    title = {403: "Not allowed", 404: "Not found", 409: "Not now", 429: "Too often", 503: "Not ready"}.get(
        status, "That did not work"
    )
    return await page(request, "error.html", {"status": status, "title": title, "text": text}, status)


def back_to(path: str) -> web.Response:
    """After a form: look at the page again, with GET."""
    return web.Response(status=303, headers={"Location": path})
