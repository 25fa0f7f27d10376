"""What is undone of a node that was lost, so that it can be started again: nothing that it left counts twice."""

from __future__ import annotations

from appliance.model import JobId
from appliance.store.database import Tx


def put_back(tx: Tx, job_id: JobId, index: int, why: str) -> None:
    """Let a running node wait for its next attempt. Its steps and their logs stay, what they stored goes."""
    tx.execute(
        "UPDATE nodes SET status = 'waiting', attempt = attempt + 1, lost_on = executor, lost_why = :why, executor = '',"
        " sandbox = NULL, cpus = 0, memory_bytes = 0, message = '', started_at_ms = NULL, secrets = NULL"
        " WHERE job_id = :job AND idx = :index AND status = 'running'",
        {"job": job_id, "index": index, "why": why},
    )
    for statement in _FORGET:
        tx.execute(statement, {"job": job_id, "index": index})


# Blobs that lose their rows here are removed by the janitor. Coverage is kept over all nodes together: what only the lost
# one knows cannot be told from the rest, and stays where other nodes have reports; lines count once anyway.
_FORGET = (
    "DELETE FROM artifacts WHERE job_id = :job AND idx = :index",
    "DELETE FROM layers WHERE job_id = :job AND idx = :index",
    "DELETE FROM test_uploads WHERE job_id = :job AND idx = :index",
    "DELETE FROM node_usage WHERE job_id = :job AND idx = :index",
    "DELETE FROM coverage_reports WHERE job_id = :job AND idx = :index",
    "DELETE FROM coverage WHERE job_id = :job AND NOT EXISTS (SELECT 1 FROM coverage_reports WHERE job_id = :job)",
)


def say_of_waiting(tx: Tx, job_id: JobId, index: int, message: str) -> bool:
    """Say why a node that was lost waits; False when it says so already, or does not wait any more."""
    changed = tx.execute(
        "UPDATE nodes SET message = :message"
        " WHERE job_id = :job AND idx = :index AND status = 'waiting' AND attempt > 1 AND message != :message",
        {"job": job_id, "index": index, "message": message},
    )
    return changed.rowcount == 1
