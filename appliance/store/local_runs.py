"""What only runs of a working tree do with their database, which is one person's and can be made anew."""

from __future__ import annotations

from appliance.store import caches, retention
from appliance.store.database import Tx

_MOST = 1000


def forget_secrets(tx: Tx) -> None:
    """Variables and contexts of the run before: the next one brings its own."""
    tx.execute("DELETE FROM secrets")
    tx.execute("DELETE FROM contexts")


def forget_caches(tx: Tx) -> list[str]:
    """Forget every cache; their blobs."""
    return [row["id"] for row in tx.execute("DELETE FROM caches RETURNING id").fetchall()]


def forget_old_caches(tx: Tx, quota_bytes: int, now_ms: int) -> list[str]:
    """Forget those that are too old, or over the quota; their blobs."""
    return [*caches.forget_expired(tx, now_ms), *caches.forget(tx, caches.over(tx, quota_bytes, _MOST))]


def remove_older(tx: Tx, kept: int) -> retention.Gone:
    """Remove all pipelines that have ended but the newest `kept`, with all that hangs on them."""
    row = tx.execute(
        "SELECT created_at_ms FROM pipelines ORDER BY created_at_ms DESC LIMIT 1 OFFSET :kept", {"kept": kept}
    ).fetchone()
    if row is None:
        return retention.Gone([], [], [])
    return retention.remove_old_pipelines(tx, row["created_at_ms"] + 1, 1 << 60, _MOST)
