"""`/project/{slug}/{number}/artifacts` (spec 6.2), and the files themselves under the URLs that it gives (spec 2.3).

An artifact is whatever a job made, and comes from our own origin. So it is shown in a sandbox: without scripts, forms or
anything from elsewhere, of an origin of its own. What a browser could not show like that is downloaded. HTML that a person
opens goes on to `views`, where what lies beside it is shown as well.
"""

from __future__ import annotations

import mimetypes
from typing import Any
from urllib.parse import quote

from aiohttp import web

from appliance.api.auth import session_of, user_of
from appliance.api.jobs import job_for, job_of_project
from appliance.api.parts import Parts, parts_of
from appliance.api.projects import wanted_project
from appliance.api.routes import NUMBER, SLUG, Policy, Route
from appliance.api.views import view_path
from appliance.api.wire import listing, page_mark, page_token
from appliance.blobs import Blobs
from appliance.errors import NotFound
from appliance.model import JobId
from appliance.store import artifacts
from appliance.store.artifacts import Artifact
from appliance.store.database import Tx
from appliance.store.overview import Mark

PAGE_SIZE = 1000
SANDBOX = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; frame-ancestors 'none'"
_SHOWN = ("text/", "image/")
_AS_TEXT = frozenset(
    {"application/json", "application/xml", "application/x-sh", "application/javascript", "text/javascript"}
)


def artifact_path(artifact: Artifact) -> str:
    """Where an artifact is on our web site."""
    return path_of(artifact.job_id, artifact.index, artifact.path)


def path_of(job_id: JobId, index: int, path: str) -> str:
    return f"/output/job/{job_id}/artifacts/{index}/{quote(path)}"


def _wire(parts: Parts, artifact: Artifact) -> dict[str, Any]:
    url = parts.addresses.web + artifact_path(artifact)
    return {"path": artifact.path, "node_index": artifact.index, "url": url}


async def show(request: web.Request) -> web.Response:
    parts, project, number = parts_of(request), await wanted_project(request), int(request.match_info["number"])
    mark = page_mark(request)
    begin = mark.row if mark is not None else 0

    def read(tx: Tx) -> list[Artifact]:
        return artifacts.of_job(tx, job_of_project(tx, project.id, number).id, PAGE_SIZE + 1, begin)

    found = await parts.db.read(read)
    items = [_wire(parts, artifact) for artifact in found[:PAGE_SIZE]]
    return listing(items, page_token(Mark(0, begin + PAGE_SIZE) if len(found) > PAGE_SIZE else None))


async def download(request: web.Request) -> web.StreamResponse:
    """Ranges, and a browser's question whether it is still the same, are the file response's."""
    parts, user, job_id = parts_of(request), user_of(request), JobId(request.match_info["id"])
    index, path = int(request.match_info["node"]), request.match_info["path"]

    def read(tx: Tx) -> Artifact:
        return artifacts.find(tx, job_for(tx, user, job_id).id, index, path)

    artifact = await parts.db.read(read)
    if session_of(request) is not None and headers_of(artifact.path)["Content-Type"].startswith("text/html"):
        # A person with a browser: there it is a page that may have styles and scripts beside it.
        return web.Response(status=302, headers={"Location": view_path(parts, user, job_id, index, path)})
    blob = parts.blobs.path(Blobs.ARTIFACTS, artifact.id)
    if not blob.exists():
        raise NotFound("Artifact not found.")
    return web.FileResponse(blob, headers=headers_of(artifact.path))


def headers_of(path: str) -> dict[str, str]:
    """How a browser has to take a file of this name."""
    guessed, encoding = mimetypes.guess_type(f"/{path}")  # it takes URLs, and `data:` ones at their word
    kind = guessed or "application/octet-stream"
    if kind in _AS_TEXT:
        kind = "text/plain"
    is_shown = encoding is None and kind.startswith(_SHOWN)
    if encoding is not None:
        kind = "application/octet-stream"
    how, name = "inline" if is_shown else "attachment", quote(path.rpartition("/")[2], safe="")
    return {
        "Content-Type": f"{kind}; charset=utf-8" if kind.startswith("text/") else kind,
        "Content-Disposition": f"{how}; filename*=UTF-8''{name}",
        "Content-Security-Policy": SANDBOX,
        "X-Content-Type-Options": "nosniff",
    }


ROUTES = (
    Route("GET", f"/api/v2/project/{SLUG}/{NUMBER}/artifacts", show, Policy.GUEST_TOKEN),
    Route("GET", "/output/job/{id}/artifacts/{node:[0-9]{1,6}}/{path:.+}", download, Policy.GUEST),
)
