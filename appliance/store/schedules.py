"""Schedules: of the configs of branches, and of the API; when each is due, and what became of its last time."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from appliance.errors import NotFound
from appliance.model import ProjectId, UserId
from appliance.store.database import Tx

Timing = Sequence[str] | Mapping[str, object]
"""The cron lines of a config, or the timetable of the API as it is on the wire."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    id: str
    project_id: ProjectId
    workflow: str | None = None  # of a config; None: of the API
    name: str
    description: str | None = None
    branch: str | None = None  # one of `branch` and `tag` is set
    tag: str | None = None
    timing: Timing
    parameters: Mapping[str, str | int | bool]
    is_system: bool = True
    actor_id: UserId | None = None  # unless `is_system`; None then: who is gone
    offset_ms: int = 0
    slot_ms: int | None = None
    due_at_ms: int | None = None
    counted_at_ms: int
    fired_at_ms: int | None = None
    result: str = ""
    trigger_id: int | None = None
    created_at_ms: int
    updated_at_ms: int
    row: int = 0


_FIXED = ("id", "project_id", "workflow", "created_at_ms")
_WRITTEN = (
    *("name", "description", "branch", "tag", "timing", "parameters", "is_system", "actor_id", "offset_ms"),
    *("slot_ms", "due_at_ms", "counted_at_ms", "fired_at_ms", "result", "trigger_id", "updated_at_ms"),
)
_INSERT = (
    f"INSERT INTO schedules ({', '.join(_FIXED + _WRITTEN)}) VALUES ({', '.join(f':{name}' for name in _FIXED + _WRITTEN)})"
)
_UPDATE = f"UPDATE schedules SET {', '.join(f'{name} = :{name}' for name in _WRITTEN)} WHERE id = :id"


def add(tx: Tx, schedule: Schedule) -> None:
    tx.execute(_INSERT, _values(schedule))


def write(tx: Tx, schedule: Schedule) -> None:
    """Write all of a schedule that can change."""
    tx.execute(_UPDATE, _values(schedule))


def remove(tx: Tx, schedule_id: str) -> None:
    tx.execute("DELETE FROM schedules WHERE id = :id", {"id": schedule_id})


def remove_branch(tx: Tx, project_id: ProjectId, branch: str) -> None:
    """Forget what the config of a branch had scheduled: the branch is gone."""
    tx.execute(
        "DELETE FROM schedules WHERE project_id = :project AND branch = :branch AND workflow IS NOT NULL",
        {"project": project_id, "branch": branch},
    )


def find(tx: Tx, schedule_id: str) -> Schedule | None:
    row = tx.execute("SELECT * FROM schedules WHERE id = :id", {"id": schedule_id}).fetchone()
    return None if row is None else _schedule(row)


def of_api(tx: Tx, schedule_id: str) -> Schedule:
    """A schedule that the API made. Raises NotFound, also for one of a config."""
    found = find(tx, schedule_id)
    if found is None or found.workflow is not None:
        raise NotFound("Schedule not found.")
    return found


def of_branch(tx: Tx, project_id: ProjectId, branch: str) -> dict[str, Schedule]:
    """What the config of a branch has scheduled, by workflow."""
    rows = tx.execute(
        "SELECT * FROM schedules WHERE project_id = :project AND branch = :branch AND workflow IS NOT NULL",
        {"project": project_id, "branch": branch},
    )
    return {row["workflow"]: _schedule(row) for row in rows}


def page(tx: Tx, project_id: ProjectId, after: tuple[int, int] | None, limit: int) -> list[Schedule]:
    """The API's schedules of a project, the newest first, older than `after` (created_at_ms, row)."""
    at_ms, row = after or (1 << 62, 0)
    rows = tx.execute(
        "SELECT * FROM schedules WHERE project_id = :project AND workflow IS NULL AND (created_at_ms, row) < (:at, :row)"
        " ORDER BY created_at_ms DESC, row DESC LIMIT :limit",
        {"project": project_id, "at": at_ms, "row": row, "limit": limit},
    )
    return [_schedule(found) for found in rows]


def of_project(tx: Tx, project_id: ProjectId, limit: int) -> list[Schedule]:
    """Both kinds, those that are due next first."""
    rows = tx.execute(
        "SELECT * FROM schedules WHERE project_id = :project ORDER BY due_at_ms IS NULL, due_at_ms, name, row LIMIT :limit",
        {"project": project_id, "limit": limit},
    )
    return [_schedule(row) for row in rows]


def count(tx: Tx, project_id: ProjectId) -> int:
    """How many schedules of the API a project has."""
    row = tx.execute(
        "SELECT count(*) AS n FROM schedules WHERE project_id = :project AND workflow IS NULL", {"project": project_id}
    ).fetchone()
    return int(row["n"])


DUE = (
    "SELECT * FROM schedules WHERE due_at_ms <= :now AND id NOT IN (SELECT value FROM json_each(:but)) ORDER BY due_at_ms"
    " LIMIT :limit"
)
NEXT_DUE = "SELECT min(due_at_ms) AS at FROM schedules WHERE due_at_ms > :now"
AHEAD = "SELECT * FROM schedules WHERE counted_at_ms > :now LIMIT :limit"


def due(tx: Tx, now_ms: int, but: Collection[str], limit: int) -> list[Schedule]:
    """Whose time has come, the longest ago first; none of the ids `but`."""
    return [_schedule(row) for row in tx.execute(DUE, {"now": now_ms, "but": json.dumps(list(but)), "limit": limit})]


def next_due_at_ms(tx: Tx, now_ms: int) -> int | None:
    """When the next one is due of those that are not yet."""
    row = tx.execute(NEXT_DUE, {"now": now_ms}).fetchone()
    return None if row["at"] is None else int(row["at"])


def ahead(tx: Tx, now_ms: int, limit: int) -> list[Schedule]:
    """Those whose next time was worked out later than it is now: by a clock that was wrong."""
    return [_schedule(row) for row in tx.execute(AHEAD, {"now": now_ms, "limit": limit})]


def _values(schedule: Schedule) -> dict[str, object]:
    timing = schedule.timing if isinstance(schedule.timing, Mapping) else list(schedule.timing)
    written = {name: getattr(schedule, name) for name in _FIXED + _WRITTEN}
    return written | {"timing": json.dumps(timing), "parameters": json.dumps(dict(schedule.parameters))}


def _schedule(row: sqlite3.Row) -> Schedule:
    values = dict(row)
    values |= {"timing": json.loads(row["timing"]), "parameters": json.loads(row["parameters"])}
    return Schedule(**(values | {"is_system": bool(row["is_system"])}))
