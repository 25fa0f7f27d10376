"""Server-sent events: they say where to look, only of what one may see, and never too often."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from appliance.clock import FakeClock
from appliance.model import User
from tests.web.world import World, job, serving_world, workflow


@asynccontextmanager
async def listening(world: World, user: User, topics: str) -> AsyncIterator[aiohttp.ClientResponse]:
    session = await world.token(user, "session", 60_000)
    async with (
        asyncio.timeout(30),
        aiohttp.ClientSession(world.url, cookies={"rondo": session}) as client,
        client.get("/live", params={"topics": topics}) as response,
    ):
        yield response


async def opened(response: aiohttp.ClientResponse) -> None:
    assert response.status == 200 and response.content_type == "text/event-stream"
    assert await response.content.readuntil(b"\n\n") == b"retry: 2000\n: open\n\n"


async def event(response: aiohttp.ClientResponse) -> str:
    return (await response.content.readuntil(b"\n\n")).decode().strip()


async def test_what_changes_is_named(world: World) -> None:
    ada = await world.user("ada")
    pipeline = await world.pipeline(await world.project("acme/app", members=[ada]), workflow("ci", job("build")))
    build = await world.job_of(pipeline, "build")
    async with listening(world, ada, f"job:{build.id}") as response:
        await opened(response)
        await world.start(build.id)
        assert await event(response) == f"data: job:{build.id}"


async def test_mine_is_every_project_of_mine_and_no_other(world: World) -> None:
    ada = await world.user("ada")
    mine = await world.project("acme/app", members=[ada])
    hidden = await world.project("acme/hidden")
    async with listening(world, ada, "mine") as response:
        await opened(response)
        await world.pipeline(hidden, workflow("ci", job("secret")))
        await world.pipeline(mine, workflow("ci", job("build")))
        assert await event(response) == "data: mine"


async def test_many_rings_are_few_events(world: World) -> None:
    ada = await world.user("ada", sees_all=True)
    project = await world.project("acme/app")
    topic = f"project:{project.id}"
    loop = asyncio.get_running_loop()
    async with listening(world, ada, topic) as response:
        await opened(response)
        heard, until = 0, loop.time() + 1.0

        async def ring() -> None:
            while loop.time() < until:
                world.bell.ring(topic)
                await asyncio.sleep(0.001)

        async with asyncio.TaskGroup() as group:
            group.create_task(ring())
            while loop.time() < until:
                await event(response)
                heard += 1
        assert 1 <= heard <= 7  # the ringing was a thousand times


async def test_mine_is_every_project_for_who_sees_all_also_one_that_is_new(world: World) -> None:
    boss = await world.user("boss", is_admin=True)
    async with listening(world, boss, "mine") as response:
        await opened(response)
        await world.pipeline(await world.project("acme/new"), workflow("ci", job("build")))
        assert await event(response) == "data: mine"


@pytest.mark.parametrize("topics", ["", ",", "job:no", "pipelines", "", "outbox", "log:x/0/0", ":", "mine,job:no"])
async def test_topics_that_nobody_may_hear(world: World, topics: str) -> None:
    async with listening(world, await world.user("ada", is_admin=True), topics) as response:
        assert response.status in (400, 404)


async def test_silence_is_broken_by_a_heartbeat(tmp_path: Path) -> None:
    clock = FakeClock()
    async with (
        serving_world(tmp_path, clock=clock) as world,
        listening(world, await world.user("ada"), "mine") as response,
    ):
        await opened(response)
        clock.advance(16)
        assert await event(response) == ": still here"


async def test_too_many_topics(world: World) -> None:
    async with listening(world, await world.user("ada"), ",".join(["mine"] * 51)) as response:
        assert response.status == 400


async def test_a_shutdown_does_not_wait_for_streams(tmp_path: Path) -> None:
    async with aiohttp.ClientSession() as client:
        async with asyncio.timeout(5), serving_world(tmp_path) as world:
            ada = await world.user("ada")
            session = await world.token(ada, "session", 60_000)
            response = await client.get(
                f"{world.url}/live?topics=mine", cookies={"rondo": session}, headers={"Accept": "text/event-stream"}
            )
            await opened(response)
        response.close()
