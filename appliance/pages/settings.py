"""A project's settings: its switches, its environment variables, who may enter it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from appliance.api.auth import user_of
from appliance.api.envvars import masked
from appliance.api.parts import parts_of
from appliance.api.projects import project_to_change, wanted_project
from appliance.api.routes import SLUG, Policy, Route
from appliance.api.wire import form_of
from appliance.engine.flags import OVERRIDES, SWITCHES
from appliance.errors import BadRequest, Conflict, NotFound
from appliance.model import Project, ProjectFlags, User, Vcs
from appliance.pages.links import project_path, settings_path
from appliance.pages.render import back_to, page
from appliance.store import keys, people, projects
from appliance.store.database import Tx

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Switch:
    """One of a project's settings, as people read it."""

    name: str
    title: str
    text: str
    is_of_github: bool = False
    is_for_admins: bool = False


_SWITCHES = (
    Switch("set_github_status", "GitHub status updates", "Every job tells its status beside the commit on GitHub.", True),
    Switch("build_fork_prs", "Build forked pull requests", "Code that strangers wrote runs here, without secrets.", True),
    Switch(
        "forks_receive_secret_env_vars",
        "Pass secrets to builds from forked pull requests",
        "Anybody who opens a pull request can then read this project's variables, contexts and keys.",
        True,
    ),
    Switch(
        "build_prs_only",
        "Only build pull requests",
        "Other pushes start nothing, but for the default branch, tags, and the branches named below.",
        True,
    ),
    Switch(
        "autocancel_builds",
        "Auto-cancel redundant workflows",
        "A newer pipeline on the same branch cancels the older ones; never on the default branch.",
    ),
    Switch(
        "setup_workflows", "Dynamic config using setup workflows", "A config with setup: true may continue its pipeline."
    ),
    Switch("disable_ssh", "Disable SSH", "Nobody opens a shell in a job of this project."),
    Switch(
        "write_settings_requires_admin",
        "Require admin permissions to write to project settings",
        "Only administrators change these settings, the variables and the keys.",
    ),
    Switch(
        "oss",
        "Free and Open Source",
        "Everybody sees pipelines, jobs, logs and artifacts without logging in. Variables and settings stay closed.",
        is_for_admins=True,
    ),
    Switch("blocks_new_work", "Block all new work", "No new pipelines and no reruns; what runs goes on."),
    Switch("is_stopped", "Stop building", "Nothing is built any more, and everything that is open is cancelled now."),
)


async def show(request: web.Request) -> web.Response:
    return await _page(request, await wanted_project(request))


async def _page(request: web.Request, project: Project, problem: str = "", status: int = 200) -> web.Response:
    parts, user = parts_of(request), user_of(request)

    def read(tx: Tx) -> dict[str, Any]:
        flags = projects.flags(tx, project.id)
        return {
            "flags": flags,
            "variables": [(name, masked(value)) for name, value in projects.secrets(tx, parts.box, project.id).items()],
            "checkout_keys": keys.checkout_keys(tx, project.id),
            "ssh_keys": keys.additional_keys(tx, project.id),
            "members": [one for one in people.everybody(tx) if projects.may_enter(tx, one, project.id)],
            "may_change": user.is_admin or not flags.write_settings_requires_admin,
        }

    found = await parts.db.read(read)
    values = {
        **found,
        "project": project,
        "project_path": project_path(project),
        "settings_path": settings_path(project),
        "switches": [(one, getattr(found["flags"], one.name), _is_open(one, user)) for one in _shown(project)],
        "named": ",".join(one.name for one in _shown(project) if _is_open(one, user)),
        "has_overrides": project.vcs is Vcs.GITHUB,
        "problem": problem,
    }
    return await page(request, "settings.html", values, status)


def _shown(project: Project) -> list[Switch]:
    return [one for one in _SWITCHES if project.vcs is Vcs.GITHUB or not one.is_of_github]


def _is_open(one: Switch, user: User) -> bool:
    return user.is_admin or not one.is_for_admins


async def change(request: web.Request) -> web.Response:
    """The form names the switches that it shows: a box that is not ticked sends nothing."""
    project = await project_to_change(request)
    form = await form_of(request)
    wanted: dict[str, object] = {name: name in form for name in form.get("named", "").split(",") if name in SWITCHES}
    if OVERRIDES in form:
        wanted[OVERRIDES] = form[OVERRIDES].split()

    async def write() -> ProjectFlags:
        return await parts_of(request).commands.change_settings(project.id, wanted, user_of(request))

    return await tried(request, project, write)


async def set_variable(request: web.Request) -> web.Response:
    project, parts = await project_to_change(request), parts_of(request)
    form = await form_of(request)
    name, value, now_ms = form.get("name", "").strip(), typed(form), parts.clock.now_ms()

    async def write() -> None:
        await parts.db.write(lambda tx: projects.set_secret(tx, parts.box, project.id, name, value, now_ms))
        log.info("project variable set", extra={"project": project.name, "variable": name, "user": user_of(request).name})

    return await tried(request, project, write)


def typed(form: dict[str, str]) -> str:
    """A value from a text area: browsers send its line ends as CR LF, and private keys want LF."""
    return form.get("value", "").replace("\r\n", "\n")


async def remove_variable(request: web.Request) -> web.Response:
    project, name = await project_to_change(request), request.match_info["name"]
    if not await parts_of(request).db.write(lambda tx: projects.remove_secret(tx, project.id, name)):
        raise NotFound("There is no such variable any more.")
    log.info("project variable removed", extra={"project": project.name, "variable": name, "user": user_of(request).name})
    return back_to(settings_path(project))


async def tried(request: web.Request, project: Project, write: Callable[[], Awaitable[object]]) -> web.Response:
    """Write, and show the page again; with what was wrong, and without what was typed."""
    try:
        await write()
    except (BadRequest, Conflict) as error:
        return await _page(request, project, str(error), 400)
    return back_to(settings_path(project))


ROUTES = (
    Route("GET", f"/projects/{SLUG}/settings", show, Policy.USER),
    Route("POST", f"/projects/{SLUG}/settings", change, Policy.FORM),
    Route("POST", f"/projects/{SLUG}/variables", set_variable, Policy.FORM),
    Route("POST", f"/projects/{SLUG}/variables/{{name}}/remove", remove_variable, Policy.FORM),
)
