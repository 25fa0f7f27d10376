"""What follows from what: pure functions over statuses (spec 1.9, 4.2). No time, no rows, no waiting."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from appliance.errors import RondoError, SandboxError, Unavailable
from appliance.language.plan import JobType, Run, Step, When
from appliance.model import JobStatus, NodeStatus, StepStatus, TriggerKind, WorkflowStatus
from appliance.store.machines import name_of


def is_met(statuses: Collection[str], ended: JobStatus) -> bool:
    """Whether an entry of `requires` is satisfied by how the job it names ended (spec 1.9)."""
    return ended.required_as in statuses


def freed_as(type: str) -> JobStatus:
    """What a blocked job becomes once every entry of its `requires` is satisfied."""
    if type == JobType.BUILD:
        return JobStatus.NOT_RUNNING
    if type == JobType.APPROVAL:
        return JobStatus.ON_HOLD
    if type == JobType.LOCK:
        return JobStatus.QUEUED
    return JobStatus.SUCCESS


# The first that occurs wins.
_WORST_NODE = (
    (NodeStatus.INFRASTRUCTURE_FAIL, JobStatus.INFRASTRUCTURE_FAIL),
    (NodeStatus.TIMEDOUT, JobStatus.TIMEDOUT),
    (NodeStatus.FAILED, JobStatus.FAILED),
    (NodeStatus.CANCELED, JobStatus.CANCELED),
)


def job_status(nodes: Iterable[NodeStatus]) -> JobStatus | None:
    """How a job ended by its nodes; None while one of them has not. A failing node does not stop its siblings."""
    statuses = set(nodes)
    if not all(status.is_done for status in statuses):
        return None
    return next((job for node, job in _WORST_NODE if node in statuses), JobStatus.SUCCESS)


FAILURES = frozenset({JobStatus.FAILED, JobStatus.TIMEDOUT, JobStatus.INFRASTRUCTURE_FAIL})
"""The ends of jobs that make a workflow failed."""


def workflow_status(jobs: Collection[JobStatus], *, is_canceled: bool, is_errored: bool = False) -> WorkflowStatus:
    """The status of a workflow by those of its jobs (spec 4.2; order of the ended ones from there).

    `is_canceled`: as a whole, not just some job of it. `is_errored`: the appliance could not start one of its jobs.
    """
    statuses = set(jobs)
    if not all(status.is_done for status in statuses):
        return _going_status(statuses)
    if JobStatus.UNAUTHORIZED in statuses:
        return WorkflowStatus.UNAUTHORIZED
    if is_errored:
        return WorkflowStatus.ERROR
    if is_canceled or (JobStatus.CANCELED in statuses and not statuses & FAILURES):
        return WorkflowStatus.CANCELED
    if statuses & FAILURES:
        return WorkflowStatus.FAILED
    if statuses == {JobStatus.NOT_RUN}:
        return WorkflowStatus.NOT_RUN
    return WorkflowStatus.SUCCESS


def held_until(since_ms: int, left_at_ms: Collection[int | None], alone_ms: int, longest_ms: int) -> int:
    """Until when a job with SSH is held after its steps (spec 5); `left_at_ms` of each visit, None while it lasts."""
    if None in left_at_ms:
        return since_ms + longest_ms
    last = max([since_ms, *(left for left in left_at_ms if left is not None)])
    return min(last + alone_ms, since_ms + longest_ms)


def may_be_redundant(kind: TriggerKind, *, is_default_branch: bool, autocancel: bool) -> bool:
    """Whether a push or a call of the API outruns what still runs for older ones of its branch (spec 4.4).

    What may outrun may be outrun: workflows of the default branch, of schedules, and those that began while the
    project did not want it are left alone, like reruns.
    """
    return autocancel and not is_default_branch and kind in (TriggerKind.WEBHOOK, TriggerKind.API)


def is_rerun_from_failed(status: JobStatus) -> bool:
    """Whether a rerun from failed runs this ended job again, with all that comes after it (spec 4.5)."""
    return status not in (JobStatus.SUCCESS, JobStatus.NOT_RUN)


def _going_status(statuses: set[JobStatus]) -> WorkflowStatus:
    if statuses & FAILURES:
        return WorkflowStatus.FAILING
    if statuses & {JobStatus.RUNNING, JobStatus.NOT_RUNNING}:
        return WorkflowStatus.RUNNING
    if JobStatus.QUEUED in statuses:
        return WorkflowStatus.QUEUED
    if JobStatus.ON_HOLD in statuses:
        return WorkflowStatus.ON_HOLD
    return WorkflowStatus.RUNNING


def have_succeeded(nodes: Iterable[NodeStatus]) -> bool | None:
    """False as soon as one has ended otherwise, None while one has not ended."""
    statuses = set(nodes)
    if any(status.is_done and status is not NodeStatus.SUCCESS for status in statuses):
        return False
    return True if all(status.is_done for status in statuses) else None


def should_run(step: Step, *, has_failed: bool) -> bool:
    """Whether a step runs after what came before it (spec 1.8); after a cancel or the job's time limit nothing does."""
    if step.when is When.ALWAYS:
        return True
    return has_failed is (step.when is When.ON_FAIL)


