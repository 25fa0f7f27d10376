"""Thousands of seeded worlds; and that a bug planted in the engine's transactions is seen by some of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from appliance.engine import moves
from appliance.model import JobStatus, NodeStatus
from appliance.store import jobs, locks
from tests.engine.simulation import MOVES, Wrong, run_world, template

WORLDS = 150


@pytest.fixture(scope="module")
def empty() -> sqlite3.Connection:
    return template()


@pytest.mark.parametrize("first", range(0, WORLDS, 50))
def test_worlds(empty: sqlite3.Connection, first: int) -> None:
    crashes = started = 0
    for seed in range(first, first + 50):
        world = run_world(seed, empty)
        crashes += world.crashes
        started += len(world.starts)
    assert crashes > 20 and started > 100, "worlds in which nothing happens prove nothing"


def start_twice(tx: Any, claim: moves.Claim, now_ms: int) -> Any:
    tx.execute("UPDATE nodes SET status = 'waiting' WHERE job_id = :id AND status = 'running'", {"id": claim.job_id})
    return moves.start_node(tx, claim, now_ms)


def finish_again(tx: Any, job_id: Any, index: int, status: NodeStatus, *rest: Any) -> Any:
    tx.execute(
        "UPDATE nodes SET status = :status WHERE job_id = :id AND idx = :idx",
        {"status": status.value, "id": job_id, "idx": index},
    )
    return moves.finish_node(tx, job_id, index, status, *rest)


def finish_without_those_that_wait_for_it(tx: Any, job_id: Any, index: int, status: NodeStatus, *rest: Any) -> Any:
    jobs.end_node(tx, job_id, index, status, "", 1)
    if all(node.status.is_done for node in jobs.nodes_of(tx, job_id)):
        jobs.set_status(tx, job_id, JobStatus.SUCCESS, 1)
    return moves.Changed()


def approve_anything(tx: Any, job_id: Any, who: Any, now_ms: int) -> Any:
    if jobs.by_id(tx, job_id).status is JobStatus.BLOCKED:
        jobs.set_status(tx, job_id, JobStatus.SUCCESS, now_ms)
        return moves.Changed()
    return moves.approve(tx, job_id, who, now_ms)


def cancel_without_the_nodes(tx: Any, job_id: Any, who: Any, now_ms: int) -> Any:
    if not jobs.by_id(tx, job_id).status.is_done:
        jobs.set_status(tx, job_id, JobStatus.CANCELED, now_ms)
    return moves.Changed()


def accept_every_time(tx: Any, trigger: Any, now_ms: int, honour: bool) -> Any:
    tx.execute("UPDATE triggers SET semantic_key = semantic_key || id, delivery_id = NULL")
    return moves.accept(tx, trigger, now_ms, honour)


def cancel_and_keep_the_lock(tx: Any, workflow_id: Any, who: Any, now_ms: int) -> Any:
    held = tx.execute("SELECT job_id FROM locks WHERE workflow_id = :id AND is_held = 1", {"id": workflow_id}).fetchall()
    kept = [locks.of_job(tx, row["job_id"]) for row in held]
    changed = moves.cancel_workflow(tx, workflow_id, who, now_ms)
    for lock in kept:
        assert lock is not None
        locks.arrive(tx, lock.job_id, lock.key, now_ms)
    return changed


def finish_and_let_two_in(tx: Any, job_id: Any, *rest: Any) -> Any:
    for row in tx.execute("SELECT job_id FROM locks WHERE is_held = 1").fetchall():
        locks.remove(tx, row["job_id"])
    return moves.finish_node(tx, job_id, *rest)


def lose_again_and_again(tx: Any, loss: moves.Loss, restarts: int, *rest: Any) -> Any:
    return moves.lose_node(tx, loss, 9, *rest)


def believe_what_is_told_late(tx: Any, loss: moves.Loss, *rest: Any) -> Any:
    latest = jobs.node(tx, loss.job_id, loss.index).attempt
    return moves.lose_node(tx, replace(loss, attempt=latest), *rest)


def put_back_with_the_sandbox(tx: Any, loss: moves.Loss, *rest: Any) -> Any:
    sandbox = jobs.node(tx, loss.job_id, loss.index).sandbox
    changed = moves.lose_node(tx, loss, *rest)
    if sandbox is not None and jobs.node(tx, loss.job_id, loss.index).status is NodeStatus.WAITING:
        jobs.set_sandbox(tx, loss.job_id, loss.index, sandbox)
    return changed


def put_back_what_was_canceled(tx: Any, loss: moves.Loss, *rest: Any) -> Any:
    where = {"job": loss.job_id, "index": loss.index}
    tx.execute("UPDATE nodes SET status = 'running' WHERE job_id = :job AND idx = :index AND status = 'canceled'", where)
    return moves.lose_node(tx, loss, *rest)


def put_back_with_open_steps(tx: Any, loss: moves.Loss, *rest: Any) -> Any:
    changed = moves.lose_node(tx, loss, *rest)
    tx.execute("UPDATE steps SET status = 'running' WHERE job_id = :job AND position = 0", {"job": loss.job_id})
    return changed


@pytest.mark.parametrize(
    ("name", "bug"),
    [
        ("start_node", start_twice),
        ("finish_node", finish_again),
        ("finish_node", finish_without_those_that_wait_for_it),
        ("approve", approve_anything),
        ("cancel_job", cancel_without_the_nodes),
        ("accept", accept_every_time),
        ("cancel_workflow", cancel_and_keep_the_lock),
        ("finish_node", finish_and_let_two_in),
        ("lose_node", lose_again_and_again),
        ("lose_node", believe_what_is_told_late),
        ("lose_node", put_back_with_the_sandbox),
        ("lose_node", put_back_what_was_canceled),
        ("lose_node", put_back_with_open_steps),
    ],
)
def test_a_planted_bug_is_caught(empty: sqlite3.Connection, name: str, bug: Callable[..., Any]) -> None:
    broken = SimpleNamespace(**{**vars(MOVES), name: bug})
    with pytest.raises(Wrong):
        for seed in range(400):
            run_world(seed, empty, broken)
