"""What the scheduler reads: who waits, a fair part of each project, and how long the like of it took."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from appliance.errors import NotFound
from appliance.language import plan as plans
from appliance.model import JobId, JobStatus, PipelineState, ProjectId, Trigger, TriggerKind, Vcs, WorkflowId
from appliance.store import jobs, pipelines, projects, queue
from appliance.store.database import Tx, open_plain


@pytest.fixture
def tx(tmp_path: Path) -> Iterator[Tx]:
    with closing(open_plain(tmp_path / "rondo.db")) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield connection


def workflow_of(tx: Tx, repo: str) -> tuple[ProjectId, WorkflowId]:
    project = projects.add(tx, org="acme", repo=repo, vcs=Vcs.HOSTED, git_url=None, default_branch="main", now_ms=1)
    trigger = Trigger(
        project_id=project.id, kind=TriggerKind.WEBHOOK, semantic_key="push", branch="topic", revision="1" * 40
    )
    pipeline = pipelines.add_pipeline(
        tx, trigger, state=PipelineState.CREATED, source="", compiled="", values={}, problems=[], now_ms=1, number=1
    )
    return project.id, pipelines.add_workflow(tx, pipeline.id, "w", "somebody", 1)


def add(tx: Tx, of: tuple[ProjectId, WorkflowId], name: str, at_ms: int, parallelism: int = 1) -> JobId:
    plan = plans.Job(name=name, parallelism=parallelism)
    job_id = jobs.add(tx, of[1], of[0], at_ms, plan, JobStatus.BLOCKED, at_ms)
    jobs.set_status(tx, job_id, JobStatus.NOT_RUNNING, at_ms)
    return job_id


def test_one_project_with_thousands_hides_nobody(tx: Tx) -> None:
    many, few = workflow_of(tx, "many"), workflow_of(tx, "few")
    for number in range(40):
        add(tx, many, f"j{number}", number, parallelism=2)
    last = add(tx, few, "late", 1000)
    found = queue.waiting(tx, 20, 10)
    assert [(one.project_id, one.index) for one in found[:4]] == [(many[0], 0), (many[0], 1), (many[0], 0), (many[0], 1)]
    assert len(found) == 11 and found[-1].job_id == last


def test_the_limit_keeps_the_oldest(tx: Tx) -> None:
    of = workflow_of(tx, "app")
    ids = [add(tx, of, f"j{number}", 100 - number) for number in range(5)]
    assert [one.job_id for one in queue.waiting(tx, 2, 10)] == [ids[4], ids[3]]


def test_the_typical_length_is_the_median_of_the_latest_successes(tx: Tx) -> None:
    of = workflow_of(tx, "app")
    assert queue.typical_ms(tx, of[0], "build") is None
    for number, (took_ms, status) in enumerate(
        [(90_000, "success"), *[(took, "success") for took in (3000, 1000, 2000, 9000, 8000)], (1, "failed")]
    ):
        row = add(tx, workflow_of(tx, f"x{number}"), "build", number)
        tx.execute(
            "UPDATE jobs SET project_id = :project, status = :status, started_at_ms = 10, stopped_at_ms = 10 + :took"
            " WHERE id = :id",
            {"project": of[0], "status": status, "took": took_ms, "id": row},
        )
    assert queue.typical_ms(tx, of[0], "build") == 3000
    tx.execute("UPDATE jobs SET stopped_at_ms = started_at_ms - 3600000 WHERE stopped_at_ms IN (9010, 8010)")
    assert queue.typical_ms(tx, of[0], "build") == 2500, "the clock went back while those ran: of 1, 2, 3 and 90 s"


def test_a_candidate_is_what_a_place_needs(tx: Tx) -> None:
    job_id = add(tx, workflow_of(tx, "app"), "build", 1)
    found = queue.candidate(tx, job_id)
    assert (found.project, found.branch, found.plan.name, found.lasts_ms) == ("acme/app", "topic", "build", None)
    with pytest.raises(NotFound):
        queue.candidate(tx, JobId("none"))
