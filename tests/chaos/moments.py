"""When the appliance is killed: moments of every kind about as often, however short they are."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Callable

from appliance.store import people
from tests.chaos.world import World

ANY = "at any time"
_RUNS = "SELECT 1 FROM nodes WHERE status = 'running'"
_STEP = "SELECT 1 FROM steps WHERE status = 'running' AND kind {} LIMIT 1"
_DATA = "('save_cache', 'restore_cache', 'persist_to_workspace', 'attach_workspace', 'store_artifacts')"


def _sees(query: str) -> Callable[[World], bool]:
    return lambda world: bool(world.rows(query))


def _is_closing(world: World) -> bool:
    there = {path.name for path in (world.scratch / "sandboxes").iterdir()}
    owned = {row["sandbox"] for row in world.rows("SELECT sandbox FROM nodes WHERE status = 'running'")}
    return bool(there - owned)


def _is_firing(world: World) -> bool:
    if world.rows("SELECT 1 FROM triggers WHERE state = 'open' AND json_extract(event, '$.kind') LIKE 'schedule%'"):
        return True
    return bool(world.rows("SELECT 1 FROM schedules WHERE due_at_ms <= :now", {"now": world.now_ms()}))


def _bait_the_janitor(world: World) -> None:
    """A login that has expired: once it is gone, a sweep has begun."""
    with contextlib.suppress(sqlite3.Error):  # a full disk
        world.place.read(lambda tx: people.make_token(tx, people.by_name(tx, "tester").id, "session", 0, 1))


def _is_sweeping(world: World) -> bool:
    return not world.rows("SELECT 1 FROM tokens WHERE expires_at_ms = 1")


def _let_a_schedule_come(world: World) -> None:
    if world.has_fake_time:
        world.set_clock(world.clock_s + 61)


MOMENTS: dict[str, Callable[[World], bool]] = {
    "taking in a push": _sees("SELECT 1 FROM triggers WHERE state = 'open' LIMIT 1"),
    "continuing a pipeline": _sees("SELECT 1 FROM pipelines WHERE state = 'pending'"),
    "handing out nodes": _sees(
        "SELECT 1 FROM jobs WHERE status = 'not_running' AND (SELECT count(*) FROM nodes WHERE status = 'running') < 6"
    ),
    "opening a sandbox": _sees(f"{_RUNS} AND sandbox IS NULL"),
    "in mid-step": _sees(_STEP.format("= 'run'")),
    "in a step far away": _sees(
        "SELECT 1 FROM steps JOIN nodes USING (job_id, idx) WHERE steps.status = 'running' AND executor LIKE 'machine:%'"
    ),
    "in a data step": _sees(_STEP.format(f"IN {_DATA}")),
    "between steps": _sees(
        f"{_RUNS} AND sandbox IS NOT NULL AND NOT EXISTS (SELECT 1 FROM steps"
        " WHERE steps.job_id = nodes.job_id AND steps.idx = nodes.idx AND steps.status = 'running')"
    ),
    "finishing a workflow": _sees(
        "SELECT 1 FROM workflows WHERE stopped_at_ms > (SELECT max(started_at_ms) FROM steps) LIMIT 1"
    ),
    "closing a sandbox": _is_closing,
    "telling the forge": _sees("SELECT 1 FROM outbox WHERE state = 'due' LIMIT 1"),
    "sweeping": _is_sweeping,
    "firing a schedule": _is_firing,
}
_BEFORE = {"sweeping": _bait_the_janitor, "firing a schedule": _let_a_schedule_come}
_LONGEST_S = 20.0
"""Long enough to get there from a start, past what waits to be taken in: else it would never be anywhere else."""


async def moment(world: World) -> str:
    """Wait for a moment of a kind that was seldom yet, or for none; what it is."""
    kills = world.story.kills
    names = [ANY, *MOMENTS]
    (wanted,) = world.chance.choices(names, [1 / (1 + kills[name]) ** 2 for name in names])
    if wanted == ANY:
        await asyncio.sleep(world.chance.uniform(0.0, 6.0))
        return ANY
    if wanted in _BEFORE:
        _BEFORE[wanted](world)
    # What is true of most moments is waited for after a while only, so that it does not always come right after a start.
    await asyncio.sleep(world.chance.uniform(0.0, 0.7))
    deadline = time.monotonic() + _LONGEST_S
    while time.monotonic() < deadline:
        if MOMENTS[wanted](world):
            await asyncio.sleep(world.chance.uniform(0.0, 0.06))
            return wanted
        await asyncio.sleep(0.004)
    return ANY
