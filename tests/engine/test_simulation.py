"""Thousands of seeded worlds; and that a bug planted in the engine's transactions is seen by some of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from appliance.engine import cancels, fit, flags, moves, moves_schedules, moves_setup
from appliance.model import JobStatus, NodeStatus, PipelineState
from appliance.store import jobs, locks, pipelines, projects, redundancy, schedules
from tests.engine.simulation import MOVES, Wrong, acts, run_world, template
from tests.engine.simulation.acts import Act
from tests.engine.simulation.losses import lose
from tests.engine.simulation.streams import run_stream

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


def receive_every_time(tx: Any, trigger: Any, now_ms: int, honour: bool) -> Any:
    tx.execute("UPDATE triggers SET semantic_key = semantic_key || id, delivery_id = NULL")
    return moves.receive(tx, trigger, now_ms, honour)


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


# Redundant workflows, and projects that are stopped


def create_and_let_older_ones_run(tx: Any, trigger_id: int, trigger: Any, draft: Any, now_ms: int) -> Any:
    wanted = projects.flags(tx, trigger.project_id)
    projects.set_flags(tx, trigger.project_id, replace(wanted, autocancel_builds=False))
    changed = moves.create_pipeline(tx, trigger_id, trigger, draft, now_ms)
    projects.set_flags(tx, trigger.project_id, wanted)
    return changed


def create_and_cancel_all_of_the_branch(tx: Any, trigger_id: int, trigger: Any, draft: Any, now_ms: int) -> Any:
    found = tx.execute(
        "SELECT workflows.id FROM workflows JOIN pipelines ON pipelines.id = pipeline_id WHERE stopped_at_ms IS NULL"
        " AND project_id = :project AND branch = :branch",
        {"project": trigger.project_id, "branch": trigger.branch},
    ).fetchall()
    for row in found:
        moves.cancel_workflow(tx, row["id"], "auto-cancel", now_ms)
    return moves.create_pipeline(tx, trigger_id, trigger, draft, now_ms)


def create_in_a_stopped_project(tx: Any, trigger_id: int, trigger: Any, draft: Any, now_ms: int) -> Any:
    wanted = projects.flags(tx, trigger.project_id)
    projects.set_flags(tx, trigger.project_id, replace(wanted, is_stopped=False))
    changed = moves.create_pipeline(tx, trigger_id, trigger, draft, now_ms)
    projects.set_flags(tx, trigger.project_id, wanted)
    return changed


def stop_and_let_run(tx: Any, project_id: Any, wanted: Any, now_ms: int) -> None:
    flags.change(tx, project_id, wanted, "somebody")


# Setup workflows


def continue_after_years(tx: Any, key: str, configuration: str, parameters: Any, request: Any, now_ms: int) -> Any:
    return moves_setup.accept_continuation(tx, key, configuration, parameters, request, 0)


def finish_twice(tx: Any, pipeline_id: Any, draft: Any, now_ms: int) -> Any:
    if pipelines.pipeline(tx, pipeline_id).state is PipelineState.CREATED:
        tx.execute("UPDATE pipelines SET state = 'pending' WHERE id = :id", {"id": pipeline_id})
    return moves_setup.finish_continuation(tx, pipeline_id, draft, now_ms)


def finish_what_was_given_up(tx: Any, pipeline_id: Any, draft: Any, now_ms: int) -> Any:
    was = tx.execute(
        "SELECT canceled_by FROM workflows WHERE pipeline_id = :id AND is_setup", {"id": pipeline_id}
    ).fetchone()
    tx.execute("UPDATE workflows SET canceled_by = NULL WHERE pipeline_id = :id", {"id": pipeline_id})
    changed = moves_setup.finish_continuation(tx, pipeline_id, draft, now_ms)
    tx.execute(
        "UPDATE workflows SET canceled_by = :who WHERE pipeline_id = :id AND is_setup",
        {"id": pipeline_id, "who": was["canceled_by"]},
    )
    return changed


def cancel_what_is_there_and_not_what_comes(tx: Any, pipeline_id: Any, who: Any, now_ms: int) -> Any:
    for workflow in pipelines.workflows_of(tx, pipeline_id):
        moves.cancel_workflow(tx, workflow.id, who, now_ms)
    return moves.Changed()


# The clock


def fire_and_stay_due(tx: Any, due: schedules.Schedule, trigger: Any, now_ms: int) -> Any:
    fired = moves_schedules.fire(tx, due, trigger, now_ms)
    schedules.write(tx, due)
    return fired


def fire_whatever_is_next(tx: Any, due: schedules.Schedule, trigger: Any, now_ms: int) -> Any:
    now = schedules.find(tx, due.id)
    assert now is not None
    key = f"{trigger.semantic_key} {now.slot_ms}"
    return moves_schedules.fire(tx, now, replace(trigger, semantic_key=key), now_ms)


def expire_the_row_alone(tx: Any, patience: cancels.Patience, now_ms: int) -> None:
    for job_id in redundancy.on_hold_since(tx, now_ms - patience.holds_ms, 10):
        jobs.set_status(tx, job_id, JobStatus.CANCELED, now_ms)


# Machines


def claim_nothing(tx: Any, claim: moves.Claim, now_ms: int) -> Any:
    return moves.start_node(tx, replace(claim, cpus=0), now_ms)


def fit_twice_the_memory(wishes: Any, held: Any, machines: Sequence[fit.Machine], bounds: Any, now_ms: int) -> Any:
    larger = [replace(one, memory_bytes=2 * one.memory_bytes) for one in machines]
    return fit.fit(wishes, held, larger, bounds, now_ms)


def fit_beside_the_slots(wishes: Any, held: Any, machines: Sequence[fit.Machine], bounds: Any, now_ms: int) -> Any:
    return fit.fit(wishes, held, [replace(one, nodes=1000) for one in machines], bounds, now_ms)


def fit_on_drained_ones(wishes: Sequence[fit.Wish], held: Any, machines: Any, bounds: Any, now_ms: int) -> Any:
    everywhere = [replace(one, machines=tuple(machine.name for machine in machines)) for one in wishes]
    return fit.fit(everywhere, held, machines, bounds, now_ms)


def fit_without_patience(wishes: Any, held: Any, machines: Any, bounds: fit.Bounds, now_ms: int) -> Any:
    return fit.fit(wishes, held, machines, replace(bounds, patience_ms=1 << 60), now_ms)


MUCH: dict[str, Act] = {
    "cancel_workflow": acts.person,
    "lose_node": lose,
    "create_pipeline": acts.settings,
    "change_settings": acts.settings,
    "accept_continuation": acts.continue_,
    "finish_continuation": acts.continue_,
    "expire": acts.clock,
    "cancel_pipeline": acts.person,
}
"""What a world is to be full of, for a bug to show soon; it does in others too, in one of some hundred."""


@pytest.mark.parametrize(
    ("name", "bug"),
    [
        ("start_node", start_twice),
        ("finish_node", finish_again),
        ("finish_node", finish_without_those_that_wait_for_it),
        ("approve", approve_anything),
        ("cancel_job", cancel_without_the_nodes),
        ("receive", receive_every_time),
        ("cancel_workflow", cancel_and_keep_the_lock),
        ("finish_node", finish_and_let_two_in),
        ("lose_node", lose_again_and_again),
        ("lose_node", believe_what_is_told_late),
        ("lose_node", put_back_with_the_sandbox),
        ("lose_node", put_back_what_was_canceled),
        ("lose_node", put_back_with_open_steps),
        ("create_pipeline", create_and_let_older_ones_run),
        ("create_pipeline", create_and_cancel_all_of_the_branch),
        ("create_pipeline", create_in_a_stopped_project),
        ("change_settings", stop_and_let_run),
        ("accept_continuation", continue_after_years),
        ("cancel_pipeline", cancel_what_is_there_and_not_what_comes),
        ("finish_continuation", finish_twice),
        ("finish_continuation", finish_what_was_given_up),
        ("fire", fire_and_stay_due),
        ("fire", fire_whatever_is_next),
        ("expire", expire_the_row_alone),
        ("start_node", claim_nothing),
        ("fit", fit_twice_the_memory),
        ("fit", fit_beside_the_slots),
        ("fit", fit_on_drained_ones),
    ],
)
def test_a_planted_bug_is_caught(empty: sqlite3.Connection, name: str, bug: Callable[..., Any]) -> None:
    broken = SimpleNamespace(**{**vars(MOVES), name: bug})
    with pytest.raises(Wrong):
        for seed in range(400):
            run_world(seed, empty, broken, much=[MUCH[name]] if name in MUCH else ())


def test_nobody_is_starved_on_many_machines() -> None:
    for seed in range(10):
        run_stream(seed)


def test_a_fit_that_starves_somebody_is_caught() -> None:
    with pytest.raises(Wrong, match=r"starved|waited longest"):
        for seed in range(10):
            run_stream(seed, fit_without_patience)
