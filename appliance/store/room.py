"""How much room artifacts, caches and logs take: sums that the database keeps by itself, as rows come and go."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from appliance.model import ProjectId
from appliance.store.database import Tx


def of_logs(tx: Tx) -> int:
    """Of all projects together."""
    row = tx.execute("SELECT bytes FROM room WHERE kind = 'logs' AND project_id = ''").fetchone()
    return int(row["bytes"])


def over(tx: Tx, kind: Literal["artifacts", "caches"], quota_bytes: int) -> list[tuple[ProjectId, int]]:
    """The projects that take more than the quota, and how much more; the largest first."""
    sql = "SELECT project_id, bytes FROM room WHERE kind = :kind AND bytes > :quota ORDER BY bytes DESC"
    rows = tx.execute(sql, {"kind": kind, "quota": quota_bytes})
    return [(ProjectId(row["project_id"]), row["bytes"] - quota_bytes) for row in rows]


def first_to_go(oldest_first: Iterable[tuple[str, int, bool]], too_much: int, limit: int) -> list[str]:
    """Of (id, bytes, whether it may go) those that have to, so that nothing is over the quota; at most `limit`."""
    found: list[str] = []
    for one, size_bytes, may_go in oldest_first:
        if too_much <= 0 or len(found) >= limit:
            break
        too_much -= size_bytes
        found += [one] if may_go else []
    return found
