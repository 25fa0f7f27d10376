"""Which nodes began lately, and with what: for what a restart has forgotten."""

from __future__ import annotations

from dataclasses import dataclass

from appliance.language import plan as plans
from appliance.model import JobId
from appliance.store import jobs
from appliance.store.database import Tx

BEGUN = (
    "SELECT jobs.id, nodes.started_at_ms, pipelines.is_trusted, projects.org || '/' || projects.repo AS project FROM jobs"
    " CROSS JOIN nodes ON nodes.job_id = jobs.id JOIN workflows ON workflows.id = jobs.workflow_id"  # jobs first
    " JOIN pipelines ON pipelines.id = workflows.pipeline_id JOIN projects ON projects.id = jobs.project_id"
    " WHERE jobs.number > (SELECT CAST(value AS INTEGER) FROM facts WHERE name = 'last_job_number') - :jobs"
    " AND nodes.executor = :executor AND nodes.started_at_ms >= :since"
)


@dataclass(frozen=True, kw_only=True)
class Begun:
    """A node that began, whatever became of it."""

    plan: plans.Job
    project: str  # ORG/REPO
    is_trusted: bool
    started_at_ms: int


def begun(tx: Tx, executor: str, since_ms: int, limit: int) -> list[Begun]:
    """The nodes that began on `executor` since then, of the newest `limit` jobs."""
    rows = tx.execute(BEGUN, {"executor": executor, "since": since_ms, "jobs": limit}).fetchall()
    return [
        Begun(
            plan=jobs.plan_of(tx, JobId(row["id"])),
            project=row["project"],
            is_trusted=bool(row["is_trusted"]),
            started_at_ms=row["started_at_ms"],
        )
        for row in rows
    ]
