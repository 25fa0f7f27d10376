"""What is canceled, by whom, and what is left alone (spec 4.2, 4.4, 4.6, 1.10.2)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from appliance.bell import Bell
from appliance.clock import FakeClock
from appliance.engine import cancels, moves, reruns, rules
from appliance.engine.expiry import Expiry
from appliance.errors import Conflict
from appliance.language import plan as plans
from appliance.model import (
    JobStatus,
    NodeStatus,
    PipelineId,
    Project,
    ProjectFlags,
    Trigger,
    TriggerKind,
    Vcs,
    WorkflowStatus,
)
from appliance.store import jobs, pipelines, projects, queue, redundancy
from appliance.store.database import Tx, open_database
from tests.engine.shop import NOW, draft
from tests.engine.test_moves import BOSS, create, finish, job, project, push, start, statuses, tx, workflow

__all__ = ["project", "tx"]

J = JobStatus
DAY_MS = 86_400_000
PATIENCE = cancels.Patience(workflows_ms=90 * DAY_MS, holds_ms=5 * DAY_MS, locks_ms=5 * 3_600_000)


def test_a_cancel_while_a_node_is_being_claimed_wins_or_comes_too_late_but_never_both(tx: Tx, project: Project) -> None:
    made = create(tx, project, job("a", parallelism=3))
    start(tx, made["a"], 0)
    moves.cancel_job(tx, made["a"].id, "ada", NOW)
    assert start(tx, made["a"], 1) is None, "of the scheduler, which had seen it waiting"
    assert {node.status for node in jobs.nodes_of(tx, made["a"].id)} == {NodeStatus.CANCELED}
    assert queue.waiting(tx, 10, 10) == []


def test_a_second_cancel_changes_nothing(tx: Tx, project: Project) -> None:
    made = create(tx, project, job("a"), job("b"))
    assert moves.cancel_job(tx, made["a"].id, "ada", NOW).canceled
    assert not moves.cancel_job(tx, made["a"].id, "boss", NOW).canceled
    assert jobs.by_id(tx, made["a"].id).canceled_by == "ada"
    moves.cancel_workflow(tx, workflow(tx).id, "ada", NOW)
    moves.cancel_workflow(tx, workflow(tx).id, "boss", NOW)
    assert workflow(tx).canceled_by == "ada"


def test_a_job_that_required_the_cancel_runs_when_only_the_job_was_canceled(tx: Tx, project: Project) -> None:
    cleanup = replace(job("cleanup"), requires=(plans.Require(job="a", statuses=("canceled",)),))
    made = create(tx, project, job("a"), cleanup)
    moves.cancel_job(tx, made["a"].id, "ada", NOW)
    assert statuses(tx) == {"a": J.CANCELED, "cleanup": J.NOT_RUNNING}
    other = create(tx, project, job("a"), cleanup, number=2)
    moves.cancel_workflow(tx, other["a"].workflow_id, "ada", NOW)
    assert statuses(tx, 2) == {"a": J.CANCELED, "cleanup": J.CANCELED}


def test_an_approval_comes_too_late_after_its_cancel_and_twice_is_a_conflict(tx: Tx, project: Project) -> None:
    made = create(tx, project, job("ask", type=plans.JobType.APPROVAL), job("too", type=plans.JobType.APPROVAL))
    moves.cancel_job(tx, made["ask"].id, "ada", NOW)
    moves.approve(tx, made["too"].id, BOSS, NOW)
    for name in ("ask", "too"):
        with pytest.raises(Conflict):
            moves.approve(tx, made[name].id, BOSS, NOW)
    row = tx.execute("SELECT * FROM approvals").fetchall()
    assert [(one["job_id"], one["revision"], one["user_name"]) for one in row] == [(made["too"].id, f"{1:040x}", "boss")]


def on_branch(
    tx: Tx, project: Project, number: int, branch: str | None = "topic", kind: TriggerKind = TriggerKind.WEBHOOK
) -> Trigger:
    """A pipeline of one job on a branch."""
    trigger = replace(push(project, f"{number:040x}", f"d{number}"), branch=branch, kind=kind)
    accepted = moves.accept(tx, trigger, NOW, False)
    assert accepted is not None
    moves.create_pipeline(tx, accepted.trigger_id, trigger, draft(job("a"), number=number), NOW)
    return trigger


def of(tx: Tx, number: int) -> list[WorkflowStatus]:
    return [one.status for one in pipelines.workflows_of(tx, PipelineId(f"p{number}"))]


RUNS, GONE = WorkflowStatus.RUNNING, WorkflowStatus.CANCELED


def test_a_newer_pipeline_of_a_branch_cancels_what_still_runs_for_older_ones(tx: Tx, project: Project) -> None:
    projects.set_flags(tx, project.id, ProjectFlags(autocancel_builds=True))
    on_branch(tx, project, 1)
    on_branch(tx, project, 2, "other")
    on_branch(tx, project, 3)
    assert (of(tx, 1), of(tx, 2), of(tx, 3)) == ([GONE], [RUNS], [RUNS])
    message = jobs.of_pipeline(tx, PipelineId("p1"))[0].message
    assert message == "redundant: pipeline 3 is newer on topic"
    on_branch(tx, project, 4, kind=TriggerKind.API)
    assert (of(tx, 3), of(tx, 4)) == ([GONE], [RUNS])


def test_what_auto_cancel_leaves_alone(tx: Tx, project: Project) -> None:
    on_branch(tx, project, 1)
    projects.set_flags(tx, project.id, ProjectFlags(autocancel_builds=True))
    on_branch(tx, project, 2, "main")
    on_branch(tx, project, 3, "main")
    on_branch(tx, project, 4, kind=TriggerKind.EXPLICIT)
    on_branch(tx, project, 5)
    reruns.rerun(tx, pipelines.workflows_of(tx, PipelineId("p5"))[0].id, reruns.Wish(), BOSS, NOW)
    on_branch(tx, project, 6)
    assert of(tx, 1) == [RUNS], "it began while the project did not want this"
    assert of(tx, 2) == of(tx, 3) == [RUNS], "the default branch"
    assert of(tx, 4) == [RUNS], "neither a push nor the API"
    assert of(tx, 5) == [GONE, RUNS], "a rerun goes on"
    projects.set_flags(tx, project.id, ProjectFlags(autocancel_builds=False))
    on_branch(tx, project, 7)
    assert of(tx, 6) == [RUNS]


def test_what_was_outrun_before_it_began_never_begins(tx: Tx, project: Project) -> None:
    """A disk that was full, or a repository out of reach, held it up while the next push was taken in."""
    projects.set_flags(tx, project.id, ProjectFlags(autocancel_builds=True))
    on_branch(tx, project, 2, "other")
    on_branch(tx, project, 3)
    on_branch(tx, project, 1)
    assert (of(tx, 1), of(tx, 2), of(tx, 3)) == ([GONE], [RUNS], [RUNS])
    assert jobs.of_pipeline(tx, PipelineId("p1"))[0].message == "redundant: pipeline 3 is newer on topic"


def test_what_was_received_before_its_project_was_stopped_never_begins(tx: Tx, project: Project) -> None:
    projects.set_flags(tx, project.id, ProjectFlags(is_stopped=True))
    on_branch(tx, project, 1)
    assert of(tx, 1) == [GONE]
    assert jobs.of_pipeline(tx, PipelineId("p1"))[0].message == "canceled: building of this project is stopped"


@pytest.mark.parametrize("kind", [TriggerKind.WEBHOOK, TriggerKind.API, TriggerKind.EXPLICIT])
@pytest.mark.parametrize("is_default_branch", [True, False])
@pytest.mark.parametrize("autocancel", [True, False])
def test_what_may_be_redundant(kind: TriggerKind, is_default_branch: bool, autocancel: bool) -> None:
    may = rules.may_be_redundant(kind, is_default_branch=is_default_branch, autocancel=autocancel)
    assert may is (autocancel and not is_default_branch and kind is not TriggerKind.EXPLICIT)


def test_a_consumed_failure_is_excused_only_where_a_workflow_began_so(tx: Tx, project: Project) -> None:
    cleanup = replace(job("cleanup"), requires=(plans.Require(job="a", statuses=("failed",)),))
    whatever = replace(job("c"), requires=(plans.Require(job="b", statuses=("success", "failed")),))
    for number, excuses, ends in ((1, False, ("failed", "failed")), (2, True, ("success", "failed"))):
        for end, with_b in zip(ends, (False, True), strict=True):
            made = create(tx, project, job("a"), cleanup, job("b"), whatever, number=number + 10 * with_b)
            tx.execute("UPDATE workflows SET excuses_consumed = :it WHERE pipeline_id LIKE 'p%'", {"it": excuses})
            for name, fails in (("a", True), ("b", with_b), ("cleanup", False), ("c", False)):
                start(tx, made[name])
                finish(tx, made[name], NodeStatus.FAILED if fails else NodeStatus.SUCCESS)
            assert pipelines.workflow(tx, made["a"].workflow_id).status == end, (excuses, with_b)


async def test_the_clock_ends_old_workflows_and_approvals_that_nobody_gives(tmp_path: Path) -> None:
    clock = FakeClock(NOW)
    async with open_database(tmp_path / "rondo.db") as db:

        def make(tx: Tx) -> None:
            project = projects.add(tx, org="a", repo="b", vcs=Vcs.HOSTED, git_url=None, default_branch="main", now_ms=NOW)
            create(tx, project, job("ask", type=plans.JobType.APPROVAL), job("b", "ask"))
            create(tx, project, job("c"), number=2)

        await db.write(make)
        expiry = Expiry(db=db, bell=Bell(), clock=clock, patience=PATIENCE)
        clock.jump(300 * 86_400)
        assert not await expiry.expire_some(), "a wrong clock gives up on nothing"
        clock.jump(-300 * 86_400)
        clock.advance(5 * 86_400)
        assert not await expiry.expire_some()
        clock.advance(1)
        assert await expiry.expire_some() and not await expiry.expire_some()
        assert await db.read(statuses) == {"ask": J.CANCELED, "b": J.NOT_RUN}
        assert await db.read(lambda tx: statuses(tx, 2)) == {"c": J.NOT_RUNNING}
        clock.advance(85 * 86_400)
        assert await expiry.expire_some() and not await expiry.expire_some()
        assert await db.read(lambda tx: (statuses(tx, 2), of(tx, 2))) == ({"c": J.CANCELED}, [GONE])


@pytest.mark.parametrize(
    ("sql", "index"),
    [
        ("OLDER", "workflows_open"),
        ("NEWER", "sqlite_autoindex_pipelines_2"),
        ("OPEN_SINCE", "workflows_open"),
        ("ON_HOLD_SINCE", "jobs_on_hold"),
    ],
)
def test_the_queries_use_their_index(tx: Tx, sql: str, index: str) -> None:
    values = {"project": "p", "branch": "b", "number": 1, "before": 1, "most": 1, "trusted": 1}
    rows = tx.execute(f"EXPLAIN QUERY PLAN {getattr(redundancy, sql)}", values)
    assert index in " ".join(row["detail"] for row in rows)


def test_more_than_a_transaction_holds_takes_several(tx: Tx, project: Project) -> None:
    for number in range(1, 121):
        create(tx, project, job("a"), number=number)
    assert len(cancels.expire(tx, replace(PATIENCE, workflows_ms=0), NOW + 1)) == 100
    assert len(cancels.expire(tx, replace(PATIENCE, workflows_ms=0), NOW + 1)) == 20


def in_group(name: str, type: plans.JobType = plans.JobType.BUILD) -> list[plans.Job]:
    lock = replace(job(f"{name}/lock", type=plans.JobType.LOCK), key="g")
    unlock = replace(job(f"{name}/unlock", type=plans.JobType.UNLOCK), key="g")
    after = (plans.Require(job=name, statuses=("success", "failed", "canceled", "unauthorized", "not_run")),)
    return [lock, replace(job(name, lock.name), type=type), replace(unlock, requires=after)]


def test_who_looks_at_the_pipeline_whose_turn_has_come_is_told(tx: Tx, project: Project) -> None:
    """It may be an approval that waits there now, and then nothing else would tell them."""
    first = create(tx, project, *in_group("a"))
    create(tx, project, *in_group("b", plans.JobType.APPROVAL), number=2)
    changed = moves.cancel_workflow(tx, first["a"].workflow_id, "ada", NOW)
    assert statuses(tx, 2)["b"] is J.ON_HOLD
    assert {"pipeline:p1", "pipeline:p2", f"project:{project.id}"} <= set(changed.topics())


def test_a_wait_for_a_serial_group_ends(tx: Tx, project: Project) -> None:
    create(tx, project, *in_group("a"))
    create(tx, project, *in_group("b"), number=2)
    assert cancels.expire(tx, PATIENCE, NOW + PATIENCE.locks_ms) == []
    assert len(cancels.expire(tx, PATIENCE, NOW + PATIENCE.locks_ms + 1)) == 1
    assert statuses(tx, 2) == {"b/lock": J.CANCELED, "b": J.NOT_RUN, "b/unlock": J.SUCCESS}
    assert statuses(tx)["a"] is J.NOT_RUNNING, "who has the lock keeps it"
