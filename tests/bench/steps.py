"""How long a job of one and of ten steps takes beside one bare `docker run`, and what each step of two hundred costs."""

from __future__ import annotations

from tests.bench.floors import DockerRun, docker_run, shell_ms
from tests.bench.report import Aim, Figure
from tests.bench.world import Bench, appliance, echoes

MANY = 200


async def measure(bench: Bench) -> list[Figure]:
    found: dict[int, list[float]] = {1: [], 10: [], MANY: []}
    floors: list[DockerRun] = []
    shells: list[float] = []
    async with appliance(bench) as watched:
        for turn in bench.turns(6):
            floors.append(await docker_run(bench.engine, watched.network, echoes(10)))
            shells.append(await shell_ms(bench.engine, watched.network, MANY - 10))
            for count, samples in found.items():
                samples.append(watched.node_ms(await watched.run(echoes(count))))
            bench.say(f"steps {turn + 1}: floor {floors[-1].whole_ms:.0f}, {[round(x[-1]) for x in found.values()]} ms")
    whole = [floor.whole_ms for floor in floors]
    further = [(many - ten) / (MANY - 10) for many, ten in zip(found[MANY], found[10], strict=True)]
    run = "docker run --rm, same commands in one shell, same network"
    return [
        Figure(name="job of one step", unit="ms", samples=found[1], floor=run, floor_samples=whole),
        Figure(
            name="job of ten steps",
            unit="ms",
            samples=found[10],
            floor=run,
            floor_samples=whole,
            aim=Aim(of="ratio", at_most=1.15),
        ),
        Figure(
            name="job of ten steps, to output",
            unit="ms",
            samples=found[10],
            floor="the same, but only until its output is there",
            floor_samples=[floor.first_ms for floor in floors],
        ),
        Figure(
            name=f"each further step, of {MANY}",
            unit="ms",
            samples=further,
            floor="a new bash for each command in one container, nothing else",
            floor_samples=shells,
            aim=Aim(of="value", at_most=10),
        ),
    ]
