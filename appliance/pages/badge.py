"""`GET /gh/ORG/REPO[/tree/BRANCH].svg`: how the newest finished workflow of a branch ended. Open to everybody.

A project that is not here looks like one that never finished anything.
"""

from __future__ import annotations

from aiohttp import web

from appliance.api.parts import parts_of
from appliance.api.routes import Policy, Route
from appliance.errors import NotFound
from appliance.model import WorkflowStatus
from appliance.store import overview, projects
from appliance.store.database import Tx

_WORDS = {
    WorkflowStatus.SUCCESS: ("passing", "#1f883d"),
    WorkflowStatus.FAILED: ("failing", "#cf222e"),
    WorkflowStatus.ERROR: ("failing", "#cf222e"),
    WorkflowStatus.UNAUTHORIZED: ("failing", "#cf222e"),
    WorkflowStatus.CANCELED: ("canceled", "#6e7781"),
    WorkflowStatus.NOT_RUN: ("not run", "#6e7781"),
}
_UNKNOWN = ("unknown", "#6e7781")
_FONT = "font-family='Verdana,DejaVu Sans,sans-serif' font-size='11' text-anchor='middle'"


async def badge(request: web.Request) -> web.Response:
    org, repo, branch = (request.match_info.get(name) for name in ("org", "repo", "branch"))

    def read(tx: Tx) -> WorkflowStatus | None:
        try:
            project = projects.find(tx, f"{org}/{repo}")
        except NotFound:
            return None
        return overview.last_status(tx, project.id, branch or project.default_branch)

    status = await parts_of(request).db.read(read)
    word, colour = _UNKNOWN if status is None else _WORDS.get(status, _UNKNOWN)
    draw = _shield if request.query.get("style") == "shield" else _round
    return web.Response(
        text=draw(word, colour),
        content_type="image/svg+xml",
        # Others' pages show it; it must not get old there.
        headers={"Cache-Control": "no-cache", "Cross-Origin-Resource-Policy": "cross-origin"},
    )


def _shield(word: str, colour: str) -> str:
    return _svg(
        word,
        f"<rect width='110' height='20' rx='3' fill='#555'/><path fill='{colour}' d='M42 0h65a3 3 0 0 1 3 3v14a3 3 0 0 1-3"
        f" 3H42z'/><g fill='#fff' {_FONT}><text x='21' y='14'>build</text><text x='76' y='14'>{word}</text></g>",
    )


def _round(word: str, colour: str) -> str:
    return _svg(
        word,
        f"<rect width='110' height='20' rx='10' fill='{colour}'/><circle cx='14' cy='10' r='5' fill='none' stroke='#fff'"
        f" stroke-width='2'/><g fill='#fff' {_FONT}><text x='64' y='14'>{word}</text></g>",
    )


def _svg(word: str, inside: str) -> str:
    return (
        "<svg xmlns='http://www.w3.org/2000/svg' width='110' height='20' role='img' "
        f"aria-label='build: {word}'><title>build: {word}</title>{inside}</svg>"
    )


_PROJECT = "/{prefix:gh|github|bb|bitbucket|circleci}/{org}/{repo}"

ROUTES = (
    Route("GET", f"{_PROJECT}.svg", badge, Policy.OPEN),
    Route("GET", f"{_PROJECT}/tree/{{branch:.+}}.svg", badge, Policy.OPEN),
)
