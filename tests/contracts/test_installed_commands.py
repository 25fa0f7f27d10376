"""A command of ours in front of the image's own, and the file that it hands over: in every kind of sandbox."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from appliance import shim
from appliance.errors import SandboxError
from appliance.executors.base import ANSWERS, Command, Exit, Question, Sandbox
from tests.contracts.worlds import World, finish

CONTINUE = 'curl -s -d \'{"a": 1}\' -w " %{http_code}" https://circleci.com/api/v2/pipeline/continue'


async def first_question(sandbox: Sandbox) -> Question:
    async with asyncio.timeout(30), aclosing(sandbox.questions()) as questions:
        async for question in questions:
            return question
    raise AssertionError("nothing was asked")


async def test_an_installed_command_comes_before_those_of_the_image(real_world: World) -> None:
    sandbox = await real_world.open()
    await sandbox.install("curl", shim.text("curl.sh"))
    await sandbox.install("curl", shim.text("curl.sh"))
    async with asyncio.TaskGroup() as group:
        step = group.create_task(finish(sandbox, Command(id="1", script=CONTINUE)))
        question = await first_question(sandbox)
        assert question.text == "continue 1"
        assert await sandbox.fetch("requests/1/body", 8) == b'{"a": 1}'
        await sandbox.put(ANSWERS + question.id, b'200\n{"message": "Accepted."}')
        assert await step == (b'{"message": "Accepted."} 200', Exit(0))


async def test_a_file_can_be_put_before_the_supervisor_has_begun(real_world: World) -> None:
    """It would lie where the supervisor does not look, or in no folder at all."""
    sandbox = await real_world.open()
    await sandbox.put("early/file", b"12345")
    script = 'cat "$CIRCLE_INTERNAL_TASK_DATA/early/file"'
    assert await finish(sandbox, Command(id="1", script=script)) == (b"12345", Exit(0))


LAID = """
mkdir -p "$CIRCLE_INTERNAL_TASK_DATA/x" && cd "$CIRCLE_INTERNAL_TASK_DATA/x"
mkfifo pipe; ln -s pipe link; mkdir folder; printf 12345 >file
"""


async def test_only_a_plain_file_of_some_size_is_fetched(real_world: World) -> None:
    sandbox = await real_world.open()
    assert (await finish(sandbox, Command(id="1", script=LAID)))[1] == Exit(0)
    assert await sandbox.fetch("x/file", 5) == b"12345"
    for name, most in (("x/file", 4), ("x/pipe", 100), ("x/link", 100), ("x/folder", 100), ("x/none", 100)):
        with pytest.raises(SandboxError):
            await sandbox.fetch(name, most)
