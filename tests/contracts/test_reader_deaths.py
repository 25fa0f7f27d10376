"""A reader killed at any moment, and the next one going on at its offset: no byte lost, none twice, no step twice."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import random
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from appliance.executors.base import Container, Sandbox, SandboxSpec
from tests.contracts.reader import SCRIPTS, make
from tests.engine_fixture import BUSYBOX, DEBIAN, Engine
from tests.openssh import Machine

READER = Path(__file__).with_name("reader.py")
DEATHS = 40
INSTANCE = f"deaths-{os.getpid()}"


@pytest.fixture(
    params=[
        pytest.param(DEBIAN, marks=pytest.mark.docker, id="docker-debian"),
        pytest.param(BUSYBOX, marks=pytest.mark.docker, id="docker-busybox"),
        pytest.param(None, id="local"),
        pytest.param("ssh", id="machine"),
    ]
)
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[str, str, Sandbox]]:
    """(kind, where, a fresh sandbox)"""
    image: str | None = request.param
    if image == "ssh":
        there: Machine = request.getfixturevalue("ssh_machine")
        kind, image = "machine", None
        where = json.dumps(dataclasses.asdict(there.address()) | {"folder": str(tmp_path / "machine")})
    elif image:
        engine: Engine = request.getfixturevalue("docker_engine")
        kind, where = "docker", engine.url
    else:
        kind, where = "local", str(tmp_path / "local")
    executor = make(kind, where, INSTANCE)
    containers = (Container(image=image),) if image else ()

    async def quiet(_: bytes) -> None: ...

    sandbox = await executor.open(SandboxSpec(node="deaths.0", containers=containers), quiet)
    await sandbox.detach()
    yield kind, where, sandbox
    await sandbox.close()
    await executor.close()


def expected() -> list[tuple[bytes, int]]:
    """What the scripts print when nobody dies."""
    results = []
    for script in SCRIPTS:
        if "late" in script:
            results.append((b"early\n", 0))
            continue
        argv = ["bash", "-eo", "pipefail", "-c", script]
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        results.append((done.stdout, done.returncode))
    return results


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
async def test_no_byte_is_lost_or_doubled_when_readers_are_killed(
    place: tuple[str, str, Sandbox], tmp_path: Path, seed: int
) -> None:
    kind, where, sandbox = place
    if (kind, seed) == ("machine", 2):
        pytest.skip("once is enough: here every reader logs in first")
    chance = random.Random(seed)
    longest_ms = 250 if kind == "machine" else 60  # a login comes first
    moments = [f"{chance.uniform(1, longest_ms):.1f}" for _ in range(DEATHS)]
    folder = tmp_path / "seen"
    folder.mkdir()
    reader = await asyncio.create_subprocess_exec(
        *(sys.executable, READER, kind, where, INSTANCE, sandbox.ref, folder),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await reader.communicate("\n".join([*moments, "-", ""]).encode())
    words = output.decode().split("\n")
    assert words[DEATHS] == "done 0", words
    assert words.count("killed") >= 25, "too few died before the job was done: the test proves nothing"
    for index, (whole, code) in enumerate(await asyncio.to_thread(expected)):
        seen = (folder / f"{index}.log").read_bytes()
        assert seen[: len(whole)] == whole, f"step {index}: {len(seen)} of {len(whole)} bytes, or others"
        assert seen[len(whole) :] in (b"", b"late\n"), f"step {index}: more than was written"
        assert (folder / f"{index}.exit").read_text() == str(code)
    started = await sandbox.process(["sh", "-c", "cat ~/started"])
    assert (await started.read()).decode().split() == [str(index) for index in range(len(SCRIPTS))]
    await started.kill()
