"""The transactions of the engine. Each is one function of `tx`: it reads, lets `rules` decide, and writes. None waits.

Most return `Changed`: whom to wake. After any change of a job, `reruns.follow` lets the rest of its workflow follow, so no
other code has to think about what comes next.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from appliance.engine import cancels, flags, registrations, reruns, rules, settle
from appliance.engine.cancels import cancel_job as cancel_job
from appliance.engine.cancels import cancel_open as cancel_open
from appliance.engine.cancels import cancel_pipeline as cancel_pipeline
from appliance.engine.cancels import cancel_workflow as cancel_workflow
from appliance.engine.settle import Changed as Changed
from appliance.errors import Conflict
from appliance.language import plan as plans
from appliance.model import (
    JobId,
    JobStatus,
    NodeStatus,
    PipelineId,
    PipelineState,
    StepStatus,
    Trigger,
    TriggerKind,
    User,
    Vcs,
    WorkflowId,
)
from appliance.store import (
    approvals,
    continuations,
    jobs,
    locks,
    losses,
    machines,
    people,
    pipelines,
    projects,
    requirements,
)
from appliance.store.database import Tx


@dataclass(frozen=True)
class Accepted:
    trigger_id: int
    is_skipped: bool


@dataclass(frozen=True)
class NotBuilt:
    """An event that the project's settings keep from starting anything; `reason` is part of a sentence."""

    reason: str


def receive(tx: Tx, trigger: Trigger, now_ms: int, honour_skip_ci: bool) -> Accepted | NotBuilt | None:
    """What a door does with an event: `accept` it, for whoever it was, if the project builds such events.

    What is not built is not written down: once the settings are changed, the forge may be asked to deliver it again.
    """
    project = projects.by_id(tx, trigger.project_id)
    reason = flags.why_not_built(trigger, project, projects.flags(tx, project.id))
    if reason:
        return NotBuilt(reason)
    if project.vcs is Vcs.GITHUB and trigger.kind is TriggerKind.WEBHOOK and not trigger.is_fork:
        trigger = replace(trigger, actor_id=people.by_login(tx, "github", trigger.actor, trigger.github_id))
    return accept(tx, trigger, now_ms, honour_skip_ci)


