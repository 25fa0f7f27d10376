"""The queues of serial groups (spec 1.10.5). A row is a lock job that waits for its turn, or holds the lock."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from appliance.model import JobId, ProjectId, WorkflowId
from appliance.store.database import Tx


@dataclass(frozen=True)
class Lock:
    """A place in a queue. All projects of `org` share the queue of a `key`; a stranger's pull request has its own ones."""

    job_id: JobId
    workflow_id: WorkflowId
    project_id: ProjectId
    org: str
    key: str
    pipeline_number: int
    is_held: bool
    since_ms: int


_COLUMNS = "job_id, workflow_id, project_id, org, key, pipeline_number, is_held, since_ms"


def arrive(tx: Tx, job_id: JobId, key: str, now_ms: int) -> Lock:
    """Put a lock job at the end of the queue of `key` in its project's organisation.

    What a stranger's fork has pushed stands in no queue but its pull request's: there it would hold up what the project
    deploys, or keep it from running at all, being newer. No organisation has a space in its name.
    """
    tx.execute(
        f"INSERT INTO locks ({_COLUMNS})"
        " SELECT jobs.id, jobs.workflow_id, jobs.project_id, CASE WHEN pipelines.is_trusted THEN projects.org"
        " ELSE 'fork of ' || projects.id || ', ' || coalesce(pipelines.branch, '') END, :key, pipelines.number, 0, :now"
        " FROM jobs JOIN projects ON projects.id = jobs.project_id JOIN workflows ON workflows.id = jobs.workflow_id"
        " JOIN pipelines ON pipelines.id = workflows.pipeline_id WHERE jobs.id = :id",
        {"id": job_id, "key": key, "now": now_ms},
    )
    found = of_job(tx, job_id)
    assert found is not None
    return found


def newer(tx: Tx, lock: Lock) -> int | None:
    """The number of a pipeline of the same project that is ahead in the queue though it is newer; None without one."""
    row = tx.execute(
        "SELECT max(pipeline_number) AS number FROM locks"
        " WHERE org = :org AND key = :key AND project_id = :project AND pipeline_number > :number",
        {"org": lock.org, "key": lock.key, "project": lock.project_id, "number": lock.pipeline_number},
    ).fetchone()
    return None if row["number"] is None else int(row["number"])


def queue(tx: Tx, org: str, key: str) -> Sequence[Lock]:
    """Who holds the lock, if anybody, then those that wait, in their turn."""
    rows = tx.execute(
        f"SELECT {_COLUMNS} FROM locks WHERE org = :org AND key = :key ORDER BY is_held DESC, turn", {"org": org, "key": key}
    )
    return [_lock(row) for row in rows]


def grant_next(tx: Tx, org: str, key: str) -> Lock | None:
    """Give the lock to who waits longest, if nobody holds it; who has it now by that."""
    rows = tx.execute(
        "UPDATE locks SET is_held = 1 WHERE turn ="
        " (SELECT min(turn) FROM locks WHERE org = :org AND key = :key AND is_held = 0)"
        " AND NOT EXISTS (SELECT 1 FROM locks WHERE org = :org AND key = :key AND is_held = 1)"
        f" RETURNING {_COLUMNS}",
        {"org": org, "key": key},
    ).fetchall()
    return _lock(rows[0]) if rows else None


def before(tx: Tx, unlock_id: JobId) -> Lock | None:
    """What the lock job of an unlock job waits for or holds: the nearest one of its key before it in the workflow."""
    row = tx.execute(
        "SELECT earlier.id FROM jobs JOIN jobs AS earlier ON earlier.workflow_id = jobs.workflow_id"
        " AND earlier.type = 'lock' AND earlier.position < jobs.position"
        " AND json_extract(earlier.plan, '$.key') = json_extract(jobs.plan, '$.key')"
        " WHERE jobs.id = :id ORDER BY earlier.position DESC LIMIT 1",
        {"id": unlock_id},
    ).fetchone()
    return None if row is None else of_job(tx, JobId(row["id"]))


def is_pointless(tx: Tx, lock_id: JobId) -> bool:
    """Whether the unlock job of a lock job has ended already: what it would protect was canceled by itself."""
    row = tx.execute(
        "SELECT later.stopped_at_ms FROM jobs JOIN jobs AS later ON later.workflow_id = jobs.workflow_id"
        " AND later.type = 'unlock' AND later.position > jobs.position"
        " AND json_extract(later.plan, '$.key') = json_extract(jobs.plan, '$.key')"
        " WHERE jobs.id = :id ORDER BY later.position LIMIT 1",
        {"id": lock_id},
    ).fetchone()
    return row is not None and row["stopped_at_ms"] is not None


def of_job(tx: Tx, job_id: JobId) -> Lock | None:
    """What a lock job waits for or holds; None once it has let go."""
    row = tx.execute(f"SELECT {_COLUMNS} FROM locks WHERE job_id = :id", {"id": job_id}).fetchone()
    return None if row is None else _lock(row)


def remove(tx: Tx, job_id: JobId) -> None:
    tx.execute("DELETE FROM locks WHERE job_id = :id", {"id": job_id})


def waiting_since(tx: Tx, before_ms: int, limit: int) -> Sequence[Lock]:
    """Those that wait since before then."""
    rows = tx.execute(
        f"SELECT {_COLUMNS} FROM locks WHERE is_held = 0 AND since_ms < :before ORDER BY since_ms LIMIT :limit",
        {"before": before_ms, "limit": limit},
    )
    return [_lock(row) for row in rows]


def _lock(row: sqlite3.Row) -> Lock:
    return Lock(
        job_id=JobId(row["job_id"]),
        workflow_id=WorkflowId(row["workflow_id"]),
        project_id=ProjectId(row["project_id"]),
        org=row["org"],
        key=row["key"],
        pipeline_number=row["pipeline_number"],
        is_held=bool(row["is_held"]),
        since_ms=row["since_ms"],
    )
