"""What the janitor takes away, and that it takes nothing that somebody still writes, reads or runs for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from appliance.blobs import Blobs
from appliance.engine.janitor import Janitor
from appliance.model import JobId
from appliance.store import artifacts, coverage
from appliance.store.coverage import Part
from tests.web.world import World, approval, job, serving_world, workflow

DAY_MS = 86_400_000


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with serving_world(tmp_path) as made:
        yield made


def janitor_of(world: World, artifact_quota: int = 1 << 60) -> Janitor:
    return Janitor(
        db=world.db,
        clock=world.clock,
        blobs=world.blobs,
        executors={},
        cache_quota=1 << 60,
        disk_floor=0,
        artifact_quota=artifact_quota,
    )


async def test_an_upload_that_lasts_for_many_sweeps_is_left_alone_and_what_it_leaves_without_a_row_goes(
    world: World,
) -> None:
    janitor = janitor_of(world)

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(3):
            await janitor.sweep_once()
            yield b"x" * (1 << 20)

    with world.blobs.hand() as new_id:
        slow, done = new_id(), new_id()
        world.blobs.path(Blobs.ARTIFACTS, done).parent.mkdir(parents=True)
        world.blobs.path(Blobs.ARTIFACTS, done).write_bytes(b"stored, its row comes with the others'")
        assert await world.blobs.store(Blobs.CACHES, slow, chunks()) == 3 << 20
        await janitor.sweep_once()
        assert world.blobs.path(Blobs.CACHES, slow).exists() and world.blobs.path(Blobs.ARTIFACTS, done).exists()
    await janitor.sweep_once()  # it may be that the rows have just been written
    assert world.blobs.path(Blobs.CACHES, slow).exists()
    await janitor.sweep_once()
    assert not world.blobs.path(Blobs.CACHES, slow).exists() and not world.blobs.path(Blobs.ARTIFACTS, done).exists()


async def keep(world: World, job_id: JobId, number: int, size_bytes: int) -> None:
    now_ms = world.clock.now_ms()
    one = artifacts.Artifact(
        id=f"{number:032x}", job_id=job_id, index=0, path=f"{number}", size_bytes=size_bytes, created_at_ms=now_ms + number
    )
    await world.db.write(lambda tx: artifacts.put_all(tx, [one], 1 << 20, 1 << 40))


async def test_over_its_quota_a_project_loses_its_oldest_artifacts_but_none_of_a_running_workflow(world: World) -> None:
    project, other = await world.project("acme/app"), await world.project("acme/other")
    going = workflow("ci", job("test", "make"), job("ship", "make", requires=["test"]))
    earlier = await world.run(await world.pipeline(project, going), "test")
    await keep(world, earlier.id, 0, 60)
    held = workflow("ci", job("test", "make"), approval("hold", requires=["test"]))
    await keep(world, (await world.run(await world.pipeline(project, held), "test")).id, 5, 1)
    ended = await world.run(await world.pipeline(project, workflow("ci", job("test", "make"))), "test")
    for number in range(1, 5):
        await keep(world, ended.id, number, 30)
    elsewhere = await world.run(await world.pipeline(other, workflow("ci", job("test", "make"))), "test")
    await keep(world, elsewhere.id, 9, 99)
    await janitor_of(world, artifact_quota=100).sweep_once()
    left = await world.db.read(lambda tx: artifacts.ids(tx, ""))
    assert left == {f"{number:032x}" for number in (0, 2, 3, 4, 9)}


async def test_source_files_of_old_coverage_go_and_its_sums_stay(world: World) -> None:
    project = await world.project("acme/app")
    old_ms, now_ms = world.clock.now_ms() - 61 * DAY_MS, world.clock.now_ms()
    found = []
    for at_ms in (old_ms, now_ms):
        ran = await world.run(await world.pipeline(project, workflow("ci", job("test", "make"))), "test")
        await world.db.write(lambda tx: coverage.begin(tx, ran.id, "trusted", at_ms))  # noqa: B023 - awaited at once
        part = Part(path="a.py", found=6, ran=2, branches=0, branches_ran=0)
        await world.db.write(lambda tx: coverage.add(tx, ran.id, [part]))  # noqa: B023 - awaited at once
        await world.db.write(lambda tx: coverage.finish(tx, ran.id, []))  # noqa: B023 - awaited at once
        found.append(ran.id)
    await janitor_of(world).sweep_once()
    files = [await world.db.read(lambda tx: coverage.worst_files(tx, job_id, 9)) for job_id in found]  # noqa: B023
    assert [len(each) for each in files] == [0, 1]
    sums = await world.db.read(lambda tx: coverage.of_jobs(tx, found))
    assert [sums[job_id].percent for job_id in found] == [50, 50]


async def test_the_queries_of_coverage_use_an_index(world: World) -> None:
    values = {"project": "p", "name": "n", "branch": "b", "until": 1, "limit": 9}
    for query, index in ((coverage.TREND, "coverage_of_name"), (coverage.NEWEST, "coverage_of_branch")):
        rows = await world.db.read(lambda tx: tx.execute(f"EXPLAIN QUERY PLAN {query}", values).fetchall())  # noqa: B023
        assert len(rows) == 1 and f"USING INDEX {index}" in rows[0]["detail"], [row["detail"] for row in rows]
