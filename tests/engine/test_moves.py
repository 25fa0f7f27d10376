"""The engine's transactions on a real SQLite file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from appliance.engine import admission, moves, reruns
from appliance.errors import Conflict
from appliance.language import plan as plans
from appliance.model import (
    Commit,
    JobStatus,
    NodeStatus,
    PipelineId,
    PipelineState,
    Project,
    ProjectFlags,
    PullRequest,
    StepStatus,
    Trigger,
    TriggerKind,
    User,
    UserId,
    Vcs,
    WorkflowStatus,
)
from appliance.store import contexts, jobs, outbox, people, pipelines, projects, queue, restrictions
from appliance.store.database import Tx, open_plain, transact
from tests.engine.shop import NOW, draft

BOSS = User(id=UserId("b"), name="boss", is_admin=False, sees_all_projects=True)
RUN = plans.Run(command="true", name="true")


@pytest.fixture
def tx(tmp_path: Path) -> Iterator[Tx]:
    with closing(open_plain(tmp_path / "rondo.db")) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield connection


@pytest.fixture
def project(tx: Tx) -> Project:
    return projects.add(
        tx, org="acme", repo="app", vcs=Vcs.GITHUB, git_url="https://x/a.git", default_branch="main", now_ms=NOW
    )


def push(project: Project, after: str = "1" * 40, delivery: str = "d1", message: str = "Change") -> Trigger:
    return Trigger(
        project_id=project.id,
        kind=TriggerKind.WEBHOOK,
        semantic_key=f"push refs/heads/main {after}",
        delivery_id=delivery,
        branch="main",
        revision=after,
        actor="someone",
        commit=Commit(subject=message),
    )


def job(name: str, *requires: str, parallelism: int = 1, type: plans.JobType = plans.JobType.BUILD) -> plans.Job:
    executor = plans.Docker(images=(plans.DockerImage(image="x"),))
    return plans.Job(
        name=name,
        type=type,
        requires=tuple(plans.Require(job=one) for one in requires),
        executor=executor,
        parallelism=parallelism,
        steps=(RUN,),
    )


def create(tx: Tx, project: Project, *of: plans.Job, number: int = 1) -> dict[str, jobs.Job]:
    """A pipeline with one workflow of these jobs."""
    accepted = moves.accept(tx, push(project, f"{number:040x}", f"d{number}"), NOW, True)
    assert accepted is not None
    trigger, drafted = push(project, f"{number:040x}", f"d{number}"), draft(*of, number=number)
    assert moves.create_pipeline(tx, accepted.trigger_id, trigger, drafted, NOW) is not None
    assert moves.create_pipeline(tx, accepted.trigger_id, trigger, drafted, NOW) is None, "once only"
    return {row.name: row for row in jobs.of_pipeline(tx, PipelineId(f"p{number}"))}


def start(tx: Tx, row: jobs.Job, index: int = 0) -> moves.Changed | None:
    claim = moves.Claim(job_id=row.id, index=index, plan=jobs.plan_of(tx, row.id), executor="fake", cpus=1, memory_bytes=1)
    return moves.start_node(tx, claim, NOW)


def finish(tx: Tx, row: jobs.Job, status: NodeStatus = NodeStatus.SUCCESS, index: int = 0) -> None:
    moves.finish_node(tx, row.id, index, status, "", [], NOW + 5)


def statuses(tx: Tx, number: int = 1) -> dict[str, JobStatus]:
    return {row.name: row.status for row in jobs.of_pipeline(tx, PipelineId(f"p{number}"))}


def workflow(tx: Tx) -> pipelines.Workflow:
    return pipelines.workflows_of(tx, PipelineId("p1"))[0]


def test_the_same_event_is_accepted_once_by_delivery_and_by_meaning(tx: Tx, project: Project) -> None:
    assert moves.accept(tx, push(project), NOW, True) is not None
    assert moves.accept(tx, push(project), NOW, True) is None
    assert moves.accept(tx, push(project, delivery="another id"), NOW, True) is None
    assert moves.accept(tx, push(project, after="2" * 40, delivery="d1"), NOW, True) is None
    assert moves.accept(tx, push(project, after="2" * 40, delivery="d2"), NOW, True) is not None


def test_a_branch_that_goes_back_and_comes_again_is_a_new_event_after_a_while(tx: Tx, project: Project) -> None:
    assert moves.accept(tx, push(project, delivery="d1"), NOW, True) is not None
    assert moves.accept(tx, push(project, delivery="d2"), NOW + 9 * 60_000, True) is None
    assert moves.accept(tx, push(project, delivery="d3"), NOW + 11 * 60_000, True) is not None
    assert moves.accept(tx, push(project, delivery="d1"), NOW + 22 * 60_000, True) is None, "a replay for ever"


def test_an_event_of_the_same_moment_is_the_same_however_late_it_comes(tx: Tx, project: Project) -> None:
    """Two webhooks of one repository, and our clock jumps between them."""
    at_noon = replace(push(project, delivery="d1"), moment="1760000000")
    assert moves.accept(tx, at_noon, NOW, True) is not None
    assert moves.accept(tx, replace(at_noon, delivery_id="d2"), NOW + 86_400_000, True) is None
    assert moves.accept(tx, replace(at_noon, delivery_id="d3", moment="1760086400"), NOW + 86_400_000, True) is not None
    assert moves.accept(tx, replace(at_noon, delivery_id="d4", moment=""), NOW + 2 * 86_400_000, True) is not None


def test_skip_ci_leaves_no_pipeline_except_where_it_is_not_honoured(tx: Tx, project: Project) -> None:
    skipped = moves.accept(tx, push(project, message="x [skip ci]"), NOW, True)
    assert skipped is not None and skipped.is_skipped
    assert pipelines.oldest_open_trigger(tx) is None
    kept = moves.accept(tx, push(project, "2" * 40, "d2", "x [skip ci]"), NOW, False)
    assert kept is not None and not kept.is_skipped
    assert pipelines.oldest_open_trigger(tx) is not None


def test_the_title_and_the_body_each_say_skip_in_their_first_250_characters(tx: Tx, project: Project) -> None:
    trigger = push(project)
    trigger = replace(trigger, commit=Commit(subject="x" * 200, body="y" * 200 + " [skip ci]"))
    accepted = moves.accept(tx, trigger, NOW, True)
    assert accepted is not None
    assert accepted.is_skipped


def test_a_fork_cannot_skip_and_is_not_trusted(tx: Tx, project: Project) -> None:
    fork = replace(push(project, message="[skip ci]"), is_fork=True)
    accepted = moves.accept(tx, fork, NOW, True)
    assert accepted is not None and not accepted.is_skipped
    pipeline = pipelines.add_pipeline(
        tx, fork, state=PipelineState.CREATED, source="", compiled="", values={}, problems=[], now_ms=NOW
    )
    assert not pipelines.pipeline(tx, pipeline.id).is_trusted


def test_jobs_follow_each_other_to_a_green_workflow(tx: Tx, project: Project) -> None:
    rows = create(tx, project, job("a"), job("b", "a"))
    assert statuses(tx) == {"a": JobStatus.NOT_RUNNING, "b": JobStatus.BLOCKED}
    assert [jobs.by_id(tx, one.job_id).name for one in queue.waiting(tx, 10, 10)] == ["a"]
    assert start(tx, rows["a"]) is not None
    assert start(tx, rows["a"]) is None, "a node is claimed once"
    finish(tx, rows["a"])
    assert statuses(tx) == {"a": JobStatus.SUCCESS, "b": JobStatus.NOT_RUNNING}
    start(tx, rows["b"])
    finish(tx, rows["b"])
    assert workflow(tx).status is WorkflowStatus.SUCCESS
    assert workflow(tx).stopped_at_ms == NOW + 5


def test_a_job_ends_with_its_last_node_and_as_its_worst(tx: Tx, project: Project) -> None:
    rows = create(tx, project, job("a", parallelism=2))
    start(tx, rows["a"], 0)
    finish(tx, rows["a"], NodeStatus.FAILED, 0)
    assert statuses(tx) == {"a": JobStatus.RUNNING}
    start(tx, rows["a"], 1)
    finish(tx, rows["a"], NodeStatus.SUCCESS, 1)
    assert statuses(tx) == {"a": JobStatus.FAILED}


def test_a_job_that_can_not_run_any_more_ends_its_waiting_nodes_and_with_the_running_ones(tx: Tx, project: Project) -> None:
    """Its context is removed, say, when one of three nodes runs: the other two would wait for ever."""
    made = create(tx, project, job("a", parallelism=3))
    start(tx, made["a"], 1)
    moves.fail_waiting_job(tx, made["a"].id, "there is no context x", NOW)
    assert statuses(tx) == {"a": JobStatus.RUNNING}
    finish(tx, made["a"], index=1)
    assert statuses(tx) == {"a": JobStatus.FAILED}
    assert workflow(tx).status is WorkflowStatus.FAILED
    assert jobs.by_id(tx, made["a"].id).message == "there is no context x"


def test_an_end_told_twice_or_late_changes_nothing(tx: Tx, project: Project) -> None:
    rows = create(tx, project, job("a"))
    start(tx, rows["a"])
    finish(tx, rows["a"], NodeStatus.FAILED)
    finish(tx, rows["a"], NodeStatus.SUCCESS)
    assert statuses(tx) == {"a": JobStatus.FAILED}
    moves.cancel_job(tx, rows["a"].id, "someone", NOW)
    assert statuses(tx) == {"a": JobStatus.FAILED}


def test_a_canceled_job_stays_canceled_when_its_node_ends_later(tx: Tx, project: Project) -> None:
    rows = create(tx, project, job("a"), job("b", "a"))
    start(tx, rows["a"])
    changed = moves.cancel_job(tx, rows["a"].id, "someone", NOW)
    assert changed.canceled == {rows["a"].id}
    assert statuses(tx) == {"a": JobStatus.CANCELED, "b": JobStatus.NOT_RUN}
    finish(tx, rows["a"])
    assert statuses(tx) == {"a": JobStatus.CANCELED, "b": JobStatus.NOT_RUN}
    assert {step.status for step in jobs.steps_of(tx, rows["a"].id, 0)} == {StepStatus.CANCELED, StepStatus.SKIPPED}
    assert start(tx, rows["a"]) is None, "nothing starts after a cancel"


def test_a_canceled_workflow_cancels_all_that_has_not_ended(tx: Tx, project: Project) -> None:
    rows = create(tx, project, job("a"), job("b"), job("c", "b"))
    start(tx, rows["a"])
    finish(tx, rows["a"], NodeStatus.FAILED)
    moves.cancel_workflow(tx, workflow(tx).id, "someone", NOW)
    assert statuses(tx) == {"a": JobStatus.FAILED, "b": JobStatus.CANCELED, "c": JobStatus.CANCELED}
    assert workflow(tx).status is WorkflowStatus.CANCELED
    assert workflow(tx).canceled_by == "someone"


def test_an_approval_holds_the_workflow_and_frees_what_follows(tx: Tx, project: Project) -> None:
    rows = create(tx, project, job("ask", type=plans.JobType.APPROVAL), job("b", "ask"))
    assert workflow(tx).status is WorkflowStatus.ON_HOLD
    assert rows["ask"].number is None and rows["b"].number == 1
    moves.approve(tx, rows["ask"].id, BOSS, NOW)
    assert statuses(tx) == {"ask": JobStatus.SUCCESS, "b": JobStatus.NOT_RUNNING}
    approved = jobs.by_id(tx, rows["ask"].id)
    assert (approved.approved_by, approved.approved_by_id) == ("boss", BOSS.id)
    with pytest.raises(Conflict):
        moves.approve(tx, rows["ask"].id, BOSS, NOW)


@pytest.mark.parametrize("flags", [ProjectFlags(blocks_new_work=True), ProjectFlags(is_stopped=True)])
def test_a_project_that_takes_no_new_work_starts_nothing_and_says_why(tx: Tx, project: Project, flags: ProjectFlags) -> None:
    projects.set_flags(tx, project.id, flags)
    assert moves.receive(tx, push(project), NOW, True) == moves.NotBuilt(flags.why_no_new_work)
    projects.set_flags(tx, project.id, ProjectFlags())
    again = moves.receive(tx, push(project), NOW, True)
    assert isinstance(again, moves.Accepted), "the forge may be asked to deliver it again"


FORK = PullRequest(number=7, action="opened")


@pytest.mark.parametrize(
    ("event", "flags", "is_built"),
    [
        ({}, {}, True),
        ({"branch": "b"}, {}, True),
        ({"branch": "b"}, {"build_prs_only": True}, False),
        ({"branch": "main"}, {"build_prs_only": True}, True),
        ({"branch": None, "tag": "v1"}, {"build_prs_only": True}, True),
        ({"branch": "release/1"}, {"build_prs_only": True, "pr_only_branch_overrides": ("release/.*",)}, True),
        ({"branch": "my-release/1"}, {"build_prs_only": True, "pr_only_branch_overrides": ("release/.*",)}, False),
        ({"branch": "b", "kind": TriggerKind.API}, {"build_prs_only": True}, True),
        ({"branch": "b", "pull_request": FORK}, {}, False),
        ({"branch": "b", "pull_request": FORK}, {"build_prs_only": True}, True),
        ({"branch": "main", "pull_request": FORK}, {"build_prs_only": True}, False),
        ({"branch": "pull/7", "pull_request": FORK, "is_fork": True}, {}, False),
        ({"branch": "pull/7", "pull_request": FORK, "is_fork": True}, {"build_prs_only": True}, False),
        ({"branch": "pull/7", "pull_request": FORK, "is_fork": True}, {"build_fork_prs": True}, True),
        ({"branch": "pull/7", "is_fork": True}, {"build_fork_prs": True, "blocks_new_work": True}, False),
    ],
)
def test_which_events_a_projects_settings_let_in(
    tx: Tx, project: Project, event: dict[str, Any], flags: dict[str, Any], is_built: bool
) -> None:
    projects.set_flags(tx, project.id, ProjectFlags(**flags))
    found = moves.receive(tx, replace(push(project), **event), NOW, True)
    assert isinstance(found, moves.Accepted if is_built else moves.NotBuilt), found


def test_a_login_of_github_has_the_rights_of_who_is_linked_to_it_unless_it_speaks_for_a_fork(
    tx: Tx, project: Project
) -> None:
    ann = people.add(tx, name="ann", is_admin=False, sees_all_projects=True, now_ms=NOW)
    people.link(tx, ann.id, "github", "someone", NOW)
    projects.set_flags(tx, project.id, ProjectFlags(build_fork_prs=True))

    def actor(number: int, **changes: Any) -> UserId | None:
        trigger = replace(push(project, f"{number:040x}", f"d{number}"), **changes)
        accepted = moves.receive(tx, trigger, NOW, True)
        assert isinstance(accepted, moves.Accepted)
        found = pipelines.oldest_open_trigger(tx, accepted.trigger_id - 1)
        assert found is not None
        return found.trigger.actor_id

    assert actor(1) is None, "GitHub did not say whose account it is"
    assert actor(2, github_id="17") == ann.id
    assert actor(3, github_id="18") is None
    assert actor(4, github_id="17", actor="other") is None
    assert actor(5, github_id="17", is_fork=True) is None


def test_a_user_who_is_gone_has_no_rights_any_more_nor_has_who_is_called_alike(tx: Tx, project: Project) -> None:
    ann = people.add(tx, name="ann", is_admin=False, sees_all_projects=True, now_ms=NOW)
    context = contexts.add(tx, "deploy", NOW)
    restrictions.add(tx, context.id, restrictions.Type.GROUP, restrictions.ALL_MEMBERS, NOW)
    plan = replace(job("ship", "hold"), contexts=("deploy",))
    rows = create(tx, project, job("hold", type=plans.JobType.APPROVAL), plan)
    moves.approve(tx, rows["hold"].id, ann, NOW)
    assert admission.why_denied(tx, rows["ship"].id, plan) == ""
    people.remove(tx, ann.id)
    people.add(tx, name="ann", is_admin=True, sees_all_projects=True, now_ms=NOW)
    why = admission.why_denied(tx, rows["ship"].id, plan)
    assert why == "the context deploy is restricted to All members; this runs for nobody known here"
    changed = moves.deny_job(tx, rows["ship"].id, why, NOW)
    assert statuses(tx)["ship"] is JobStatus.UNAUTHORIZED and workflow(tx).status is WorkflowStatus.UNAUTHORIZED
    assert changed.jobs == {rows["ship"].id}


def test_a_rerun_by_hand_has_the_rights_of_who_reran_not_of_who_approved_then(tx: Tx, project: Project) -> None:
    ann = people.add(tx, name="ann", is_admin=False, sees_all_projects=True, now_ms=NOW)
    bea = people.add(tx, name="bea", is_admin=False, sees_all_projects=True, now_ms=NOW)
    context = contexts.add(tx, "deploy", NOW)
    restrictions.add(tx, context.id, restrictions.Type.GROUP, ann.id, NOW)
    plan = replace(job("ship", "hold"), contexts=("deploy",))
    rows = create(tx, project, job("hold", type=plans.JobType.APPROVAL), plan)
    moves.approve(tx, rows["hold"].id, ann, NOW)
    start(tx, rows["ship"])
    finish(tx, rows["ship"], NodeStatus.FAILED)
    for who, may in ((ann, True), (bea, False)):
        again = reruns.rerun(tx, workflow(tx).id, reruns.Wish(from_failed=True), who, NOW)
        ship = next(row for row in jobs.of_workflow(tx, again.workflow_id) if row.name == "ship")
        assert (admission.why_denied(tx, ship.id, plan) == "") is may


def test_a_project_may_keep_its_statuses_to_itself(tx: Tx, project: Project) -> None:
    projects.set_flags(tx, project.id, ProjectFlags(set_github_status=False))
    rows = create(tx, project, job("a"))
    start(tx, rows["a"])
    finish(tx, rows["a"])
    assert outbox.due(tx, NOW + 10) == []


def test_an_approval_after_a_cancel_is_refused(tx: Tx, project: Project) -> None:
    rows = create(tx, project, job("ask", type=plans.JobType.APPROVAL), job("b", "ask"))
    moves.cancel_workflow(tx, workflow(tx).id, "someone", NOW)
    with pytest.raises(Conflict):
        moves.approve(tx, rows["ask"].id, BOSS, NOW)
    assert statuses(tx)["b"] is JobStatus.CANCELED


def test_what_the_forge_should_hear_is_written_with_what_happened(tx: Tx, project: Project) -> None:
    rows = create(tx, project, job("a"), job("ask", "a", type=plans.JobType.APPROVAL))
    start(tx, rows["a"])
    finish(tx, rows["a"])
    said = [(letter.body["context"], letter.body["state"]) for letter in outbox.due(tx, NOW + 10)]
    assert said == [
        ("ci/circleci: a", "pending"),
        ("ci/circleci: a", "pending"),
        ("ci/circleci: a", "success"),
        ("ci/circleci: w/ask", "pending"),
    ]


def test_steps_end_and_begin_in_one_move_and_never_end_twice(tx: Tx, project: Project) -> None:
    rows = create(tx, project, job("a"))
    start(tx, rows["a"])
    end = moves.StepEnd(position=0, status=StepStatus.SUCCESS, exit_code=0)
    moves.advance(tx, rows["a"].id, 0, [end], 1, NOW + 1)
    again = moves.StepEnd(position=0, status=StepStatus.FAILED)
    moves.advance(tx, rows["a"].id, 0, [again], 1, NOW + 9)
    first, second = jobs.steps_of(tx, rows["a"].id, 0)
    assert (first.status, first.exit_code, first.stopped_at_ms) == (StepStatus.SUCCESS, 0, NOW + 1)
    assert (second.status, second.started_at_ms) == (StepStatus.RUNNING, NOW + 1)


def test_a_crash_inside_a_move_leaves_nothing_of_it(tmp_path: Path) -> None:
    with closing(open_plain(tmp_path / "rondo.db")) as connection:

        def broken(tx: Tx) -> None:
            projects.add(tx, org="a", repo="b", vcs=Vcs.HOSTED, git_url=None, default_branch="main", now_ms=NOW)
            raise RuntimeError("planted")

        with pytest.raises(RuntimeError, match="planted"):
            transact(connection, broken)
        assert transact(connection, projects.all_of) == []
