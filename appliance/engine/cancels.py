"""The transactions that cancel: by a person, by a newer pipeline of the branch, by the clock (spec 4.2, 4.4, 4.6).

The rows say canceled at once, of nodes that wait as of those that run: nothing can start after it. The runner of a node
that runs sees it and stops what still moves.
"""

from __future__ import annotations

from dataclasses import dataclass

from appliance.engine import reruns, rules, settle
from appliance.engine.settle import Changed
from appliance.language.plan import JobType
from appliance.model import (
    JobId,
    JobStatus,
    NodeStatus,
    PipelineId,
    PipelineState,
    ProjectId,
    StepStatus,
    Trigger,
    WorkflowId,
)
from appliance.store import continuations, jobs, locks, pipelines, projects, redundancy
from appliance.store.database import Tx

_AUTO_CANCEL = "auto-cancel"  # who canceled
_OPEN = (PipelineState.SETUP, PipelineState.PENDING)  # more workflows may come
_MOST = 100  # ended by the clock in one transaction; the next follows


def cancel_workflow(tx: Tx, workflow_id: WorkflowId, who: str, now_ms: int, message: str = "") -> Changed:
    """Cancel every job that has not ended. A workflow that has ended stays as it is. Raises NotFound."""
    workflow = pipelines.workflow(tx, workflow_id)
    project_id, _ = pipelines.origin_of(tx, workflow.pipeline_id)
    changed = Changed(project=project_id, pipeline=workflow.pipeline_id, workflows={workflow_id})
    if workflow.status.is_done:
        return changed
    pipelines.set_canceled_by(tx, workflow_id, who)
    ended = [job for job in jobs.of_workflow(tx, workflow_id) if _cancel(tx, job, who, changed, now_ms, message)]
    # Nobody is left in this workflow who could hear of them, but locks are let go, and others wait for those.
    locking = [job.id for job in ended if job.type in (JobType.LOCK, JobType.UNLOCK)]
    reruns.follow(tx, workflow_id, locking, changed, now_ms)
    return changed


def cancel_pipeline(tx: Tx, pipeline_id: PipelineId, who: str, now_ms: int) -> Changed:
    """Cancel every workflow of a pipeline that has not ended, and those that its setup phase would still bring.

    Raises NotFound.
    """
    pipeline = pipelines.pipeline(tx, pipeline_id)
    changed = Changed(project=pipeline.project_id, pipeline=pipeline_id)
    setup = continuations.last_setup(tx, pipeline_id)
    if setup is not None and setup.canceled_by is None and pipeline.state in _OPEN:
        # It may have ended: then its key opens nothing any more, and what is being compiled is canceled (`fate`).
        pipelines.set_canceled_by(tx, setup.id, who)
    for workflow in pipelines.workflows_of(tx, pipeline_id):
        changed.add(cancel_workflow(tx, workflow.id, who, now_ms))
    return changed


def cancel_open(tx: Tx, project_id: ProjectId, who: str, now_ms: int) -> list[Changed]:
    """Cancel every workflow of a project that has not ended."""
    return [cancel_workflow(tx, one, who, now_ms) for one in pipelines.open_workflows_of(tx, project_id)]


def cancel_job(tx: Tx, job_id: JobId, who: str, now_ms: int, message: str = "") -> Changed:
    """Cancel one job that has not ended, an approval too; what requires it follows. Raises NotFound."""
    job = jobs.by_id(tx, job_id)
    changed = settle.changed_by(tx, job)
    if _cancel(tx, job, who, changed, now_ms, message or f"canceled by {who}"):
        reruns.follow(tx, job.workflow_id, [job_id], changed, now_ms)
    return changed


@dataclass(frozen=True)
class Fate:
    """What awaits workflows that are made now: a newer pipeline may cancel them, or somebody has done so already."""

    may_be_redundant: bool
    canceled_by: str = ""
    message: str = ""


