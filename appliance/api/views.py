"""HTML that a job made, shown with the styles, scripts and pictures that lie beside it, in a sandbox (spec 2.3).

Such a page has an origin of its own, so a browser sends none of our cookies with what it loads: that has to come without
a login. So whoever may see the artifact is led to a URL that holds a ticket, good for the artifacts of one job for some
hours, and no longer than they may see them. The ticket is at the front of the path, so relative links stay below it;
nothing else can be loaded or asked, no form sent, nothing opened, no page of ours read. What a script there can find out is
what the job wrote itself.
"""

from __future__ import annotations

import base64
import binascii
import mimetypes
import re
from dataclasses import dataclass, replace
from urllib.parse import quote

from aiohttp import web

from appliance.api.jobs import job_for
from appliance.api.parts import Parts, parts_of
from appliance.api.routes import Policy, Route
from appliance.blobs import Blobs
from appliance.errors import NotFound, StoreError
from appliance.model import STRANGER, JobId, User, UserId
from appliance.store import artifacts, people
from appliance.store.artifacts import Artifact
from appliance.store.database import Tx

_LASTS_MS = 4 * 3_600_000
_PURPOSE = "a view of artifacts"
_LONGEST_TICKET = 400
_HOST = re.compile(r"[A-Za-z0-9.\-]+(:\d+)?|\[[0-9a-fA-F:]+\](:\d+)?")
_LOADED = ("text/html", "text/css", "text/javascript", "application/javascript", "text/plain", "application/json")
_ALSO_LOADED = ("image/", "font/", "audio/", "video/")


@dataclass(frozen=True)
class _Ticket:
    job_id: JobId
    until_ms: int
    user_id: UserId  # to whom it was given; the stranger's for an open project


def view_path(parts: Parts, user: User, job_id: JobId, index: int, path: str) -> str:
    """Where an artifact can be seen for some hours by who has this path, which was `user`."""
    text = f"{job_id} {parts.clock.now_ms() + _LASTS_MS} {user.id}"
    ticket = base64.urlsafe_b64encode(parts.box.seal(text, _PURPOSE)).decode().rstrip("=")
    return f"/output/view/{ticket}/{index}/{quote(path)}"


def _opened(parts: Parts, sealed_text: str) -> _Ticket:
    """Raises NotFound for a ticket that is not ours, or too old."""
    try:
        if len(sealed_text) > _LONGEST_TICKET:
            raise NotFound("Artifact not found.")
        sealed = base64.b64decode(sealed_text + "=" * (-len(sealed_text) % 4), altchars=b"-_", validate=True)
        job_id, until_ms, user_id = parts.box.open(sealed, _PURPOSE).split(" ")
    except (binascii.Error, ValueError, StoreError):
        raise NotFound("Artifact not found.") from None
    return _Ticket(JobId(job_id), int(until_ms), UserId(user_id))


def _artifact(tx: Tx, ticket: _Ticket, index: int, path: str) -> Artifact:
    """What a ticket shows, if who was given it may still see it. Raises NotFound."""
    is_stranger = ticket.user_id == STRANGER.id
    user = STRANGER if is_stranger else replace(people.by_id(tx, ticket.user_id), is_reader=True)
    return artifacts.find(tx, job_for(tx, user, ticket.job_id).id, index, path)


async def view(request: web.Request) -> web.StreamResponse:
    parts, sealed, path = parts_of(request), request.match_info["ticket"], request.match_info["path"]
    ticket, index = _opened(parts, sealed), int(request.match_info["node"])
    if parts.clock.now_ms() > ticket.until_ms:
        raise NotFound("This view has ended: open the artifact from its job again.")
    artifact = await parts.db.read(lambda tx: _artifact(tx, ticket, index, path))
    blob = parts.blobs.path(Blobs.ARTIFACTS, artifact.id)
    if not blob.exists():
        raise NotFound("Artifact not found.")
    return web.FileResponse(blob, headers=_headers(request, sealed, artifact.path))


def _headers(request: web.Request, ticket: str, path: str) -> dict[str, str]:
    kind, encoding = mimetypes.guess_type(f"/{path}")
    if encoding is not None or kind is None or not (kind in _LOADED or kind.startswith(_ALSO_LOADED)):
        kind = "application/octet-stream"
    how = "attachment" if kind == "application/octet-stream" else "inline"
    return {
        "Content-Type": f"{kind}; charset=utf-8" if kind.startswith("text/") else kind,
        "Content-Disposition": f"{how}; filename*=UTF-8''{quote(path.rpartition('/')[2], safe='')}",
        "Content-Security-Policy": _policy(request, ticket),
        "X-Content-Type-Options": "nosniff",
        # The page's origin is nobody's: its fonts and modules count as another site's. They are open to who has the ticket.
        "Access-Control-Allow-Origin": "*",
        "Cross-Origin-Resource-Policy": "cross-origin",
        "Referrer-Policy": "no-referrer",  # the ticket is in the path
    }


def _policy(request: web.Request, ticket: str) -> str:
    """Loads only what lies below the same ticket, whatever proxy did the TLS."""
    host = request.host if _HOST.fullmatch(request.host) else "invalid."
    here = " ".join(f"{scheme}://{host}/output/view/{ticket}/" for scheme in ("http", "https"))
    return (
        f"sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline' {here}; style-src 'unsafe-inline' {here};"
        f" img-src data: {here}; font-src data: {here}; media-src {here}; connect-src {here}; base-uri 'none';"
        " form-action 'none'; frame-ancestors 'none'"
    )


ROUTES = (Route("GET", "/output/view/{ticket}/{node:[0-9]{1,6}}/{path:.+}", view, Policy.OPEN),)
