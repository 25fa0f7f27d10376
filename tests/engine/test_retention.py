"""What goes for its age or its size, and what never does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from appliance.engine import moves, reruns
from appliance.engine.retention import Retention, Terms
from appliance.errors import NotFound
from appliance.model import JobId, NodeStatus, Project
from appliance.store import jobs, pipelines, retention, room, workspaces
from appliance.store.database import Tx
from tests.web.world import World, job, serving_world, workflow

DAY_MS = 86_400_000
FOREVER = Terms(pipelines_ms=0, logs_ms=0, log_bytes=0, letters_ms=0)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with serving_world(tmp_path) as made:
        yield made


def keeper(world: World, pipelines_days: float = 0, logs_days: float = 0, log_bytes: int = 0) -> Retention:
    terms = Terms(
        pipelines_ms=int(pipelines_days * DAY_MS), logs_ms=int(logs_days * DAY_MS), log_bytes=log_bytes, letters_ms=DAY_MS
    )
    return Retention(db=world.db, blobs=world.blobs, terms=terms)


async def ended(world: World, project: Project, log_bytes: int = 100) -> jobs.Job:
    """A job that ran to its end, with a log of so many bytes."""
    row = await world.run(await world.pipeline(project, workflow("ci", job("test", "make"))), "test")
    for path in (world.blobs.root / "logs").rglob(f"{row.id}/*/*"):
        path.unlink()
    world.blobs.log(row.id, 0, 1).write_bytes(b"x" * log_bytes)
    return row


async def age(world: World, days: float) -> None:
    """Everything that is there began and ended so long ago."""

    def move(tx: Tx) -> None:
        tx.execute("UPDATE jobs SET stopped_at_ms = stopped_at_ms - :ms", {"ms": int(days * DAY_MS)})
        tx.execute("UPDATE pipelines SET created_at_ms = created_at_ms - :ms", {"ms": int(days * DAY_MS)})
        tx.execute("UPDATE workflows SET stopped_at_ms = stopped_at_ms - :ms", {"ms": int(days * DAY_MS)})

    await world.db.write(move)


def has_log(world: World, row: jobs.Job) -> bool:
    return world.blobs.log_size(row.id, 0, 1) > 0


async def test_old_pipelines_go_with_everything_and_open_ones_stay(world: World) -> None:
    project = await world.project("acme/app")
    old = await ended(world, project)
    waiting = await world.pipeline(project, workflow("ci", job("test", "make")))
    await age(world, 100)
    new = await ended(world, project)
    await keeper(world, pipelines_days=90).sweep(world.clock.now_ms())
    with pytest.raises(NotFound):
        await world.db.read(lambda tx: jobs.by_id(tx, old.id))
    assert not has_log(world, old) and has_log(world, new)
    assert (await world.db.read(lambda tx: pipelines.pipeline(tx, waiting))).id == waiting
    assert (
        await world.db.read(lambda tx: tx.execute("SELECT count(*) FROM steps WHERE job_id = ?", (old.id,)).fetchone()[0])
        == 0
    )


async def test_what_is_rerun_stays_while_it_runs_and_for_a_day(world: World) -> None:
    """The janitor looks between any two moves of it: of who asks for the rerun, and of the workflow that is run again."""
    project, boss = await world.project("acme/app"), await world.user("boss")
    plan = replace(workflow("ci", job("test", "make"), job("ship", requires=["test"])), max_auto_reruns=1)
    pipeline = await world.pipeline(project, plan)
    kept = keeper(world, pipelines_days=90, logs_days=365)
    first = await world.run(pipeline, "test", NodeStatus.FAILED)
    world.blobs.log(first.id, 0, 1).write_bytes(b"why it failed")
    layer = await persisted(world, first, 1)
    again = (await world.db.read(lambda tx: pipelines.workflows_of(tx, pipeline)))[-1]
    assert again.rerun == "automatic"
    await age(world, 89.9)
    await kept.sweep(world.clock.now_ms())
    await world.db.write(lambda tx: moves.cancel_workflow(tx, again.id, "boss", world.clock.now_ms()))
    byhand = await world.db.write(
        lambda tx: reruns.rerun(tx, first.workflow_id, reruns.Wish(from_failed=True), boss, world.clock.now_ms())
    )
    await age(world, 1)
    await kept.sweep(world.clock.now_ms())
    assert has_log(world, first)
    assert await world.db.write(lambda tx: workspaces.forget_older(tx, world.clock.now_ms(), 9)) == []
    await world.db.write(lambda tx: moves.cancel_workflow(tx, byhand.workflow_id, "boss", world.clock.now_ms()))
    await kept.sweep(world.clock.now_ms())
    assert (await world.db.read(lambda tx: pipelines.pipeline(tx, pipeline))).id == pipeline
    assert await world.db.write(lambda tx: workspaces.forget_older(tx, world.clock.now_ms(), 9)) == [layer]
    await kept.sweep(world.clock.now_ms() + 2 * DAY_MS)
    with pytest.raises(NotFound):
        await world.db.read(lambda tx: pipelines.pipeline(tx, pipeline))


async def test_old_logs_go_and_the_job_says_so(world: World) -> None:
    project = await world.project("acme/app")
    old = await ended(world, project)
    await age(world, 10)
    new = await ended(world, project)
    await keeper(world, logs_days=5).sweep(world.clock.now_ms())
    assert not has_log(world, old) and has_log(world, new)
    row = await world.db.read(lambda tx: jobs.by_id(tx, old.id))
    assert row.logs_removed_at_ms is not None
    assert (await world.db.read(lambda tx: jobs.by_id(tx, new.id))).logs_removed_at_ms is None


async def test_over_their_quota_the_oldest_logs_go_and_those_of_running_jobs_do_not(world: World) -> None:
    project = await world.project("acme/app")
    running = await world.job_of(await world.pipeline(project, workflow("ci", job("test", "make"))), "test")
    await world.start(running.id)
    world.blobs.log(running.id, 0, 1).write_bytes(b"x" * 5000)
    rows = []
    for _ in range(4):
        await age(world, 1)
        rows.append(await ended(world, project, 1000))
    await keeper(world, log_bytes=2500).sweep(world.clock.now_ms())
    assert [has_log(world, row) for row in rows] == [False, False, True, True]
    assert has_log(world, running)
    assert await world.db.read(room.of_logs) == 2000


async def test_on_a_full_disk_the_oldest_logs_go_first(world: World) -> None:
    project = await world.project("acme/app")
    old = await ended(world, project)
    kept = keeper(world)
    assert not await kept.free_some(world.clock.now_ms()), "nothing is measured yet"
    await kept.sweep(world.clock.now_ms())
    await age(world, 1)
    assert await kept.free_some(world.clock.now_ms())
    assert not has_log(world, old) and not await kept.free_some(world.clock.now_ms())


async def test_a_removal_that_was_cut_short_is_finished(world: World) -> None:
    """The rows were gone, the files were not; and a folder of a job that is there stays."""
    project = await world.project("acme/app")
    row = await ended(world, project)
    nobody = JobId(f"{row.id[:2]}000000-0000-4000-8000-000000000000")
    world.blobs.log(nobody, 0, 1).write_bytes(b"left")
    kept = keeper(world)
    for _ in range(16):
        await kept.sweep(world.clock.now_ms())
    assert world.blobs.log_size(nobody, 0, 1) == 0 and has_log(world, row)


async def persisted(world: World, row: jobs.Job, number: int) -> str:
    """A layer in the workspace of a job's workflow, from long ago; its id."""
    found = await world.db.read(lambda tx: pipelines.workflow(tx, row.workflow_id))
    layer = workspaces.Layer(
        id=f"{number:032x}",
        workspace_id=found.workspace_id,
        job_id=row.id,
        index=0,
        step="1",
        names=frozenset(),
        size_bytes=1,
        created_at_ms=1,
    )
    await world.db.write(lambda tx: workspaces.add(tx, layer))
    return layer.id


