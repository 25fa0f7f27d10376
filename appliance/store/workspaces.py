"""Workspaces: layers of files that the jobs of a workflow leave for those after them (spec 2.2)."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass

from appliance.model import JobId
from appliance.store.database import Tx

LAST_MS = 15 * 86_400_000  # spec 2.2


@dataclass(frozen=True, kw_only=True)
class Layer:
    id: str
    workspace_id: str
    job_id: JobId
    index: int
    step: str
    names: frozenset[str]
    size_bytes: int
    created_at_ms: int


def add(tx: Tx, layer: Layer) -> bool:
    """Add a layer; False when this step has added one already."""
    added = tx.execute(
        "INSERT INTO layers (id, workspace_id, job_id, idx, step, names, size_bytes, created_at_ms)"
        " VALUES (:id, :workspace_id, :job_id, :index, :step, :names, :size_bytes, :created_at_ms) ON CONFLICT DO NOTHING",
        {**vars(layer), "names": json.dumps(sorted(layer.names))},
    )
    return added.rowcount == 1


def layers_of(tx: Tx, workspace_id: str) -> list[Layer]:
    """Every layer of a workspace, oldest first."""
    rows = tx.execute("SELECT * FROM layers WHERE workspace_id = :id ORDER BY created_at_ms, rowid", {"id": workspace_id})
    return [_layer(row) for row in rows]


def size(tx: Tx, workspace_id: str) -> int:
    """Bytes of all layers of a workspace."""
    sql = "SELECT coalesce(sum(size_bytes), 0) FROM layers WHERE workspace_id = :id"
    return int(tx.execute(sql, {"id": workspace_id}).fetchone()[0])


def _layer(row: sqlite3.Row) -> Layer:
    return Layer(
        id=row["id"],
        workspace_id=row["workspace_id"],
        job_id=JobId(row["job_id"]),
        index=row["idx"],
        step=row["step"],
        names=frozenset(json.loads(row["names"])),
        size_bytes=row["size_bytes"],
        created_at_ms=row["created_at_ms"],
    )


def forget_older(tx: Tx, before_ms: int, limit: int) -> list[str]:
    """Forget layers made before a time, the oldest first, at most `limit`; their ids.

    Not those of workspaces that a workflow works in which has not ended.
    """
    rows = tx.execute(
        "DELETE FROM layers WHERE id IN (SELECT id FROM layers WHERE created_at_ms < :before AND workspace_id NOT IN"
        " (SELECT workspace_id FROM workflows WHERE stopped_at_ms IS NULL) ORDER BY created_at_ms LIMIT :limit)"
        " RETURNING id",
        {"before": before_ms, "limit": limit},
    ).fetchall()
    return [row["id"] for row in rows]


def ids(tx: Tx, prefix: str) -> set[str]:
    """All ids that begin so."""
    return {row["id"] for row in tx.execute("SELECT id FROM layers WHERE id >= :id AND id < :id || '~'", {"id": prefix})}
