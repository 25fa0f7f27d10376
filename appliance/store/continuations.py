"""Pipelines that begin with a setup config: the key that continues one, and what it was continued with (spec 1.12)."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from appliance.crypto import SecretBox, token_hash
from appliance.model import PipelineId, PipelineState, UserId, WorkflowId
from appliance.store import pipelines
from appliance.store.database import Tx

KEY_NAME = "CIRCLE_CONTINUATION_KEY"
_LASTS_MS = 6 * 3600 * 1000

PENDING = "SELECT id FROM pipelines WHERE state = 'pending' ORDER BY created_at_ms LIMIT 1"


@dataclass(frozen=True, kw_only=True)
class Continuation:
    pipeline_id: PipelineId
    expires_at_ms: int
    setup_source: str
    setup_compiled: str
    parameters: Mapping[str, Any]  # empty until it is continued
    request: str | None
    continued_at_ms: int | None

    @property
    def is_continued(self) -> bool:
        return self.continued_at_ms is not None


def key_of(box: SecretBox, pipeline_id: PipelineId) -> str:
    """The key that continues a pipeline. It is kept nowhere: who has the appliance's secret key can work it out again."""
    return "rondo_continue_" + box.derive(f"continuation/{pipeline_id}")


def add(tx: Tx, pipeline_id: PipelineId, *, key: str, source: str, compiled: str, now_ms: int) -> None:
    """A new pipeline waits to be continued, for six hours. Of `key` only a hash is kept."""
    tx.execute(
        "INSERT INTO continuations (pipeline_id, key_hash, expires_at_ms, setup_source, setup_compiled)"
        " VALUES (:pipeline, :hash, :expires, :source, :compiled)",
        {
            "pipeline": pipeline_id,
            "hash": token_hash(key),
            "expires": now_ms + _LASTS_MS,
            "source": source,
            "compiled": compiled,
        },
    )


def _continuation(row: sqlite3.Row) -> Continuation:
    return Continuation(
        pipeline_id=PipelineId(row["pipeline_id"]),
        expires_at_ms=row["expires_at_ms"],
        setup_source=row["setup_source"],
        setup_compiled=row["setup_compiled"],
        parameters=json.loads(row["parameters"] or "{}"),
        request=row["request"],
        continued_at_ms=row["continued_at_ms"],
    )


def by_key(tx: Tx, key: str) -> Continuation | None:
    """What this key continues, expired and used ones too; None when nobody knows it."""
    row = tx.execute("SELECT * FROM continuations WHERE key_hash = :hash", {"hash": token_hash(key)}).fetchone()
    return None if row is None else _continuation(row)


def of_pipeline(tx: Tx, pipeline_id: PipelineId) -> Continuation | None:
    """None for a pipeline without a setup phase."""
    row = tx.execute("SELECT * FROM continuations WHERE pipeline_id = :id", {"id": pipeline_id}).fetchone()
    return None if row is None else _continuation(row)


def is_continued(tx: Tx, pipeline_id: PipelineId) -> bool:
    """Whether its setup workflow has done its work: then running that once more continues nothing."""
    found = of_pipeline(tx, pipeline_id)
    return found is not None and found.is_continued


def last_setup(tx: Tx, pipeline_id: PipelineId) -> pipelines.Workflow | None:
    """The setup workflow of a pipeline, or its latest rerun: by the order of the rows, for a clock may go back."""
    row = tx.execute(
        "SELECT id FROM workflows WHERE pipeline_id = :id AND is_setup = 1 ORDER BY rowid DESC LIMIT 1", {"id": pipeline_id}
    ).fetchone()
    return None if row is None else pipelines.workflow(tx, WorkflowId(row["id"]))


def is_given_up(tx: Tx, pipeline_id: PipelineId) -> bool:
    """Whether somebody has canceled the setup phase and nobody has rerun it since: then its key opens nothing."""
    found = last_setup(tx, pipeline_id)
    return found is not None and found.canceled_by is not None


def may_bring_more(tx: Tx, pipeline_id: PipelineId, now_ms: int) -> bool:
    """Whether workflows may still come: the key is good, or what it brought is being compiled; and nobody canceled it."""
    found, state = of_pipeline(tx, pipeline_id), pipelines.pipeline(tx, pipeline_id).state
    if found is None or is_given_up(tx, pipeline_id):
        return False
    return state is PipelineState.PENDING or (state is PipelineState.SETUP and now_ms < found.expires_at_ms)


def hands(tx: Tx, pipeline_id: PipelineId) -> set[UserId | None]:
    """Whose hands a pipeline went through before it was continued: who began or reran its setup phase, and who had a
    shell in a job of it, where the key lies open. None: nobody we know, or somebody who is gone. Empty without that phase.
    """
    rows = tx.execute(
        "SELECT workflows.actor_id AS id FROM continuations JOIN workflows USING (pipeline_id)"
        " WHERE pipeline_id = :id AND is_setup = 1 AND continued_at_ms IS NOT NULL"  # it is never rerun after that
        " UNION SELECT visits.user_id FROM continuations JOIN workflows USING (pipeline_id)"
        " JOIN jobs ON jobs.workflow_id = workflows.id JOIN visits ON visits.job_id = jobs.id"
        " WHERE pipeline_id = :id AND is_setup = 1 AND entered_at_ms <= continued_at_ms",
        {"id": pipeline_id},
    )
    return {row["id"] for row in rows}


def use_key(tx: Tx, pipeline_id: PipelineId, parameters: Mapping[str, Any], request: str | None, now_ms: int) -> None:
    tx.execute(
        "UPDATE continuations SET parameters = :parameters, request = :request, continued_at_ms = :now"
        " WHERE pipeline_id = :id",
        {"id": pipeline_id, "parameters": json.dumps(dict(parameters)), "request": request, "now": now_ms},
    )


def oldest_pending(tx: Tx) -> PipelineId | None:
    """The first pipeline that was continued and whose second config has not been compiled yet."""
    row = tx.execute(PENDING).fetchone()
    return None if row is None else PipelineId(row["id"])
