"""`/project/{slug}`: what a project is."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from appliance.api.auth import user_of
from appliance.api.parts import Addresses, parts_of
from appliance.api.routes import SLUG, Policy, Route
from appliance.api.wire import answer
from appliance.engine import rights
from appliance.model import Project, Vcs, organization_id
from appliance.store import projects


async def wanted_project(request: web.Request) -> Project:
    """The project that the path names. Raises NotFound, also when it is not for this user."""
    user, slug = user_of(request), request.match_info["slug"]
    return await parts_of(request).db.read(lambda tx: projects.find_for(tx, user, slug))


async def project_to_change(request: web.Request) -> Project:
    """The project that the path names, for changing its settings, variables and keys. Raises NotFound, Refused."""
    project, user = await wanted_project(request), user_of(request)
    rights.check_changes_project(user, await parts_of(request).db.read(lambda tx: projects.flags(tx, project.id)))
    return project


def repository_url(project: Project, addresses: Addresses) -> str:
    """Where the repository is, for people and programs; without the login that its URL may hold."""
    return project.public_git_url or addresses.git_url(project.org, project.repo)


def organization_slug(project: Project) -> str:
    return project.slug.rpartition("/")[0]


def _wire(project: Project, addresses: Addresses) -> dict[str, Any]:
    return {
        "slug": project.slug,
        "name": project.repo,
        "id": project.id,
        "organization_name": project.org,
        "organization_slug": organization_slug(project),
        "organization_id": organization_id(project.org),
        "vcs_info": {
            "vcs_url": repository_url(project, addresses),
            "provider": "GitHub" if project.vcs is Vcs.GITHUB else "CircleCI",
            "default_branch": project.default_branch,
        },
    }


async def show(request: web.Request) -> web.Response:
    return answer(_wire(await wanted_project(request), parts_of(request).addresses))


ROUTES = (Route("GET", f"/api/v2/project/{SLUG}", show, Policy.GUEST_TOKEN),)
