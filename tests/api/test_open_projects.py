"""A project that is open to everybody (`oss`): what strangers read, and all that stays closed."""

from __future__ import annotations

from collections.abc import Mapping

import aiohttp

from appliance.api.routes import Policy, Route
from appliance.model import ProjectFlags, ProjectId, User
from appliance.pages.site import ROUTES
from appliance.store import jobs, projects, visits
from tests.api.test_routes import CLOSED, OF_PROJECTS, filled, named, path_of
from tests.web.world import World

GUEST = [route for route in ROUTES if route.policy in (Policy.GUEST, Policy.GUEST_TOKEN) and route.path != "/live"]
FOUND = [route for route in GUEST if "/artifacts/{node" not in route.path]  # there is no such artifact
LEADS_ON = [route for route in FOUND if route.path.startswith("/{slug:")]  # to the page of the job


async def opened(world: World, *, is_open: bool = True) -> dict[str, str]:
    ids = await filled(world)
    project = ProjectId(ids["project"])
    await world.db.write(lambda tx: projects.set_secret(tx, world.box, project, "KEY", "opensesame", 1))
    await world.db.write(lambda tx: projects.set_flags(tx, project, ProjectFlags(oss=is_open)))
    return ids


async def asked(world: World, route: Route, ids: Mapping[str, str]) -> tuple[int, str]:
    """What a stranger is answered."""
    async with (
        aiohttp.ClientSession(world.url) as client,
        client.request(route.method, path_of(route, dict(ids)), allow_redirects=False) as response,
    ):
        return response.status, await response.text()


async def test_strangers_read_an_open_project(world: World) -> None:
    ids = await opened(world)
    for route in FOUND:
        status, body = await asked(world, route, ids)
        assert status == (303 if route in LEADS_ON else 200), (named(route), body)
        for text in ("opensesame", "xxxx", "csrf", "ssh -p"):
            assert text not in body, named(route)


async def test_strangers_cannot_tell_a_closed_project_from_none(world: World) -> None:
    ids = await opened(world, is_open=False)
    absent = dict.fromkeys(ids, "00000000-0000-4000-8000-00000000dead")
    nowhere = {**absent, "slug": "circleci/no/where", "number": "4711"}
    for route in GUEST:
        closed = await asked(world, route, ids)
        assert closed[0] in (401, 303), named(route)
        assert await asked(world, route, nowhere) == closed


async def test_all_else_stays_closed_to_strangers(world: World) -> None:
    ids = await opened(world)
    everything = await world.everything()
    for route in CLOSED:
        if route not in GUEST and route.path != "/live":
            assert (await asked(world, route, ids))[0] in (401, 303), named(route)
    assert await world.everything() == everything


async def test_a_user_who_is_no_member_reads_and_nothing_more(world: World) -> None:
    ids = await opened(world)
    eve = await world.user("eve")
    everything = await world.everything(but="tokens")
    for route in OF_PROJECTS:
        if route.path == "/live":
            continue
        status, body = await world.ask(eve, route.method, path_of(route, ids))
        assert status == (303 if route in LEADS_ON else 200 if route in FOUND else 404), (named(route), body)
        assert "opensesame" not in body
    assert await world.everything(but="tokens") == everything


async def test_who_visited_a_job_over_ssh_is_for_members_to_know(world: World) -> None:
    ids = await opened(world)
    ada = await world.user("ada", sees_all=True)
    number = int(ids["number"])

    async def visit(user: User) -> None:
        job = await world.db.read(lambda tx: jobs.by_number(tx, number))
        await world.db.write(lambda tx: visits.enter(tx, job.id, 0, user, "192.0.2.7:22", "id", 1))

    await visit(ada)
    page = next(route for route in GUEST if route.path.startswith("/jobs/") and "log" not in route.path)
    _, seen_by_stranger = await asked(world, page, ids)
    _, seen_by_ada = await world.ask(ada, "GET", f"/jobs/{number}")
    assert "192.0.2.7" in seen_by_ada and "192.0.2.7" not in seen_by_stranger
    assert "ssh -p" in seen_by_ada and "ssh -p" not in seen_by_stranger


async def test_strangers_share_a_bounded_number_of_live_views(world: World) -> None:
    ids = await opened(world)
    live = f"/live?topics=pipeline:{ids['pipeline']}"
    async with aiohttp.ClientSession(world.url, connector=aiohttp.TCPConnector(limit=0)) as client:
        open_ones = [await client.get(live) for _ in range(60)]
        assert {response.status for response in open_ones} == {200}
        async with client.get(live) as response:
            assert response.status == 429
        for one in open_ones:
            one.close()
