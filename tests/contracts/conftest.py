"""`world`: every executor. `real_world`: those with shells and processes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from appliance.executors.base import Executor
from appliance.executors.docker import DockerExecutor
from appliance.executors.fake import FakeExecutor
from appliance.executors.local import LocalExecutor
from appliance.executors.machine import MachineExecutor
from tests.contracts.worlds import REAL, WARM, World, dialled_in_executor, kept_warm, make_factory
from tests.dialling import dialled_in
from tests.openssh import Machine, machine, machine_of_plain_user

_keeps_the_types: tuple[type[Executor], ...] = (DockerExecutor, LocalExecutor, MachineExecutor, FakeExecutor)


@pytest.fixture(scope="session")
def ssh_machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with machine(tmp_path_factory.mktemp("machine") / "here") as made:
        yield made


@pytest.fixture(scope="session")
def ssh_machine_of_user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with machine_of_plain_user(tmp_path_factory.mktemp("machine") / "user") as made:
        yield made


@pytest.fixture(params=[*REAL, WARM, "fake"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    async for each in open_world(request, tmp_path):
        yield each


@pytest.fixture(params=REAL)
async def real_world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    async for each in open_world(request, tmp_path):
        yield each


async def open_world(request: pytest.FixtureRequest, folder: Path) -> AsyncIterator[World]:
    """The body of a fixture whose parameter is the kind of world."""
    kind: str = request.param
    make: Callable[[], Executor]
    async with AsyncExitStack() as stack:
        if kind == "dial-in":
            here, _ = await stack.enter_async_context(dialled_in(folder))
            make, image = (lambda: dialled_in_executor(here.runners, folder)), None
        else:
            make, image = make_factory(kind, request, folder)
        async for each in _made(kind, make, image):
            yield each


async def _made(kind: str, make: Callable[[], Executor], image: str | None) -> AsyncIterator[World]:
    executor = make()
    world = World(kind, executor, make, image)
    if kind == "docker-warm":
        assert isinstance(executor, DockerExecutor)
        async with kept_warm(executor, world.spec("0.0")):
            pass  # one is there for the test, and no other: to a restarted appliance it would be a stranger
    yield world
    for ref in await executor.list():
        await executor.remove(ref)
    await executor.close()
