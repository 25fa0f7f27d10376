"""Artifacts: files that a job leaves for people (spec 2.3). What is uploaded twice under one path is the later one."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from appliance.errors import NotFound
from appliance.model import JobId
from appliance.store.database import Tx


@dataclass(frozen=True, kw_only=True)
class Artifact:
    id: str
    job_id: JobId
    index: int
    path: str
    size_bytes: int
    created_at_ms: int


def put(tx: Tx, artifact: Artifact) -> str | None:
    """Add an artifact; the id of the one that it takes the place of."""
    where = {"job": artifact.job_id, "index": artifact.index, "path": artifact.path}
    old = tx.execute(
        "DELETE FROM artifacts WHERE job_id = :job AND idx = :index AND path = :path RETURNING id", where
    ).fetchone()
    tx.execute(
        "INSERT INTO artifacts (id, job_id, idx, path, size_bytes, created_at_ms)"
        " VALUES (:id, :job_id, :index, :path, :size_bytes, :created_at_ms)",
        vars(artifact),
    )
    return None if old is None else str(old["id"])


def of_job(tx: Tx, job_id: JobId, limit: int = -1) -> list[Artifact]:
    """The artifacts of every node, by node and path; all of them, or the first `limit`."""
    rows = tx.execute(
        "SELECT * FROM artifacts WHERE job_id = :job ORDER BY idx, path LIMIT :limit", {"job": job_id, "limit": limit}
    )
    return [_artifact(row) for row in rows]


def count(tx: Tx, job_id: JobId) -> int:
    return int(tx.execute("SELECT count(*) FROM artifacts WHERE job_id = :job", {"job": job_id}).fetchone()[0])


def find(tx: Tx, job_id: JobId, index: int, path: str) -> Artifact:
    row = tx.execute(
        "SELECT * FROM artifacts WHERE job_id = :job AND idx = :index AND path = :path",
        {"job": job_id, "index": index, "path": path},
    ).fetchone()
    if row is None:
        raise NotFound("Artifact not found.")
    return _artifact(row)


def _artifact(row: sqlite3.Row) -> Artifact:
    return Artifact(
        id=row["id"],
        job_id=JobId(row["job_id"]),
        index=row["idx"],
        path=row["path"],
        size_bytes=row["size_bytes"],
        created_at_ms=row["created_at_ms"],
    )


def forget_older(tx: Tx, before_ms: int) -> list[str]:
    """Forget artifacts made before a time; their ids."""
    rows = tx.execute("DELETE FROM artifacts WHERE created_at_ms < :before RETURNING id", {"before": before_ms}).fetchall()
    return [row["id"] for row in rows]


def all_ids(tx: Tx) -> set[str]:
    return {row["id"] for row in tx.execute("SELECT id FROM artifacts")}
