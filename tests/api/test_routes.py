"""Every route has a policy and keeps it: strangers, people without rights, forms of other sites, requests that only read."""

from __future__ import annotations

import re
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from appliance.api import oidc
from appliance.api.routes import Policy, Route
from appliance.api.server import POLICIES
from appliance.engine import moves_schedules
from appliance.engine.moves_schedules import Wish
from appliance.model import User, UserId, organization_id
from appliance.pages.site import ROUTES, make_site
from appliance.store import contexts, restrictions
from tests.web.world import World, approval, job, serving_world, workflow

OPEN = {
    ("GET", "/health"),
    ("HEAD", "/health"),
    ("POST", "/api/v2/pipeline/continue"),
    ("POST", "/hooks/github"),
    ("POST", "/hooks/github/{org}/{repo}"),
    ("GET", "/login"),
    ("POST", "/login"),
    ("GET", "/static/{version}/{name}"),
    ("GET", "/output/view/{ticket}/{node:[0-9]{1,6}}/{path:.+}"),
    ("GET", "/favicon.ico"),
    *((route.method, route.path) for route in oidc.ROUTES if ".well-known" in route.path),
    ("GET", "/{prefix:gh|github|bb|bitbucket|circleci}/{org}/{repo}.svg"),
    ("GET", "/{prefix:gh|github|bb|bitbucket|circleci}/{org}/{repo}/tree/{branch:.+}.svg"),
}
# What strangers may read of a project that is open to everybody. A new line here is a decision.
GUESTS = {
    "GET /live",
    "GET /projects/{slug}",
    "GET /pipelines/{slug}",
    "GET /pipelines/{slug}/{number}",
    "GET /pipelines/{slug}/{number}/config/{which}",
    "GET /jobs/{number}",
    "GET /{slug}/{number}",
    "GET /jobs/{number}/{node}/{step}/log",
    "GET /output/job/{id}/artifacts/{node}/{path}",
    "GET /api/v2/project/{slug}",
    "GET /api/v2/project/{slug}/pipeline",
    "GET /api/v2/project/{slug}/pipeline/{number}",
    "GET /api/v2/project/{slug}/job/{number}",
    "GET /api/v2/project/{slug}/{number}/artifacts",
    "GET /api/v2/project/{slug}/{number}/tests",
    "GET /api/v2/pipeline/{id}",
    "GET /api/v2/pipeline/{id}/workflow",
    "GET /api/v2/workflow/{id}",
    "GET /api/v2/workflow/{id}/job",
}
CLOSED = [route for route in ROUTES if route.policy is not Policy.OPEN]
OF_PROJECTS = [route for route in CLOSED if re.search(r"\{(slug|id|number|context)|/live", route.path)]
READING = [route for route in ROUTES if route.method == "GET" and route.path != "/live"]  # that one never ends


def named(route: Route) -> str:
    return f"{route.method} {route.path}"


def bare(route: Route) -> str:
    """Without the patterns of its parts."""
    return re.sub(r"\{(\w+):(?:[^{}]|\{[^{}]*\})*\}", r"{\1}", named(route))


async def filled(world: World, *members: User) -> dict[str, str]:
    """A project with one of everything; what the routes' patterns stand for."""
    project = await world.project("acme/app", members=members)
    pipeline = await world.pipeline(project, workflow("ci", job("build", "make"), approval("hold")))
    built, held = await world.job_of(pipeline, "build"), await world.job_of(pipeline, "hold")
    await world.start(built.id)
    context = await world.db.write(lambda tx: contexts.add(tx, "deploy", 1))
    kind = restrictions.Type.PROJECT
    restriction = await world.db.write(lambda tx: restrictions.add(tx, context.id, kind, project.id, 1))
    wish = Wish(
        name="nightly",
        timetable={"per-hour": 1, "hours-of-day": [3], "days-of-month": [1]},
        branch="main",
        parameters={},
        is_system=True,
    )
    boss = User(id=UserId("boss"), name="boss", is_admin=True, sees_all_projects=True)
    schedule = await world.db.write(lambda tx: moves_schedules.create(tx, project.id, wish, boss, 1))
    return {
        "schedule": schedule.id,
        "context": context.id,
        "restriction": restriction.id,
        "project": project.id,
        "slug": project.slug,
        "number": str(built.number),
        "pipeline": pipeline,
        "workflow": built.workflow_id,
        "job": built.id,
        "held": held.id,
    }


