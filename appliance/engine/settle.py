"""What follows when a job changes: those that need it, the status of its workflow, and what the forge should hear.

Each end is told once to the jobs that require it, so a transition costs as much as the job has dependents, and not as
much as the workflow has jobs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from appliance.engine import rules
from appliance.language import plan as plans
from appliance.model import JobId, JobStatus, PipelineId, Project, ProjectId, Vcs, WorkflowId, WorkflowStatus
from appliance.store import jobs, locks, outbox, pipelines, projects, requirements
from appliance.store.database import Tx

Queue = tuple[str, str]
"""An organisation and the key of a serial group."""


@dataclass
class Changed:
    """The things that a transaction changed."""

    project: ProjectId | None = None
    pipeline: PipelineId | None = None
    workflows: set[WorkflowId] = field(default_factory=set)
    jobs: set[JobId] = field(default_factory=set)
    canceled: set[JobId] = field(default_factory=set)
    failed: list[WorkflowId] = field(default_factory=list)  # that ended so just now
    queues: set[Queue] = field(default_factory=set)  # of serial groups, whose next one is to be looked for
    elsewhere: set[tuple[ProjectId, PipelineId]] = field(default_factory=set)  # where somebody's turn has come by it

    def add(self, other: Changed) -> None:
        """These changes too."""
        self.workflows |= other.workflows
        self.jobs |= other.jobs
        self.canceled |= other.canceled
        self.failed += other.failed
        self.elsewhere |= other.elsewhere
        if other.project is not None and other.pipeline is not None and other.pipeline != self.pipeline:
            self.elsewhere.add((other.project, other.pipeline))

    def topics(self) -> list[str]:
        """The bell's topics for these changes."""
        return [
            *(["projects", f"project:{self.project}"] if self.project else []),
            *([f"pipeline:{self.pipeline}"] if self.pipeline else []),
            *(
                topic
                for project, pipeline in sorted(self.elsewhere)
                for topic in (f"project:{project}", f"pipeline:{pipeline}")
            ),
            *(f"workflow:{workflow}" for workflow in sorted(self.workflows)),
            *(f"job:{job}" for job in sorted(self.jobs)),
            *(f"cancel:{job}" for job in sorted(self.canceled)),
        ]


def changed_by(tx: Tx, job: jobs.Job) -> Changed:
    """What a change of this job changes at least."""
    workflow = pipelines.workflow(tx, job.workflow_id)
    return Changed(project=job.project_id, pipeline=workflow.pipeline_id, workflows={workflow.id}, jobs={job.id})


def begin(tx: Tx, workflow_id: WorkflowId, carried_over: Iterable[JobId], changed: Changed, now_ms: int) -> None:
    """Let a workflow begin whose rows were just written: blocked jobs, and those that ended in an earlier run."""
    ended = []
    for job_id in requirements.free(tx, workflow_id):
        ended += _free(tx, job_id, changed, now_ms)
    settle(tx, workflow_id, [*carried_over, *ended], changed, now_ms)


def settle(tx: Tx, workflow_id: WorkflowId, ended: Iterable[JobId], changed: Changed, now_ms: int) -> None:
    """Let follow what follows from jobs that ended just now, each of them named once; then the workflow's own status.

    A serial group that is let go has a next one, in whatever workflow of whatever project: that follows too.
    """
    todo = [(workflow_id, list(ended))]
    while todo:
        _settle_one(tx, *todo.pop(), changed, now_ms)
        # Only now, when all that ended has left its queue: none of them may get a turn.
        for org, key in sorted(changed.queues):
            granted = locks.grant_next(tx, org, key)
            if granted is not None:
                changed.jobs.add(granted.job_id)
                pipeline_id = pipelines.workflow(tx, granted.workflow_id).pipeline_id
                if pipeline_id != changed.pipeline:
                    changed.elsewhere.add((granted.project_id, pipeline_id))
                set_job(tx, jobs.by_id(tx, granted.job_id), JobStatus.SUCCESS, now_ms)
                todo.append((granted.workflow_id, [granted.job_id]))
        changed.queues.clear()


def _settle_one(tx: Tx, workflow_id: WorkflowId, todo: list[JobId], changed: Changed, now_ms: int) -> None:
    while todo:  # not by recursion: a workflow may be a chain of thousands
        job = jobs.by_id(tx, todo.pop())
        todo += _let_go(tx, job, changed, now_ms)
        todo += _tell(tx, job, changed, now_ms)
    workflow = pipelines.workflow(tx, workflow_id)
    status = _status(tx, workflow)
    if status is not workflow.status:
        changed.workflows.add(workflow_id)
        pipelines.set_workflow_status(tx, workflow_id, status, now_ms)
        if status is WorkflowStatus.FAILED:
            changed.failed.append(workflow_id)


def _tell(tx: Tx, job: jobs.Job, changed: Changed, now_ms: int) -> list[JobId]:
    """Tell the jobs that require this one how it ended; those that ended by that."""
    ended: list[JobId] = []
    over: set[JobId] = set()
    for dependent in requirements.dependents(tx, job.id):
        if dependent.job_id in over:  # it names this job twice
            continue
        if not rules.is_met(dependent.statuses, job.status):
            over.add(dependent.job_id)
            ended.append(dependent.job_id)
            changed.jobs.add(dependent.job_id)
            set_job(tx, jobs.by_id(tx, dependent.job_id), JobStatus.NOT_RUN, now_ms)
        elif requirements.meet(tx, dependent.job_id) == 0:
            ended += _free(tx, dependent.job_id, changed, now_ms)
    return ended


