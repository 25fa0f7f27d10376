"""What tests of the engine's loops build on: a workshop and a scheduler upon given executors, a pipeline of given jobs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from appliance.bell import Bell
from appliance.blobs import Blobs
from appliance.clock import Clock, FakeClock
from appliance.crypto import SecretBox
from appliance.engine import moves, placement
from appliance.engine.classes import Classes
from appliance.engine.commands import LiveNodes
from appliance.engine.fit import Bounds, Machine
from appliance.engine.runner import run_node
from appliance.engine.scheduler import HERE, Scheduler
from appliance.engine.workshop import Limits, Workshop
from appliance.executors.base import Executor
from appliance.language import plan as plans
from appliance.model import PipelineId, Project, Trigger, TriggerKind, Vcs
from appliance.settings import RESOURCE_CLASSES
from appliance.store import jobs, projects
from appliance.store.database import Database, Tx
from appliance.vcs.client import Git
from appliance.vcs.mirror import Mirrors
from appliance.vcs.plain import PlainGit

NOW = 1_000
BOX = SecretBox(b"k" * 32)
PLACES = placement.Places(
    has_docker=True,
    has_local=False,
    local_takes_all=False,
    machine_image="",
    default_class="medium",
    classes=Classes(RESOURCE_CLASSES),
)


def workshop(
    db: Database,
    folder: Path,
    executors: Mapping[str, Executor],
    *,
    bell: Bell | None = None,
    clock: Clock | None = None,
    box: SecretBox = BOX,
) -> Workshop:
    return Workshop(
        db=db,
        bell=bell or Bell(),
        clock=clock or FakeClock(NOW),
        blobs=Blobs(folder / "blobs"),
        box=box,
        live=LiveNodes(),
        executors=executors,
        providers={Vcs.GITHUB: PlainGit(Mirrors(Git(), folder))},
        places=PLACES,
        limits=Limits(longest_s=60, grace_s=1, log_bytes=1 << 20),
        everywhere={},
        web_url="http://x",
        ssh_command=lambda number, index: "",
        git_url=lambda project: "",
        carry_on=None,
        known_hosts=lambda: "",
    )


def scheduler(shop: Workshop, **changes: Any) -> Scheduler:
    """One whose runners work in this shop, on a machine with room for one node; `changes` are of its arguments."""
    arguments: dict[str, Any] = {
        "db": shop.db,
        "bell": shop.bell,
        "clock": shop.clock,
        "executors": shop.executors,
        "places": shop.places,
        "machine": Machine(name=HERE, cpus=8, memory_bytes=8 << 30, nodes=1),
        "bounds": Bounds(),
        "run_node": lambda job_id, index: run_node(shop, job_id, index),
        "check_disk": lambda: None,
    }
    return Scheduler(**{**arguments, **changes})


@asynccontextmanager
async def at_work(loop: Coroutine[Any, Any, None]) -> AsyncIterator[asyncio.Task[None]]:
    """A loop of the engine, as long as the block runs."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(loop)
        yield task
        task.cancel()


def draft(*of: plans.Job, number: int = 1, is_setup: bool = False, key: str = "") -> moves.Draft:
    """One workflow of these jobs."""
    return moves.Draft(
        pipeline_id=PipelineId(f"p{number}"),
        number=number,
        source="",
        compiled="",
        values={},
        problems=[],
        plan=plans.Plan(version="2.1", workflows=(plans.Workflow(name="w", jobs=of),), is_setup=is_setup),
        key=key,
    )


def project_of(tx: Tx) -> Project:
    """The only one; made when it is wanted first."""
    return next(iter(projects.all_of(tx)), None) or projects.add(
        tx, org="acme", repo="app", vcs=Vcs.GITHUB, git_url="https://x/a.git", default_branch="main", now_ms=NOW
    )


def pipeline(tx: Tx, *of: plans.Job, number: int = 1, is_fork: bool = False, now_ms: int = NOW) -> list[jobs.Job]:
    """The rows of these jobs, made of a push to the only project."""
    trigger = Trigger(
        project_id=project_of(tx).id,
        kind=TriggerKind.WEBHOOK,
        semantic_key=f"{number}",
        branch="main",
        revision="1" * 40,
        is_fork=is_fork,
    )
    accepted = moves.accept(tx, trigger, now_ms, True)
    assert accepted is not None
    assert moves.create_pipeline(tx, accepted.trigger_id, trigger, draft(*of, number=number), now_ms) is not None
    return jobs.of_pipeline(tx, PipelineId(f"p{number}"))


async def one_job(db: Database, steps: int = 1) -> jobs.Job:
    """A project with a secret and a pipeline of one job that waits."""

    def make(tx: Tx) -> jobs.Job:
        projects.set_secret(tx, BOX, project_of(tx).id, "TOKEN", "hidden", NOW)
        image = plans.Docker(images=(plans.DockerImage(image="x"),))
        true = plans.Run(command="true", name="true")
        return pipeline(tx, plans.Job(name="build", executor=image, steps=(true,) * steps))[0]

    return await db.write(make)


def claim(tx: Tx, job: jobs.Job, executor: str, index: int = 0) -> moves.Changed | None:
    """What the scheduler does with a node; None when it may not run."""
    plan = jobs.plan_of(tx, job.id)
    wanted = moves.Claim(job_id=job.id, index=index, plan=plan, executor=executor, cpus=1, memory_bytes=1)
    return moves.start_node(tx, wanted, NOW)
