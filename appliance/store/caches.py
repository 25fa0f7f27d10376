"""Saved caches: immutable, found by prefix, thrown out when old, or least used where a project has too much (spec 2.1)."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, fields

from appliance.model import ProjectId
from appliance.store import room
from appliance.store.database import Tx


@dataclass(frozen=True, kw_only=True)
class Cache:
    id: str
    project_id: ProjectId
    scope: str
    key: str
    root: str  # what its paths are relative to: / or ~
    size_bytes: int
    created_at_ms: int
    used_at_ms: int
    expires_at_ms: int
    shown: str = ""  # the key as people may see it, without secrets


def _cache(row: sqlite3.Row) -> Cache:
    return Cache(**{each.name: row[each.name] for each in fields(Cache)})


def exists(tx: Tx, project_id: ProjectId, scope: str, key: str, now_ms: int) -> bool:
    """Whether exactly this key is saved."""
    row = tx.execute(
        "SELECT 1 FROM caches WHERE project_id = :project AND scope = :scope AND key = :key AND expires_at_ms > :now",
        {"project": project_id, "scope": scope, "key": key, "now": now_ms},
    ).fetchone()
    return row is not None


def add(tx: Tx, cache: Cache) -> bool:
    """Save a cache; False when another saver was first. An expired one under the same key makes way."""
    tx.execute(
        "DELETE FROM caches WHERE project_id = :project AND scope = :scope AND key = :key AND expires_at_ms <= :now",
        {"project": cache.project_id, "scope": cache.scope, "key": cache.key, "now": cache.created_at_ms},
    )
    added = tx.execute(
        "INSERT INTO caches (id, project_id, scope, key, root, size_bytes, created_at_ms, used_at_ms, expires_at_ms,"
        " shown)"
        " VALUES (:id, :project_id, :scope, :key, :root, :size_bytes, :created_at_ms, :used_at_ms, :expires_at_ms,"
        " :shown)"
        " ON CONFLICT DO NOTHING",
        vars(cache),
    )
    return added.rowcount == 1


def newest(tx: Tx, project_id: ProjectId, scope: str, prefix: str, now_ms: int) -> Cache | None:
    """The most recently created cache whose key begins with `prefix`, even if another one has exactly that key."""
    row = tx.execute(
        "SELECT * FROM caches WHERE project_id = :project AND scope = :scope AND expires_at_ms > :now"
        " AND key >= :prefix AND substr(key, 1, length(:prefix)) = :prefix ORDER BY created_at_ms DESC, rowid DESC LIMIT 1",
        {"project": project_id, "scope": scope, "prefix": prefix, "now": now_ms},
    ).fetchone()
    return None if row is None else _cache(row)


def used(tx: Tx, cache_id: str, now_ms: int) -> None:
    tx.execute("UPDATE caches SET used_at_ms = :now WHERE id = :id", {"id": cache_id, "now": now_ms})


def of_project(tx: Tx, project_id: ProjectId) -> list[Cache]:
    """Every cache of a project, the most recently used first."""
    rows = tx.execute("SELECT * FROM caches WHERE project_id = :id ORDER BY used_at_ms DESC", {"id": project_id})
    return [_cache(row) for row in rows]


def remove(tx: Tx, project_id: ProjectId, cache_id: str) -> bool:
    found = tx.execute(
        "DELETE FROM caches WHERE project_id = :project AND id = :id", {"project": project_id, "id": cache_id}
    )
    return found.rowcount > 0


@dataclass(frozen=True)
class Total:
    count: int
    size_bytes: int


_LISTED = "project_id = :project AND substr(shown, 1, length(:prefix)) = :prefix"
PAGE = (
    f"SELECT rowid AS row, * FROM caches WHERE {_LISTED} AND (created_at_ms, rowid) < (:at, :row)"
    " ORDER BY created_at_ms DESC, rowid DESC LIMIT :limit"
)


def page(tx: Tx, project_id: ProjectId, prefix: str, after: tuple[int, int] | None, limit: int) -> list[tuple[int, Cache]]:
    """A project's caches as people see them, the newest first, from behind (created_at_ms, row) on; with their rows."""
    at, row = after or (1 << 62, 1 << 62)
    rows = tx.execute(PAGE, {"project": project_id, "prefix": prefix, "at": at, "row": row, "limit": limit})
    return [(each["row"], _cache(each)) for each in rows]


def total(tx: Tx, project_id: ProjectId, prefix: str) -> Total:
    sql = f"SELECT count(*) AS n, coalesce(sum(size_bytes), 0) AS size FROM caches WHERE {_LISTED}"
    row = tx.execute(sql, {"project": project_id, "prefix": prefix}).fetchone()
    return Total(row["n"], row["size"])


def remove_all(tx: Tx, project_id: ProjectId, cache_ids: Sequence[str]) -> list[str]:
    """Forget these; the ids of those that were there."""
    return [cache_id for cache_id in cache_ids if remove(tx, project_id, cache_id)]


def remove_prefix(tx: Tx, project_id: ProjectId, prefix: str) -> list[str]:
    """Forget all whose keys, as people see them, begin so; their ids."""
    rows = tx.execute(f"DELETE FROM caches WHERE {_LISTED} RETURNING id", {"project": project_id, "prefix": prefix})
    return [row["id"] for row in rows.fetchall()]


def forget_expired(tx: Tx, now_ms: int) -> list[str]:
    """Forget what has expired; the ids that went."""
    rows = tx.execute("DELETE FROM caches WHERE expires_at_ms <= :now RETURNING id", {"now": now_ms}).fetchall()
    return [row["id"] for row in rows]


def over(tx: Tx, quota_bytes: int, limit: int) -> list[str]:
    """Of each project the least recently used caches over its quota; at most `limit`."""
    found: list[str] = []
    for project_id, too_much in room.over(tx, "caches", quota_bytes):
        if len(found) == limit:
            break
        rows = tx.execute(_LEAST_USED, {"project": project_id})
        found += room.first_to_go(((row["id"], row["size_bytes"], True) for row in rows), too_much, limit - len(found))
    return found


_LEAST_USED = "SELECT id, size_bytes FROM caches WHERE project_id = :project ORDER BY used_at_ms"


def forget(tx: Tx, ids: Sequence[str]) -> list[str]:
    """Forget these; the ids of those that were there."""
    rows = tx.execute(
        "DELETE FROM caches WHERE id IN (SELECT value FROM json_each(:ids)) RETURNING id", {"ids": json.dumps(ids)}
    ).fetchall()
    return [row["id"] for row in rows]


def forget_least_used(tx: Tx) -> list[str]:
    """Forget the one cache that was not used for longest; its id, or nothing when there is none left."""
    sql = "DELETE FROM caches WHERE id = (SELECT id FROM caches ORDER BY used_at_ms LIMIT 1) RETURNING id"
    return [row["id"] for row in tx.execute(sql).fetchall()]


def ids(tx: Tx, prefix: str) -> set[str]:
    """All ids that begin so."""
    return {row["id"] for row in tx.execute("SELECT id FROM caches WHERE id >= :id AND id < :id || '~'", {"id": prefix})}
