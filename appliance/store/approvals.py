"""Who let an approval job through, and for what exactly."""

from __future__ import annotations

from dataclasses import dataclass

from appliance.model import JobId, PipelineId, UserId
from appliance.store.database import Tx


@dataclass(frozen=True, kw_only=True)
class Approval:
    """Good for this commit and this config alone."""

    job_id: JobId
    pipeline_id: PipelineId
    revision: str
    config_digest: str  # SHA-256 of the compiled config, hex
    user_id: UserId
    user_name: str
    approved_at_ms: int


def add(tx: Tx, approval: Approval) -> None:
    """Write an approval down; a job is approved once."""
    tx.execute(
        "INSERT INTO approvals (job_id, pipeline_id, revision, config_digest, user_id, user_name, approved_at_ms)"
        " VALUES (:job_id, :pipeline_id, :revision, :config_digest, :user_id, :user_name, :approved_at_ms)",
        vars(approval),
    )
    tx.execute("UPDATE jobs SET approved_by = :user_name, approved_by_id = :user_id WHERE id = :job_id", vars(approval))
