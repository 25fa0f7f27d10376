"""Jobs per second of ten steps each, eight in flight, pushed as one workflow through the whole appliance."""

from __future__ import annotations

import time

from tests.bench.floors import ExecPerStep, engine_api
from tests.bench.report import Aim, Figure
from tests.bench.world import Bench, Watched, appliance, at_work, config, echoes, made_ahead, wait_until

IN_FLIGHT = 8


async def measure(bench: Bench) -> list[Figure]:
    jobs = [echoes(10)] * (16 if bench.is_quick else 24)
    samples: list[float] = []
    floors: list[float] = []
    bounds: list[float] = []
    ahead: list[float] = []
    async with appliance(bench, at_once=IN_FLIGHT, ahead=IN_FLIGHT) as watched, engine_api(bench.engine) as docker:
        floor = ExecPerStep(docker, watched.network, _instance(watched))
        for turn in bench.turns(3):
            floors.append(await floor.jobs_per_s(jobs, IN_FLIGHT))
            await made_ahead(bench, watched, IN_FLIGHT)
            ahead.append(await _jobs_per_s(bench, watched, jobs))
            bench.say(f"throughput {turn + 1}: floor {floors[-1]:.2f}, with {IN_FLIGHT} made ahead {ahead[-1]:.2f} jobs/s")
    ahead_floors, floors = floors, []
    async with appliance(bench, at_once=IN_FLIGHT) as watched, engine_api(bench.engine) as docker:
        floor = ExecPerStep(docker, watched.network, _instance(watched))
        for turn in bench.turns(3):
            floors.append(await floor.jobs_per_s(jobs, IN_FLIGHT))
            samples.append(await _jobs_per_s(bench, watched, jobs))
            bounds.append(await floor.jobs_per_s([[]] * len(jobs), IN_FLIGHT))
            bench.say(f"throughput {turn + 1}: floor {floors[-1]:.2f}, {samples[-1]:.2f}, bound {bounds[-1]:.2f} jobs/s")
    return [
        Figure(
            name="jobs of ten steps, 8 in flight",
            unit="jobs/s",
            samples=samples,
            floor="one docker exec per step, straight to the engine's API",
            floor_samples=floors,
            aim=Aim(of="ratio", at_least=2),
            note="from the push until the last container is gone",
        ),
        Figure(
            name=f"the same, docker.warm = {IN_FLIGHT}",
            unit="jobs/s",
            samples=ahead,
            floor="one docker exec per step, straight to the engine's API",
            floor_samples=ahead_floors,
            note=f"{IN_FLIGHT} of {len(jobs)} containers wait when the push comes, more are made between the jobs",
        ),
        Figure(
            name="jobs of ten steps, of the bound",
            unit="jobs/s",
            samples=samples,
            floor="containers made and removed without a single step: no fresh ones can be had faster",
            floor_samples=bounds,
        ),
    ]


async def _jobs_per_s(bench: Bench, watched: Watched, jobs: list[list[str]]) -> float:
    """With all that belongs to it: the reading of the config, the rows, and the removal of the containers."""
    await watched.commit(config(*jobs))
    begin_s = time.perf_counter()
    await watched.place.push()
    await watched.ended(watched.pushes, len(jobs))
    await wait_until(lambda: not at_work(bench.engine, _instance(watched)), every_s=0.05)
    return len(jobs) / (time.perf_counter() - begin_s)


def _instance(watched: Watched) -> str:
    return watched.network.removeprefix("rondo-")
