"""Executors under test, and running a command on them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from appliance.executors.base import Command, Container, Executor, Exit, Process, Sandbox, SandboxSpec
from appliance.executors.docker import DockerExecutor
from appliance.executors.docker_plan import DockerOptions
from appliance.executors.fake import FakeExecutor
from appliance.executors.local import LocalExecutor
from appliance.executors.machine import MachineExecutor, MachineOptions
from appliance.executors.machine_link import over_ssh
from appliance.executors.supervised import Pace
from appliance.sshd.runners import Runners
from tests.engine_fixture import BUSYBOX, DEBIAN, Engine
from tests.openssh import Machine

INSTANCE = f"contract-{os.getpid()}"  # several test runs may share one engine
QUICK = Pace(heartbeat_s=0.5)  # so that a test of a killed runner need not wait ten seconds


@dataclass
class World:
    """An executor under test. `again` makes a second one on the same world: a restarted appliance."""

    kind: str
    executor: Executor
    again: Callable[[], Executor]
    image: str | None

    def spec(self, node: str = "1.0") -> SandboxSpec:
        return SandboxSpec(node=node, containers=(Container(image=self.image),) if self.image else ())

    async def open(self, node: str = "1.0") -> Sandbox:
        return await self.executor.open(self.spec(node), quiet)


REAL = [
    pytest.param("docker-debian", marks=pytest.mark.docker),
    pytest.param("docker-busybox", marks=pytest.mark.docker),
    "local",
    "machine",
    pytest.param("machine-user", marks=pytest.mark.slow),
    pytest.param("dial-in", marks=pytest.mark.slow),
]
WARM = pytest.param("docker-warm", marks=pytest.mark.docker)


def make_factory(kind: str, request: pytest.FixtureRequest, folder: Path) -> tuple[Callable[[], Executor], str | None]:
    if kind.startswith("docker"):
        engine: Engine = request.getfixturevalue("docker_engine")
        options = DockerOptions(warm=1 if kind == "docker-warm" else 0)
        image = BUSYBOX if kind == "docker-busybox" else DEBIAN
        return lambda: DockerExecutor(INSTANCE, engine.url, pace=QUICK, options=options), image
    if kind == "local":
        return lambda: LocalExecutor(INSTANCE, folder / "local", pace=QUICK), None
    if kind.startswith("machine"):
        there: Machine = request.getfixturevalue("ssh_machine" if kind == "machine" else "ssh_machine_of_user")
        options_there = MachineOptions(folder=f"{there.folder}/{folder.name}", end_grace_s=1.0)
        return lambda: machine_executor(there, INSTANCE, options_there), None
    fake = FakeExecutor()
    return lambda: FakeExecutor(fake.nodes), None


def machine_executor(there: Machine, instance: str, options: MachineOptions) -> MachineExecutor:
    return MachineExecutor(instance, "here", over_ssh(there.address()), options=options, pace=QUICK)


def dialled_in_executor(runners: Runners, folder: Path, instance: str = INSTANCE) -> MachineExecutor:
    options = MachineOptions(folder=str(folder / "jobs"), end_grace_s=1.0)
    return MachineExecutor(instance, "mac", runners.connect("mac"), options=options, pace=QUICK)


@asynccontextmanager
async def kept_warm(executor: DockerExecutor, spec: SandboxSpec, count: int = 1) -> AsyncIterator[None]:
    """While containers like that of `spec`, which is used once for it, are made ahead. When the block begins they are."""
    await (await executor.open(spec, quiet)).close()
    async with asyncio.TaskGroup() as group:
        warming = group.create_task(executor.keep_warm())
        await warmed(executor, count)
        yield
        warming.cancel()


async def warmed(executor: DockerExecutor, count: int = 1) -> None:
    async with asyncio.timeout(30):
        while executor.warm != count:  # noqa: ASYNC110 - nobody but a test wants to know
            await asyncio.sleep(0.01)


async def quiet(_: bytes) -> None:
    """A progress that nobody reads."""


async def finish(sandbox: Sandbox, command: Command, offset: int = 0) -> tuple[bytes, Exit]:
    """Run to the end: all output, and how it ended."""
    output = b""
    async for event in sandbox.run(command, offset):
        if isinstance(event, Exit):
            return output, event
        assert 0 < len(event) <= 256 * 1024
        output += event
    raise AssertionError("a run without an Exit")


async def first_bytes(sandbox: Sandbox, command: Command, offset: int = 0) -> bytes:
    """Break off after the first output."""
    run = sandbox.run(command, offset)
    event = await anext(run)
    await run.aclose()
    assert isinstance(event, bytes)
    return event


async def read_all(process: Process) -> bytes:
    output = b""
    while data := await process.read():
        output += data
    return output