def accept(tx: Tx, trigger: Trigger, now_ms: int, honour_skip_ci: bool) -> Accepted | None:
    """Write an event down; None when it is here already. `[skip ci]` events are kept, so that a retry is one too.

    Who asks by the API means it, as with CircleCI's GitHub App (spec 4.3).
    """
    may_skip = honour_skip_ci and trigger.kind is TriggerKind.WEBHOOK and not trigger.is_fork
    is_skipped = may_skip and any(rules.says_skip(text) for text in (trigger.commit.subject, trigger.commit.body))
    trigger_id = pipelines.add_trigger(tx, trigger, now_ms, is_skipped=is_skipped)
    return None if trigger_id is None else Accepted(trigger_id, is_skipped)


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A pipeline as intake worked it out. `plan` is None when there are errors among the problems.

    `key` continues the pipeline when this is a setup config.
    """

    pipeline_id: PipelineId
    number: int
    source: str
    compiled: str
    values: Mapping[str, object]
    problems: Sequence[pipelines.Problem]
    plan: plans.Plan | None
    key: str = field(default="", repr=False)
    excuses_consumed: bool = False  # a failure that another job requires does not fail its workflow


def create_pipeline(tx: Tx, trigger_id: int, trigger: Trigger, draft: Draft, now_ms: int) -> Changed | None:
    """Turn an open trigger into a pipeline with its workflows and jobs; None when that has happened already."""
    if not pipelines.is_trigger_open(tx, trigger_id):
        return None
    is_setup = _first_state(draft) is PipelineState.SETUP
    pipeline = pipelines.add_pipeline(
        tx,
        trigger,
        state=_first_state(draft),
        source="" if is_setup else draft.source,
        compiled="" if is_setup else draft.compiled,
        values=draft.values,
        problems=draft.problems,
        now_ms=now_ms,
        number=draft.number,
        pipeline_id=draft.pipeline_id,
    )
    changed = Changed(project=trigger.project_id, pipeline=pipeline.id)
    if is_setup:
        key, source, compiled = draft.key, draft.source, draft.compiled
        continuations.add(tx, pipeline.id, key=key, source=source, compiled=compiled, now_ms=now_ms)
    if draft.plan is not None:
        registrations.register(tx, trigger, draft.plan.scheduled, now_ms)
    cancels.cancel_redundant(tx, trigger, pipeline.number, changed, now_ms)
    add_workflows(tx, pipeline, draft, changed, now_ms)
    pipelines.close_trigger(tx, trigger_id, pipeline.id)
    return changed


def _first_state(draft: Draft) -> PipelineState:
    """A setup config of which nothing runs on this branch will never be continued: its pipeline is ready as it is."""
    if draft.plan is None:
        return PipelineState.ERRORED
    return PipelineState.SETUP if draft.plan.is_setup and draft.plan.workflows else PipelineState.CREATED


def add_workflows(tx: Tx, pipeline: pipelines.Pipeline, draft: Draft, changed: Changed, now_ms: int) -> None:
    """Give a pipeline the workflows of its draft, their first jobs ready to run; or tell the forge why there are none."""
    if draft.plan is None:
        settle.tell_forge_of_errors(tx, pipeline, draft.problems, now_ms)
        return
    fate = cancels.fate(tx, pipeline)
    for workflow in draft.plan.workflows:
        workflow_id = _add_workflow(tx, pipeline, workflow, draft, fate, changed, now_ms)
        if fate.canceled_by:
            changed.add(cancels.cancel_workflow(tx, workflow_id, fate.canceled_by, now_ms, fate.message))
        else:
            settle.begin(tx, workflow_id, (), changed, now_ms)


def _add_workflow(
    tx: Tx,
    pipeline: pipelines.Pipeline,
    plan: plans.Workflow,
    draft: Draft,
    fate: cancels.Fate,
    changed: Changed,
    now_ms: int,
) -> WorkflowId:
    trigger = pipeline.trigger
    workflow_id = pipelines.add_workflow(
        tx,
        pipeline.id,
        plan.name,
        trigger.actor,
        now_ms,
        trigger.actor_id,
        is_setup=draft.plan is not None and draft.plan.is_setup,
        max_auto_reruns=plan.max_auto_reruns,
        excuses_consumed=draft.excuses_consumed,
        may_be_redundant=fate.may_be_redundant,
    )
    changed.workflows.add(workflow_id)
    made = {
        job.name: jobs.add(tx, workflow_id, pipeline.project_id, position, job, JobStatus.BLOCKED, now_ms)
        for position, job in enumerate(plan.jobs)
    }
    changed.jobs.update(made.values())
    requirements.add(tx, made, {job.name: job.requires for job in plan.jobs})
    return workflow_id


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A node that the scheduler took, with what its run needs to know."""

    job_id: JobId
    index: int
    plan: plans.Job
    executor: str
    cpus: float
    memory_bytes: int


def start_node(tx: Tx, claim: Claim, now_ms: int) -> Changed | None:
    """Claim a node and lay out its steps; None when it is not to be had any more."""
    job = jobs.by_id(tx, claim.job_id)
    if job.status not in (JobStatus.NOT_RUNNING, JobStatus.RUNNING):
        return None
    if not jobs.start_node(
        tx,
        job.id,
        claim.index,
        executor=claim.executor,
        cpus=claim.cpus,
        memory_bytes=claim.memory_bytes,
        now_ms=now_ms,
    ):
        return None
    first = jobs.node(tx, job.id, claim.index).first_position
    jobs.add_steps(tx, job.id, claim.index, _steps(job, claim, first))
    jobs.start_step(tx, job.id, claim.index, first, now_ms)
    changed = settle.changed_by(tx, job)
    if job.status is JobStatus.NOT_RUNNING:
        settle.set_job(tx, job, JobStatus.RUNNING, now_ms)
        reruns.follow(tx, job.workflow_id, (), changed, now_ms)
    return changed


