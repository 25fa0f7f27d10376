"""From the start of `rondo run` until the first output of its job is on standard output, beside `docker run` alone."""

from __future__ import annotations

import asyncio
import time

from tests.bench.floors import docker_run
from tests.bench.report import Aim, Figure
from tests.bench.world import Bench, config, echoes, ms_since
from tests.cli.tree import Tree, tree_in

_LINE = b"job1 | step 1"


async def measure(bench: Bench) -> list[Figure]:
    folder = bench.scratch / "run"
    folder.mkdir()
    tree = tree_in(folder, config(echoes(1)))
    await _first_and_whole(bench, tree)  # the database is made by the first run of all
    samples: list[float] = []
    wholes: list[float] = []
    floors: list[float] = []
    whole_floors: list[float] = []
    for turn in bench.turns(9):
        run = await docker_run(bench.engine, "bridge", echoes(1))
        first_ms, whole_ms = await _first_and_whole(bench, tree)
        floors.append(run.first_ms)
        whole_floors.append(run.whole_ms)
        samples.append(first_ms)
        wholes.append(whole_ms)
        bench.say(f"rondo run {turn + 1}: floor {run.first_ms:.0f}, {first_ms:.0f} ms, whole {whole_ms:.0f}")
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


async def _first_and_whole(bench: Bench, tree: Tree) -> tuple[float, float]:
    environment = {**tree.environment, "DOCKER_HOST": bench.engine.url}
    begin_s = time.perf_counter()
    process = await asyncio.create_subprocess_exec(*tree.argv(), cwd=tree.root, env=environment, stdout=-1)
    assert process.stdout is not None
    first_ms = 0.0
    async for line in process.stdout:
        if not first_ms and line.startswith(_LINE):
            first_ms = ms_since(begin_s)
    assert await process.wait() == 0 and first_ms
    return first_ms, ms_since(begin_s)
