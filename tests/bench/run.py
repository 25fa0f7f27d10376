"""From the start of `rondo run` until the first output of its job is on standard output, beside `docker run` alone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.floors import docker_run
from tests.bench.report import Aim, Figure
from tests.bench.world import Bench, config, echoes, ms_since
from tests.cli.tree import Tree, tree_in

_LINE = b"job1 | step 1"


@dataclass(frozen=True)
class Took:
    first_ms: float  # to the first output of a step
    whole_ms: float


async def measure(bench: Bench) -> list[Figure]:
    folder = bench.scratch / "run"
    folder.mkdir()
    tree = tree_in(folder, config(echoes(1)))
    await _run(bench, tree)  # the database is made by the first run of all
    samples: list[float] = []
    wholes: list[float] = []
    floors: list[float] = []
    whole_floors: list[float] = []
    for turn in bench.turns(9):
        run = await docker_run(bench.engine, "bridge", echoes(1))
        took = await _run(bench, tree)
        floors.append(run.first_ms)
        whole_floors.append(run.whole_ms)
        samples.append(took.first_ms)
        wholes.append(took.whole_ms)
        bench.say(f"rondo run {turn + 1}: floor {run.first_ms:.0f}, {took.first_ms:.0f} ms, whole {took.whole_ms:.0f}")
    return [
        Figure(
            name="rondo run to first output",
            unit="ms",
            samples=samples,
            floor="docker run --rm to first output",
            floor_samples=floors,
            aim=Aim(of="ratio", at_most=1.5),
        ),
        Figure(
            name="rondo run, whole",
            unit="ms",
            samples=wholes,
            floor="docker run --rm, whole",
            floor_samples=whole_floors,
        ),
    ]


async def _run(bench: Bench, tree: Tree) -> Took:
    environment = {**tree.environment, "DOCKER_HOST": bench.engine.url}
    return await timed(tree.argv(), tree.root, environment, lambda line: line.startswith(_LINE))


async def timed(
    words: Sequence[str], folder: Path, environment: Mapping[str, str], is_first: Callable[[bytes], bool]
) -> Took:
    """A command that ends well and prints a line that `is_first`."""
    begin_s = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        *words, cwd=folder, env=environment, stdin=asyncio.subprocess.DEVNULL, stdout=-1, stderr=asyncio.subprocess.STDOUT
    )
    assert process.stdout is not None
    first_ms, said = 0.0, b""
    async for line in process.stdout:
        said += line
        if not first_ms and is_first(line):
            first_ms = ms_since(begin_s)
    assert await process.wait() == 0 and first_ms, said.decode("utf-8", "replace")
    return Took(first_ms, ms_since(begin_s))
