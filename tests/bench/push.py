"""From `git push` until the first byte of the first step is in its log."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from tests.bench.floors import BareRepository, docker_run
from tests.bench.report import Figure
from tests.bench.world import Bench, Watched, appliance, config, echoes, made_ahead, ms_since, wait_until


async def measure(bench: Bench) -> list[Figure]:
    samples: list[float] = []
    pushes: list[float] = []
    floors: list[float] = []
    async with appliance(bench) as watched:
        bare = BareRepository(bench.scratch)
        await bare.prepare()
        text = config(echoes(1))
        for turn in bench.turns(9):
            run = await docker_run(bench.engine, watched.network, echoes(1))
            floors.append(await bare.push_ms(text) + run.first_ms)
            first_ms, push_ms = await _push_to_output(watched, text)
            samples.append(first_ms)
            pushes.append(push_ms)
            bench.say(f"push {turn + 1}: floor {floors[-1]:.0f}, {first_ms:.0f} ms (git push came back after {push_ms:.0f})")
    ahead, ahead_floors = await _ahead(bench)
    return [
        Figure(
            name="push to first output, docker.warm = 1",
            unit="ms",
            samples=ahead,
            floor="git push into a bare folder + docker run --rm to first output",
            floor_samples=ahead_floors,
        ),
        Figure(
            name="push to first output",
            unit="ms",
            samples=samples,
            floor="git push into a bare folder + docker run --rm to first output",
            floor_samples=floors,
            note="through the SSH door, hosted repository, one run step",
        ),
        Figure(name="git push of it, to its return", unit="ms", samples=pushes),
    ]


async def _ahead(bench: Bench) -> tuple[list[float], list[float]]:
    """The same where a container waits."""
    samples, floors = [], []
    async with appliance(bench, ahead=1) as watched:
        bare = BareRepository(bench.scratch / "ahead")
        (bench.scratch / "ahead").mkdir()
        await bare.prepare()
        text = config(echoes(1))
        for turn in bench.turns(9):
            await made_ahead(bench, watched, 1)
            run = await docker_run(bench.engine, watched.network, echoes(1))
            floors.append(await bare.push_ms(text) + run.first_ms)
            samples.append((await _push_to_output(watched, text))[0])
            bench.say(f"push, made ahead {turn + 1}: floor {floors[-1]:.0f}, {samples[-1]:.0f} ms")
    return samples, floors


async def _push_to_output(watched: Watched, text: str) -> tuple[float, float]:
    """Milliseconds to the first byte in the log, and to the return of `git push`."""
    await watched.commit(text)
    has_output = _watch_logs(watched)
    begin_s = time.perf_counter()

    async def push() -> float:
        await watched.place.push()
        return ms_since(begin_s)

    async with asyncio.TaskGroup() as group:
        pushing = group.create_task(push())
        await wait_until(has_output, every_s=0.002)
        first_ms = ms_since(begin_s)
    await watched.ended(watched.pushes, 1)
    return first_ms, pushing.result()


def _watch_logs(watched: Watched) -> Callable[[], bool]:
    """Whether the first run step of a new job has output. Folders of old jobs are not looked at again."""
    logs = watched.place.data / "blobs/logs"
    old = set(logs.glob("*/*"))

    def look() -> bool:
        files = (folder / "0/1.log" for folder in set(logs.glob("*/*")) - old)
        return any(file.exists() and file.stat().st_size > 0 for file in files)

    return look
