"""Streams of work past `fit` alone, without rows: small nodes that would fill every machine for ever, and large ones."""

from __future__ import annotations

import random
from dataclasses import replace

from appliance.engine import fit as real
from appliance.engine.classes import GIB
from appliance.model import JobId, ProjectId
from tests.engine.simulation.pool import SIZES, Fit, Node, Pool, Wrong

TICKS = 400
SMALL, LARGE = ("small", "small", "small", "medium", "broad"), ("large", "huge")


def run_stream(seed: int, fit: Fit = real.fit) -> int:
    """A second a tick, work for a bit more than there is room; how many nodes began. Raises Wrong."""
    chance = random.Random(seed)
    pool = Pool(chance, patience_ms=chance.choice((5_000, 20_000)))
    is_steady, has_history = chance.random() < 0.5, chance.random() < 0.3
    waiting: list[real.Wish] = []
    held: dict[Node, real.Held] = {}
    ends_at_ms: dict[Node, int] = {}
    now_ms = 1_000_000
    for tick in range(TICKS):
        now_ms += 1000
        if chance.random() < (0.2 if tick < 10 else 0.0 if is_steady else 0.03):
            pool.change()
        for number in range(chance.choice((0, 1, 1, 2)) if len(waiting) < 40 else 0):
            size = chance.choice(LARGE if chance.random() < 0.1 else SMALL)
            waiting.append(
                real.Wish(
                    job_id=JobId(f"{tick}.{number}"),
                    index=0,
                    project_id=ProjectId(chance.choice("abc")),
                    machines=(),
                    cpus=SIZES[size][0],
                    memory_bytes=SIZES[size][1] * GIB,
                    since_ms=now_ms,
                    lasts_ms=chance.randint(2, 9) * 1000 if has_history and chance.random() < 0.7 else None,
                )
            )
        for node in [node for node, at_ms in ends_at_ms.items() if at_ms <= now_ms]:
            del held[node], ends_at_ms[node]
        usable = pool.usable()
        wishes = [replace(one, machines=usable) for one in waiting]
        try:
            decision = pool.decide(fit, wishes, held, now_ms)
        except Wrong as wrong:
            raise Wrong(f"stream {seed}, second {tick}: {wrong}") from None
        for start in decision.starts:
            node = (start.wish.job_id, start.wish.index, 1)
            lasts_ms = start.wish.lasts_ms or chance.randint(2, 9) * 1000
            ends_at_ms[node] = now_ms + int(lasts_ms * chance.choice((0.5, 1, 1, 2)))
            held[node] = real.Held(
                project_id=start.wish.project_id,
                machine=start.machine,
                cpus=start.cpus,
                memory_bytes=start.memory_bytes,
                job_number=0,
                ends_at_ms=None if start.wish.lasts_ms is None else now_ms + start.wish.lasts_ms,
                since_ms=now_ms,
            )
        waiting = [wish for wish, _ in decision.waits]
    return len(held)
