"""The lists' queries use their indexes, whatever there is."""

from __future__ import annotations

import pytest

from appliance.model import NodeStatus, WorkflowStatus
from appliance.store import overview
from appliance.store.database import Tx
from tests.web.world import World, job, workflow

VALUES = {
    "project": "p",
    "branch": "b",
    "at": 1,
    "row": 1,
    "limit": 30,
    "pipelines": '["a"]',
    "workflows": '["a"]',
}
QUERIES = {
    "OF_ALL": "pipelines_recent",
    "OF_PROJECT": "pipelines_of_project",
    "OF_BRANCH": "pipelines_of_branch",
    "CHIPS": "workflows_of_pipeline",
    "JOB_CHIPS": "sqlite_autoindex_jobs",
    "LAST_STATUS": "pipelines_of_branch",
    "BRANCHES": "pipelines_of_branch",
}


@pytest.mark.parametrize("name", QUERIES)
async def test_a_list_reads_through_its_index(world: World, name: str) -> None:
    def plan(tx: Tx) -> list[str]:
        return [row["detail"] for row in tx.execute("EXPLAIN QUERY PLAN " + getattr(overview, name), VALUES)]

    details = await world.db.read(plan)
    assert any(QUERIES[name] in detail for detail in details), details
    for table in ("pipelines", "workflows", "jobs"):
        assert not [detail for detail in details if detail.startswith(f"SCAN {table}") and "USING" not in detail], details


@pytest.mark.parametrize("name", ["OF_ALL", "OF_PROJECT", "OF_BRANCH"])
async def test_the_newest_come_without_sorting(world: World, name: str) -> None:
    def plan(tx: Tx) -> list[str]:
        return [row["detail"] for row in tx.execute("EXPLAIN QUERY PLAN " + getattr(overview, name), VALUES)]

    assert not [detail for detail in await world.db.read(plan) if "TEMP B-TREE" in detail]


async def test_branches_are_each_told_once(world: World) -> None:
    project, other = await world.project("acme/app"), await world.project("acme/other")
    for branch in ("main", "a", "main", "z", "a"):
        await world.pipeline(project, branch=branch)
    await world.pipeline(project, branch=None, tag="v1")
    await world.pipeline(other, branch="theirs")
    assert await world.db.read(lambda tx: overview.branches(tx, project.id)) == ["a", "main", "z"]
    assert await world.db.read(lambda tx: overview.branches(tx, project.id, limit=2)) == ["a", "main"]


async def test_the_last_status_is_the_newest_finished_workflows(world: World) -> None:
    project = await world.project("acme/app")
    assert await world.db.read(lambda tx: overview.last_status(tx, project.id, "main")) is None
    done = await world.pipeline(project, workflow("ci", job("build")))
    await world.run(done, "build")
    await world.pipeline(project, workflow("ci", job("build")))  # still runs
    assert await world.db.read(lambda tx: overview.last_status(tx, project.id, "main")) is WorkflowStatus.SUCCESS


async def test_of_workflows_made_at_once_a_failed_one_is_the_last_status(world: World) -> None:
    project = await world.project("acme/app")
    both = await world.pipeline(project, workflow("ci", job("bad")), workflow("extra", job("good")))
    await world.run(both, "bad", NodeStatus.FAILED)
    await world.run(both, "good")
    assert await world.db.read(lambda tx: overview.last_status(tx, project.id, "main")) is WorkflowStatus.FAILED
    both = await world.pipeline(project, workflow("extra", job("good")), workflow("ci", job("bad")))
    await world.run(both, "good")
    await world.run(both, "bad", NodeStatus.FAILED)
    assert await world.db.read(lambda tx: overview.last_status(tx, project.id, "main")) is WorkflowStatus.FAILED
