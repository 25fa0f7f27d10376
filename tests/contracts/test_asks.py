"""Commands of ours in a sandbox ask, and are answered: in every kind of sandbox, also by a reader that came later."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from appliance import shim
from appliance.errors import SandboxError
from appliance.executors.asks import LARGEST_ASK_BYTES, AskReader
from appliance.executors.base import Ask, Command, Exit, Sandbox
from tests.contracts.worlds import World, finish

ASK = """
mkdir -p "$CIRCLE_INTERNAL_TASK_DATA/ask"; cd "$CIRCLE_INTERNAL_TASK_DATA/ask"
printf 'first\\nlast' >new; mv new mine.ask
until [ -e mine.answer ]; do sleep 0.1; done
cat mine.answer
"""
CONTINUE = 'curl -s -d \'{"a": 1}\' -w " %{http_code}" https://circleci.com/api/v2/pipeline/continue'


async def first_ask(sandbox: Sandbox) -> Ask:
    async with asyncio.timeout(30), aclosing(sandbox.asks()) as asks:
        async for ask in asks:
            return ask
    raise AssertionError("nothing was asked")


async def test_an_ask_waits_for_whoever_answers(real_world: World) -> None:
    sandbox = await real_world.open()
    async with asyncio.TaskGroup() as group:
        step = group.create_task(finish(sandbox, Command(id="1", script=ASK)))
        seen = await first_ask(sandbox)
        assert seen == await first_ask(sandbox) == Ask("mine", b"first\nlast"), "until it is answered, for each reader"
        await sandbox.put(seen.answer, b"heard")
        assert await step == (b"heard", Exit(0))


async def test_an_installed_command_comes_before_those_of_the_image(real_world: World) -> None:
    sandbox = await real_world.open()
    await sandbox.install("curl", shim.text("curl.sh"))
    await sandbox.install("curl", shim.text("curl.sh"))
    async with asyncio.TaskGroup() as group:
        step = group.create_task(finish(sandbox, Command(id="1", script=CONTINUE)))
        ask = await first_ask(sandbox)
        assert ask.body == b'{"a": 1}'
        await sandbox.put(ask.answer, b'200\n{"message": "Accepted."}')
        assert await step == (b'{"message": "Accepted."} 200', Exit(0))


def test_asks_are_cut_out_wherever_the_stream_is_cut() -> None:
    stream = b"\x01ask 1 0\n\x01ask two.2 3\na\nb\x01ask 3 4\n\x01ask"
    for size in (1, 2, 3, 7, 100):
        reader = AskReader()
        found: list[Ask] = []
        for at in range(0, len(stream), size):
            found += reader.feed(stream[at : at + size])
        assert found == [Ask("1", b""), Ask("two.2", b"a\nb"), Ask("3", b"\x01ask")]


@pytest.mark.parametrize(
    "stream", [b"hello\n", b"x" * 300, b"\x01ask ../up 3\nabc", f"\x01ask 1 {LARGEST_ASK_BYTES + 1}\n".encode()]
)
def test_what_is_no_ask_is_an_error_of_that_sandbox(stream: bytes) -> None:
    with pytest.raises(SandboxError):
        list(AskReader().feed(stream))