def may_try_again(step: Step, status: StepStatus, attempt: int) -> bool:
    """Whether a run step that failed, or fell silent, is run again inside its job (spec 1.8.1); attempts count from 1."""
    if not isinstance(step, Run) or step.background:
        return False
    return status in (StepStatus.FAILED, StepStatus.TIMEDOUT) and attempt <= step.max_auto_reruns


def is_lost(executor: str, error: RondoError, *, is_opening: bool) -> bool:
    """Whether a node that ends by this error was lost by no doing of its own, and may be started again.

    A sandbox that cannot be opened is always the executor's trouble. Later only a machine that went away counts: a
    container that is gone was removed, or had no memory left, and would be again.
    """
    if is_opening:
        return isinstance(error, SandboxError | Unavailable)
    return name_of(executor) is not None and isinstance(error, SandboxError)


def said_of_loss(executor: str, why: str) -> str:
    """What to say of a node that was lost, because of `why`; `executor` is the one that has it now, "" while it waits."""
    if not executor:
        return f"Waits to be started again: {why}"
    machine = name_of(executor)
    return f"Started again on {machine}: {why}" if machine else f"Started again: {why}"


def node_status(steps: Iterable[StepStatus]) -> NodeStatus:
    """How a node ended by its foreground steps."""
    statuses = set(steps)
    if StepStatus.INFRASTRUCTURE_FAIL in statuses:
        return NodeStatus.INFRASTRUCTURE_FAIL
    if StepStatus.TIMEDOUT in statuses:
        return NodeStatus.TIMEDOUT
    return NodeStatus.FAILED if StepStatus.FAILED in statuses else NodeStatus.SUCCESS


def says_skip(message: str) -> bool:
    """Whether a commit message asks for no pipeline: within its first 250 characters (spec 4.3)."""
    head = message[:250].lower()
    return "[skip ci]" in head or "[ci skip]" in head


_COMMIT_STATES = {
    JobStatus.SUCCESS: ("success", "Your tests passed"),
    JobStatus.FAILED: ("failure", "Your tests failed"),
    JobStatus.TIMEDOUT: ("failure", "Your tests timed out"),
    JobStatus.CANCELED: ("error", "Your tests were canceled"),
    JobStatus.INFRASTRUCTURE_FAIL: ("error", "The job was lost; it is not the code's fault"),
    JobStatus.UNAUTHORIZED: ("error", "The job may not use one of its contexts"),
    JobStatus.ON_HOLD: ("pending", "Waits for approval"),
    JobStatus.NOT_RUNNING: ("pending", "Waits for room to run"),
    JobStatus.RUNNING: ("pending", "Runs"),
}


def commit_state(status: JobStatus) -> tuple[str, str] | None:
    """The forge's state and description for a job's status; None when there is nothing to say (spec 7.2)."""
    return _COMMIT_STATES.get(status)
