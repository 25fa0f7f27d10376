"""What is old enough to go: logs of ended jobs, whole pipelines, letters that were sent. Each call is bounded."""

from __future__ import annotations

from dataclasses import dataclass

from appliance.model import JobId, PipelineId
from appliance.store.database import Tx

OLD_PIPELINES = (
    "SELECT id FROM pipelines WHERE created_at_ms < :before AND state != 'pending' AND NOT EXISTS"
    " (SELECT 1 FROM workflows WHERE workflows.pipeline_id = pipelines.id"
    "  AND (stopped_at_ms IS NULL OR stopped_at_ms >= :ended_before))"
    " ORDER BY created_at_ms LIMIT :limit"
)
UNMEASURED = (
    "SELECT id FROM jobs WHERE log_bytes IS NULL AND stopped_at_ms IS NOT NULL AND number IS NOT NULL AND origin_id IS NULL"
    " ORDER BY stopped_at_ms LIMIT :limit"
)
OLDEST_LOGS = (
    "SELECT id, log_bytes FROM jobs WHERE log_bytes > 0 AND stopped_at_ms < :before ORDER BY stopped_at_ms LIMIT :limit"
)


@dataclass(frozen=True)
class Gone:
    """What removed rows leave in the folder of big things."""

    jobs: list[JobId]  # their logs
    artifacts: list[str]
    layers: list[str]


def remove_old_pipelines(tx: Tx, before_ms: int, ended_before_ms: int, limit: int) -> Gone:
    """Remove pipelines that began before a time and ended, reruns too, before another, with all that hangs on them."""
    rows = tx.execute(OLD_PIPELINES, {"before": before_ms, "ended_before": ended_before_ms, "limit": limit}).fetchall()
    gone = Gone([], [], [])
    for row in rows:
        _remove(tx, PipelineId(row["id"]), gone)
    return gone


def _remove(tx: Tx, pipeline_id: PipelineId, gone: Gone) -> None:
    found = tx.execute(
        "SELECT jobs.id FROM jobs JOIN workflows ON workflows.id = jobs.workflow_id WHERE workflows.pipeline_id = :id",
        {"id": pipeline_id},
    ).fetchall()
    for job in found:
        gone.jobs.append(JobId(job["id"]))
        for table, ids in (
            (tx.execute("SELECT id FROM artifacts WHERE job_id = :id", {"id": job["id"]}), gone.artifacts),
            (tx.execute("SELECT id FROM layers WHERE job_id = :id", {"id": job["id"]}), gone.layers),
        ):
            ids += [row["id"] for row in table]
    tx.execute("DELETE FROM triggers WHERE pipeline_id = :id", {"id": pipeline_id})
    tx.execute("DELETE FROM pipelines WHERE id = :id", {"id": pipeline_id})


def forget_letters(tx: Tx, before_ms: int, limit: int) -> int:
    """Remove letters that were sent, or given up, before a time, and events that started nothing; how many."""
    letters = tx.execute(
        "DELETE FROM outbox WHERE id IN"
        " (SELECT id FROM outbox WHERE state != 'due' AND created_at_ms < :before ORDER BY created_at_ms LIMIT :limit)",
        {"before": before_ms, "limit": limit},
    )
    events = tx.execute(
        "DELETE FROM triggers WHERE id IN"
        " (SELECT id FROM triggers WHERE state = 'skipped' AND accepted_at_ms < :before LIMIT :limit)",
        {"before": before_ms, "limit": limit},
    )
    return letters.rowcount + events.rowcount


def unmeasured(tx: Tx, limit: int) -> list[JobId]:
    """Jobs that have ended and whose logs nobody has measured yet."""
    return [JobId(row["id"]) for row in tx.execute(UNMEASURED, {"limit": limit})]


def note_sizes(tx: Tx, sizes: dict[JobId, int]) -> None:
    tx.executemany(
        "UPDATE jobs SET log_bytes = :bytes WHERE id = :id",
        ({"id": job_id, "bytes": size} for job_id, size in sizes.items()),
    )


def oldest_logs(tx: Tx, before_ms: int, limit: int) -> list[tuple[JobId, int]]:
    """Jobs that ended before a time and have logs, with their sizes in bytes, the oldest first."""
    rows = tx.execute(OLDEST_LOGS, {"before": before_ms, "limit": limit})
    return [(JobId(row["id"]), row["log_bytes"]) for row in rows]


def note_removed(tx: Tx, job_ids: list[JobId], now_ms: int) -> None:
    """Write down that the logs of these jobs are to go; from here on nobody is promised them."""
    tx.executemany(
        "UPDATE jobs SET log_bytes = 0, logs_removed_at_ms = :now WHERE id = :id",
        ({"id": job_id, "now": now_ms} for job_id in job_ids),
    )


def known_jobs(tx: Tx, prefix: str) -> set[str]:
    """The ids of jobs that begin so and have logs, or may get some."""
    rows = tx.execute(
        "SELECT id FROM jobs WHERE id >= :prefix AND id < :prefix || '~' AND logs_removed_at_ms IS NULL", {"prefix": prefix}
    )
    return {row["id"] for row in rows}
