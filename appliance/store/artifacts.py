"""Artifacts: files that a job leaves for people (spec 2.3). What is uploaded twice under one path is the later one."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from appliance.errors import NotFound
from appliance.model import JobId
from appliance.store import room
from appliance.store.database import Tx


@dataclass(frozen=True, kw_only=True)
class Artifact:
    id: str
    job_id: JobId
    index: int
    path: str
    size_bytes: int
    created_at_ms: int


class Room:
    """What one job may still keep, asked file by file."""

    def __init__(self, most_files: int, most_bytes: int, taken: Taken) -> None:
        self._files = most_files - taken.files
        self._bytes = most_bytes - taken.size_bytes
        self._mine = dict(taken.mine)

    def take(self, path: str, size_bytes: int) -> bool:
        """Whether a file fits; it takes the place of an earlier one of its path."""
        old = self._mine.get(path)
        files, size = (1, size_bytes) if old is None else (0, size_bytes - old)
        if files > self._files or size > self._bytes:
            return False
        self._files -= files
        self._bytes -= size
        self._mine[path] = size_bytes
        return True


@dataclass(frozen=True)
class Taken:
    """What a job keeps already, and of one node the sizes by path."""

    files: int
    size_bytes: int
    mine: Mapping[str, int]


@dataclass(frozen=True)
class Put:
    replaced: list[str]  # ids
    refused: list[Artifact]


def taken(tx: Tx, job_id: JobId, index: int) -> Taken:
    where = {"job": job_id, "index": index}
    row = tx.execute(
        "SELECT count(*) AS files, coalesce(sum(size_bytes), 0) AS size FROM artifacts WHERE job_id = :job", where
    ).fetchone()
    mine = tx.execute("SELECT path, size_bytes FROM artifacts WHERE job_id = :job AND idx = :index", where)
    return Taken(row["files"], row["size"], {each["path"]: each["size_bytes"] for each in mine})


def put_all(tx: Tx, some: Sequence[Artifact], most_files: int, most_bytes: int) -> Put:
    """Add artifacts of one node, as many as the job may keep: other nodes add theirs meanwhile."""
    found = Put([], [])
    if not some:
        return found
    room = Room(most_files, most_bytes, taken(tx, some[0].job_id, some[0].index))
    for artifact in some:
        if not room.take(artifact.path, artifact.size_bytes):
            found.refused.append(artifact)
            continue
        old = tx.execute(
            "DELETE FROM artifacts WHERE job_id = :job_id AND idx = :index AND path = :path RETURNING id", vars(artifact)
        ).fetchone()
        tx.execute(
            "INSERT INTO artifacts (id, job_id, idx, path, size_bytes, created_at_ms, project_id)"
            " VALUES (:id, :job_id, :index, :path, :size_bytes, :created_at_ms,"
            " (SELECT project_id FROM jobs WHERE id = :job_id))",
            vars(artifact),
        )
        if old is not None:
            found.replaced.append(old["id"])
    return found


def of_job(tx: Tx, job_id: JobId, limit: int = -1, offset: int = 0) -> list[Artifact]:
    """The artifacts of every node, by node and path; all of them, or `limit` from `offset` on."""
    rows = tx.execute(
        "SELECT * FROM artifacts WHERE job_id = :job ORDER BY idx, path LIMIT :limit OFFSET :offset",
        {"job": job_id, "limit": limit, "offset": offset},
    )
    return [_artifact(row) for row in rows]


@dataclass(frozen=True)
class Entry:
    """A file, or a folder with all that is below it."""

    name: str
    is_folder: bool
    files: int
    size_bytes: int


def entries(tx: Tx, job_id: JobId, index: int, folder: str, limit: int) -> list[Entry]:
    """What lies in a folder of a node's artifacts ("": at the top), folders first."""
    prefix = f"{folder}/" if folder else ""
    rows = tx.execute(
        "SELECT CASE at WHEN 0 THEN rest ELSE substr(rest, 1, at - 1) END AS name, at > 0 AS is_folder,"
        " count(*) AS files, sum(size_bytes) AS size"
        " FROM (SELECT substr(path, :from) AS rest, instr(substr(path, :from), '/') AS at, size_bytes"
        " FROM artifacts WHERE job_id = :job AND idx = :index AND path >= :prefix AND path < :end)"
        " GROUP BY name, is_folder ORDER BY is_folder DESC, name LIMIT :limit",
        {
            "job": job_id,
            "index": index,
            "prefix": prefix,
            "end": f"{folder}0" if folder else "\U0010ffff",  # what comes after every FOLDER/...
            "from": len(prefix) + 1,
            "limit": limit,
        },
    )
    return [Entry(row["name"], bool(row["is_folder"]), row["files"], row["size"]) for row in rows]


def counts(tx: Tx, job_id: JobId) -> Mapping[int, int]:
    """How many artifacts each node has."""
    rows = tx.execute("SELECT idx, count(*) AS n FROM artifacts WHERE job_id = :job GROUP BY idx", {"job": job_id})
    return {row["idx"]: row["n"] for row in rows}


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


def forget_older(tx: Tx, before_ms: int, limit: int) -> list[str]:
    """Forget artifacts made before a time, the oldest first, at most `limit`; their ids."""
    rows = tx.execute(
        "DELETE FROM artifacts WHERE id IN"
        " (SELECT id FROM artifacts WHERE created_at_ms < :before ORDER BY created_at_ms LIMIT :limit) RETURNING id",
        {"before": before_ms, "limit": limit},
    ).fetchall()
    return [row["id"] for row in rows]


def over(tx: Tx, quota_bytes: int, limit: int) -> list[str]:
    """Of each project the oldest artifacts over its quota, at most `limit`: none of a workflow that still runs, whose later
    jobs may ask for them. One that is on hold may be so for months.
    """
    found: list[str] = []
    for project_id, too_much in room.over(tx, "artifacts", quota_bytes):
        if len(found) == limit:
            break
        rows = tx.execute(_OLDEST, {"project": project_id})
        found += room.first_to_go(
            ((row["id"], row["size_bytes"], row["may_go"]) for row in rows), too_much, limit - len(found)
        )
    return found


_OLDEST = (
    "SELECT id, size_bytes, (SELECT workflows.status NOT IN ('running', 'failing', 'queued') FROM jobs"
    "  JOIN workflows ON workflows.id = jobs.workflow_id WHERE jobs.id = artifacts.job_id) AS may_go"
    " FROM artifacts WHERE project_id = :project ORDER BY created_at_ms"
)


def forget(tx: Tx, ids: Sequence[str]) -> list[str]:
    """Forget these; the ids of those that were there."""
    rows = tx.execute(
        "DELETE FROM artifacts WHERE id IN (SELECT value FROM json_each(:ids)) RETURNING id", {"ids": json.dumps(ids)}
    ).fetchall()
    return [row["id"] for row in rows]


def ids(tx: Tx, prefix: str) -> set[str]:
    """All ids that begin so."""
    return {row["id"] for row in tx.execute("SELECT id FROM artifacts WHERE id >= :id AND id < :id || '~'", {"id": prefix})}
