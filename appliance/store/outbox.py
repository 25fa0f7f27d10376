"""What the courier has to tell the world: written in the transaction that made it true, sent later, until it arrives."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from appliance.store.database import Tx


@dataclass(frozen=True, kw_only=True)
class Letter:
    id: int
    kind: str
    body: Mapping[str, Any]
    attempts: int


def add(tx: Tx, kind: str, body: Mapping[str, Any], now_ms: int) -> None:
    tx.execute(
        "INSERT INTO outbox (kind, body, due_at_ms, state, created_at_ms) VALUES (:kind, :body, :now, 'due', :now)",
        {"kind": kind, "body": json.dumps(dict(body)), "now": now_ms},
    )


LONGEST_PAUSE_MS = 3_600_000
"""Between two tries. What is due later than that was written before a clock was set back."""


def due(tx: Tx, now_ms: int, limit: int = 20) -> list[Letter]:
    """Letters whose time has come, oldest first. A new one's has, whatever the clock said when it was written."""
    rows = tx.execute(
        "SELECT * FROM outbox WHERE state = 'due' AND (due_at_ms <= :now OR attempts = 0 OR due_at_ms > :now + :longest)"
        " ORDER BY due_at_ms, id LIMIT :limit",
        {"now": now_ms, "longest": LONGEST_PAUSE_MS, "limit": limit},
    )
    return [Letter(id=row["id"], kind=row["kind"], body=json.loads(row["body"]), attempts=row["attempts"]) for row in rows]


def has_newer(tx: Tx, letter: Letter, *, is_sent: bool = False) -> bool:
    """Whether a later letter (`is_sent`: that has arrived) tells the same place what holds now."""
    place = {name: letter.body.get(name) for name in ("project", "revision", "context")}
    row = tx.execute(
        "SELECT 1 FROM outbox WHERE id > :id AND kind = :kind AND json_extract(body, '$.project') = :project"
        " AND json_extract(body, '$.revision') = :revision AND json_extract(body, '$.context') = :context"
        " AND (NOT :is_sent OR state = 'sent') LIMIT 1",
        {"is_sent": is_sent, "id": letter.id, "kind": letter.kind, **place},
    ).fetchone()
    return row is not None


def sent(tx: Tx, letter_id: int) -> None:
    tx.execute("UPDATE outbox SET state = 'sent', attempts = attempts + 1 WHERE id = :id", {"id": letter_id})


def failed(tx: Tx, letter_id: int, message: str, retry_at_ms: int | None) -> None:
    """Try again at `retry_at_ms`; None gives up."""
    tx.execute(
        "UPDATE outbox SET attempts = attempts + 1, message = :message,"
        " state = CASE WHEN :at IS NULL THEN 'dead' ELSE 'due' END, due_at_ms = coalesce(:at, due_at_ms) WHERE id = :id",
        {"id": letter_id, "message": message, "at": retry_at_ms},
    )
