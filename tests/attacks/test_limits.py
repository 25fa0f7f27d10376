"""What one visitor, one job or one wrong clock may cost the others."""

from __future__ import annotations

import asyncio
import io
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from appliance.api.hooks import LARGE_AT_ONCE
from appliance.app import running
from appliance.blobs import Blobs
from appliance.clock import SystemClock
from appliance.errors import DiskFull
from appliance.model import Trigger, TriggerKind, Vcs
from appliance.store import projects
from tests.whole import ON_THIS_HOST, Place, end_jobs_of_this_host, house, settings_for


class SetClock(SystemClock):
    """A clock that somebody sets; the steady one goes on as if nothing had been."""

    def __init__(self) -> None:
        self.ahead_ms = 0

    def now_ms(self) -> int:
        return super().now_ms() + self.ahead_ms


@pytest.mark.slow
@pytest.mark.parametrize("days", [2, -2])
async def test_a_clock_that_is_set_ends_no_job(tmp_path: Path, days: int) -> None:
    settings, clock = settings_for(tmp_path / "data", ON_THIS_HOST), SetClock()
    place = Place(tmp_path / "data", tmp_path / "work", settings)
    # Longer than the time between two looks at how long a job has run.
    script = "version: 2.1\njobs:\n  build:\n    machine: true\n    steps: [{run: echo in; sleep 7}]\n"
    try:
        async with running(settings, clock):
            place.furnish()
            await place.commit({".circleci/config.yml": script})
            await place.push()

            await place.said("in\n")
            clock.ahead_ms = days * 86_400_000
            seen = await place.ended()
        assert seen.statuses == {"build": "success"}, [step.message for step in seen.steps["build"]]
    finally:
        await end_jobs_of_this_host(place)


async def test_blobs_leave_room_for_logs_and_rows(tmp_path: Path) -> None:
    blobs, name = Blobs(tmp_path, floor_bytes=1 << 62), "0" * 32

    async def chunks() -> AsyncIterator[bytes]:
        yield b"x" * 1000

    with pytest.raises(DiskFull):
        await blobs.store(Blobs.CACHES, name, chunks())
    with pytest.raises(OSError, match="floor"):
        blobs.store_file(Blobs.ARTIFACTS, name, io.BytesIO(b"x" * 1000))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


async def test_a_data_folder_that_others_could_read_is_closed(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o755)
    async with house(tmp_path, {}) as (place, _):
        assert stat.S_IMODE(place.data.stat().st_mode) == 0o700
        assert stat.S_IMODE((place.data / "secret_key").stat().st_mode) == 0o600


async def test_a_stranger_may_not_send_much_to_log_in(tmp_path: Path) -> None:
    async with (
        house(tmp_path, {}) as (_, appliance),
        aiohttp.ClientSession() as session,
        session.post(f"{appliance.web_url}/login", data={"token": "x" * 200_000}) as answer,
    ):
        assert answer.status == 413


async def test_strangers_who_begin_large_webhooks_hold_little_memory_and_no_small_ones(tmp_path: Path) -> None:
    """Of bodies over 64 KiB only some are read at once; the others wait unread, and small ones pass by."""
    async with house(tmp_path, {}) as (_, appliance):
        host, port = appliance.web_url.removeprefix("http://").split(":")
        head = f"POST /hooks/github HTTP/1.1\r\nHost: {host}\r\nContent-Length: 100000\r\n\r\n".encode()
        opened = [await asyncio.open_connection(host, int(port)) for _ in range(LARGE_AT_ONCE * 3)]
        try:
            for _, writer in opened:
                writer.write(head + b"x" * 90_000)
                await writer.drain()
            async with (
                asyncio.timeout(10),
                aiohttp.ClientSession() as session,
                session.post(f"{appliance.web_url}/hooks/github", data=b"{}") as answer,
            ):
                assert answer.status == 401
        finally:
            for _, writer in opened:
                writer.close()


async def test_a_remote_that_says_nothing_holds_up_no_other_project(tmp_path: Path) -> None:
    """It takes the connection and is silent: git waits for many minutes."""

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    silent = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    async with silent, house(tmp_path, ON_THIS_HOST) as (place, appliance):
        url = f"git://127.0.0.1:{port}/app.git"
        far = place.read(
            lambda tx: projects.add(tx, org="acme", repo="far", vcs=Vcs.GIT, git_url=url, default_branch="main", now_ms=1)
        )
        for number in range(3):
            trigger = Trigger(
                project_id=far.id,
                kind=TriggerKind.WEBHOOK,
                semantic_key=f"push {number}",
                branch="main",
                tag=None,
                revision=f"{number:040x}".replace("0", "a"),
                actor="somebody",
            )
            assert (await appliance.commands.accept(trigger)).trigger_id is not None
        await place.commit({".circleci/config.yml": "version: 2.1\njobs: {build: {machine: true, steps: [run: echo hi]}}\n"})
        await place.push()
        async with asyncio.timeout(30):
            assert (await place.ended()).statuses == {"build": "success"}
