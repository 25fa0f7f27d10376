"""May this job have its contexts, here and now? Reads the rows and lets `rights` decide; writes nothing."""

from __future__ import annotations

from appliance.engine import rights
from appliance.errors import NotFound
from appliance.language import plan as plans
from appliance.model import JobId, User, UserId
from appliance.store import continuations, jobs, people, pipelines, projects, restrictions
from appliance.store.database import Tx


def why_denied(tx: Tx, job_id: JobId, plan: plans.Job) -> str:
    """Why a job may not have one of its contexts, for those it runs for; "" when it may, or gets no secrets anyway."""
    found = restrictions.of_names(tx, plan.contexts)
    if not found:
        return ""
    job = jobs.by_id(tx, job_id)
    workflow = pipelines.workflow(tx, job.workflow_id)
    ids = rights.actors(job.name, _needs(tx, workflow), workflow.actor_id, *_hands(tx, workflow))
    return _first_problem(
        tx, job, workflow, found, [_user(tx, one) for one in sorted(ids, key=str)], has_ssh=job.ssh_for is not None
    )


def why_not_enter(tx: Tx, job: jobs.Job, user: User) -> str:
    """Why `user` may not open a shell in a job: what its contexts hold lies open there."""
    found = restrictions.of_names(tx, jobs.plan_of(tx, job.id).contexts)
    if not found:
        return ""
    return _first_problem(tx, job, pipelines.workflow(tx, job.workflow_id), found, [user], has_ssh=True)


def _first_problem(
    tx: Tx,
    job: jobs.Job,
    workflow: pipelines.Workflow,
    found: dict[str, list[restrictions.Restriction]],
    actors: list[User | None],
    *,
    has_ssh: bool,
) -> str:
    pipeline = pipelines.pipeline(tx, workflow.pipeline_id)
    if not rights.may_have_secrets(pipeline, projects.flags(tx, job.project_id)):
        return ""
    given = rights.Circumstances(
        project=projects.by_id(tx, job.project_id), actors=actors, values=pipeline.values, has_ssh=has_ssh
    )
    problems = (rights.why_denied(name, of_context, given) for name, of_context in found.items())
    return next((problem for problem in problems if problem), "")


def _hands(tx: Tx, workflow: pipelines.Workflow) -> set[UserId | None]:
    """Who could have continued the pipeline with a config of their own. Who reruns what came of it takes it as it is."""
    is_chosen_now = workflow.is_setup or workflow.rerun == "manual"
    return set() if is_chosen_now else continuations.hands(tx, workflow.pipeline_id)


def _needs(tx: Tx, workflow: pipelines.Workflow) -> list[rights.Need]:
    """The workflow as `rights.actors` wants it. Who reruns one by hand does so with their own rights: what was approved
    then and is carried over lends them nobody else's.
    """
    requires = jobs.requires_of(tx, workflow.id)
    is_by_hand = workflow.rerun == "manual"
    return [
        rights.Need(
            name=row.name,
            type=row.type,
            requires=tuple(require.job for require in requires[row.id]),
            approved_by=None if is_by_hand and row.origin_id is not None else row.approved_by,
            approved_by_id=row.approved_by_id,
        )
        for row in jobs.of_workflow(tx, workflow.id)
    ]


def _user(tx: Tx, user_id: UserId | None) -> User | None:
    """Somebody who was removed has no rights any more."""
    if user_id is None:
        return None
    try:
        return people.by_id(tx, user_id)
    except NotFound:
        return None
