"""Workflows and approvals that nobody waits for any more: outrun by a newer pipeline, or forgotten."""

from __future__ import annotations

from appliance.model import JobId, ProjectId, WorkflowId
from appliance.store.database import Tx
from appliance.store.pipelines import Pipeline

# Through the open workflows of the appliance, of which there are few, not through all pipelines of the branch.
OLDER = (
    "SELECT workflows.id FROM workflows CROSS JOIN pipelines ON pipelines.id = workflows.pipeline_id"
    " WHERE workflows.stopped_at_ms IS NULL AND workflows.may_be_redundant = 1 AND pipelines.project_id = :project"
    " AND pipelines.branch = :branch AND pipelines.number < :number AND pipelines.is_trusted = :trusted"
    " ORDER BY workflows.created_at_ms"
)
NEWER = (
    "SELECT min(number) AS number FROM pipelines WHERE project_id = :project AND number > :number AND branch = :branch"
    " AND is_trusted = :trusted AND json_extract(event, '$.kind') IN ('webhook', 'api')"
)
OPEN_SINCE = (
    "SELECT id FROM workflows WHERE stopped_at_ms IS NULL AND created_at_ms < :before ORDER BY created_at_ms LIMIT :most"
)
ON_HOLD_SINCE = "SELECT id FROM jobs WHERE status = 'on_hold' AND queued_at_ms < :before ORDER BY queued_at_ms LIMIT :most"


def older(tx: Tx, project_id: ProjectId, branch: str, number: int, *, is_trusted: bool) -> list[WorkflowId]:
    """What runs for pipelines of a branch before `number`, and began while the project cancels such workflows.

    The project's own branch `pull/7` is not the pull request 7 of a stranger's fork, though both are called so.
    """
    rows = tx.execute(OLDER, {"project": project_id, "branch": branch, "number": number, "trusted": is_trusted})
    return [WorkflowId(row["id"]) for row in rows]


def newer(tx: Tx, pipeline: Pipeline) -> int | None:
    """The number of a pipeline of the same branch that a push or a call of the API began after this one."""
    values = {
        "project": pipeline.project_id,
        "branch": pipeline.trigger.branch,
        "number": pipeline.number,
        "trusted": pipeline.is_trusted,
    }
    found: int | None = tx.execute(NEWER, values).fetchone()["number"]
    return found


def open_since(tx: Tx, before_ms: int, most: int) -> list[WorkflowId]:
    """Workflows that began before a time and have not ended, oldest first."""
    return [WorkflowId(row["id"]) for row in tx.execute(OPEN_SINCE, {"before": before_ms, "most": most})]


def on_hold_since(tx: Tx, before_ms: int, most: int) -> list[JobId]:
    """Approvals that have been waiting since before a time, the longest first."""
    return [JobId(row["id"]) for row in tx.execute(ON_HOLD_SINCE, {"before": before_ms, "most": most})]
