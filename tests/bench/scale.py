"""The engine by itself: jobs per second of small workflows in 30,000 projects, and how soon a node that may start does."""

from __future__ import annotations

import asyncio
import json
import sys

from tests.bench.engine_alone import IN_FLIGHT, JOBS
from tests.bench.report import Aim, Figure
from tests.bench.world import Bench

SECONDS = 20.0
STEADY_PER_S = 30.0  # pipelines of four jobs: 120 jobs a second are ten times a million a day


async def measure(bench: Bench) -> list[Figure]:
    seconds = SECONDS / 2 if bench.is_quick else SECONDS
    steady = await _engine(bench, "steady", seconds, STEADY_PER_S)
    most = await _engine(bench, "most", seconds, 0)
    return [
        Figure(
            name="engine alone, jobs ended at 120 offered a second",
            unit="jobs/s",
            samples=[steady["jobs_per_s"]],
            aim=Aim(of="value", at_least=118),
            note="the real scheduler and runners on a simulated executor; 30,000 projects, workflows of four jobs of five"
            f" steps; {steady['cpu_ms_per_job']:.1f} ms of CPU a job, the database then has {steady['database_mb']:.0f} MB",
        ),
        Figure(
            name=f"engine alone, jobs ended with {IN_FLIGHT * len(JOBS)} always in flight",
            unit="jobs/s",
            samples=[most["jobs_per_s"]],
            aim=Aim(of="value", at_least=120),
            note=f"the most that it can do; {most['cpu_ms_per_job']:.1f} ms of CPU a job",
        ),
        Figure(
            name="engine alone, from runnable to a runner at work, 99 %",
            unit="ms",
            samples=[steady["delay_p99_ms"]],
            aim=Aim(of="value", at_most=100),
            note=f"with free room, at 120 jobs a second; the median is {steady['delay_p50_ms']:.0f} ms",
        ),
        Figure(
            name="engine alone, memory after 20 s, of the warm one",
            unit="MB",
            samples=[steady["rss_after_mb"]],
            floor="the same five seconds after the start",
            floor_samples=[steady["rss_before_mb"]],
            aim=Aim(of="ratio", at_most=1.1),
        ),
    ]


async def _engine(bench: Bench, name: str, seconds: float, per_s: float) -> dict[str, float]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.bench.engine_alone",
        str(bench.scratch / name),
        str(seconds),
        str(per_s),
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(seconds + 240):
        said, _ = await process.communicate()
    assert process.returncode == 0, name
    found: dict[str, float] = json.loads(said)
    bench.say(f"engine alone, {name}: " + ", ".join(f"{key} {value:.1f}" for key, value in found.items()))
    return found
