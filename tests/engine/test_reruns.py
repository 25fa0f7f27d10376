"""Reruns by the rows: what runs again, what is carried over, and what is refused (spec 4.5, 1.10.4)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from appliance.engine import moves, reruns
from appliance.engine.reruns import Wish
from appliance.errors import BadRequest, Conflict, Refused, RondoError
from appliance.language import plan as plans
from appliance.model import (
    JobId,
    JobStatus,
    NodeStatus,
    PipelineId,
    Project,
    ProjectFlags,
    User,
    UserId,
    WorkflowId,
    WorkflowStatus,
)
from appliance.store import jobs, pipelines, projects, results
from appliance.store.database import Tx
from tests.engine.shop import NOW
from tests.engine.test_moves import BOSS, create, finish, job, project, start, tx

__all__ = ["project", "tx"]

DAY_MS = 86_400_000
ADA = User(id=UserId("a"), name="ada", is_admin=False, sees_all_projects=True)
J = JobStatus


def of(tx: Tx, workflow_id: WorkflowId) -> dict[str, jobs.Job]:
    return {row.name: row for row in jobs.of_workflow(tx, workflow_id)}


def seen(tx: Tx, workflow_id: WorkflowId) -> dict[str, JobStatus]:
    return {name: row.status for name, row in of(tx, workflow_id).items()}


def first(tx: Tx) -> pipelines.Workflow:
    return pipelines.workflows_of(tx, PipelineId("p1"))[0]


def run(tx: Tx, row: jobs.Job, status: NodeStatus = NodeStatus.SUCCESS) -> None:
    for node in jobs.nodes_of(tx, row.id):
        start(tx, row, node.index)
        finish(tx, row, status, node.index)


def failed_in_the_middle(tx: Tx, project: Project) -> dict[str, jobs.Job]:
    """a -> b (fails) -> c; a -> ask -> d; x -> y, apart from them."""
    made = create(
        tx,
        project,
        job("a"),
        job("b", "a", parallelism=2),
        job("c", "b"),
        job("ask", "a", type=plans.JobType.APPROVAL),
        job("d", "ask"),
        job("x"),
        job("y", "x"),
    )
    run(tx, made["a"])
    moves.approve(tx, made["ask"].id, BOSS, NOW)
    for name in ("d", "x", "y"):
        run(tx, made[name])
    run(tx, made["b"], NodeStatus.FAILED)
    assert first(tx).status is WorkflowStatus.FAILED
    return made


def again(tx: Tx, wish: Wish = Wish(), of: WorkflowId | None = None, now_ms: int = NOW + 9) -> WorkflowId:  # noqa: B008
    return reruns.rerun(tx, of or first(tx).id, wish, ADA, now_ms).workflow_id


def test_from_the_start_everything_runs_again_in_the_same_workspace_for_who_asks(tx: Tx, project: Project) -> None:
    failed_in_the_middle(tx, project)
    new = again(tx)
    assert seen(tx, new) == {
        "a": J.NOT_RUNNING,
        "b": J.BLOCKED,
        "c": J.BLOCKED,
        "ask": J.BLOCKED,
        "d": J.BLOCKED,
        "x": J.NOT_RUNNING,
        "y": J.BLOCKED,
    }
    workflow = pipelines.workflow(tx, new)
    assert (workflow.pipeline_id, workflow.name, workflow.workspace_id) == ("p1", "w", first(tx).workspace_id)
    assert (workflow.started_by, workflow.actor_id, workflow.rerun) == ("ada", ADA.id, "manual")
    assert [row.number for row in of(tx, new).values()] == [7, 8, 9, None, 10, 11, 12], "numbers of their own"
    assert len(jobs.nodes_of(tx, of(tx, new)["b"].id)) == 2


def test_from_failed_carries_over_what_succeeded_and_runs_what_comes_after(tx: Tx, project: Project) -> None:
    made = failed_in_the_middle(tx, project)
    new = of(tx, again(tx, Wish(from_failed=True)))
    assert {name: row.status for name, row in new.items()} == {
        "a": J.SUCCESS,
        "b": J.NOT_RUNNING,
        "c": J.BLOCKED,
        "ask": J.SUCCESS,
        "d": J.SUCCESS,
        "x": J.SUCCESS,
        "y": J.SUCCESS,
    }
    assert (new["a"].number, new["a"].origin_id) == (made["a"].number, made["a"].id)
    assert (new["ask"].approved_by, new["ask"].approved_by_id) == ("boss", BOSS.id)
    assert jobs.by_number(tx, made["a"].number or 0).id == made["a"].id, "a number leads to who really ran"
    run(tx, new["b"])
    run(tx, jobs.by_id(tx, new["c"].id))
    assert pipelines.workflow(tx, new["a"].workflow_id).status is WorkflowStatus.SUCCESS
    assert first(tx).status is WorkflowStatus.FAILED, "the one from before stays what it was"


def test_carried_over_twice_still_points_to_who_really_ran(tx: Tx, project: Project) -> None:
    made = failed_in_the_middle(tx, project)
    second = again(tx, Wish(from_failed=True))
    run(tx, of(tx, second)["b"], NodeStatus.FAILED)
    third = of(tx, again(tx, Wish(from_failed=True), second))
    assert third["a"].origin_id == made["a"].id
    assert pipelines.workflow(tx, third["a"].workflow_id).root_id == first(tx).id
    assert pipelines.workflow(tx, third["a"].workflow_id).rerun_of == second


def test_chosen_jobs_run_with_all_after_them_and_the_others_stay_as_they_ended(tx: Tx, project: Project) -> None:
    made = failed_in_the_middle(tx, project)
    new = seen(tx, again(tx, Wish(jobs=(made["x"].id,))))
    assert new == {
        "a": J.SUCCESS,
        "b": J.FAILED,
        "c": J.NOT_RUN,
        "ask": J.SUCCESS,
        "d": J.SUCCESS,
        "x": J.NOT_RUNNING,
        "y": J.BLOCKED,
    }


def test_a_sparse_tree_has_only_what_hangs_together_with_the_chosen_jobs(tx: Tx, project: Project) -> None:
    made = failed_in_the_middle(tx, project)
    new = again(tx, Wish(jobs=(made["y"].id,), sparse_tree=True))
    assert seen(tx, new) == {"x": J.SUCCESS, "y": J.NOT_RUNNING}
    run(tx, of(tx, new)["y"])
    assert pipelines.workflow(tx, new).status is WorkflowStatus.SUCCESS


def test_an_approval_that_was_canceled_asks_again(tx: Tx, project: Project) -> None:
    made = create(tx, project, job("ask", type=plans.JobType.APPROVAL), job("b", "ask"))
    moves.cancel_job(tx, made["ask"].id, "boss", NOW)
    new = again(tx, Wish(from_failed=True))
    assert seen(tx, new) == {"ask": J.ON_HOLD, "b": J.BLOCKED}
    assert pipelines.workflow(tx, new).status is WorkflowStatus.ON_HOLD


@pytest.mark.parametrize(
    ("wish", "error"),
    [
        (lambda made: Wish(from_failed=True, jobs=(made["b"].id,)), BadRequest),
        (lambda made: Wish(sparse_tree=True), BadRequest),
        (lambda made: Wish(from_failed=True, sparse_tree=True), BadRequest),
        (lambda made: Wish(enable_ssh=True), BadRequest),
        (lambda made: Wish(from_failed=True, enable_ssh=True), BadRequest),
        (lambda made: Wish(jobs=(made["a"].id, made["b"].id), enable_ssh=True), BadRequest),
        (lambda made: Wish(jobs=(JobId("of another workflow"),)), BadRequest),
        (lambda made: Wish(failed_tests=True), BadRequest),
        (lambda made: Wish(jobs=(made["b"].id,), failed_tests=True), Conflict),
    ],
)
def test_what_does_not_go_together_is_refused_and_leaves_nothing(
    tx: Tx, project: Project, wish: Callable[[dict[str, jobs.Job]], Wish], error: type[RondoError]
) -> None:
    made = failed_in_the_middle(tx, project)
    with pytest.raises(error):
        again(tx, wish(made))
    assert len(pipelines.workflows_of(tx, PipelineId("p1"))) == 1


def test_a_part_of_a_workflow_waits_until_all_of_it_has_ended(tx: Tx, project: Project) -> None:
    made = create(tx, project, job("a"), job("b"))
    run(tx, made["a"], NodeStatus.FAILED)
    for wish in (Wish(from_failed=True), Wish(jobs=(made["a"].id,))):
        with pytest.raises(Conflict, match="before it has ended"):
            again(tx, wish)
    assert seen(tx, again(tx)) == {"a": J.NOT_RUNNING, "b": J.NOT_RUNNING}


def test_nothing_failed_nothing_to_rerun_from(tx: Tx, project: Project) -> None:
    run(tx, create(tx, project, job("a"))["a"])
    with pytest.raises(Conflict, match="no job of it failed"):
        again(tx, Wish(from_failed=True))


def test_a_workflow_is_rerun_a_hundred_times_at_most_reruns_of_reruns_counted(tx: Tx, project: Project) -> None:
    run(tx, create(tx, project, job("a"))["a"])
    last = first(tx).id
    for _ in range(100):
        last = again(tx, of=last)
    with pytest.raises(Conflict, match="100 times"):
        again(tx, of=last)
    with pytest.raises(Conflict, match="100 times"):
        again(tx)


def test_after_90_days_nothing_is_rerun(tx: Tx, project: Project) -> None:
    run(tx, create(tx, project, job("a"))["a"])
    again(tx, now_ms=NOW + 90 * DAY_MS - 1)
    with pytest.raises(Conflict, match="90 days"):
        again(tx, now_ms=NOW + 90 * DAY_MS)


def test_a_project_says_no_to_reruns_and_to_ssh(tx: Tx, project: Project) -> None:
    made = failed_in_the_middle(tx, project)
    projects.set_flags(tx, project.id, ProjectFlags(disable_ssh=True))
    with pytest.raises(Refused, match="SSH"):
        again(tx, Wish(jobs=(made["b"].id,), enable_ssh=True))
    projects.set_flags(tx, project.id, ProjectFlags(blocks_new_work=True))
    with pytest.raises(Conflict, match="blocked"):
        again(tx)


def test_a_job_once_rerun_with_ssh_keeps_it_for_whoever_reruns_it(tx: Tx, project: Project) -> None:
    made = failed_in_the_middle(tx, project)
    second = again(tx, Wish(jobs=(made["b"].id,), enable_ssh=True))
    assert {name: row.ssh_for for name, row in of(tx, second).items() if row.ssh_for} == {"b": "ada"}
    run(tx, of(tx, second)["b"], NodeStatus.FAILED)
    third = reruns.rerun(tx, second, Wish(from_failed=True), BOSS, NOW).workflow_id
    assert {name: row.ssh_for for name, row in of(tx, third).items() if row.ssh_for} == {"b": "boss"}


def create_with_auto_reruns(tx: Tx, project: Project, most: int, *of_it: plans.Job) -> dict[str, jobs.Job]:
    made = create(tx, project, *of_it)
    tx.execute("UPDATE workflows SET max_auto_reruns = :most", {"most": most})
    return made


def newest(tx: Tx) -> pipelines.Workflow:
    return pipelines.workflows_of(tx, PipelineId("p1"))[-1]


def test_a_failed_workflow_reruns_itself_from_failed_as_often_as_it_may(tx: Tx, project: Project) -> None:
    made = create_with_auto_reruns(tx, project, 2, job("a"), job("b", "a"))
    run(tx, made["a"])
    run(tx, made["b"], NodeStatus.FAILED)
    for number in (1, 2):
        workflow = newest(tx)
        assert (workflow.rerun, workflow.auto_rerun_number) == ("automatic", number)
        assert (workflow.started_by, workflow.actor_id) == (first(tx).started_by, first(tx).actor_id)
        assert seen(tx, workflow.id) == {"a": J.SUCCESS, "b": J.NOT_RUNNING}
        run(tx, of(tx, workflow.id)["b"], NodeStatus.TIMEDOUT)
    assert len(pipelines.workflows_of(tx, PipelineId("p1"))) == 3
    again(tx, Wish(from_failed=True), newest(tx).id)
    run(tx, of(tx, newest(tx).id)["b"], NodeStatus.FAILED)
    assert len(pipelines.workflows_of(tx, PipelineId("p1"))) == 4, "a manual rerun is not rerun by itself"


def cancel(tx: Tx, row: jobs.Job) -> None:
    moves.cancel_workflow(tx, row.workflow_id, "ada", NOW)


def cannot_start(tx: Tx, row: jobs.Job) -> None:
    moves.fail_waiting_job(tx, row.id, "no such class", NOW)


def deny(tx: Tx, row: jobs.Job) -> None:
    moves.deny_job(tx, row.id, "not for you", NOW)


@pytest.mark.parametrize("end", [cancel, cannot_start, deny, run])
def test_only_failed_workflows_rerun_themselves(tx: Tx, project: Project, end: Callable[[Tx, jobs.Job], None]) -> None:
    end(tx, create_with_auto_reruns(tx, project, 2, job("a"))["a"])
    assert first(tx).status.is_done
    assert len(pipelines.workflows_of(tx, PipelineId("p1"))) == 1


def test_an_automatic_rerun_begins_in_the_same_move_as_the_failure(tx: Tx, project: Project) -> None:
    """Nothing that happens between the two could lose it."""
    made = create_with_auto_reruns(tx, project, 1, job("a"))
    start(tx, made["a"])
    changed = moves.finish_node(tx, made["a"].id, 0, NodeStatus.FAILED, "", [], NOW)
    assert newest(tx).id in changed.workflows and newest(tx).rerun == "automatic"


def test_only_failed_tests_are_rerun_where_some_were_stored(tx: Tx, project: Project) -> None:
    splits = plans.Run(command='circleci tests run --command="xargs pytest"', name="test")
    made = create(tx, project, replace(job("a"), steps=(splits,)), job("b"))
    start(tx, made["a"])
    upload = results.Upload(
        job_id=made["a"].id, index=0, step="step2", project_id=project.id, scope="trusted", created_at_ms=NOW
    )
    results.begin(tx, upload)
    bad = results.Result(
        name="t", classname="c", file="f.py", source="s", verdict=results.Verdict.FAILURE, run_time_s=1, message=""
    )
    results.add(tx, upload, [bad])
    finish(tx, made["a"], NodeStatus.FAILED)
    run(tx, made["b"])
    wish = Wish(jobs=(made["a"].id,), failed_tests=True)
    with pytest.raises(Conflict, match="no failed tests could be found"):
        again(tx, wish, now_ms=NOW + 16 * DAY_MS)
    new = again(tx, wish)
    assert seen(tx, new) == {"a": J.NOT_RUNNING, "b": J.SUCCESS}
    row = tx.execute("SELECT failed_tests_of FROM jobs WHERE id = :id", {"id": of(tx, new)["a"].id}).fetchone()
    assert row["failed_tests_of"] == made["a"].id
