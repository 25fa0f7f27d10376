"""What runs on which machine now, and what waits for which resource class."""

from __future__ import annotations

from dataclasses import dataclass

from appliance.model import JobId, ProjectId
from appliance.store.database import Tx


@dataclass(frozen=True, kw_only=True)
class Work:
    """A running node and the room that it takes."""

    executor: str
    job_id: JobId
    number: int
    index: int
    name: str
    project_id: ProjectId
    cpus: float
    memory_bytes: int
    resource_class: str
    started_at_ms: int | None


def everything(tx: Tx) -> list[Work]:
    """All running nodes, the oldest first."""
    rows = tx.execute(
        "SELECT nodes.executor, nodes.job_id, nodes.idx, nodes.cpus, nodes.memory_bytes, nodes.started_at_ms,"
        " jobs.number, jobs.name, jobs.project_id, json_extract(jobs.plan, '$.resource_class') AS resource_class"
        " FROM nodes JOIN jobs ON jobs.id = nodes.job_id WHERE nodes.status = 'running' ORDER BY nodes.started_at_ms"
    )
    return [
        Work(
            executor=row["executor"],
            job_id=JobId(row["job_id"]),
            number=row["number"] or 0,
            index=row["idx"],
            name=row["name"],
            project_id=ProjectId(row["project_id"]),
            cpus=row["cpus"],
            memory_bytes=row["memory_bytes"],
            resource_class=row["resource_class"] or "",
            started_at_ms=row["started_at_ms"],
        )
        for row in rows
    ]


def unclaimed(tx: Tx, resource_class: str) -> int:
    """How many nodes of the class wait for a machine."""
    row = tx.execute(
        "SELECT count(*) AS count FROM jobs INDEXED BY jobs_begun JOIN nodes ON nodes.job_id = jobs.id"
        " WHERE jobs.status IN ('not_running', 'running') AND nodes.status = 'waiting'"
        " AND json_extract(jobs.plan, '$.resource_class') = :class",
        {"class": resource_class},
    ).fetchone()
    return int(row["count"])
