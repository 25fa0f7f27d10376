"""Machines that vanish under their nodes: who tells of it, early, late or twice, and what must hold then."""

from __future__ import annotations

from appliance.engine.moves import Loss
from appliance.model import JobId
from appliance.store import jobs
from tests.engine.simulation.checks import RESTARTS
from tests.engine.simulation.pool import Wrong
from tests.engine.simulation.world import World


def lose(world: World) -> None:
    """A machine vanishes, or somebody tells late that one did."""
    world.random.choice((_lose, _lose_late))(world)


def _lose(world: World) -> None:
    """A node is lost, first of all a delicate one: canceled just now, or lost before; that is sometimes told twice."""
    held = world.memory.held
    if not held:
        return
    canceled = [node for node in held if jobs.node(world.tx, *node[:2]).status.is_done]
    gone = [node for node, one in held.items() if one.machine in world.pool.away]
    again = [node for node in held if node[2] > 1]
    job_id, index, attempt = node = world.random.choice(canceled or again or gone or list(held))
    crashes = world.crashes
    for _ in range(world.random.choice((1, 1, 2))):
        world.move("lose_node", Loss(job_id=job_id, index=index, attempt=attempt, why="gone"), RESTARTS, [], world.now_ms)
    if crashes == world.crashes:
        del held[node]


def _lose_late(world: World) -> None:
    """Somebody tells of an attempt that was lost long ago."""
    rows = world.tx.execute(
        "SELECT job_id, idx, attempt FROM nodes WHERE attempt > 1 ORDER BY status = 'running', rowid"
    ).fetchall()
    if not rows:
        return
    job_id, index, attempt = world.random.choice((rows[-1], world.random.choice(rows)))
    before = jobs.node(world.tx, job_id, index)
    loss = Loss(job_id=JobId(job_id), index=index, attempt=attempt - 1, why="told late")
    world.move("lose_node", loss, RESTARTS, [], world.now_ms)
    after = jobs.node(world.tx, job_id, index)
    if after != before:
        raise Wrong(f"a loss told late made of {before} {after}")
