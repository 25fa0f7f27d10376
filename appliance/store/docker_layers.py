"""What private Docker engines keep for the next job of a project (spec 8.4): one job at a time, the last one's first."""

from __future__ import annotations

import uuid

from appliance.model import JobId, ProjectId
from appliance.store.database import Tx


def claim(tx: Tx, project_id: ProjectId, job_id: JobId, index: int, now_ms: int) -> tuple[str, bool]:
    """The name of what a node may use alone, and whether a job has used it before. Asking again gives the same."""
    mine = {"job": job_id, "index": index, "project": project_id, "now": now_ms}
    row = tx.execute("SELECT name FROM docker_layers WHERE job_id = :job AND node_index = :index", mine).fetchone()
    if row is None:
        row = tx.execute(
            "UPDATE docker_layers SET job_id = :job, node_index = :index, used_at_ms = :now WHERE name = (SELECT name"
            " FROM docker_layers WHERE project_id = :project AND job_id IS NULL ORDER BY used_at_ms DESC LIMIT 1)"
            " RETURNING name",
            mine,
        ).fetchone()
    if row is not None:
        return row["name"], True
    name = f"rondo-layers-{uuid.uuid4().hex}"
    tx.execute(
        "INSERT INTO docker_layers (name, project_id, job_id, node_index, used_at_ms)"
        " VALUES (:name, :project, :job, :index, :now)",
        {"name": name, **mine},
    )
    return name, False


def release(tx: Tx, job_id: JobId, index: int, kept: int, now_ms: int) -> None:
    """Free what a node used; of its project the `kept` used last stay. Does nothing when it used none."""
    row = tx.execute(
        "UPDATE docker_layers SET job_id = NULL, node_index = NULL, used_at_ms = :now"
        " WHERE job_id = :job AND node_index = :index RETURNING project_id",
        {"job": job_id, "index": index, "now": now_ms},
    ).fetchone()
    if row is not None:
        tx.execute(
            "DELETE FROM docker_layers WHERE job_id IS NULL AND name IN (SELECT name FROM docker_layers"
            " WHERE project_id = :project ORDER BY used_at_ms DESC LIMIT -1 OFFSET :kept)",
            {"project": row["project_id"], "kept": kept},
        )


def release_ended(tx: Tx) -> None:
    """Free what nodes hold that do not run any more: a killed appliance could not."""
    tx.execute(
        "UPDATE docker_layers SET job_id = NULL, node_index = NULL WHERE job_id IS NOT NULL AND NOT EXISTS"
        " (SELECT 1 FROM nodes WHERE nodes.job_id = docker_layers.job_id AND nodes.idx = docker_layers.node_index"
        " AND nodes.status = 'running')"
    )


def forget_older(tx: Tx, before_ms: int) -> None:
    tx.execute("DELETE FROM docker_layers WHERE job_id IS NULL AND used_at_ms < :before", {"before": before_ms})


def purge(tx: Tx, project_id: ProjectId) -> int:
    """Forget everything that is kept of a project, also what jobs use now; how many there were."""
    return tx.execute("DELETE FROM docker_layers WHERE project_id = :project", {"project": project_id}).rowcount


def all_names(tx: Tx) -> set[str]:
    return {row["name"] for row in tx.execute("SELECT name FROM docker_layers")}
