"""The headers that tell browsers how little they may do with our answers."""

from __future__ import annotations

from aiohttp import web

from appliance.api.parts import PARTS

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
# An answer that is not a page of ours (JSON, a log, a badge) has nothing to load at all.
BARE_CSP = "default-src 'none'; frame-ancestors 'none'; sandbox"


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """For every answer, streams and errors too; a signal of the application."""
    headers = response.headers
    is_page = response.content_type == "text/html"
    headers.setdefault("Content-Security-Policy", CSP if is_page else BARE_CSP)
    headers.setdefault("X-Content-Type-Options", "nosniff")
    headers.setdefault("X-Frame-Options", "DENY")
    headers.setdefault("Referrer-Policy", "same-origin")
    headers.setdefault("Cross-Origin-Opener-Policy", "same-origin")
    headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
    headers.setdefault("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
    headers.setdefault("Cache-Control", "no-store")
    if request.app[PARTS].addresses.is_tls:
        headers.setdefault("Strict-Transport-Security", "max-age=31536000")
    headers.popall("Server", None)
