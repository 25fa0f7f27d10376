"""Jobs, their nodes (parallel copies) and the nodes' steps."""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from appliance.errors import NotFound
from appliance.language import plan as plans
from appliance.model import JobId, JobStatus, NodeStatus, PipelineId, ProjectId, StepStatus, UserId, WorkflowId
from appliance.store.database import Tx

SERVICE = "service"
"""The kind of a step that stands for a service container: its row is behind those of all steps, from FIRST_SERVICE on."""
FIRST_SERVICE = 900_000
SSH = "ssh"
"""The kind of the two rows of a job that was rerun with SSH, behind those of its steps for the same reason."""
FIRST_SSH, LAST_SSH = 800_000, 800_001
LATER = 1_000_000
"""So far behind those of a node's first attempt stand the rows of its second one: they keep their logs and addresses."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A row of `jobs` without its plan, which `plan_of` reads."""

    id: JobId
    workflow_id: WorkflowId
    project_id: ProjectId
    number: int | None  # None for what never runs steps: approvals, no-ops
    position: int
    name: str
    type: str
    status: JobStatus
    message: str
    approved_by: str | None
    approved_by_id: UserId | None  # whose rights the jobs have that come after (spec 1.10.2)
    canceled_by: str | None
    origin_id: JobId | None  # carried over by a rerun: the job that really ran, whose number this one shows
    ssh_for: str | None  # who asked for it to be rerun with SSH
    created_at_ms: int
    queued_at_ms: int | None
    started_at_ms: int | None
    stopped_at_ms: int | None
    logs_removed_at_ms: int | None  # they were too old, or took too much room


@dataclass(frozen=True, kw_only=True)
class Node:
    job_id: JobId
    index: int
    status: NodeStatus
    executor: str
    sandbox: str | None
    cpus: float
    memory_bytes: int
    message: str
    attempt: int  # from 1; more where the ones before were lost
    lost_on: str  # the executor of the attempt before this one
    lost_why: str
    started_at_ms: int | None
    stopped_at_ms: int | None

    @property
    def first_position(self) -> int:
        """Where the steps of its latest attempt begin."""
        return (self.attempt - 1) * LATER


@dataclass(frozen=True, kw_only=True)
class Step:
    job_id: JobId
    index: int
    position: int
    kind: str
    name: str
    status: StepStatus
    exit_code: int | None
    is_background: bool
    message: str
    attempt: int  # from 1; more where the step was run again by itself
    attempt_at_ms: int | None  # a later one does not begin before
    attempt_offset: int  # bytes of output of the attempts before
    started_at_ms: int | None
    stopped_at_ms: int | None

    @property
    def node_attempt(self) -> int:
        """Which attempt of the node it belongs to, from 1."""
        return self.position // LATER + 1

    @property
    def place(self) -> int:
        """Its position among the steps of that attempt."""
        return self.position % LATER


NUMBER = "coalesce(jobs.number, (SELECT origin.number FROM jobs AS origin WHERE origin.id = jobs.origin_id)) AS number"
_JOB = (
    f"jobs.id, jobs.workflow_id, jobs.project_id, {NUMBER}, jobs.position, jobs.name, jobs.type, jobs.status, jobs.message,"
    " jobs.approved_by, jobs.approved_by_id, jobs.canceled_by, jobs.origin_id, jobs.ssh_for,"
    " jobs.created_at_ms, jobs.queued_at_ms, jobs.started_at_ms, jobs.stopped_at_ms, jobs.logs_removed_at_ms"
)


def add(
    tx: Tx,
    workflow_id: WorkflowId,
    project_id: ProjectId,
    position: int,
    plan: plans.Job,
    status: JobStatus,
    now_ms: int,
) -> JobId:
    """Make a job with its waiting nodes; only jobs that run steps get a number."""
    job_id = JobId(str(uuid.uuid4()))
    has_nodes = plan.type is plans.JobType.BUILD
    tx.execute(
        "INSERT INTO jobs (id, workflow_id, project_id, number, position, name, type, status, plan, created_at_ms)"
        " VALUES (:id, :workflow, :project, :number, :position, :name, :type, :status, :plan, :now)",
        {
            "id": job_id,
            "workflow": workflow_id,
            "project": project_id,
            "number": next_number(tx) if has_nodes else None,
            "position": position,
            "name": plan.name,
            "type": plan.type,
            "status": status,
            "plan": json.dumps(plans.dump_job(plan)),
            "now": now_ms,
        },
    )
    add_nodes(tx, job_id, plan.parallelism if has_nodes else 0)
    return job_id


