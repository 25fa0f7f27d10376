"""What one node of a job waits for of the others: the deprecated `deploy` step runs after all of them (spec 1.8.5)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from appliance.engine import rules
from appliance.engine.workshop import Facts, Workshop
from appliance.model import NodeStatus
from appliance.store import jobs
from appliance.store.database import Tx

_LOOK_S = 5.0  # a lost ring costs at most this
_STUCK_S = 60.0  # nothing else runs here for so long, and the others have not begun: they never will


async def after_others(shop: Workshop, facts: Facts, say: Callable[[str], Awaitable[None]]) -> str | None:
    """Wait until all other nodes of the job have ended; a sentence when one did not succeed, or cannot begin."""
    job_id, index = facts.job.id, facts.node.index
    said: list[int] = []
    alone_since_s: float | None = None
    with shop.bell.listen(f"job:{job_id}") as listener:
        while True:
            others, is_alone = await shop.db.read(lambda tx: _look(tx, facts))
            verdict = rules.have_succeeded(node.status for node in others)
            if verdict is not None:
                bad = ", ".join(f"node {node.index} {node.status}" for node in others if _is_bad(node))
                return None if verdict else f"deploy does not run, since another node has not succeeded: {bad}"
            open_ones = [node.index for node in others if not node.status.is_done]
            if open_ones != said:
                said = open_ones
                await say(f"deploy waits for node {', '.join(map(str, open_ones))}\n")
            now_s = shop.clock.monotonic_s()
            alone_since_s = (alone_since_s or now_s) if is_alone else None
            if alone_since_s is not None and now_s - alone_since_s > _STUCK_S:
                return f"deploy on node {index} would wait for ever: there is no room for the other nodes beside it"
            await listener.wait(_LOOK_S)


def _look(tx: Tx, facts: Facts) -> tuple[Sequence[jobs.Node], bool]:
    """The other nodes, and whether none of them runs, nor anything else here, nor waits for a machine that went away."""
    others = [node for node in jobs.nodes_of(tx, facts.job.id) if node.index != facts.node.index]
    return others, len(jobs.running_nodes(tx)) == 1 and all(node.attempt == 1 or node.status.is_done for node in others)


def _is_bad(node: jobs.Node) -> bool:
    return node.status.is_done and node.status is not NodeStatus.SUCCESS
