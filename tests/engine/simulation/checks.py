"""What must hold in every world after every move. It is worked out here anew, from the rows: what changed is looked at."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from typing import Any

from appliance.engine.scheduler import HERE
from appliance.language import plan as plans
from appliance.model import JobId, JobStatus, NodeStatus, PipelineId, Trigger, WorkflowId, WorkflowStatus
from appliance.store import continuations, jobs
from appliance.store.machines import name_of
from appliance.store.schedules import Schedule
from tests.engine.simulation.pool import Pool, Wrong

RAN = (JobStatus.SUCCESS, JobStatus.FAILED, JobStatus.TIMEDOUT, JobStatus.INFRASTRUCTURE_FAIL, JobStatus.CANCELED)
BEGUN = (JobStatus.NOT_RUNNING, JobStatus.RUNNING, JobStatus.ON_HOLD, JobStatus.QUEUED, *RAN[:-1])
RESTARTS = 1
KEY_LASTS_MS = 6 * 3_600_000
_STATES = {"setup": 0, "pending": 1, "created": 2, "errored": 2}

_JOBS = "SELECT workflow_id, id, name, type, status, origin_id, started_at_ms FROM jobs ORDER BY rowid"
_NODES = (
    "SELECT workflow_id, job_id, idx, nodes.status, executor, cpus, memory_bytes FROM nodes JOIN jobs ON jobs.id = job_id"
    " ORDER BY nodes.rowid"
)
_WORKFLOWS = (
    "SELECT workflows.id, pipeline_id, name, status, stopped_at_ms, canceled_by, is_setup, rerun FROM workflows"
    " ORDER BY rowid"
)
_PIPELINES = (
    "SELECT id, project_id, number, branch, is_trusted, state, created_at_ms, json_extract(event, '$.kind'),"
    " json_extract(event, '$.semantic_key') FROM pipelines ORDER BY rowid"
)
_FLAGS = "SELECT project_id, autocancel_builds, is_stopped FROM project_flags"
_UNHELD = (
    "SELECT jobs.name, required.id FROM jobs JOIN requirements ON requirements.job_id = jobs.id"
    " JOIN jobs AS required ON required.id = requirements.required_id AND required.type = 'lock'"
    " WHERE jobs.status IN ('running', 'not_running') AND NOT EXISTS"
    " (SELECT 1 FROM locks WHERE locks.job_id = required.id AND is_held = 1)"
)
_LOST = (
    "SELECT job_id, idx, attempt, nodes.status, sandbox, jobs.status FROM nodes JOIN jobs ON jobs.id = job_id"
    " WHERE attempt > 1"
)
Row = tuple[Any, ...]


class Checks:
    """`released` is to name the lock jobs whose lock somebody has taken from them."""

    def __init__(self, tx: sqlite3.Connection, pool: Pool) -> None:
        self._tx = tx
        self._cursor = tx.cursor()
        self._cursor.row_factory = None
        self._pool = pool
        self._changes = -1
        self._ended: dict[tuple[str, ...], str] = {}
        self._seen: dict[WorkflowId, tuple[Row, list[Row], list[Row]]] = {}
        self._requires: dict[WorkflowId, dict[JobId, tuple[plans.Require, ...]]] = {}
        self._is_redundant_kind: dict[WorkflowId, bool] = {}
        self._outruns: dict[PipelineId, bool] = {}
        self._states: dict[PipelineId, str] = {}
        self._given_up: dict[PipelineId, bool] = {}  # with a setup phase: whether it was cancelled
        self._last_setup: dict[PipelineId, str] = {}  # by what the latest setup workflow is a rerun, if it is one
        self._expected: dict[tuple[str, str], set[str]] = {}  # project and branch: workflows that the clock starts
        self._to_expect: tuple[tuple[str, str], set[str]] | None = None
        self._fired: set[tuple[str, int]] = set()
        self.released: set[JobId] = set()

    def count(self, table: str) -> int:
        found: int = self._cursor.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
        return found

    def _rows(self, query: str) -> list[Row]:
        return self._cursor.execute(query).fetchall()

    def look(self, now_ms: int) -> None:
        """After every move. Raises Wrong."""
        if self._tx.total_changes == self._changes:
            return
        self._changes = self._tx.total_changes
        all_pipelines = {row[0]: row for row in self._rows(_PIPELINES)}
        flags = {row[0]: row for row in self._rows(_FLAGS)}
        workflows = self._rows(_WORKFLOWS)
        self._check_pipelines(all_pipelines, workflows, flags)
        self._check_workflows(workflows)
        self._check_redundant(all_pipelines, workflows, flags)
        self._check_machines()
        self._check_losses()
        self._check_locks()

    # Pipelines: one of each event, in two phases at most

    def _check_pipelines(self, found: dict[PipelineId, Row], workflows: list[Row], flags: dict[str, Row]) -> None:
        events = {(row[1], row[8]) for row in found.values()}
        if len(events) < len(found):
            raise Wrong("an event became two pipelines")
        for pipeline_id, row in found.items():
            before = self._states.setdefault(pipeline_id, row[5])
            if before != row[5] and _STATES[before] >= _STATES[row[5]]:
                raise Wrong(f"pipeline {pipeline_id} was {before} and is {row[5]}")
            self._states[pipeline_id] = row[5]
        names: set[tuple[PipelineId, str]] = set()
        given_up: dict[PipelineId, bool] = {}
        for workflow_id, pipeline_id, name, status, stopped_at_ms, canceled_by, is_setup, rerun in workflows:
            if rerun == "" and (pipeline_id, name) in names:
                raise Wrong(f"pipeline {pipeline_id} has two workflows {name}")
            names.add((pipeline_id, name))
            if stopped_at_ms is None and flags[found[pipeline_id][1]][2]:
                raise Wrong(f"workflow {name} is {status} in a project that is stopped")
            if is_setup:  # the latest counts
                given_up[pipeline_id], self._last_setup[pipeline_id] = canceled_by is not None, rerun
            elif workflow_id not in self._seen and rerun == "" and given_up.get(pipeline_id) and stopped_at_ms is None:
                raise Wrong(f"workflow {name} begins, and the setup workflow of its pipeline was cancelled")
        self._given_up = given_up

    def given_up(self, pipeline_id: PipelineId) -> None:
        """Somebody has cancelled all of a pipeline. Raises Wrong when something of it goes on, or could still come."""
        for _, of, name, status, stopped_at_ms, *_ in self._rows(_WORKFLOWS):
            if of == pipeline_id and stopped_at_ms is None:
                raise Wrong(f"workflow {name} of a cancelled pipeline is {status}")
        row = next(row for row in self._rows(_PIPELINES) if row[0] == pipeline_id)
        if row[5] in ("setup", "pending") and not continuations.is_given_up(self._tx, pipeline_id):
            raise Wrong(f"pipeline {pipeline_id} is cancelled, and may be continued")

    def may_continue(self, pipeline_id: PipelineId, now_ms: int) -> bool:
        """Whether the key of a pipeline is good now."""
        row = next(row for row in self._rows(_PIPELINES) if row[0] == pipeline_id)
        is_stopped = any(flags[2] for flags in self._rows(_FLAGS) if flags[0] == row[1])
        is_open = row[5] == "setup" and now_ms < row[6] + KEY_LASTS_MS
        return is_open and not is_stopped and not self._given_up.get(pipeline_id, False)

    def is_same(self, pipeline_id: PipelineId, request: str | None) -> bool:
        """Whether a pipeline was continued by this very request."""
        rows = self._rows("SELECT pipeline_id, request FROM continuations WHERE continued_at_ms IS NOT NULL")
        return request is not None and (pipeline_id, request) in rows

    # Workflows, jobs and nodes

    def _check_workflows(self, workflows: list[Row]) -> None:
        of_workflow: dict[WorkflowId, tuple[list[Row], list[Row]]] = defaultdict(lambda: ([], []))
        for at, query in enumerate((_JOBS, _NODES)):
            for row in self._rows(query):
                of_workflow[row[0]][at].append(row)
        for row in workflows:
            now = (row, *of_workflow[row[0]])
            if self._seen.get(row[0]) != now:
                self._check_workflow(*now)
                self._seen[row[0]] = now

    def _check_workflow(self, workflow: Row, rows: list[Row], nodes: list[Row]) -> None:
        workflow_id, _, name, said, stopped_at_ms, *_ = workflow
        if workflow_id not in self._requires:
            self._requires[workflow_id] = jobs.requires_of(self._tx, workflow_id)
        statuses = {row[2]: JobStatus(row[4]) for row in rows}
        waiting = {node[1] for node in nodes if node[3] == "waiting"}
        for row in rows:
            status = statuses[row[2]]
            self._never_again(("job", row[1]), status, status.is_done)
            self._check_job(row, status, self._requires[workflow_id][row[1]], statuses)
            if status in RAN and row[1] in waiting:
                raise Wrong(f"job {row[2]} has ended as {status} with a node that waits")
        for node in nodes:
            self._never_again(("node", node[1], str(node[2])), node[3], NodeStatus(node[3]).is_done)
        is_done = WorkflowStatus(said).is_done
        self._never_again(("workflow", workflow_id), said, is_done)
        if is_done is not all(one.is_done for one in statuses.values()) and statuses:
            raise Wrong(f"workflow {name} is {said} with jobs {statuses}")
        if (stopped_at_ms is not None) is not is_done:
            raise Wrong(f"workflow is {said} and stopped at {stopped_at_ms}")

    def _never_again(self, what: tuple[str, ...], status: str, is_done: bool) -> None:
        before = self._ended.get(what)
        if before is not None and before != status:
            raise Wrong(f"{what} had ended as {before} and is {status} now")
        if is_done:
            self._ended[what] = status

    def _check_job(
        self, row: Row, status: JobStatus, requires: tuple[plans.Require, ...], statuses: dict[str, JobStatus]
    ) -> None:
        _, _, name, kind, _, origin_id, started_at_ms = row
        if origin_id is not None:  # carried over as it ended, by a rerun: nothing of it was decided here
            if not status.is_done:
                raise Wrong(f"job {name} is carried over and {status}")
            return
        # Of a sparse rerun not all is there that a job requires.
        ends = [(statuses[one.job], one.statuses) for one in requires if one.job in statuses]
        met = [end.required_as in wanted if end.is_done else None for end, wanted in ends]
        if status is JobStatus.BLOCKED and (False in met or None not in met):
            raise Wrong(f"job {name} is blocked, and all that decides it is known: {met}")
        if (status in BEGUN or started_at_ms is not None) and not all(met):
            raise Wrong(f"job {name} is {status}, and its requirements are {met}")
        if status is JobStatus.NOT_RUN and False not in met and kind != plans.JobType.LOCK:  # those may be outrun
            raise Wrong(f"job {name} was not run, and nothing stood in its way: {met}")

    # Redundant workflows

    def _check_redundant(self, found: dict[PipelineId, Row], workflows: list[Row], flags: dict[str, Row]) -> None:
        """What a newer pipeline of its branch outruns is cancelled, also when it only comes then; and nothing else is."""
        for pipeline_id, row in found.items():
            if pipeline_id not in self._outruns:
                self._outruns[pipeline_id] = self._may(row, flags)
        for workflow_id, pipeline_id, name, _, stopped_at_ms, canceled_by, _, rerun in workflows:
            row = found[pipeline_id]
            if workflow_id not in self._is_redundant_kind:
                is_of_rerun = rerun != "" or self._last_setup.get(pipeline_id, "") != ""
                self._is_redundant_kind[workflow_id] = not is_of_rerun and self._may(row, flags)
            may_be = self._is_redundant_kind[workflow_id]
            newer = [one for one in found.values() if one[1:5:2] == row[1:5:2] and one[4] == row[4] and one[2] > row[2]]
            is_given_up = self._given_up.get(pipeline_id, False)
            if canceled_by == "auto-cancel" and not (
                (may_be or is_given_up) and any(one[7] in ("webhook", "api") for one in newer)
            ):
                raise Wrong(f"workflow {name} of {pipeline_id} was cancelled as redundant, and is not")
            if stopped_at_ms is None and may_be and any(self._outruns[one[0]] for one in newer):
                raise Wrong(f"workflow {name} of {pipeline_id} goes on, and a newer pipeline of its branch outruns it")

    def _may(self, pipeline: Row, flags: dict[str, Row]) -> bool:
        is_on = pipeline[1] in flags and bool(flags[pipeline[1]][1])
        return is_on and pipeline[3] not in ("main", None) and pipeline[7] in ("webhook", "api")

    # Machines and locks

    def _check_losses(self) -> None:
        """Who was lost is started again once, from nothing, while its job goes on; all it did before has ended."""
        for job_id, index, attempt, status, sandbox, job in self._rows(_LOST):
            what = f"node {index} of {job_id[:4]}, attempt {attempt},"
            if attempt > RESTARTS + 1:
                raise Wrong(f"{what} is started again and again")
            is_waiting = status == "waiting"
            if is_waiting and (job != "running" or sandbox is not None):
                raise Wrong(f"{what} waits with sandbox {sandbox}, and its job is {job}")
            steps = jobs.steps_of(self._tx, job_id, index)
            before = [step for step in steps if is_waiting or step.position < (attempt - 1) * jobs.LATER]
            if not before or not all(step.status.is_done for step in before):
                raise Wrong(f"{what} has left steps of the one before it open, or none at all")

    def _check_machines(self) -> None:
        running = self._rows("SELECT executor, cpus, memory_bytes FROM nodes WHERE status = 'running'")
        self._pool.check_loads([(name_of(row[0]) or HERE, *row[1:]) for row in running])

    def _check_locks(self) -> None:
        """A lock is held between its lock job and its unlock job, by one at a time, and by nobody else."""
        for name, lock_id in self._rows(_UNHELD):
            if lock_id not in self.released:
                raise Wrong(f"job {name} has begun, and nobody holds the lock of its serial group")
        queues: dict[tuple[str, str], int] = {}
        for org, key, is_held, name, status, stopped_at_ms, origin_id in self._rows(
            "SELECT locks.org, locks.key, is_held, jobs.name, jobs.status, workflows.stopped_at_ms, jobs.origin_id"
            " FROM locks JOIN jobs ON jobs.id = locks.job_id JOIN workflows ON workflows.id = jobs.workflow_id"
        ):
            queues[org, key] = queues.get((org, key), 0) + is_held
            wanted = "success" if is_held else "queued"
            if status != wanted or stopped_at_ms is not None or origin_id is not None:
                raise Wrong(f"{key} is held, or waited for, by {name}, which is {status}, or whose workflow is over")
        for (_, key), holders in queues.items():
            if holders != 1:
                raise Wrong(f"{key} is held by {holders}, and somebody wants it")

    # What the clock starts

    def expect_schedules(self, trigger: Trigger, plan: plans.Plan | None) -> None:
        """A pipeline is about to be made of this: it decides on the schedules of its branch, if it compiles."""
        self._to_expect = None
        if plan is not None and not trigger.is_fork and trigger.branch is not None:
            names = {
                one.name
                for one in plan.scheduled
                if any(trigger.branch in (line.branches_only or ()) for line in one.schedules)
            }
            self._to_expect = ((trigger.project_id, trigger.branch), names)

    def schedules_done(self, *, is_made: bool) -> None:
        """Raises Wrong when the schedules are not those of the newest configs."""
        if is_made and self._to_expect is not None:
            self._expected[self._to_expect[0]] = self._to_expect[1]
        found: dict[tuple[str, str], set[str]] = defaultdict(set)
        for project_id, branch, name in self._rows(
            "SELECT project_id, branch, workflow FROM schedules WHERE workflow IS NOT NULL"
        ):
            found[project_id, branch].add(name)
        for branch, names in self._expected.items():
            if found[branch] != names:
                raise Wrong(f"the clock starts {found[branch]} on {branch}, and its config says {names}")

    def fires(self, due: Schedule) -> None:
        """A slot has started something. Raises Wrong when it had before."""
        assert due.slot_ms is not None
        known_by = f"{due.project_id} {due.branch} {due.workflow}" if due.workflow else due.id
        if (known_by, due.slot_ms) in self._fired:
            raise Wrong(f"{due.name} has fired twice for {due.slot_ms}")
        self._fired.add((known_by, due.slot_ms))
