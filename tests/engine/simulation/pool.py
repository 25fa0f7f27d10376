"""Machines that come, go and are drained; and what must hold of every decision of `fit` about them."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

from appliance.engine.classes import GIB
from appliance.engine.fit import Bounds, Decision, Held, Machine, Wish
from appliance.engine.scheduler import HERE
from appliance.model import JobId

SIZES = {
    "small": (1, 1),
    "medium": (2, 4),
    "large": (4, 6),
    "broad": (1, 7),
    "huge": (9, 20),
    "share": (0, 0),
}  # CPUs and GiB
GRAIN = 1e-6  # three thirds of a CPU are one
Node = tuple[JobId, int, int]  # with the attempt
Fit = Callable[[Sequence[Wish], Sequence[Held], Sequence[Machine], Bounds, int], Decision]


class Wrong(AssertionError):
    """An invariant does not hold."""


class Pool:
    """This host, which is always there, and up to three machines more."""

    def __init__(self, chance: random.Random, patience_ms: int) -> None:
        self._chance = chance
        self.machines = {HERE: Machine(name=HERE, cpus=4, memory_bytes=8 * GIB, nodes=chance.choice((2, 4, 50)))}
        self.away: set[str] = set()
        self.drained: set[str] = set()
        self.bounds = Bounds(nodes_of_project=chance.choice((0, 0, 3)), patience_ms=patience_ms)
        self._head: Wish | None = None  # the oldest of those that have lost their patience
        self._before_it: set[Node] = set()  # what ran already when it became that

    def change(self) -> str:
        """Let something happen to a machine; what it was."""
        self._head = None  # what is reserved, and why, may be another thing now
        others = [name for name in self.machines if name != HERE and name not in self.away]
        if not others or (len(self.machines) < 4 and self._chance.random() < 0.5):
            name = f"m{len(self.machines)}"
            cpus, gib = self._chance.choice(((2, 4), (8, 16), (4, 16), (16, 8)))
            slots = self._chance.choice((1, 3, 50))
            self.machines[name] = Machine(name=name, cpus=cpus, memory_bytes=gib * GIB, nodes=slots)
            return f"{name} comes"
        name = self._chance.choice([*others, HERE])
        if name in self.drained:
            self.drained.discard(name)
            return f"{name} is back"
        if name == HERE or self._chance.random() < 0.6:
            self.drained.add(name)
            return f"{name} is drained"
        self.away.add(name)
        return f"{name} goes"

    def calm(self) -> None:
        """From now on no machine that is there is drained."""
        self._head = None
        self.drained.clear()

    def usable(self) -> tuple[str, ...]:
        """Where something may start."""
        return tuple(name for name in self.machines if name not in self.away | self.drained)

    def decide(self, fit: Fit, wishes: Sequence[Wish], held: Mapping[Node, Held], now_ms: int) -> Decision:
        """What `fit` makes of it. Raises Wrong."""
        known = [one for one in self.machines.values() if one.name not in self.away]
        decision = fit(wishes, list(held.values()), known, self.bounds, now_ms)
        self._check_all(decision, wishes, held)
        self._check_head(decision, wishes, held, now_ms)
        return decision

    def _check_all(self, decision: Decision, wishes: Sequence[Wish], held: Mapping[Node, Held]) -> None:
        answered = [(start.wish.job_id, start.wish.index) for start in decision.starts]
        answered += [(wish.job_id, wish.index) for wish, _ in decision.waits]
        if sorted(answered) != sorted((wish.job_id, wish.index) for wish in wishes):
            raise Wrong("some wish was not decided on, or twice")
        for start in decision.starts:
            machine = self.machines[start.machine]
            if start.machine not in self.usable():
                raise Wrong(f"a node starts on {start.machine}, and may only on {self.usable()}")
            if (start.cpus, start.memory_bytes) != _size(start.wish, machine):
                raise Wrong(f"a node gets {start.cpus} CPUs and {start.memory_bytes} bytes of {start.machine}")
        taken = [(one.machine, one.cpus, one.memory_bytes) for one in held.values()]
        self.check_loads([*taken, *((start.machine, start.cpus, start.memory_bytes) for start in decision.starts)])
        if self.bounds.nodes_of_project:
            for start in decision.starts:
                project = start.wish.project_id
                count = sum(one.project_id == project for one in held.values())
                count += sum(one.wish.project_id == project for one in decision.starts)
                if count > self.bounds.nodes_of_project:
                    raise Wrong(f"{count} nodes of a project, and there may be {self.bounds.nodes_of_project}")

    def check_loads(self, taken: Sequence[tuple[str, float, float]]) -> None:
        """No machine over its CPUs, memory or places; `taken` is machine, CPUs and bytes of each node. Raises Wrong."""
        for machine in self.machines.values():
            mine = [one for one in taken if one[0] == machine.name]
            cpus, memory_bytes = sum(one[1] for one in mine), sum(one[2] for one in mine)
            if cpus > machine.cpus + GRAIN or memory_bytes > machine.memory_bytes or len(mine) > machine.nodes:
                raise Wrong(f"{len(mine)} nodes with {cpus} CPUs and {memory_bytes} bytes on {machine}")

    # Nobody is starved

    def _check_head(self, decision: Decision, wishes: Sequence[Wish], held: Mapping[Node, Held], now_ms: int) -> None:
        """Who has waited longest, for longer than the patience, starts where there is room, and nobody keeps him waiting
        who has come since: only what ran already, or was expected to be over by now.
        """
        old = [wish for wish in wishes if now_ms - wish.since_ms > self.bounds.patience_ms]
        head = min(old, key=lambda wish: wish.since_ms, default=None)
        if head is None or any(start.wish == head for start in decision.starts) or self._is_over_bounds(head, held):
            self._head = None
            return
        machines = [self.machines[name] for name in head.machines]
        if any(self._has_place(head, machine, held) for machine in machines):
            raise Wrong("the one that has waited longest does not start, and there is room for it")
        if self._head != head:
            self._head, self._before_it = head, set(held)
        there = {node: one for node, one in held.items() if one.machine in head.machines}
        since = [one for node, one in there.items() if node not in self._before_it]
        if there and len(since) == len(there) and all(one.ends_at_ms is None for one in since):
            raise Wrong(f"a node is starved: all that runs on {head.machines} has begun since it was first in turn")

    def _is_over_bounds(self, wish: Wish, held: Mapping[Node, Held]) -> bool:
        of_project = sum(one.project_id == wish.project_id for one in held.values())
        return 0 < self.bounds.nodes_of_project <= of_project

    def _has_place(self, wish: Wish, machine: Machine, held: Mapping[Node, Held]) -> bool:
        mine = [one for one in held.values() if one.machine == machine.name]
        cpus, memory_bytes = _size(wish, machine)
        return (
            len(mine) < machine.nodes
            and sum(one.cpus for one in mine) + cpus <= machine.cpus + GRAIN
            and sum(one.memory_bytes for one in mine) + memory_bytes <= machine.memory_bytes
        )


def _size(wish: Wish, machine: Machine) -> tuple[float, int]:
    if not wish.cpus:
        return machine.cpus / machine.nodes, machine.memory_bytes // machine.nodes
    return min(wish.cpus, machine.cpus), min(wish.memory_bytes, machine.memory_bytes)
