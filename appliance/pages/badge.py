"""`GET /gh/ORG/REPO[/tree/BRANCH].svg`: how the newest finished workflow of a branch ended. Open to everybody.

With `?of=coverage[&job=NAME]` it says how much of the source the branch's newest run covers.

A project that is not here looks like one that never finished anything.
"""

from __future__ import annotations

from aiohttp import web

from appliance.api.parts import parts_of
from appliance.api.routes import Policy, Route
from appliance.errors import NotFound
from appliance.model import WorkflowStatus
from appliance.store import coverage, overview, projects
from appliance.store.coverage import Coverage
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
_COLOURS = ((80, "#1f883d"), (60, "#9a6700"), (0, "#cf222e"))  # from so many per cent on
_FONT = "font-family='Verdana,DejaVu Sans,sans-serif' font-size='11' text-anchor='middle'"


async def badge(request: web.Request) -> web.Response:
    org, repo, branch = (request.match_info.get(name) for name in ("org", "repo", "branch"))
    is_coverage, job = request.query.get("of") == "coverage", request.query.get("job")

    def read(tx: Tx) -> tuple[str, str]:
        try:
            project = projects.find(tx, f"{org}/{repo}")
        except NotFound:
            return _UNKNOWN
        wanted = branch or project.default_branch
        if is_coverage:
            return _covered(coverage.newest(tx, project.id, wanted, job, 1 << 62))
        status = overview.last_status(tx, project.id, wanted)
        return _UNKNOWN if status is None else _WORDS.get(status, _UNKNOWN)

    word, colour = await parts_of(request).db.read(read)
    draw = _shield if request.query.get("style") == "shield" else _round
    return web.Response(
        text=draw("coverage" if is_coverage else "build", word, colour),
        content_type="image/svg+xml",
        # Others' pages show it; it must not get old there.
        headers={"Cache-Control": "no-cache", "Cross-Origin-Resource-Policy": "cross-origin"},
    )


def _covered(found: Coverage | None) -> tuple[str, str]:
    if found is None:
        return _UNKNOWN
    colour = next(colour for least, colour in _COLOURS if found.percent >= least)
    return f"{found.percent:.0f} %", colour


def _shield(what: str, word: str, colour: str) -> str:
    at = 42 if what == "build" else 62
    return _svg(
        what,
        word,
        f"<rect width='110' height='20' rx='3' fill='#555'/>"
        f"<path fill='{colour}' d='M{at} 0h{107 - at}a3 3 0 0 1 3 3v14a3 3 0"
        f" 0 1-3 3H{at}z'/><g fill='#fff' {_FONT}><text x='{at // 2}' y='14'>{what}</text>"
        f"<text x='{(at + 110) // 2}' y='14'>{word}</text></g>",
    )


def _round(what: str, word: str, colour: str) -> str:
    return _svg(
        what,
        word,
        f"<rect width='110' height='20' rx='10' fill='{colour}'/><circle cx='14' cy='10' r='5' fill='none' stroke='#fff'"
        f" stroke-width='2'/><g fill='#fff' {_FONT}><text x='64' y='14'>{word}</text></g>",
    )


def _svg(what: str, word: str, inside: str) -> str:
    return (
        "<svg xmlns='http://www.w3.org/2000/svg' width='110' height='20' role='img' "
        f"aria-label='{what}: {word}'><title>{what}: {word}</title>{inside}</svg>"
    )


_PROJECT = "/{prefix:gh|github|bb|bitbucket|circleci}/{org}/{repo}"

ROUTES = (
    Route("GET", f"{_PROJECT}.svg", badge, Policy.OPEN),
    Route("GET", f"{_PROJECT}/tree/{{branch:.+}}.svg", badge, Policy.OPEN),
)