def add_nodes(tx: Tx, job_id: JobId, count: int) -> None:
    """Make the waiting nodes of a job."""
    tx.executemany(
        "INSERT INTO nodes (job_id, idx, status) VALUES (:job, :index, 'waiting')",
        ({"job": job_id, "index": index} for index in range(count)),
    )


def next_number(tx: Tx) -> int:
    """Take the next job number: a count that goes on when jobs are deleted, for links and logs out there name them."""
    row = tx.execute(
        "UPDATE facts SET value = CAST(value AS INTEGER) + 1 WHERE name = 'last_job_number' RETURNING value"
    ).fetchone()
    return int(row["value"])


def _job(row: sqlite3.Row) -> Job:
    return Job(
        id=JobId(row["id"]),
        workflow_id=WorkflowId(row["workflow_id"]),
        project_id=ProjectId(row["project_id"]),
        number=row["number"],
        position=row["position"],
        name=row["name"],
        type=row["type"],
        status=JobStatus(row["status"]),
        message=row["message"],
        approved_by=row["approved_by"],
        approved_by_id=row["approved_by_id"],
        canceled_by=row["canceled_by"],
        origin_id=row["origin_id"],
        ssh_for=row["ssh_for"],
        created_at_ms=row["created_at_ms"],
        queued_at_ms=row["queued_at_ms"],
        started_at_ms=row["started_at_ms"],
        stopped_at_ms=row["stopped_at_ms"],
        logs_removed_at_ms=row["logs_removed_at_ms"],
    )


def by_id(tx: Tx, job_id: JobId) -> Job:
    row = tx.execute(f"SELECT {_JOB} FROM jobs WHERE jobs.id = :id", {"id": job_id}).fetchone()
    if row is None:
        raise NotFound("Job not found")
    return _job(row)


def by_number(tx: Tx, number: int) -> Job:
    row = tx.execute(f"SELECT {_JOB} FROM jobs WHERE jobs.number = :number", {"number": number}).fetchone()
    if row is None:
        raise NotFound("Job not found")
    return _job(row)


def of_workflow(tx: Tx, workflow_id: WorkflowId) -> list[Job]:
    rows = tx.execute(f"SELECT {_JOB} FROM jobs WHERE workflow_id = :id ORDER BY position", {"id": workflow_id})
    return [_job(row) for row in rows]


def of_pipeline(tx: Tx, pipeline_id: PipelineId) -> list[Job]:
    """Every job of every workflow of a pipeline."""
    rows = tx.execute(
        f"SELECT {_JOB} FROM jobs WHERE workflow_id IN (SELECT id FROM workflows WHERE pipeline_id = :id)"
        " ORDER BY workflow_id, position",
        {"id": pipeline_id},
    )
    return [_job(row) for row in rows]


PREVIOUS = (
    "SELECT MAX(number) AS number FROM (SELECT jobs.number, pipelines.branch FROM jobs"
    " JOIN workflows ON workflows.id = jobs.workflow_id JOIN pipelines ON pipelines.id = workflows.pipeline_id"
    " WHERE jobs.project_id = :project AND jobs.number < :number ORDER BY jobs.number DESC LIMIT 1000)"
    " WHERE branch = :branch"
)


def previous_number(tx: Tx, project_id: ProjectId, branch: str, number: int) -> int | None:
    """The largest lower number of a job on a branch, among the project's last thousand (spec 3.1: "not always")."""
    values = {"project": project_id, "branch": branch, "number": number}
    found: int | None = tx.execute(PREVIOUS, values).fetchone()["number"]
    return found


def plan_of(tx: Tx, job_id: JobId) -> plans.Job:
    row = tx.execute("SELECT plan FROM jobs WHERE jobs.id = :id", {"id": job_id}).fetchone()
    if row is None:
        raise NotFound("Job not found")
    return _loaded(row["plan"])


@lru_cache(maxsize=64)  # a job's is asked for by the scheduler, by its runner, and by every page that shows it
def _loaded(plan: str) -> plans.Job:
    return plans.load_job(json.loads(plan))


def set_status(tx: Tx, job_id: JobId, status: JobStatus, now_ms: int, message: str = "") -> None:
    """Change a job's status with the time and the message that go with it: why it waited is over when it no longer does."""
    tx.execute(
        "UPDATE jobs SET status = :status, message = :message,"
        " queued_at_ms = CASE WHEN :status IN ('not_running', 'on_hold') THEN :now ELSE queued_at_ms END,"
        " started_at_ms = CASE WHEN :status = 'running' THEN :now ELSE started_at_ms END,"
        " stopped_at_ms = CASE WHEN :done THEN :now ELSE NULL END WHERE id = :id",
        {"id": job_id, "status": status, "now": now_ms, "message": message, "done": status.is_done},
    )


