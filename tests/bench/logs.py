"""Log throughput with twenty secrets: masked and written, beside merely reading the same stream of an exec."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Callable
from pathlib import Path

from appliance.engine.logs import LogWriter, needles
from appliance.executors.base import Container, Sandbox, SandboxSpec
from appliance.executors.docker import DockerExecutor
from tests.bench.report import Aim, Figure
from tests.bench.world import Bench, Watched, appliance, nothing_left
from tests.engine_fixture import DEBIAN

LINES = 1000  # of a block; every 500th shows a secret
FILE = "/tmp/much"


def secrets() -> dict[str, str]:
    """Twenty of the usual looks."""

    def value(number: int) -> str:
        return base64.b64encode(hashlib.sha256(str(number).encode()).digest()).decode()[: 20 + number]

    return {f"SECRET_{number}": value(number) for number in range(20)}


def fill(size_mib: int) -> str:
    """A shell command that makes the file: lines as a build prints them."""
    block = "".join(_line(number) for number in range(LINES))
    times = (size_mib << 20) // len(block) + 1
    return (
        f"printf %s '{block}' >{FILE}.block\n"
        f"python3 -c \"block = open('{FILE}.block', 'rb').read(); out = open('{FILE}', 'wb')\n"
        f'for _ in range({times}): out.write(block)"\necho made'
    )


def _line(number: int) -> str:
    if number % 500 == 250:
        return f"connecting with token {secrets()[f'SECRET_{number % 20}']} to the registry\n"
    return f"[{number:4d}/{LINES}] Compiling module_{number * 7919 % 10007} with {number % 97} dependencies, flags -O2 -g\n"


async def measure(bench: Bench) -> list[Figure]:
    size_mib = 64 if bench.is_quick else 200
    read: list[float] = []
    masked: list[float] = []
    stepped: list[float] = []
    instance = f"bench-{time.time_ns():x}"
    with nothing_left(bench.engine, instance):
        executor = DockerExecutor(instance, bench.engine.url)
        try:
            spec = SandboxSpec(node="1.0", containers=(Container(image=DEBIAN),))
            sandbox = await executor.open(spec, _quiet)
            async with appliance(bench, secrets=secrets()) as watched:
                await _stream(sandbox, ["sh", "-c", fill(size_mib)], _nowhere)
                for turn in bench.turns(4):
                    read.append(await _stream(sandbox, ["cat", FILE], _nowhere))
                    masked.append(await _masked(bench, sandbox))
                    stepped.append(await _step(watched, size_mib))
                    bench.say(f"log {turn + 1}: floor {read[-1]:.0f}, {masked[-1]:.0f}, a step {stepped[-1]:.0f} MB/s")
        finally:
            await executor.close()
    floor = "reading the same exec stream and dropping it"
    aim = Aim(of="ratio", at_least=0.4)
    return [
        Figure(name="log: masked and written", unit="MB/s", samples=masked, floor=floor, floor_samples=read, aim=aim),
        Figure(name="log: a whole step of a job", unit="MB/s", samples=stepped, floor=floor, floor_samples=read),
    ]


async def _quiet(_: bytes) -> None:
    """Nobody watches the sandbox being made."""


def _nowhere(_: bytes) -> None:
    """Where the floor's output goes."""


async def _stream(sandbox: Sandbox, argv: list[str], take: Callable[[bytes], None]) -> float:
    """The output of a process into `take`; MB/s."""
    begin_s, size = time.perf_counter(), 0
    process = await sandbox.process(argv)
    while chunk := await process.read():
        size += len(chunk)
        take(chunk)
    assert await process.wait() == 0
    return size / 1e6 / (time.perf_counter() - begin_s)


async def _masked(bench: Bench, sandbox: Sandbox) -> float:
    path = Path(bench.scratch) / "masked.log"
    with LogWriter(path, needles(secrets().values())) as writer:
        found = await _stream(sandbox, ["cat", FILE], writer.write)
        writer.flush()
    text = path.read_bytes()[: 1 << 20]
    assert b"token **** to" in text and not any(secret.encode() in text for secret in secrets().values())
    for file in (path, path.with_suffix(".idx")):
        file.unlink(missing_ok=True)
    return found


async def _step(watched: Watched, size_mib: int) -> float:
    """The same output as a step of a job: by the supervisor's file, followed, masked, written."""
    number = await watched.run([fill(size_mib), f"cat {FILE}"])
    log = max(watched.place.data.glob("blobs/logs/*/*/0/2.log"), key=lambda path: path.stat().st_mtime_ns)
    size = log.stat().st_size
    assert size >= size_mib << 20, size
    log.unlink()
    return size / 1000 / watched.step_ms(number, 2)
