"""The transactions of reruns (spec 4.5): a new workflow of the same pipeline, with the same config and the same workspace.

What is not run again is carried over: a row in the new workflow that has ended as it had before, and that points to the
job which really ran, for its number, its artifacts, its test results and the layers of its workspace.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from appliance.engine import rules, settle
from appliance.engine.settle import Changed
from appliance.errors import BadRequest, Conflict, Refused
from appliance.language import plan as plans
from appliance.model import JobId, User, WorkflowId
from appliance.store import continuations, copies, jobs, pipelines, projects, requirements, results
from appliance.store.database import Tx

LONGEST_MS = 90 * 86_400_000  # after which a pipeline is not run again
MOST = 100  # reruns of one workflow, those of its reruns too
_TESTS_LAST_MS = 15 * 86_400_000


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What to run again; nothing said is everything. `failed_tests` is ours, the rest is the API's."""

    from_failed: bool = False
    jobs: tuple[JobId, ...] = ()
    sparse_tree: bool = False
    enable_ssh: bool = False
    failed_tests: bool = False

    def check(self) -> None:
        """Raises BadRequest for what does not go together."""
        if self.from_failed and self.jobs:
            raise BadRequest("The parameters from_failed and jobs are mutually exclusive.")
        for name in ("sparse_tree", "enable_ssh", "failed_tests"):
            if getattr(self, name) and not self.jobs:
                raise BadRequest(f"The parameter {name} requires the parameter jobs.")
        if self.enable_ssh and len(self.jobs) > 1:
            raise BadRequest("The parameter enable_ssh requires exactly one job.")
        if self.enable_ssh and self.failed_tests:
            raise BadRequest("The parameters enable_ssh and failed_tests are mutually exclusive.")


@dataclass(frozen=True)
class Rerun:
    workflow_id: WorkflowId
    changed: Changed


def rerun(tx: Tx, workflow_id: WorkflowId, wish: Wish, who: User, now_ms: int) -> Rerun:
    """Run a workflow again, for `who`, whose rights its jobs have. Raises NotFound, BadRequest, Refused, Conflict."""
    wish.check()
    workflow = pipelines.workflow(tx, workflow_id)
    rows = jobs.of_workflow(tx, workflow_id)
    _check_state(tx, workflow, wish, now_ms)
    wanted = _wanted(tx, workflow, rows, wish, now_ms)
    new = copies.Rerun(
        of=workflow, kind="manual", started_by=who.name, actor_id=who.id, auto_rerun_number=0, created_at_ms=now_ms
    )
    return _copy(tx, new, rows, wanted, wish, who.name)


def automatic(tx: Tx, workflow_id: WorkflowId, now_ms: int) -> Rerun | None:
    """Run a workflow that failed again from what failed, if its config says so and it may (spec 1.10.4)."""
    workflow = pipelines.workflow(tx, workflow_id)
    number = workflow.auto_rerun_number + 1
    if workflow.rerun == "manual" or number > workflow.max_auto_reruns:
        return None
    wish = Wish(from_failed=True)
    rows = jobs.of_workflow(tx, workflow_id)
    try:
        _check_state(tx, workflow, wish, now_ms)
        wanted = _wanted(tx, workflow, rows, wish, now_ms)
    except (Conflict, Refused, BadRequest):
        return None
    new = copies.Rerun(
        of=workflow,
        kind="automatic",
        started_by=workflow.started_by,
        actor_id=workflow.actor_id,
        auto_rerun_number=number,
        created_at_ms=now_ms,
    )
    return _copy(tx, new, rows, wanted, wish, None)


def follow(tx: Tx, workflow_id: WorkflowId, ended: Iterable[JobId], changed: Changed, now_ms: int) -> None:
    """Let the rest of a workflow follow from a change; `ended` names the jobs that ended by it.

    A workflow that failed by it may be run again at once, as its config says.
    """
    settle.settle(tx, workflow_id, ended, changed, now_ms)
    while changed.failed:
        again = automatic(tx, changed.failed.pop(), now_ms)
        if again is not None:
            changed.add(again.changed)


def _check_state(tx: Tx, workflow: pipelines.Workflow, wish: Wish, now_ms: int) -> None:
    """Whether the workflow may be run again now. Raises Conflict, Refused."""
    project_id, created_at_ms = pipelines.origin_of(tx, workflow.pipeline_id)
    flags = projects.flags(tx, project_id)
    if flags.why_no_new_work:
        raise Conflict(f"The workflow cannot be rerun: {flags.why_no_new_work}.")
    if wish.enable_ssh and flags.disable_ssh:
        raise Refused("SSH is disabled in the settings of this project.")
    if now_ms - created_at_ms >= LONGEST_MS:
        raise Conflict("The workflow cannot be rerun: its pipeline is older than 90 days.")
    if workflow.is_setup and continuations.is_continued(tx, workflow.pipeline_id):
        raise Conflict("The workflow cannot be rerun: it is a setup workflow, and its pipeline was continued.")
    if copies.count(tx, workflow.root_id) >= MOST:
        raise Conflict(f"The workflow cannot be rerun: it has been rerun {MOST} times, the most allowed.")
    if (wish.from_failed or wish.jobs) and not workflow.status.is_done:
        raise Conflict("The workflow cannot be rerun in part before it has ended.")