def path_of(route: Route, ids: dict[str, str]) -> str:
    """The path of a route that leads to the things of `filled`."""
    kind = route.path.removeprefix("/api/v2").split("/")[1]
    workflow_id = ids["workflow"]
    of_kind = {"pipeline": ids["pipeline"], "workflow": workflow_id, "workflows": workflow_id, "schedule": ids["schedule"]}
    values = {
        "slug": ids["slug"],
        "number": "1" if "pipeline" in route.path else ids["number"],
        "id": of_kind.get(kind, ids["held"] if kind == "approvals" else ids["job"]),
        "job": ids["held"],
        "name": "SECRET",
        "fingerprint": "aa:bb",
        "node": "0",
        "step": "0",
        "which": "source",
        "path": "folder/file.txt",
        "context": ids["context"],
        "restriction": ids["restriction"],
        "cache": "0" * 32,
        "schedule": ids["schedule"],
        "ticket": "AAAA",
        "machine": "m1",
        "org": organization_id("acme"),
        "project": ids["project"],
    }
    path = re.sub(r"\{(\w+)(?::(?:[^{}]|\{[^{}]*\})*)?\}", lambda match: values[match[1]], route.path)
    return path + (f"?topics=pipeline:{ids['pipeline']}" if path == "/live" else "")


def test_open_routes_are_these_and_no_others() -> None:
    assert {(route.method, route.path) for route in ROUTES if route.policy is Policy.OPEN} == OPEN


def test_what_changes_something_is_a_form_or_wants_a_token() -> None:
    loose = [named(route) for route in CLOSED if route.method != "GET" and route.policy is Policy.USER]
    assert not loose


def test_strangers_are_guests_only_where_something_is_read() -> None:
    assert {bare(route) for route in ROUTES if route.policy in (Policy.GUEST, Policy.GUEST_TOKEN)} == GUESTS


async def test_the_application_has_no_route_without_a_policy(world: World) -> None:
    site = make_site(world.parts)
    policies = site[POLICIES]
    assert set(policies) == set(site.router.routes())


async def test_a_route_that_got_in_without_a_policy_is_refused(tmp_path: Path) -> None:
    async def secret(request: web.Request) -> web.Response:
        return web.Response(text="secret")

    async with (
        serving_world(tmp_path, extra=lambda site: site.router.add_get("/sneaky", secret)) as world,
        aiohttp.ClientSession(world.url) as client,
        client.get("/sneaky") as response,
    ):
        assert response.status == 403 and "secret" not in await response.text()


async def test_strangers_get_nothing(world: World) -> None:
    ids, got = await filled(world), []
    before = await world.everything()
    async with aiohttp.ClientSession(world.url) as client:
        for route in CLOSED:
            async with client.request(route.method, path_of(route, ids), allow_redirects=False) as response:
                if response.status == 303:
                    is_refused = response.headers["Location"].startswith("/login?next=")
                else:
                    is_refused = response.status == 401 and await response.json() == {"message": "Invalid token provided."}
            if not is_refused:
                got.append(f"{named(route)}: {response.status}")
    assert not got
    assert await world.everything() == before


async def test_who_has_no_right_cannot_tell_that_it_is_there(world: World) -> None:
    ids, told = await filled(world), []
    eve = await world.user("eve")
    for route in OF_PROJECTS:
        status, body = await world.ask(eve, route.method, path_of(route, ids))
        if status != 404 or "acme" in body.replace("/pipelines/circleci/acme", ""):
            told.append(f"{named(route)}: {status} {body}")
    assert not told


async def test_get_changes_nothing(world: World) -> None:
    ada = await world.user("ada", sees_all=True)
    ids = await filled(world)
    session = await world.token(ada, "session")
    link = await world.token(ada, "link")
    before = await world.everything()
    async with aiohttp.ClientSession(world.url, cookies={"rondo": session}) as client:
        for route in READING:
            path = path_of(route, ids) if route.policy is not Policy.OPEN else f"/login?token={link}"
            async with client.get(path) as response:
                await response.read()
            assert await world.everything() == before, named(route)


@pytest.mark.parametrize(
    ("origin", "form"),
    [
        ("http://evil.example", True),
        ("null", True),
        (None, False),
        ("http://127.0.0.1", True),  # another port is another site
    ],
)
async def test_forms_of_others_are_refused(world: World, origin: str | None, form: bool) -> None:
    ada = await world.user("ada", sees_all=True)
    ids, taken = await filled(world), []
    before = await world.everything()
    for route in ROUTES:
        if route.policy is Policy.FORM:
            status, _ = await world.post_form(ada, path_of(route, ids), origin=origin, with_token=form)
            if status != 403:
                taken.append(f"{named(route)}: {status}")
    assert not taken
    assert await world.everything(but="tokens") == {k: v for k, v in before.items() if k != "tokens"}