def fate(tx: Tx, pipeline: pipelines.Pipeline) -> Fate:
    """Whatever cancels a pipeline may come while its config is compiled, when there is nothing yet to be canceled.

    So it is looked at again when there is. What a rerun of a setup workflow continues is no more redundant than any rerun.
    """
    setup = continuations.last_setup(tx, pipeline.id)
    may_be = _may_be_redundant(tx, pipeline.trigger) and (setup is None or not setup.rerun)
    if projects.flags(tx, pipeline.project_id).is_stopped:
        return Fate(may_be, "the project's settings", "canceled: building of this project is stopped")
    if setup is not None and setup.canceled_by is not None:
        return Fate(may_be, setup.canceled_by, "canceled: the setup workflow was")
    newer = redundancy.newer(tx, pipeline) if may_be else None
    return Fate(may_be) if newer is None else Fate(may_be, _AUTO_CANCEL, _redundant(newer, pipeline.trigger))


def _may_be_redundant(tx: Tx, trigger: Trigger) -> bool:
    """Whether what this starts may be canceled by a newer pipeline of its branch, and cancels older ones itself."""
    return rules.may_be_redundant(
        trigger.kind,
        is_default_branch=trigger.branch == projects.by_id(tx, trigger.project_id).default_branch,
        autocancel=projects.flags(tx, trigger.project_id).autocancel_builds,
    )


def cancel_redundant(tx: Tx, trigger: Trigger, number: int, changed: Changed, now_ms: int) -> None:
    """Cancel what still runs for older pipelines of a branch, when pipeline `number` begins on it (spec 4.4)."""
    if trigger.branch is None or not _may_be_redundant(tx, trigger):
        return
    for workflow_id in redundancy.older(tx, trigger.project_id, trigger.branch, number, is_trusted=not trigger.is_fork):
        changed.add(cancel_workflow(tx, workflow_id, _AUTO_CANCEL, now_ms, _redundant(number, trigger)))


def _redundant(newer: int, trigger: Trigger) -> str:
    return f"redundant: pipeline {newer} is newer on {trigger.branch}"


@dataclass(frozen=True, kw_only=True)
class Patience:
    """For how long at most a workflow may go on, an approval be on hold, a job wait for its serial group."""

    workflows_ms: int
    holds_ms: int
    locks_ms: int


def expire(tx: Tx, patience: Patience, now_ms: int) -> list[Changed]:
    """Cancel what has waited for too long (spec 4.2, 1.10.2, 1.10.5); a limited number, so call it again."""
    found = [
        cancel_workflow(tx, workflow_id, "the clock", now_ms, "canceled: its workflow has not ended for too long")
        for workflow_id in redundancy.open_since(tx, now_ms - patience.workflows_ms, _MOST)
    ]
    for job_id in redundancy.on_hold_since(tx, now_ms - patience.holds_ms, _MOST):
        found.append(cancel_job(tx, job_id, "the clock", now_ms, "canceled: nobody has approved it for too long"))
    for lock in locks.waiting_since(tx, now_ms - patience.locks_ms, _MOST):
        message = f"canceled: it has waited for too long in the serial group {lock.key}"
        found.append(cancel_job(tx, lock.job_id, "the clock", now_ms, message))
    return found


def _cancel(tx: Tx, job: jobs.Job, who: str, changed: Changed, now_ms: int, message: str) -> bool:
    """False when the job has ended."""
    if job.status.is_done:
        return False
    changed.jobs.add(job.id)
    changed.canceled.add(job.id)
    end_nodes(tx, job.id, NodeStatus.CANCELED, now_ms)
    jobs.set_canceled_by(tx, job.id, who)
    settle.set_job(tx, job, JobStatus.CANCELED, now_ms, message)
    return True


def end_nodes(tx: Tx, job_id: JobId, status: NodeStatus, now_ms: int) -> None:
    """End the nodes of a job that have not ended, with their steps."""
    for node in jobs.nodes_of(tx, job_id):
        if jobs.end_node(tx, job_id, node.index, status, "", now_ms):
            jobs.end_open_steps(tx, job_id, node.index, StepStatus(status.value), now_ms)
