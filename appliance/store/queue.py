"""What waits for room, and how long the like of it took: what the scheduler reads at every look."""

from __future__ import annotations

from dataclasses import dataclass

from appliance.language import plan as plans
from appliance.model import JobId, JobStatus, ProjectId
from appliance.store import jobs
from appliance.store.database import Tx

_LATELY = 5


@dataclass(frozen=True)
class Waiting:
    """A node that could start."""

    job_id: JobId
    index: int
    project_id: ProjectId
    status: JobStatus  # of the job: running, when other nodes of it have begun
    message: str  # why it waits, as said last: on the job, or on a node that was lost
    queued_at_ms: int
    attempt: int = 1
    lost_on: str = ""  # the executor of the attempt before


def waiting(tx: Tx, limit: int, each: int) -> list[Waiting]:
    """Nodes that could start, oldest first, at most `each` of one project: one that pushed thousands hides nobody."""
    rows = tx.execute(
        "SELECT * FROM ("
        " SELECT jobs.id, jobs.project_id, jobs.status, jobs.queued_at_ms, jobs.number,"
        " nodes.idx, nodes.attempt, nodes.lost_on,"
        " CASE nodes.lost_on WHEN '' THEN jobs.message ELSE nodes.message END AS message,"
        " row_number() OVER (PARTITION BY jobs.project_id ORDER BY jobs.queued_at_ms, jobs.number, nodes.idx) AS turn"
        " FROM jobs INDEXED BY jobs_begun JOIN nodes ON nodes.job_id = jobs.id"
        " WHERE jobs.status IN ('not_running', 'running') AND nodes.status = 'waiting'"
        ") WHERE turn <= :each ORDER BY queued_at_ms, number, idx LIMIT :limit",
        {"limit": limit, "each": each},
    ).fetchall()
    return [
        Waiting(
            job_id=JobId(row["id"]),
            index=row["idx"],
            project_id=ProjectId(row["project_id"]),
            status=JobStatus(row["status"]),
            message=row["message"],
            queued_at_ms=row["queued_at_ms"] or 0,
            attempt=row["attempt"],
            lost_on=row["lost_on"],
        )
        for row in rows
    ]


@dataclass(frozen=True)
class Candidate:
    """What is to be known of a waiting job once, to find a place for it."""

    number: int
    plan: plans.Job
    project: str  # ORG/REPO
    branch: str | None
    is_trusted: bool  # no stranger wrote it
    lasts_ms: int | None  # as the latest successes of its name took; None without any


def candidate(tx: Tx, job_id: JobId) -> Candidate:
    """Raises NotFound."""
    job = jobs.by_id(tx, job_id)
    row = tx.execute(
        "SELECT projects.org || '/' || projects.repo AS project, pipelines.branch, pipelines.is_trusted FROM jobs"
        " JOIN workflows ON workflows.id = jobs.workflow_id JOIN pipelines ON pipelines.id = workflows.pipeline_id"
        " JOIN projects ON projects.id = jobs.project_id WHERE jobs.id = :id",
        {"id": job_id},
    ).fetchone()
    return Candidate(
        number=job.number or 0,
        plan=jobs.plan_of(tx, job_id),
        project=row["project"],
        branch=row["branch"],
        is_trusted=bool(row["is_trusted"]),
        lasts_ms=typical_ms(tx, job.project_id, job.name),
    )


def typical_ms(tx: Tx, project_id: ProjectId, name: str) -> int | None:
    """The median of how long the latest successes of a job's name took in this project."""
    rows = tx.execute(
        "SELECT stopped_at_ms - started_at_ms AS took FROM jobs"
        " WHERE project_id = :project AND name = :name AND status = 'success' AND started_at_ms IS NOT NULL"
        " AND stopped_at_ms >= started_at_ms"  # else the clock went back meanwhile
        " ORDER BY number DESC LIMIT :lately",
        {"project": project_id, "name": name, "lately": _LATELY},
    ).fetchall()
    took = sorted(row["took"] for row in rows)
    middle = len(took) // 2
    return (took[middle] + took[~middle]) // 2 if took else None
