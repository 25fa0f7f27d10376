"""python -m tests.bench.engine_alone FOLDER SECONDS PIPELINES_PER_S: the engine at work, with sandboxes that do nothing.

With 0 pipelines a second there are always IN_FLIGHT of them: how much it can do at most.

A process of its own, so that its memory is the engine's. Real are the database, the scheduler, the runners with their
logs and tokens, and the transactions of intake; the executor is not, and no forge is asked for a config. Says what it
measured as one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
import uuid
from array import array
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from appliance.bell import Bell
from appliance.blobs import Blobs
from appliance.clock import SystemClock
from appliance.crypto import SecretBox
from appliance.engine import moves, placement
from appliance.engine.classes import Classes
from appliance.engine.commands import LiveNodes
from appliance.engine.fit import Bounds, Machine
from appliance.engine.runner import run_node
from appliance.engine.scheduler import HERE, Scheduler
from appliance.engine.workshop import Limits, Workshop
from appliance.executors.base import Command, Exit, Notice, Progress, SandboxSpec
from appliance.executors.fake import FakeExecutor, FakeSandbox
from appliance.language import plan as plans
from appliance.model import JobId, PipelineId, ProjectId, Trigger, TriggerKind, Vcs
from appliance.settings import RESOURCE_CLASSES
from appliance.store import pipelines, projects
from appliance.store.database import Database, Tx, open_database
from appliance.vcs.client import Git
from appliance.vcs.mirror import Mirrors
from appliance.vcs.plain import PlainGit

PROJECTS = 30_000
STEPS = 5
JOBS = ("build", "lint", "test", "deploy")  # build, then two beside each other, then the last
WARM_S = 5.0
IN_FLIGHT = 100  # pipelines; each lasts 3 s and has half of its jobs behind it on average: 200 jobs/s at most
_STEP_S = 0.2  # of doing nothing: so that many are under way at once, as in life
_REVISION = "1" * 40
_QUEUED = "SELECT id, queued_at_ms FROM jobs"


class IdleExecutor(FakeExecutor):
    """Its commands say a word after a while, and have then succeeded."""

    async def open(self, spec: SandboxSpec, progress: Progress) -> FakeSandbox:
        await super().open(spec, progress)
        return _IdleSandbox(self.nodes, spec.node, None)


class _IdleSandbox(FakeSandbox):
    async def run(
        self, command: Command, offset: int = 0, notice: Notice | None = None
    ) -> AsyncGenerator[bytes | Exit, None]:
        await asyncio.sleep(_STEP_S)
        yield b"done\n"
        yield Exit(0)


def plan() -> plans.Plan:
    """A workflow as most are: a few jobs of a few steps."""
    requires = {"build": (), "lint": ("build",), "test": ("build",), "deploy": ("lint", "test")}
    made = tuple(
        plans.Job(
            name=name,
            requires=tuple(plans.Require(job=one) for one in requires[name]),
            executor=plans.Docker(images=(plans.DockerImage(image="x"),)),
            steps=tuple(plans.Run(command="make", name=f"step {number}") for number in range(STEPS)),
        )
        for name in JOBS
    )
    return plans.Plan(version="2.1", workflows=(plans.Workflow(name="w", jobs=made),))


def add_projects(tx: Tx, count: int) -> list[ProjectId]:
    made = [
        projects.add(
            tx,
            org=f"org{number % 300}",
            repo=f"repo{number}",
            vcs=Vcs.GIT,
            git_url=f"https://forge.test/{number}.git",
            default_branch="main",
            now_ms=1,
        )
        for number in range(count)
    ]
    return [project.id for project in made]


class Seen:
    """When each node was in the hands of its runner, and when each had ended. In little memory, which is measured."""

    def __init__(self, file: Path) -> None:
        self._file = file.open("w+")
        self._begun = 0
        self.ended_s = array("d")

    @property
    def begun(self) -> int:
        return self._begun

    def begin(self, job_id: JobId) -> None:
        self._begun += 1
        self._file.write(f"{job_id} {time.time() * 1000}\n")

    def begun_ms(self) -> list[tuple[JobId, float]]:
        self._file.seek(0)
        return [(JobId(job_id), float(at_ms)) for job_id, _, at_ms in (line.partition(" ") for line in self._file)]


class House:
    """The parts of the engine that pipelines go through, put together as `app` does."""

    def __init__(self, db: Database, folder: Path) -> None:
        self.db = db
        self.bell = Bell()
        self.clock = SystemClock()
        self.seen = Seen(folder / "begun")
        executors = {"docker": IdleExecutor()}
        places = placement.Places(
            has_docker=True,
            has_local=False,
            local_takes_all=False,
            machine_image="",
            default_class="medium",
            classes=Classes(RESOURCE_CLASSES),
        )
        self._shop = Workshop(
            db=db,
            bell=self.bell,
            clock=self.clock,
            blobs=Blobs(folder / "blobs"),
            box=SecretBox(b"k" * 32),
            live=LiveNodes(),
            executors=executors,
            providers={Vcs.GIT: PlainGit(Mirrors(Git(), folder / "mirrors"))},
            places=places,
            limits=Limits(longest_s=3600, grace_s=1, log_bytes=1 << 20),
            everywhere={},
            web_url="http://localhost",
            ssh_command=lambda number, index: f"ssh {number}.{index}",
            git_url=lambda project: project.git_url or "",
            carry_on=None,
            known_hosts=lambda: "",
        )
        self.scheduler = Scheduler(
            db=db,
            bell=self.bell,
            clock=self.clock,
            executors=executors,
            places=places,
            machine=Machine(name=HERE, cpus=100_000, memory_bytes=1 << 60, nodes=100_000),
            bounds=Bounds(),
            run_node=self._run,
            check_disk=lambda: None,
        )

    async def _run(self, job_id: JobId, index: int) -> None:
        self.seen.begin(job_id)
        await run_node(self._shop, job_id, index)
        self.seen.ended_s.append(time.monotonic())

    async def push(self, project_id: ProjectId, number: int, of: plans.Plan) -> None:
        """What a door and intake write for one push."""
        trigger = Trigger(
            project_id=project_id,
            kind=TriggerKind.WEBHOOK,
            semantic_key=f"push {number}",
            branch="main",
            revision=_REVISION,
        )
        now_ms = self.clock.now_ms()
        accepted = await self.db.write(lambda tx: moves.accept(tx, trigger, now_ms, True))
        assert accepted is not None
        taken = await self.db.write(lambda tx: pipelines.next_number(tx, project_id))
        draft = moves.Draft(
            pipeline_id=PipelineId(str(uuid.uuid4())),
            number=taken,
            source="version: 2.1\n" * 50,
            compiled="version: 2.1\n" * 100,
            values={"pipeline.number": taken},
            problems=[],
            plan=of,
        )
        made_ms = self.clock.now_ms()
        changed = await self.db.write(lambda tx: moves.create_pipeline(tx, accepted.trigger_id, trigger, draft, made_ms))
        assert changed is not None
        self.bell.ring("pipelines", "work", "outbox", *changed.topics())


@asynccontextmanager
async def working(folder: Path) -> AsyncIterator[House]:
    """A house whose scheduler works."""
    (folder / "mirrors").mkdir(parents=True)
    async with open_database(folder / "rondo.db") as db:
        house = House(db, folder)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(house.scheduler.run([]))
            yield house
            task.cancel()


async def feed(house: House, of_projects: list[ProjectId], per_s: float, seconds: float) -> int:
    """Pipelines one after the other at an even pace, each of another project; how many."""
    of = plan()
    begin_s, number = time.monotonic(), 0
    async with asyncio.TaskGroup() as group:
        while time.monotonic() - begin_s < seconds:
            due = int((time.monotonic() - begin_s) * per_s)
            while number < due:
                group.create_task(house.push(of_projects[number * 7919 % len(of_projects)], number, of))
                number += 1
            await asyncio.sleep(0.01)
    return number


async def keep_busy(house: House, of_projects: list[ProjectId], seconds: float) -> int:
    """As many pipelines in flight as there may be; how many there were."""
    of = plan()
    begin_s, number = time.monotonic(), 0
    while time.monotonic() - begin_s < seconds:
        if number - len(house.seen.ended_s) // len(JOBS) < IN_FLIGHT:
            await house.push(of_projects[number * 7919 % len(of_projects)], number, of)
            number += 1
        else:
            await asyncio.sleep(0.005)
    return number


async def measure(folder: Path, seconds: float, per_s: float) -> dict[str, float]:
    async with working(folder) as house:
        made = await house.db.write(lambda tx: add_projects(tx, PROJECTS))
        feed_it = feed(house, made, per_s, WARM_S + seconds) if per_s else keep_busy(house, made, WARM_S + seconds)
        feeding = asyncio.ensure_future(feed_it)
        await asyncio.sleep(WARM_S)
        before_mb, cpu_s, begin_s, first = rss_mb(), time.process_time(), time.monotonic(), house.seen.begun
        await asyncio.sleep(seconds)
        cpu_s, lasted_s = time.process_time() - cpu_s, time.monotonic() - begin_s
        after_mb = rss_mb()
        begun = house.seen.begun_ms()[first:]
        ended = sum(begin_s <= at_s <= begin_s + lasted_s for at_s in house.seen.ended_s)
        pushed = await feeding
        async with asyncio.timeout(120):
            while len(house.seen.ended_s) < pushed * len(JOBS):  # noqa: ASYNC110 - what is left
                await asyncio.sleep(0.05)
        queued_ms = await house.db.read(lambda tx: {row["id"]: row["queued_at_ms"] for row in tx.execute(_QUEUED)})
    delays = sorted(at_ms - queued_ms[job_id] for job_id, at_ms in begun)
    return {
        "offered_per_s": per_s * len(JOBS),
        "jobs_per_s": ended / lasted_s,
        "delay_p50_ms": delays[len(delays) // 2],
        "delay_p99_ms": delays[int(len(delays) * 0.99)],
        "rss_before_mb": before_mb,
        "rss_after_mb": after_mb,
        "cpu_ms_per_job": cpu_s * 1000 / max(1, ended),
        "database_mb": (folder / "rondo.db").stat().st_size / 1e6,
    }


def rss_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])))))
