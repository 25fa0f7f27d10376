"""Projects: the list, and one project with its address and how to push to it."""

from __future__ import annotations

from aiohttp import web

from appliance.api.auth import user_of
from appliance.api.parts import parts_of
from appliance.api.projects import repository_url, wanted_project
from appliance.api.routes import SLUG, Policy, Route
from appliance.model import Project, Vcs
from appliance.pages.links import caches_path, pipelines_path, project_path, schedules_path, settings_path
from appliance.pages.pipelines import Row
from appliance.pages.render import page
from appliance.store import overview, projects
from appliance.store.database import Tx

_RECENT = 5
_ROWS = 50


async def index(request: web.Request) -> web.Response:
    parts, user = parts_of(request), user_of(request)
    wanted, after = request.query.get("q", "").strip(), request.query.get("after", "")

    def read(tx: Tx) -> list[tuple[Project, Row | None]]:
        found = projects.page(tx, user, wanted, after, _ROWS + 1)
        newest = {project.id: overview.lines(tx, [project.id], limit=1) for project in found}
        chips = overview.chips(tx, [line.id for lines in newest.values() for line in lines])
        return [
            (project, next((Row(line, project, chips[line.id]) for line in newest[project.id]), None)) for project in found
        ]

    found = await parts.db.read(read)
    return await page(
        request,
        "projects.html",
        {
            "found": found[:_ROWS],
            "wanted": wanted,
            "after": after,
            "next_page": found[_ROWS - 1][0].name if len(found) > _ROWS else None,
            "project_path": project_path,
        },
    )


async def show(request: web.Request) -> web.Response:
    parts, project = parts_of(request), await wanted_project(request)

    def read(tx: Tx) -> tuple[list[Row], list[str]]:
        lines = overview.lines(tx, [project.id], limit=_RECENT)
        chips = overview.chips(tx, [line.id for line in lines])
        return [Row(line, project, chips[line.id]) for line in lines], overview.branches(tx, project.id)

    rows, branches = await parts.db.read(read)
    return await page(
        request,
        "project.html",
        {
            "project": project,
            "rows": rows,
            "branches": [(name, pipelines_path(project, name)) for name in branches],
            "url": repository_url(project, parts.addresses),
            "is_hosted": project.vcs is Vcs.HOSTED,
            "is_github": project.vcs is Vcs.GITHUB,
            "hook_url": f"{parts.addresses.web}/hooks/github/{project.org}/{project.repo}",
            "badge_path": f"/{project.slug}.svg",
            "pipelines_path": pipelines_path(project),
            "caches_path": caches_path(project),
            "schedules_path": schedules_path(project),
            "settings_path": settings_path(project),
            "web": parts.addresses.web,
            "topics": f"project:{project.id}",
        },
    )


ROUTES = (
    Route("GET", "/projects", index, Policy.USER),
    Route("GET", f"/projects/{SLUG}", show, Policy.GUEST),
)
