"""Steps whose reader is disturbed again and again: no byte of them may be lost or doubled, and none may run twice."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from appliance.executors.base import Command, Exit, Sandbox
from tests.contracts.reader import steps
from tests.contracts.test_reader_deaths import expected
from tests.contracts.worlds import finish

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
            command = Command(id=f"{len(results)}", script=steps()[len(results) % len(steps())].script)
            async for event in sandbox.run(command):
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
