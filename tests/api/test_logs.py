"""Logs by offset: old ones, growing ones, large ones, and offsets that nobody was given."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from appliance.model import JobId, StepStatus, User
from appliance.store import jobs, people
from tests.web.world import World, job, workflow


@pytest.fixture
async def ada(world: World) -> User:
    return await world.user("ada", sees_all=True)


@pytest.fixture
async def running(world: World, ada: User) -> JobId:
    """Job 1, its first step running."""
    pipeline = await world.pipeline(await world.project("acme/app"), workflow("ci", job("build", "make")))
    found = await world.job_of(pipeline, "build")
    assert found.number == 1
    await world.start(found.id)
    return found.id


@asynccontextmanager
async def asking(world: World, user: User, query: str = "", step: str = "0") -> AsyncIterator[aiohttp.ClientResponse]:
    headers = {"Circle-Token": await world.token(user)}
    async with (
        aiohttp.ClientSession(world.url, headers=headers) as client,
        client.get(f"/jobs/1/0/{step}/log{query}") as response,
    ):
        yield response


async def test_a_part_of_a_log_is_exactly_these_bytes(world: World, ada: User, running: JobId) -> None:
    data = bytes(range(256)) * 10
    world.write_log(running, 0, data)
    async with asking(world, ada, "?offset=100&limit=300") as response:
        assert await response.read() == data[100:400]
        assert response.headers["X-Rondo-Size"] == "2560" and response.headers["X-Rondo-Done"] == "0"
        assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert "sandbox" in response.headers["Content-Security-Policy"]


async def test_done_is_said_only_with_the_last_byte_of_an_ended_step(world: World, ada: User, running: JobId) -> None:
    world.write_log(running, 0, b"0123456789")
    await world.step(running, 0)
    async with asking(world, ada, "?limit=9") as response:
        assert response.headers["X-Rondo-Done"] == "0"
    async with asking(world, ada, "?offset=9") as response:
        assert await response.read() == b"9" and response.headers["X-Rondo-Done"] == "1"


async def test_one_answer_is_never_larger_than_a_mebibyte(world: World, ada: User, running: JobId) -> None:
    world.write_log(running, 0, b"x" * (3 << 20))
    for query in ("", "?limit=999999999"):
        async with asking(world, ada, query) as response:
            assert len(await response.read()) == 1 << 20


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("?offset=-1", 400),
        ("?offset=x", 400),
        ("?offset=", 400),
        ("?offset=1e3", 400),
        ("?offset=٣", 400),
        ("?offset=99999999999999999999", 400),
        ("?limit=-5", 400),
        ("?offset=5&limit=0", 200),
        ("?offset=6", 416),
        ("?offset=6&follow=1", 416),
        ("?offset=999999999999999", 416),
    ],
)
async def test_forged_offsets(world: World, ada: User, running: JobId, query: str, status: int) -> None:
    world.write_log(running, 0, b"01234")
    async with asking(world, ada, query) as response:
        assert response.status == status
        if status == 416:
            assert response.headers["X-Rondo-Size"] == "5"


@pytest.mark.parametrize("step", ["9", "999999", "-1", "x", "0%2f..", "9999999"])
async def test_steps_that_are_not_there(world: World, ada: User, running: JobId, step: str) -> None:
    async with asking(world, ada, step=step) as response:
        assert response.status == 404


async def test_a_log_that_has_not_begun_is_empty(world: World, ada: User, running: JobId) -> None:
    async with asking(world, ada) as response:
        assert response.status == 200 and await response.read() == b""


async def test_following_gives_every_byte_as_it_comes_and_ends_with_the_step(
    world: World, ada: User, running: JobId
) -> None:
    world.write_log(running, 0, b"early ")
    async with asyncio.timeout(20), asking(world, ada, "?offset=2&follow=1") as response:
        assert await response.content.readexactly(4) == b"rly "
        for number in range(50):
            piece = f"piece {number}\n".encode()
            world.write_log(running, 0, piece)
            assert await response.content.readexactly(len(piece)) == piece
        world.write_log(running, 0, b"last")
        await world.step(running, 0)
        assert await response.read() == b"last"


async def test_following_goes_on_when_every_ring_is_lost(world: World, ada: User, running: JobId) -> None:
    async with asyncio.timeout(20), asking(world, ada, "?follow=1") as response:
        with world.blobs.log(running, 0, 0).open("ab") as file:
            file.write(b"silent")
        assert await response.content.readexactly(6) == b"silent"


async def test_following_an_ended_log_gives_all_of_it(world: World, ada: User, running: JobId) -> None:
    data = bytes(range(256)) * 20_000  # 5 MB
    world.write_log(running, 0, data)
    await world.step(running, 0, StepStatus.FAILED)
    async with asyncio.timeout(20), asking(world, ada, "?follow=1") as response:
        assert await response.read() == data


async def test_who_loses_the_right_loses_the_stream(world: World, ada: User, running: JobId) -> None:
    bob = await world.user("bob")
    row = await world.db.read(lambda tx: jobs.by_id(tx, running))
    await world.db.write(lambda tx: people.let_into(tx, bob.id, row.project_id))
    world.write_log(running, 0, b"before ")
    async with asyncio.timeout(20), asking(world, bob, "?follow=1") as response:
        assert await response.content.readexactly(7) == b"before "
        await world.db.write(lambda tx: people.remove(tx, bob.id))
        world.write_log(running, 0, b"after")
        with pytest.raises(aiohttp.ClientError):
            assert await response.read() == b""


async def test_a_reader_that_does_not_read_is_not_read_ahead_for(world: World, ada: User, running: JobId) -> None:
    """50 MB wait in the file, not in memory: the server may read only what the sockets' buffers take."""
    world.write_log(running, 0, b"x" * (50 << 20))
    reads = 0
    original = world.blobs.read_log

    def counted(job_id: str, index: int, position: int, offset: int, limit: int) -> bytes:
        nonlocal reads
        reads += 1
        return original(job_id, index, position, offset, limit)

    object.__setattr__(world.blobs, "read_log", counted)
    async with asyncio.timeout(20), asking(world, ada, "?follow=1"):
        before = -1
        while reads != before:  # until nothing moves for a look of ours
            before = reads
            await asyncio.sleep(0.2)
        assert 0 < reads < 100


async def test_closing_the_connection_gives_the_place_back(world: World, ada: User, running: JobId) -> None:
    for _ in range(130):  # twice as many as may be open at once
        async with asyncio.timeout(20):
            while True:
                async with asking(world, ada, "?follow=1") as response:
                    if response.status == 200:
                        break
                    assert response.status == 429
                    await asyncio.sleep(0.05)  # until the server noticed


async def test_a_bounded_number_of_followers_for_each(world: World, ada: User, running: JobId) -> None:
    headers = {"Circle-Token": await world.token(ada)}
    async with aiohttp.ClientSession(world.url, headers=headers, connector=aiohttp.TCPConnector(limit=0)) as client:
        answers = [await client.get("/jobs/1/0/0/log?follow=1") for _ in range(61)]
        assert [answer.status for answer in answers] == [200] * 60 + [429]
        bob = await world.user("bob", sees_all=True)
        async with asking(world, bob, "?follow=1") as response:
            assert response.status == 200
        for answer in answers:
            answer.close()
