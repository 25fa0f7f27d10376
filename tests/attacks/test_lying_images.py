"""Programs of an image that say what they like to helpers of ours: the job owns them, and may have changed them."""

from __future__ import annotations

import asyncio
import os
import tracemalloc
from collections.abc import AsyncIterator

import pytest

from appliance.errors import SandboxError
from appliance.executors.base import Command, Container, Exit, SandboxSpec
from appliance.executors.docker import DockerExecutor
from tests.contracts.worlds import QUICK, finish, quiet
from tests.engine_fixture import DEBIAN, Engine

pytestmark = pytest.mark.docker

ENDLESS = r"""
printf '#!/bin/sh\nexec cat /dev/zero\n' >/usr/local/endless; chmod 755 /usr/local/endless
mkdir -p "$CIRCLE_INTERNAL_TASK_DATA/x"; echo >"$CIRCLE_INTERNAL_TASK_DATA/x/body"
cp /usr/local/endless "$(command -v head)"
"""


@pytest.fixture
async def executor(docker_engine: Engine) -> AsyncIterator[DockerExecutor]:
    executor = DockerExecutor(f"lying-{os.getpid()}", docker_engine.url, pace=QUICK)
    yield executor
    for ref in await executor.list():
        await executor.remove(ref)
    await executor.close()


async def test_an_endless_answer_is_heard_up_to_its_bound(executor: DockerExecutor) -> None:
    """It was kept in memory for a minute, as fast as it came."""
    sandbox = await executor.open(SandboxSpec(node="1.0", containers=(Container(image=DEBIAN),)), quiet)
    assert (await finish(sandbox, Command(id="1", script=ENDLESS)))[1] == Exit(0)
    tracemalloc.start()
    try:
        async with asyncio.timeout(45):
            with pytest.raises(SandboxError, match="larger than"):
                await sandbox.fetch("x/body", 1 << 20)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20
