"""Who entered a job over SSH, and when they left."""

from __future__ import annotations

from dataclasses import dataclass

from appliance.model import JobId, User
from appliance.store.database import Tx


def enter(tx: Tx, job_id: JobId, index: int, user: User, address: str, command: str, now_ms: int) -> int:
    """Record that somebody entered a job over SSH; the id goes to `leave`."""
    row = tx.execute(
        "INSERT INTO visits (job_id, idx, user_id, user_name, address, command, entered_at_ms)"
        " VALUES (:job, :index, :user, :name, :address, :command, :now) RETURNING id",
        {
            "job": job_id,
            "index": index,
            "user": user.id,
            "name": user.name,
            "address": address,
            "command": command,
            "now": now_ms,
        },
    ).fetchone()
    return int(row["id"])


def leave(tx: Tx, visit_id: int, now_ms: int) -> None:
    tx.execute("UPDATE visits SET left_at_ms = :now WHERE id = :id", {"id": visit_id, "now": now_ms})


@dataclass(frozen=True, kw_only=True)
class Visit:
    index: int
    user_name: str
    address: str
    command: str
    entered_at_ms: int
    left_at_ms: int | None


def of_job(tx: Tx, job_id: JobId) -> list[Visit]:
    rows = tx.execute("SELECT * FROM visits WHERE job_id = :job ORDER BY entered_at_ms", {"job": job_id})
    return [
        Visit(
            index=row["idx"],
            user_name=row["user_name"],
            address=row["address"],
            command=row["command"],
            entered_at_ms=row["entered_at_ms"],
            left_at_ms=row["left_at_ms"],
        )
        for row in rows
    ]
