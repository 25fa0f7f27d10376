"""What follows from what (spec 1.9, 4.2)."""

from __future__ import annotations

import pytest

from appliance.engine import rules
from appliance.engine.rules import JobFact
from appliance.language.plan import Require, Run, When
from appliance.model import JobStatus, NodeStatus, StepStatus, WorkflowStatus

J = JobStatus


def fact(name: str, status: JobStatus = J.BLOCKED, *requires: Require, type: str = "build") -> JobFact:
    return JobFact(name, type, status, requires)


def test_a_job_without_requirements_may_start() -> None:
    assert rules.unblocked([fact("a")]) == {"a": J.NOT_RUNNING}


def test_a_job_waits_while_a_required_one_runs() -> None:
    assert rules.unblocked([fact("a", J.RUNNING), fact("b", J.BLOCKED, Require(job="a"))]) == {}


def test_a_failed_requirement_passes_not_run_down_the_line() -> None:
    jobs = [fact("a", J.FAILED), fact("b", J.BLOCKED, Require(job="a")), fact("c", J.BLOCKED, Require(job="b"))]
    assert rules.unblocked(jobs) == {"b": J.NOT_RUN, "c": J.NOT_RUN}


@pytest.mark.parametrize(
    ("ended", "statuses", "becomes"),
    [
        (J.FAILED, ("failed",), J.NOT_RUNNING),
        (J.TIMEDOUT, ("failed",), J.NOT_RUNNING),
        (J.INFRASTRUCTURE_FAIL, ("failed",), J.NOT_RUNNING),
        (J.CANCELED, ("canceled", "failed"), J.NOT_RUNNING),
        (J.NOT_RUN, ("not_run",), J.NOT_RUNNING),
        (J.UNAUTHORIZED, ("unauthorized",), J.NOT_RUNNING),
        (J.SUCCESS, ("failed",), J.NOT_RUN),
        (J.CANCELED, ("success",), J.NOT_RUN),
    ],
)
def test_requires_with_statuses(ended: JobStatus, statuses: tuple[str, ...], becomes: JobStatus) -> None:
    jobs = [fact("a", ended), fact("b", J.BLOCKED, Require(job="a", statuses=statuses))]
    assert rules.unblocked(jobs) == {"b": becomes}


def test_a_requirement_that_cannot_be_met_decides_before_the_others_have_ended() -> None:
    jobs = [fact("a", J.FAILED), fact("b", J.RUNNING), fact("c", J.BLOCKED, Require(job="a"), Require(job="b"))]
    assert rules.unblocked(jobs) == {"c": J.NOT_RUN}


def test_a_no_op_frees_what_needs_it_in_the_same_move_and_an_approval_holds() -> None:
    jobs = [
        fact("gate", type="no-op"),
        fact("b", J.BLOCKED, Require(job="gate")),
        fact("ask", J.BLOCKED, Require(job="gate"), type="approval"),
        fact("c", J.BLOCKED, Require(job="ask")),
    ]
    assert rules.unblocked(jobs) == {"gate": J.SUCCESS, "b": J.NOT_RUNNING, "ask": J.ON_HOLD}


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