async def test_the_layers_of_a_workflow_that_goes_on_stay(world: World) -> None:
    project = await world.project("acme/app")
    made = []
    for number, is_over in enumerate((False, True)):
        pipeline = await world.pipeline(project, workflow("ci", job("test", "make")))
        row = await (world.run(pipeline, "test") if is_over else world.job_of(pipeline, "test"))
        made.append(await persisted(world, row, number))
    gone = await world.db.write(lambda tx: workspaces.forget_older(tx, 2, 9))
    assert gone == [made[1]]


async def test_letters_and_events_that_started_nothing_go(world: World) -> None:
    def fill(tx: Tx) -> None:
        tx.execute(
            "INSERT INTO outbox (kind, body, due_at_ms, state, created_at_ms)"
            " VALUES ('x', '{}', 1, 'sent', 1), ('x', '{}', 1, 'due', 1), ('x', '{}', 1, 'dead', 1)"
        )

    await world.db.write(fill)
    await keeper(world).sweep(world.clock.now_ms())
    left = await world.db.read(lambda tx: [row["state"] for row in tx.execute("SELECT state FROM outbox")])
    assert left == ["due"]


@pytest.mark.parametrize(
    ("sql", "index"),
    [
        (retention.OLD_PIPELINES, "pipelines_recent"),
        (retention.UNMEASURED, "jobs_unmeasured"),
        (retention.OLDEST_LOGS, "jobs_with_logs"),
    ],
)
async def test_the_queries_use_their_index(world: World, sql: str, index: str) -> None:
    values = {"before": 1, "ended_before": 1, "limit": 1}
    rows = await world.db.read(lambda tx: tx.execute(f"EXPLAIN QUERY PLAN {sql}", values).fetchall())
    assert index in " ".join(row["detail"] for row in rows)