def _wanted(tx: Tx, workflow: pipelines.Workflow, rows: Sequence[jobs.Job], wish: Wish, now_ms: int) -> Mapping[JobId, bool]:
    """The jobs of the new workflow, by their old ids, and whether each is run again. Raises BadRequest, Conflict."""
    edges = requirements.edges(tx, workflow.id)
    if wish.from_failed:
        seeds = [row.id for row in rows if rules.is_rerun_from_failed(row.status)]
        if not seeds:
            raise Conflict("The workflow cannot be rerun from failed: no job of it failed.")
    elif wish.jobs:
        seeds = list(wish.jobs)
        known = {row.id for row in rows}
        for job_id in seeds:
            if job_id not in known:
                raise BadRequest(f"The workflow has no job {job_id[:100]}.")
        for row in rows:
            if wish.failed_tests and row.id in wish.jobs:
                _check_failed_tests(tx, row, now_ms)
    else:
        return dict.fromkeys((row.id for row in rows), True)
    again = _with_locks(tx, rows, _reached(seeds, _arrows(edges)), edges)
    kept = {row.id for row in rows}
    if wish.sparse_tree:
        kept = _reached(seeds, [*edges, *_arrows(edges)])
    return {row.id: row.id in again for row in rows if row.id in kept}


def _with_locks(tx: Tx, rows: Sequence[jobs.Job], again: set[JobId], edges: Sequence[tuple[JobId, JobId]]) -> set[JobId]:
    """What is run again, with the serial groups that it stands in: from their locks on, since they are held as a whole.

    The unlock job comes after all that its lock protects, so it is among those to be run again.
    """
    keys = {row.id: jobs.plan_of(tx, row.id).key for row in rows if row.type in (plans.JobType.LOCK, plans.JobType.UNLOCK)}
    while True:
        held = {keys[row.id] for row in rows if row.type == plans.JobType.UNLOCK and row.id in again}
        missing = [row.id for row in rows if row.type == plans.JobType.LOCK and keys[row.id] in held and row.id not in again]
        if not missing:
            return again
        again = _reached([*again, *missing], _arrows(edges))


def _arrows(edges: Iterable[tuple[JobId, JobId]]) -> list[tuple[JobId, JobId]]:
    """From each job to those that require it."""
    return [(required, job) for job, required in edges]


def _check_failed_tests(tx: Tx, row: jobs.Job, now_ms: int) -> None:
    """Whether only the tests of a job that failed can be run again (spec 2.5). Raises Conflict."""
    steps = jobs.plan_of(tx, row.id).steps
    if not any(isinstance(step, plans.Run) and "tests run" in step.command for step in steps):
        raise Conflict('can not rerun failed tests: the job does not use "circleci tests run"')
    is_old = row.stopped_at_ms is not None and now_ms - row.stopped_at_ms >= _TESTS_LAST_MS
    if is_old or not results.failed(tx, row.origin_id or row.id, 1):
        raise Conflict("can not rerun failed tests: no failed tests could be found")


def _reached(seeds: Iterable[JobId], arrows: Iterable[tuple[JobId, JobId]]) -> set[JobId]:
    """The seeds and all that the arrows lead to from there."""
    ahead: dict[JobId, list[JobId]] = {}
    for start, end in arrows:
        ahead.setdefault(start, []).append(end)
    found = set(seeds)
    todo = list(found)
    while todo:
        fresh = [job_id for job_id in ahead.get(todo.pop(), ()) if job_id not in found]
        found.update(fresh)
        todo += fresh
    return found


def _copy(
    tx: Tx, new: copies.Rerun, rows: Sequence[jobs.Job], wanted: Mapping[JobId, bool], wish: Wish, ssh_for: str | None
) -> Rerun:
    workflow_id = copies.add_workflow(tx, new)
    made: dict[JobId, JobId] = {}
    for row in rows:
        if row.id not in wanted:
            continue
        if not wanted[row.id]:
            made[row.id] = copies.carry_over(tx, row, workflow_id)
            continue
        has_ssh = wish.enable_ssh and row.id in wish.jobs
        again = copies.Again(
            ssh_for=(ssh_for or row.ssh_for) if has_ssh or row.ssh_for else None,
            failed_tests_of=(row.origin_id or row.id) if wish.failed_tests and row.id in wish.jobs else None,
        )
        made[row.id] = copies.run_again(tx, row, workflow_id, again, new.created_at_ms)
    copies.copy_requirements(tx, made)
    project_id, _ = pipelines.origin_of(tx, new.of.pipeline_id)
    changed = Changed(
        project=project_id, pipeline=new.of.pipeline_id, workflows={workflow_id, new.of.id}, jobs=set(made.values())
    )
    carried = [made[row.id] for row in rows if row.id in wanted and not wanted[row.id]]
    settle.begin(tx, workflow_id, carried, changed, new.created_at_ms)
    return Rerun(workflow_id, changed)
