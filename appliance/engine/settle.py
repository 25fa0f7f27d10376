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
from appliance.store import jobs, outbox, pipelines, projects, requirements
from appliance.store.database import Tx


@dataclass
class Changed:
    """The things that a transaction changed."""

    project: ProjectId | None = None
    pipeline: PipelineId | None = None
    workflows: set[WorkflowId] = field(default_factory=set)
    jobs: set[JobId] = field(default_factory=set)
    canceled: set[JobId] = field(default_factory=set)
    failed: list[WorkflowId] = field(default_factory=list)  # that ended so just now

    def add(self, other: Changed) -> None:
        """These changes too, of the same pipeline."""
        self.workflows |= other.workflows
        self.jobs |= other.jobs
        self.canceled |= other.canceled
        self.failed += other.failed

    def topics(self) -> list[str]:
        """The bell's topics for these changes."""
        return [
            *([f"project:{self.project}"] if self.project else []),
            *([f"pipeline:{self.pipeline}"] if self.pipeline else []),
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
    """Let follow what follows from jobs that ended just now, each of them named once; then the workflow's own status."""
    todo = list(ended)
    while todo:  # not by recursion: a workflow may be a chain of thousands
        todo += _tell(tx, todo.pop(), changed, now_ms)
    workflow = pipelines.workflow(tx, workflow_id)
    status = _status(tx, workflow)
    if status is not workflow.status:
        changed.workflows.add(workflow_id)
        pipelines.set_workflow_status(tx, workflow_id, status, now_ms)
        if status is WorkflowStatus.FAILED:
            changed.failed.append(workflow_id)


def _tell(tx: Tx, job_id: JobId, changed: Changed, now_ms: int) -> list[JobId]:
    """Tell the jobs that require this one how it ended; those that ended by that."""
    status = jobs.by_id(tx, job_id).status
    ended: list[JobId] = []
    over: set[JobId] = set()
    for dependent in requirements.dependents(tx, job_id):
        if dependent.job_id in over:  # it names this job twice
            continue
        if not rules.is_met(dependent.statuses, status):
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
    status = rules.freed_as(job.type)
    changed.jobs.add(job_id)
    set_job(tx, job, status, now_ms)
    return [job_id] if status.is_done else []


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
    project = projects.by_id(tx, job.project_id)
    if said is None or not _hears_statuses(tx, project):
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
