"""What follows from what (spec 1.9, 4.2)."""

from __future__ import annotations

import pytest

from appliance.engine import rules
from appliance.language.plan import Run, When
from appliance.model import JobStatus, NodeStatus, StepStatus, WorkflowStatus

J = JobStatus


@pytest.mark.parametrize(
    ("ended", "statuses", "is_met"),
    [
        (J.SUCCESS, ("success",), True),
        (J.FAILED, ("failed",), True),
        (J.TIMEDOUT, ("failed",), True),
        (J.INFRASTRUCTURE_FAIL, ("failed",), True),
        (J.CANCELED, ("canceled", "failed"), True),
        (J.NOT_RUN, ("not_run",), True),
        (J.UNAUTHORIZED, ("unauthorized",), True),
        (J.SUCCESS, ("failed",), False),
        (J.CANCELED, ("success",), False),
        (J.TIMEDOUT, ("success", "canceled"), False),
    ],
)
def test_requires_with_statuses(ended: JobStatus, statuses: tuple[str, ...], is_met: bool) -> None:
    assert rules.is_met(statuses, ended) is is_met


@pytest.mark.parametrize(
    ("type", "status"), [("build", J.NOT_RUNNING), ("approval", J.ON_HOLD), ("no-op", J.SUCCESS), ("release", J.SUCCESS)]
)
def test_what_a_job_becomes_that_waits_for_nothing_any_more(type: str, status: JobStatus) -> None:
    assert rules.freed_as(type) is status


@pytest.mark.parametrize(
    ("jobs", "status"),
    [
        ([J.SUCCESS, J.SUCCESS], WorkflowStatus.SUCCESS),
        ([J.SUCCESS, J.NOT_RUN], WorkflowStatus.SUCCESS),
        ([J.NOT_RUN, J.NOT_RUN], WorkflowStatus.NOT_RUN),
        ([J.FAILED, J.RUNNING], WorkflowStatus.FAILING),
        ([J.FAILED, J.ON_HOLD], WorkflowStatus.FAILING),
        ([J.FAILED, J.NOT_RUN], WorkflowStatus.FAILED),
        ([J.TIMEDOUT], WorkflowStatus.FAILED),
        ([J.ON_HOLD, J.BLOCKED], WorkflowStatus.ON_HOLD),
        ([J.ON_HOLD, J.RUNNING], WorkflowStatus.RUNNING),
        ([J.NOT_RUNNING], WorkflowStatus.RUNNING),
        ([J.CANCELED, J.SUCCESS], WorkflowStatus.CANCELED),
        ([J.CANCELED, J.FAILED], WorkflowStatus.FAILED),
        ([J.UNAUTHORIZED, J.FAILED, J.CANCELED], WorkflowStatus.UNAUTHORIZED),
        ([], WorkflowStatus.SUCCESS),
    ],
)
def test_workflow_status(jobs: list[JobStatus], status: WorkflowStatus) -> None:
    assert rules.workflow_status(jobs, is_canceled=False) is status


@pytest.mark.parametrize(
    ("jobs", "status"),
    [
        ([J.FAILED, J.SUCCESS], WorkflowStatus.ERROR),
        ([J.FAILED, J.CANCELED], WorkflowStatus.ERROR),
        ([J.FAILED, J.UNAUTHORIZED], WorkflowStatus.UNAUTHORIZED),
        ([J.FAILED, J.RUNNING], WorkflowStatus.FAILING),
    ],
)
def test_a_workflow_of_which_a_job_could_not_be_started_is_an_error(jobs: list[JobStatus], status: WorkflowStatus) -> None:
    assert rules.workflow_status(jobs, is_canceled=False, is_errored=True) is status


def test_a_canceled_workflow_is_canceled_whatever_failed_before() -> None:
    assert rules.workflow_status([J.CANCELED, J.FAILED], is_canceled=True) is WorkflowStatus.CANCELED


N = NodeStatus


@pytest.mark.parametrize(
    ("nodes", "status"),
    [
        ([N.SUCCESS, N.SUCCESS], J.SUCCESS),
        ([N.SUCCESS, N.RUNNING], None),
        ([N.FAILED, N.WAITING], None),
        ([N.FAILED, N.SUCCESS], J.FAILED),
        ([N.FAILED, N.INFRASTRUCTURE_FAIL], J.INFRASTRUCTURE_FAIL),
        ([N.TIMEDOUT, N.FAILED], J.TIMEDOUT),
    ],
)
def test_job_status(nodes: list[NodeStatus], status: JobStatus | None) -> None:
    assert rules.job_status(nodes) is status


@pytest.mark.parametrize(
    ("nodes", "verdict"),
    [
        (["success", "success"], True),
        (["success", "running"], None),
        (["waiting"], None),
        (["failed", "running"], False),
        (["success", "canceled"], False),
        ([], True),
    ],
)
def test_a_deploy_waits_for_success_and_gives_up_at_the_first_that_has_none(nodes: list[str], verdict: bool | None) -> None:
    assert rules.have_succeeded(map(NodeStatus, nodes)) is verdict


@pytest.mark.parametrize(
    ("when", "has_failed", "runs"),
    [
        (When.ON_SUCCESS, False, True),
        (When.ON_SUCCESS, True, False),
        (When.ALWAYS, False, True),
        (When.ALWAYS, True, True),
        (When.ON_FAIL, False, False),
        (When.ON_FAIL, True, True),
    ],
)
def test_when(when: When, has_failed: bool, runs: bool) -> None:
    assert rules.should_run(Run(command="x", name="x", when=when), has_failed=has_failed) is runs


@pytest.mark.parametrize(
    ("status", "attempt", "background", "again"),
    [
        (StepStatus.FAILED, 1, False, True),
        (StepStatus.TIMEDOUT, 2, False, True),
        (StepStatus.FAILED, 3, False, False),
        (StepStatus.SUCCESS, 1, False, False),
        (StepStatus.INFRASTRUCTURE_FAIL, 1, False, False),
        (StepStatus.FAILED, 1, True, False),
    ],
)
def test_a_step_is_tried_again(status: StepStatus, attempt: int, background: bool, again: bool) -> None:
    step = Run(command="x", name="x", max_auto_reruns=2, background=background)
    assert rules.may_try_again(step, status, attempt) is again
    assert not rules.may_try_again(Run(command="x", name="x"), status, attempt)


def test_node_status_takes_the_worst_step() -> None:
    assert rules.node_status([StepStatus.SUCCESS, StepStatus.SKIPPED]) is NodeStatus.SUCCESS
    assert rules.node_status([StepStatus.FAILED, StepStatus.TIMEDOUT]) is NodeStatus.TIMEDOUT
    assert rules.node_status([StepStatus.SUCCESS, StepStatus.FAILED]) is NodeStatus.FAILED


@pytest.mark.parametrize(
    ("message", "skips"),
    [
        ("Fix it [skip ci]", True),
        ("[CI SKIP] Fix it", True),
        ("Fix it\n\nlong body [ci skip]", True),
        ("Fix it (skip ci)", False),
        ("x" * 250 + "[skip ci]", False),
    ],
)
def test_skip_ci_looks_at_the_first_250_characters(message: str, skips: bool) -> None:
    assert rules.says_skip(message) is skips


@pytest.mark.parametrize(
    ("left_at", "until"), [([], 110), ([None], 300), ([150, None], 300), ([150], 160), ([20], 110), ([295], 300)]
)
def test_how_long_a_job_with_ssh_is_held(left_at: list[int | None], until: int) -> None:
    assert rules.held_until(100, left_at, 10, 200) == until