def _steps(job: jobs.Job, claim: Claim, first: int) -> Iterator[jobs.NewStep]:
    """`first`: the position of the first one."""
    yield jobs.NewStep(first, "environment", "Spin up environment")
    for position, step in enumerate(claim.plan.steps, first + 1):
        is_background = isinstance(step, plans.Run) and step.background
        yield jobs.NewStep(position, plans.kind_of(step), step.name, is_background)
    if job.ssh_for is not None:
        yield jobs.NewStep(first + jobs.FIRST_SSH, jobs.SSH, "Enable SSH")
        yield jobs.NewStep(first + jobs.LAST_SSH, jobs.SSH, "Wait for SSH")
    if claim.executor == "docker" and isinstance(claim.plan.executor, plans.Docker):
        for position, image in enumerate(claim.plan.executor.images[1:], first + jobs.FIRST_SERVICE):
            name = f"Service {image.name} ({image.image})" if image.name else f"Service {image.image}"
            yield jobs.NewStep(position, jobs.SERVICE, name, is_background=True)


def open_node(tx: Tx, job_id: JobId, index: int, sandbox: str, now_ms: int) -> None:
    """A node's containers have started."""
    jobs.set_sandbox(tx, job_id, index, sandbox)
    for step in jobs.steps_of(tx, job_id, index):
        if step.kind == jobs.SERVICE:
            jobs.start_step(tx, job_id, index, step.position, now_ms)


@dataclass(frozen=True, kw_only=True)
class StepEnd:
    position: int
    status: StepStatus
    exit_code: int | None = None
    message: str = ""


def advance(tx: Tx, job_id: JobId, index: int, ended: Sequence[StepEnd], started: int | None, now_ms: int) -> None:
    """End some steps of a node and start the next one: one transaction, since each costs a disk write."""
    for end in ended:
        jobs.end_step(tx, job_id, index, end.position, end.status, now_ms, exit_code=end.exit_code, message=end.message)
    if started is not None:
        jobs.start_step(tx, job_id, index, started, now_ms)


def finish_node(
    tx: Tx, job_id: JobId, index: int, status: NodeStatus, message: str, ended: Sequence[StepEnd], now_ms: int
) -> Changed:
    """End a node with its last steps; the job and the workflow follow. A node that has ended stays as it is."""
    job = jobs.by_id(tx, job_id)
    changed = settle.changed_by(tx, job)
    advance(tx, job_id, index, ended, None, now_ms)
    if not jobs.end_node(tx, job_id, index, status, message, now_ms):
        return changed
    jobs.end_open_steps(tx, job_id, index, StepStatus(status.value), now_ms)
    nodes = jobs.nodes_of(tx, job_id)
    if status in (NodeStatus.SUCCESS, NodeStatus.FAILED, NodeStatus.TIMEDOUT):
        machines.note_end(tx, next(node.executor for node in nodes if node.index == index))
    ended_as = rules.job_status(node.status for node in nodes)
    if ended_as is not None and not job.status.is_done:
        # The last node to end need not be the one that has something to say.
        settle.set_job(tx, job, ended_as, now_ms, message or next((node.message for node in nodes if node.message), ""))
        reruns.follow(tx, job.workflow_id, [job_id], changed, now_ms)
    return changed


@dataclass(frozen=True, kw_only=True)
class Loss:
    """A node whose machine is gone, or that no executor could open: `attempt` is the one that it was lost in."""

    job_id: JobId
    index: int
    attempt: int
    why: str


def lose_node(tx: Tx, loss: Loss, restarts: int, ended: Sequence[StepEnd], now_ms: int) -> Changed:
    """Let a lost node wait to be started again; one that was so `restarts` times already ends. Told late it does nothing.

    Its job goes on: nobody who waits for that hears of it, and its other nodes keep what they have done.
    """
    node = jobs.node(tx, loss.job_id, loss.index)
    changed = settle.changed_by(tx, jobs.by_id(tx, loss.job_id))
    if node.status is not NodeStatus.RUNNING or node.attempt != loss.attempt:
        return changed
    machines.note_loss(tx, node.executor, loss.why, now_ms)
    if node.attempt > restarts:
        return finish_node(tx, loss.job_id, loss.index, NodeStatus.INFRASTRUCTURE_FAIL, loss.why, ended, now_ms)
    advance(tx, loss.job_id, loss.index, ended, None, now_ms)
    jobs.end_open_steps(tx, loss.job_id, loss.index, StepStatus.INFRASTRUCTURE_FAIL, now_ms)
    losses.put_back(tx, loss.job_id, loss.index, loss.why)
    return changed


