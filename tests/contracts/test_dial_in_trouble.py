"""A runner that is killed, or whose connection is cut, at any moment: no byte lost, none twice, no step twice."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from appliance.executors.base import Command, Exit, Sandbox, SandboxSpec
from tests.contracts.reader import steps
from tests.contracts.tcp_proxy import proxy_to
from tests.contracts.test_reader_deaths import expected
from tests.contracts.worlds import dialled_in_executor, finish, quiet
from tests.dialling import dialled_in, welcome

CUTS, KILLS = 20, 10  # 50 and 25 are run by hand


async def runs_whole(sandbox: Sandbox, disturb: Callable[[], Awaitable[None]], times: int) -> None:
    """Run steps while `disturb` comes so many times, each after some output, and look at all that they said and did."""
    news = asyncio.Event()

    async def disturb_on() -> None:
        for _ in range(times):
            news.clear()
            await news.wait()
            await disturb()

    results: list[tuple[bytes, Exit]] = []
    async with asyncio.TaskGroup() as group:
        disturbing = group.create_task(disturb_on())
        while not disturbing.done() or len(results) < len(steps()):
            output = b""
            async for event in sandbox.run(
                Command(id=f"{len(results)}", script=steps()[len(results) % len(steps())].script)
            ):
                news.set()
                if isinstance(event, bytes):
                    output += event
                else:
                    results.append((output, event))
    whole = await asyncio.to_thread(expected)
    for index, (output, how) in enumerate(results):
        text, code = whole[index % len(whole)]
        assert output[: len(text)] == text and output[len(text) :] in (b"", b"late\n"), f"step {index}"
        assert how == Exit(code), f"step {index}"
    started, _ = await finish(sandbox, Command(id="started", script="cat ~/started"))
    assert started.decode().split() == [str(index % len(whole)) for index in range(len(results))]


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("how", "times"), [("connection cut", CUTS), ("runner killed", KILLS)])
async def test_no_byte_is_lost_or_doubled(tmp_path: Path, how: str, times: int) -> None:
    chance = random.Random(7)
    async with dialled_in(tmp_path) as (here, box), proxy_to(here.port) as proxy:
        await box.kill()
        box.port = proxy.port
        await box.start()
        await welcome(here)

        async def disturb() -> None:
            await asyncio.sleep(chance.uniform(0.0, 0.15))
            if how == "connection cut":
                proxy.cut()
            else:
                await box.kill()
                await box.start()
            await welcome(here)

        executor = dialled_in_executor(here.runners, tmp_path)
        sandbox = await executor.open(SandboxSpec(node="1.0"), quiet)
        await runs_whole(sandbox, disturb, times)
        await welcome(here)
        await sandbox.close()
        await executor.close()
