"""`world`: every executor. `real_world`: those with shells and processes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from appliance.executors.base import Executor
from appliance.executors.docker import DockerExecutor
from appliance.executors.fake import FakeExecutor
from appliance.executors.local import LocalExecutor
from tests.contracts.worlds import REAL, World, make_factory

_keeps_the_types: tuple[type[Executor], ...] = (DockerExecutor, LocalExecutor, FakeExecutor)


@pytest.fixture(params=[*REAL, "fake"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    async for each in _world(request, tmp_path):
        yield each


@pytest.fixture(params=REAL)
async def real_world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    async for each in _world(request, tmp_path):
        yield each


async def _world(request: pytest.FixtureRequest, folder: Path) -> AsyncIterator[World]:
    kind: str = request.param
    make, image = make_factory(kind, request, folder)
    executor = make()
    yield World(kind, executor, make, image)
    for ref in await executor.list():
        await executor.remove(ref)
    await executor.close()