def fail_waiting_job(tx: Tx, job_id: JobId, message: str, now_ms: int) -> Changed:
    """End a job that can never run here. Where some nodes of it run already, they go on; only the waiting ones end."""
    job = jobs.by_id(tx, job_id)
    changed = settle.changed_by(tx, job)
    if job.status not in (JobStatus.NOT_RUNNING, JobStatus.RUNNING):
        return changed
    for node in jobs.nodes_of(tx, job_id):
        if node.status is NodeStatus.WAITING:
            jobs.end_node(tx, job_id, node.index, NodeStatus.FAILED, message, now_ms)
    ended_as = rules.job_status(node.status for node in jobs.nodes_of(tx, job_id))
    if ended_as is not None:
        settle.set_job(tx, job, ended_as, now_ms, message)
        if job.status is JobStatus.NOT_RUNNING:
            pipelines.set_errored(tx, job.workflow_id)
        reruns.follow(tx, job.workflow_id, [job_id], changed, now_ms)
    return changed


def deny_job(tx: Tx, job_id: JobId, message: str, now_ms: int) -> Changed:
    """End a job that may not have one of its contexts. Where some nodes of it run already, only the others end."""
    job = jobs.by_id(tx, job_id)
    if job.status is not JobStatus.NOT_RUNNING:
        return fail_waiting_job(tx, job_id, message, now_ms)
    changed = settle.changed_by(tx, job)
    cancels.end_nodes(tx, job_id, NodeStatus.CANCELED, now_ms)
    settle.set_job(tx, job, JobStatus.UNAUTHORIZED, now_ms, message)
    reruns.follow(tx, job.workflow_id, [job_id], changed, now_ms)
    return changed


def explain_wait(tx: Tx, job_id: JobId, index: int, message: str) -> Changed | None:
    """Say on a waiting job, or on a node of it that was lost, why it waits; None when it says so already."""
    job = jobs.by_id(tx, job_id)
    if job.status is JobStatus.RUNNING:
        return settle.changed_by(tx, job) if losses.say_of_waiting(tx, job_id, index, message) else None
    if job.message == message or job.status is not JobStatus.NOT_RUNNING:
        return None
    jobs.set_message(tx, job_id, message)
    return settle.changed_by(tx, job)


def release_lock(tx: Tx, job_id: JobId, now_ms: int) -> Changed:
    """Let the next one of a serial group begin, while who has the lock goes on. Raises NotFound, Conflict."""
    job = jobs.by_id(tx, job_id)
    changed = settle.changed_by(tx, job)
    lock = locks.of_job(tx, job_id)
    if lock is None or not lock.is_held:
        raise Conflict("Job does not hold a serial group.")
    settle.let_next(tx, lock, changed, now_ms)
    return changed


def approve(tx: Tx, job_id: JobId, who: User, now_ms: int) -> Changed:
    """Let an approval through, for the commit and the config of its pipeline. What comes after has the rights of `who`.

    Raises NotFound, or Conflict when the job does not wait for an approval: approved by somebody else, or canceled.
    """
    job = jobs.by_id(tx, job_id)
    if job.status is not JobStatus.ON_HOLD:
        raise Conflict("Job is not waiting for approval.")
    changed = settle.changed_by(tx, job)
    assert changed.pipeline is not None
    pipeline = pipelines.pipeline(tx, changed.pipeline)
    compiled = pipeline.compiled
    if pipelines.workflow(tx, job.workflow_id).is_setup:
        setup = continuations.of_pipeline(tx, pipeline.id)
        assert setup is not None, "where there is a setup workflow"
        compiled = setup.setup_compiled
    approval = approvals.Approval(
        job_id=job_id,
        pipeline_id=pipeline.id,
        revision=pipeline.trigger.revision,
        config_digest=hashlib.sha256(compiled.encode()).hexdigest(),
        user_id=who.id,
        user_name=who.name,
        approved_at_ms=now_ms,
    )
    approvals.add(tx, approval)
    settle.set_job(tx, job, JobStatus.SUCCESS, now_ms)
    reruns.follow(tx, job.workflow_id, [job_id], changed, now_ms)
    return changed