def _free(tx: Tx, job_id: JobId, changed: Changed, now_ms: int) -> list[JobId]:
    """A job waits for nothing any more; itself, if that is its end."""
    job = jobs.by_id(tx, job_id)
    changed.jobs.add(job_id)
    status, message = rules.freed_as(job.type), ""
    if job.type == plans.JobType.LOCK:
        status, message = _arrive(tx, job, changed, now_ms)
    set_job(tx, job, status, now_ms, message)
    return [job_id] if status.is_done else []


# Serial groups (spec 1.10.5)


def _arrive(tx: Tx, job: jobs.Job, changed: Changed, now_ms: int) -> tuple[JobStatus, str]:
    """Put a lock job into its queue; what it becomes, and why. Whose turn it is shows when all is told."""
    if locks.is_pointless(tx, job.id):
        return JobStatus.NOT_RUN, "what it would protect has ended"
    lock = locks.arrive(tx, job.id, _key_of(tx, job), now_ms)
    newer = locks.newer(tx, lock)
    if newer is not None:
        locks.remove(tx, job.id)
        return JobStatus.NOT_RUN, f"pipeline {newer}, which is newer, is ahead in the serial group {lock.key}"
    changed.queues.add((lock.org, lock.key))
    holder = locks.queue(tx, lock.org, lock.key)[0]
    # Another project's name is for those who may see it.
    who = f"pipeline {holder.pipeline_number}" if holder.project_id == lock.project_id else "another project"
    return JobStatus.QUEUED, f"waits in the serial group {lock.key}, which {who} has" if holder.is_held else ""


def _let_go(tx: Tx, job: jobs.Job, changed: Changed, now_ms: int) -> list[JobId]:
    """A lock is let go by its unlock job, however that ends, and by a lock job that ends without having got it.

    Gives the lock job that ended by this: one that still waited, when what it would protect was canceled by itself.
    """
    lock = None
    if job.type == plans.JobType.UNLOCK:
        lock = locks.before(tx, job.id)
    elif job.type == plans.JobType.LOCK and job.status is not JobStatus.SUCCESS:
        lock = locks.of_job(tx, job.id)
    if lock is None:
        return []
    locks.remove(tx, lock.job_id)
    changed.queues.add((lock.org, lock.key))
    waiting = jobs.by_id(tx, lock.job_id)
    if waiting.status.is_done:
        return []
    changed.jobs.add(waiting.id)
    set_job(tx, waiting, JobStatus.NOT_RUN, now_ms, "what it would protect has ended")
    return [waiting.id]


def let_next(tx: Tx, lock: locks.Lock, changed: Changed, now_ms: int) -> None:
    """Take the lock from who has it, and let who is next begin; who had it goes on."""
    locks.remove(tx, lock.job_id)
    changed.queues.add((lock.org, lock.key))
    settle(tx, lock.workflow_id, (), changed, now_ms)


def _key_of(tx: Tx, job: jobs.Job) -> str:
    key = jobs.plan_of(tx, job.id).key
    assert key is not None, "the language gives one to every lock and unlock"
    return key


def _status(tx: Tx, workflow: pipelines.Workflow) -> WorkflowStatus:
    found = requirements.statuses(tx, workflow.id)
    is_excused = (
        workflow.excuses_consumed
        and bool(found & rules.FAILURES)
        and not requirements.has_unconsumed_failure(tx, workflow.id)
    )
    return rules.workflow_status(
        found - rules.FAILURES | {JobStatus.SUCCESS} if is_excused else found,
        is_canceled=workflow.canceled_by is not None,
        is_errored=workflow.is_errored,
    )


def set_job(tx: Tx, job: jobs.Job, status: JobStatus, now_ms: int, message: str = "") -> None:
    """Change a job's status and write down what the forge should hear of it."""
    jobs.set_status(tx, job.id, status, now_ms, message)
    said = rules.commit_state(status)
    if said is None or job.type in (plans.JobType.LOCK, plans.JobType.UNLOCK):
        return
    project = projects.by_id(tx, job.project_id)
    if not _hears_statuses(tx, project):
        return
    workflow = pipelines.workflow(tx, job.workflow_id)
    number, revision = pipelines.heading(tx, workflow.pipeline_id)
    name = job.name if job.type == plans.JobType.BUILD else f"{workflow.name}/{job.name}"
    path = f"/jobs/{job.number}" if job.number else _path(project, number)
    _post_status(tx, project, revision, name, said, path, now_ms)


def tell_forge_of_errors(tx: Tx, pipeline: pipelines.Pipeline, problems: Sequence[pipelines.Problem], now_ms: int) -> None:
    """No job will ever speak for an errored pipeline, so it speaks for itself."""
    project = projects.by_id(tx, pipeline.project_id)
    if _hears_statuses(tx, project):
        errors = [problem.message for problem in problems if problem.kind == "error"]
        said = ("error", errors[0] if errors else "The config has errors")
        _post_status(tx, project, pipeline.trigger.revision, "config", said, _path(project, pipeline.number), now_ms)


def _hears_statuses(tx: Tx, project: Project) -> bool:
    return project.vcs is Vcs.GITHUB and projects.flags(tx, project.id).set_github_status


def _path(project: Project, pipeline_number: int) -> str:
    return f"/pipelines/{project.slug}/{pipeline_number}"


def _post_status(tx: Tx, project: Project, revision: str, name: str, said: tuple[str, str], path: str, now_ms: int) -> None:
    state, description = said
    letter = {
        "project": project.id,
        "revision": revision,
        "context": f"ci/circleci: {name}",
        "state": state,
        "description": description,
        "path": path,
    }
    outbox.add(tx, "commit_status", letter, now_ms)