def set_message(tx: Tx, job_id: JobId, message: str) -> None:
    tx.execute("UPDATE jobs SET message = :message WHERE id = :id", {"id": job_id, "message": message})


def requires_of(tx: Tx, workflow_id: WorkflowId) -> dict[JobId, tuple[plans.Require, ...]]:
    """What each job of a workflow requires, without loading the steps."""
    rows = tx.execute(
        "SELECT id, json_extract(plan, '$.requires') AS requires FROM jobs WHERE workflow_id = :id", {"id": workflow_id}
    )
    return {
        JobId(row["id"]): tuple(
            plans.Require(job=item["job"], statuses=tuple(item["statuses"])) for item in json.loads(row["requires"])
        )
        for row in rows
    }


def set_canceled_by(tx: Tx, job_id: JobId, who: str) -> None:
    tx.execute("UPDATE jobs SET canceled_by = :who WHERE id = :id", {"id": job_id, "who": who})


def _node(row: sqlite3.Row) -> Node:
    return Node(
        job_id=JobId(row["job_id"]),
        index=row["idx"],
        status=NodeStatus(row["status"]),
        executor=row["executor"],
        sandbox=row["sandbox"],
        cpus=row["cpus"],
        memory_bytes=row["memory_bytes"],
        message=row["message"],
        attempt=row["attempt"],
        lost_on=row["lost_on"],
        lost_why=row["lost_why"],
        started_at_ms=row["started_at_ms"],
        stopped_at_ms=row["stopped_at_ms"],
    )


def node(tx: Tx, job_id: JobId, index: int) -> Node:
    row = tx.execute("SELECT * FROM nodes WHERE job_id = :job AND idx = :index", {"job": job_id, "index": index}).fetchone()
    if row is None:
        raise NotFound("Job not found")
    return _node(row)


def nodes_of(tx: Tx, job_id: JobId) -> list[Node]:
    return [_node(row) for row in tx.execute("SELECT * FROM nodes WHERE job_id = :job ORDER BY idx", {"job": job_id})]


def running_nodes(tx: Tx) -> list[Node]:
    return [_node(row) for row in tx.execute("SELECT * FROM nodes WHERE status = 'running' ORDER BY started_at_ms")]


def start_node(tx: Tx, job_id: JobId, index: int, *, executor: str, cpus: float, memory_bytes: int, now_ms: int) -> bool:
    """Claim a waiting node; False when somebody has it already."""
    changed = tx.execute(
        "UPDATE nodes SET status = 'running', executor = :executor, cpus = :cpus, memory_bytes = :memory,"
        " message = '', started_at_ms = :now WHERE job_id = :job AND idx = :index AND status = 'waiting'",
        {"job": job_id, "index": index, "executor": executor, "cpus": cpus, "memory": memory_bytes, "now": now_ms},
    )
    return changed.rowcount == 1


def set_sandbox(tx: Tx, job_id: JobId, index: int, ref: str) -> None:
    sql = "UPDATE nodes SET sandbox = :ref WHERE job_id = :job AND idx = :index"
    tx.execute(sql, {"job": job_id, "index": index, "ref": ref})


def keep_secrets(tx: Tx, job_id: JobId, index: int, sealed: bytes | None) -> None:
    """What the logs of a node that runs must not show, in the place of what was kept before. Gone with its end."""
    sql = "UPDATE nodes SET secrets = :sealed WHERE job_id = :job AND idx = :index AND status = 'running'"
    tx.execute(sql, {"job": job_id, "index": index, "sealed": sealed})


def secrets_of(tx: Tx, job_id: JobId, index: int) -> bytes | None:
    sql = "SELECT secrets FROM nodes WHERE job_id = :job AND idx = :index"
    sealed: bytes | None = tx.execute(sql, {"job": job_id, "index": index}).fetchone()["secrets"]
    return sealed


def end_node(tx: Tx, job_id: JobId, index: int, status: NodeStatus, message: str, now_ms: int) -> bool:
    """End a node; False when it had ended already."""
    changed = tx.execute(
        "UPDATE nodes SET status = :status, message = :message, stopped_at_ms = :now, secrets = NULL"
        " WHERE job_id = :job AND idx = :index AND status IN ('waiting', 'running')",
        {"job": job_id, "index": index, "status": status, "message": message, "now": now_ms},
    )
    return changed.rowcount == 1


@dataclass(frozen=True)
class NewStep:
    position: int
    kind: str
    name: str
    is_background: bool = False


