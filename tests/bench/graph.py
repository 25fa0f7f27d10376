"""What one job costs the database, by the size of its workflow: claimed, finished, and what follows from that."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

from appliance.engine import moves
from appliance.language import plan as plans
from appliance.model import NodeStatus, PipelineId, Trigger, TriggerKind, Vcs
from appliance.store import jobs, projects, queue
from appliance.store.database import Tx, open_plain, transact
from tests.bench.report import Aim, Figure
from tests.bench.world import Bench

_LARGE, _SMALL = 1000, 10


async def measure(bench: Bench) -> list[Figure]:
    samples, floors = [], []
    for turn in bench.turns(3):
        floors.append(_ms_per_job(bench.scratch / f"small{turn}.db", _SMALL))
        samples.append(_ms_per_job(bench.scratch / f"large{turn}.db", _LARGE))
        bench.say(f"graph {turn + 1}: floor {floors[-1]:.2f}, {samples[-1]:.2f} ms a job")
    return [
        Figure(
            name=f"workflow with {_LARGE} jobs, one job's transactions",
            unit="ms",
            samples=samples,
            floor=f"the same in workflows with {_SMALL} jobs",
            floor_samples=floors,
            aim=Aim(of="ratio", at_most=2),
            note="two transactions, synced; a first job, all the others after it, and one after all of them",
        )
    ]


def _ms_per_job(path: Path, size: int) -> float:
    """A workflow that fans out and in again, job by job; small ones until about as many jobs are done."""
    with closing(open_plain(path)) as tx:
        turns = max(1, 200 // size)
        for number in range(1, turns + 1):
            transact(tx, lambda tx: _make(tx, number, size))  # noqa: B023
        begin_s = time.perf_counter()
        done = 0
        while waiting := transact(tx, lambda tx: queue.waiting(tx, 200, 200)):
            for one in waiting:
                _run(tx, jobs.by_id(tx, one.job_id), one.index)
            done += len(waiting)
        assert done == turns * size
        return (time.perf_counter() - begin_s) * 1000 / done


def _run(tx: Tx, job: jobs.Job, index: int) -> None:
    def claim(tx: Tx) -> None:
        plan = jobs.plan_of(tx, job.id)
        wanted = moves.Claim(job_id=job.id, index=index, plan=plan, executor="none", cpus=1, memory_bytes=1)
        assert moves.start_node(tx, wanted, 2) is not None

    transact(tx, claim)
    transact(tx, lambda tx: moves.finish_node(tx, job.id, index, NodeStatus.SUCCESS, "", [], 3))


def _make(tx: Tx, number: int, size: int) -> None:
    if number == 1:
        projects.add(tx, org="acme", repo="app", vcs=Vcs.HOSTED, git_url=None, default_branch="main", now_ms=1)
    project = projects.all_of(tx)[0]
    trigger = Trigger(
        project_id=project.id, kind=TriggerKind.WEBHOOK, semantic_key=f"{number}", branch="main", revision="1" * 40
    )
    accepted = moves.accept(tx, trigger, 1, True)
    assert accepted is not None
    middle = [_job(f"job{at}", "first") for at in range(size - 2)]
    of = (_job("first"), *middle, _job("last", *(job.name for job in middle)))
    draft = moves.Draft(
        pipeline_id=PipelineId(f"p{number}"),
        number=number,
        source="",
        compiled="",
        values={},
        problems=[],
        plan=plans.Plan(version="2.1", workflows=(plans.Workflow(name="w", jobs=of),)),
    )
    assert moves.create_pipeline(tx, accepted.trigger_id, trigger, draft, 1) is not None


def _job(name: str, *requires: str) -> plans.Job:
    return plans.Job(
        name=name,
        requires=tuple(plans.Require(job=one) for one in requires),
        executor=plans.Docker(images=(plans.DockerImage(image="x"),)),
        steps=(plans.Run(command="true", name="true"),) * 10,
    )
