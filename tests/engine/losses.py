"""The part of a simulated world in which machines vanish under their nodes: who does it, and what must hold then."""

from __future__ import annotations

from typing import TYPE_CHECKING

from appliance.engine.moves import Loss
from appliance.model import JobId
from appliance.store import jobs

if TYPE_CHECKING:
    from tests.engine.simulation import World

RESTARTS = 1


class Wrong(AssertionError):
    """An invariant does not hold."""


def lose(world: World) -> None:
    """The machine of a node that runs vanishes; that is sometimes told twice."""
    if not world.memory.running:
        return
    nodes = [jobs.node(world.tx, *one) for one in sorted(world.memory.running)]
    canceled, again = [node for node in nodes if node.status.is_done], [node for node in nodes if node.attempt > 1]
    node = world.random.choice(canceled or again or nodes)
    job_id, index, attempt = node.job_id, node.index, node.attempt
    crashes = world.crashes
    for _ in range(world.random.choice((1, 1, 2))):
        world.move("lose_node", Loss(job_id=job_id, index=index, attempt=attempt, why="gone"), RESTARTS, [], world.now_ms)
    if crashes == world.crashes:
        world.memory.running.discard((job_id, index))


def lose_late(world: World) -> None:
    """Somebody tells of an attempt that was lost long ago."""
    rows = world.tx.execute("SELECT job_id, idx, attempt FROM nodes WHERE attempt > 1 AND status = 'running'").fetchall()
    rows = rows or world.tx.execute("SELECT job_id, idx, attempt FROM nodes WHERE attempt > 1").fetchall()
    if not rows:
        return
    job_id, index, attempt = world.random.choice(rows)
    before = jobs.node(world.tx, job_id, index)
    loss = Loss(job_id=JobId(job_id), index=index, attempt=attempt - 1, why="told late")
    world.move("lose_node", loss, RESTARTS, [], world.now_ms)
    after = jobs.node(world.tx, job_id, index)
    if after != before:
        raise Wrong(f"a loss told late made of {before} {after}")


def check(world: World) -> None:
    """Who was lost is started again once, from nothing, while its job goes on; all it did before has ended."""
    rows = world.tx.execute("SELECT nodes.*, jobs.status AS job FROM nodes JOIN jobs ON id = job_id WHERE attempt > 1")
    for row in rows.fetchall():
        what = f"node {row['idx']} of {row['job_id'][:4]}, attempt {row['attempt']},"
        if row["attempt"] > RESTARTS + 1:
            raise Wrong(f"{what} is started again and again")
        is_waiting = row["status"] == "waiting"
        if is_waiting and (row["job"] != "running" or row["sandbox"] is not None):
            raise Wrong(f"{what} waits with sandbox {row['sandbox']}, and its job is {row['job']}")
        steps = jobs.steps_of(world.tx, row["job_id"], row["idx"])
        before = [step for step in steps if is_waiting or step.position < (row["attempt"] - 1) * jobs.LATER]
        if not before or not all(step.status.is_done for step in before):
            raise Wrong(f"{what} has left steps of the one before it open, or none at all")