def add_steps(tx: Tx, job_id: JobId, index: int, steps: Iterable[NewStep]) -> None:
    """Lay out the steps of a node: in one statement, for every job begins with it."""
    rows = json.dumps([(step.position, step.kind, step.name, step.is_background) for step in steps])
    tx.execute(
        "INSERT INTO steps (job_id, idx, position, kind, name, status, is_background)"
        " SELECT :job, :index, json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'),"
        " 'waiting', json_extract(value, '$[3]') FROM json_each(:rows)",
        {"job": job_id, "index": index, "rows": rows},
    )


def steps_of(tx: Tx, job_id: JobId, index: int, first: int = 0) -> list[Step]:
    """A node's steps, those of lost attempts first; from `Node.first_position` on those of its latest one."""
    rows = tx.execute(
        "SELECT * FROM steps WHERE job_id = :job AND idx = :index AND position >= :first ORDER BY position",
        {"job": job_id, "index": index, "first": first},
    )
    return [
        Step(
            job_id=JobId(row["job_id"]),
            index=row["idx"],
            position=row["position"],
            kind=row["kind"],
            name=row["name"],
            status=StepStatus(row["status"]),
            exit_code=row["exit_code"],
            is_background=bool(row["is_background"]),
            message=row["message"],
            attempt=row["attempt"],
            attempt_at_ms=row["attempt_at_ms"],
            attempt_offset=row["attempt_offset"],
            started_at_ms=row["started_at_ms"],
            stopped_at_ms=row["stopped_at_ms"],
        )
        for row in rows
    ]


def try_step_again(
    tx: Tx, job_id: JobId, index: int, position: int, attempt: int, at_ms: int, offset: int, message: str
) -> None:
    """Note that a running step begins a later attempt, not before `at_ms`; `message` says how the one before ended."""
    tx.execute(
        "UPDATE steps SET attempt = :attempt, attempt_at_ms = :at, attempt_offset = :offset, message = :message"
        " WHERE job_id = :job AND idx = :index AND position = :position AND status = 'running'",
        {
            "job": job_id,
            "index": index,
            "position": position,
            "attempt": attempt,
            "at": at_ms,
            "offset": offset,
            "message": message,
        },
    )


def start_step(tx: Tx, job_id: JobId, index: int, position: int, now_ms: int) -> None:
    """A step begins; beginning it again after a restart keeps its first time."""
    tx.execute(
        "UPDATE steps SET status = 'running', started_at_ms = coalesce(started_at_ms, :now)"
        " WHERE job_id = :job AND idx = :index AND position = :position AND status IN ('waiting', 'running')",
        {"job": job_id, "index": index, "position": position, "now": now_ms},
    )


def set_step_message(tx: Tx, job_id: JobId, index: int, position: int, message: str) -> None:
    """Words about a step that runs; its end brings its own."""
    tx.execute(
        "UPDATE steps SET message = :message"
        " WHERE job_id = :job AND idx = :index AND position = :position AND status = 'running'",
        {"job": job_id, "index": index, "position": position, "message": message},
    )


def end_step(
    tx: Tx,
    job_id: JobId,
    index: int,
    position: int,
    status: StepStatus,
    now_ms: int,
    *,
    exit_code: int | None = None,
    message: str = "",
) -> None:
    """End a step; one that has ended stays as it is."""
    tx.execute(
        "UPDATE steps SET status = :status, exit_code = :code, message = :message,"
        " stopped_at_ms = CASE WHEN started_at_ms IS NULL THEN NULL ELSE :now END"
        " WHERE job_id = :job AND idx = :index AND position = :position AND status IN ('waiting', 'running')",
        {
            "job": job_id,
            "index": index,
            "position": position,
            "status": status,
            "code": exit_code,
            "message": message,
            "now": now_ms,
        },
    )


def end_open_steps(tx: Tx, job_id: JobId, index: int, running_as: StepStatus, now_ms: int) -> None:
    """At a node's end: what still runs ends as `running_as`, what never began is skipped. Services are only stopped."""
    tx.execute(
        "UPDATE steps SET status = CASE WHEN status = 'waiting' THEN 'skipped' WHEN kind = 'service' THEN 'canceled'"
        " ELSE :as END, message = CASE WHEN kind = 'service' THEN message ELSE '' END,"
        " stopped_at_ms = CASE WHEN started_at_ms IS NULL THEN NULL ELSE :now END"
        " WHERE job_id = :job AND idx = :index AND status IN ('waiting', 'running')",
        {"job": job_id, "index": index, "as": running_as, "now": now_ms},
    )
