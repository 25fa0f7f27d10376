"""What the same work costs without us."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiodocker
import aiohttp

from tests.bench.world import INSTANCE_LABEL, ms_since
from tests.engine_fixture import DEBIAN, Engine
from tests.whole import PERSON


@dataclass(frozen=True)
class DockerRun:
    """How long one `docker run --rm` took."""

    first_ms: float  # to the first byte of output
    whole_ms: float  # to the end of the docker command


async def docker_run(engine: Engine, network: str, commands: Sequence[str]) -> DockerRun:
    """All commands in one shell of one container."""
    script = "\n".join(commands)
    words = ("-H", engine.url, "run", "--rm", "--network", network, DEBIAN, "bash", "-eo", "pipefail", "-c", script)
    begin_s = time.perf_counter()
    process = await asyncio.create_subprocess_exec("docker", *words, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    first = await process.stdout.read(1)
    first_ms = ms_since(begin_s)
    rest = await process.stdout.read()
    code = await process.wait()
    assert code == 0 and first, (code, first + rest)
    return DockerRun(first_ms, ms_since(begin_s))


async def shell_ms(engine: Engine, network: str, count: int) -> float:
    """What each of `count` commands costs when each has a shell of its own, as a step has; on the container's clock."""
    loop = f"for i in $(seq {count}); do setsid -w bash -eo pipefail -c 'echo step'; done"
    script = f"begin=$(date +%s%N); {loop}; date +%s%N; echo $begin"
    words = ("-H", engine.url, "run", "--rm", "--network", network, DEBIAN, "bash", "-c", script)
    process = await asyncio.create_subprocess_exec("docker", *words, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    end, begin = map(int, output.split()[-2:])
    return (end - begin) / 1e6 / count


class BareRepository:
    """A repository that only takes pushes: on this disk, without SSH, hooks or anybody who reads it."""

    def __init__(self, folder: Path) -> None:
        self._work = folder / "floor-work"
        self._bare = folder / "floor.git"
        self._pushes = 0

    async def prepare(self) -> None:
        for words in (("init", "-q", "--bare", str(self._bare)), ("init", "-q", "-b", "main", str(self._work))):
            await _git(self._work.parent, *words)

    async def push_ms(self, text: str) -> float:
        self._pushes += 1
        (self._work / "file").write_text(f"{text}\n{self._pushes}\n")
        await _git(self._work, "add", "-A")
        await _git(self._work, *PERSON, "commit", "-q", "-m", f"Push {self._pushes}")
        begin_s = time.perf_counter()
        await _git(self._work, "push", "-q", str(self._bare), "main")
        return ms_since(begin_s)


async def _git(folder: Path, *words: str) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1"}
    process = await asyncio.create_subprocess_exec("git", *words, cwd=folder, env=environment)
    assert await process.wait() == 0, words


class ExecPerStep:
    """Jobs on the engine's API as most CI servers do it: a container that sleeps, and an exec for every step."""

    def __init__(self, docker: aiodocker.Docker, network: str, instance: str) -> None:
        self._docker = docker
        self._network = network
        self._labels = {INSTANCE_LABEL: instance}

    async def jobs_per_s(self, jobs: Sequence[Sequence[str]], in_flight: int) -> float:
        waiting = list(jobs)

        async def worker() -> None:
            while waiting:
                await self._job(waiting.pop())

        begin_s = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for _ in range(in_flight):
                group.create_task(worker())
        return len(jobs) / (time.perf_counter() - begin_s)

    async def _job(self, commands: Sequence[str]) -> None:
        container = await self._docker.containers.create(
            {
                "Image": DEBIAN,
                "Cmd": ["sleep", "600"],
                "Labels": self._labels,
                "HostConfig": {"NetworkMode": self._network, "LogConfig": {"Type": "none", "Config": {}}},
            }
        )
        try:
            await container.start()
            for command in commands:
                await self._step(container, command)
        finally:
            await container.delete(force=True, v=True)

    async def _step(self, container: Any, command: str) -> None:
        one = await container.exec(["bash", "-eo", "pipefail", "-c", command])
        output = b""
        async with one.start(detach=False) as stream:
            while (message := await stream.read_out()) is not None:
                output += message.data
        assert (await one.inspect())["ExitCode"] == 0 and output, output


@asynccontextmanager
async def engine_api(engine: Engine) -> AsyncIterator[aiodocker.Docker]:
    connector = aiohttp.UnixConnector(engine.socket, limit=0)
    docker = aiodocker.Docker(url="unix://localhost", connector=connector)
    try:
        yield docker
    finally:
        with contextlib.suppress(aiohttp.ClientError):
            await docker.close()
        await connector.close()
