"""Which waiting node starts where: sizes, ages and estimates in, starts and reasons out. No rows, no waiting.

The order of service: who has waited for longer than `patience_ms` comes first, the oldest before all. Then by priority;
among equals the project that holds the least gets the next turn, and within a project the oldest. A node goes to the
machine that it fills best, so that large holes stay for large nodes.

A node that finds no room reserves the machine where it can begin soonest, by the estimated ends of what runs there, of
those that no earlier one has reserved. What has no estimate, or has outlived it, is taken to last as long again; where
another machine is free soonest by that, it is reserved too: else a job of hours on the first one is waited for, while
small jobs come and go on the other. Later ones may still start there when they do not delay it: when they are over
before, or fit beside it. Until it has waited for `patience_ms` the others may pass it anyway: most jobs are short, and an
estimate may be missing.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from appliance.engine.classes import GIB
from appliance.model import JobId, ProjectId

_NEVER_MS = 1 << 60  # an end that nobody can tell
_GRAIN = 1e-6  # CPUs; three thirds are one

_Size = tuple[tuple[str, ...], float, int]
"""What a node needs: one of these machines, CPUs, bytes."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What running nodes may take of a machine in all. `bound` is what sets their number, as a sentence ends with it."""

    name: str
    cpus: float
    memory_bytes: int
    nodes: int
    bound: str = "it has slots"


@dataclass(frozen=True, kw_only=True)
class Wish:
    """A node that waits, and the machines that could run it. `lasts_ms` is None where there is no history.

    Without a size (zeros) it gets an equal share: of a machine with four slots a quarter.
    """

    job_id: JobId
    index: int
    project_id: ProjectId
    machines: tuple[str, ...]
    cpus: float
    memory_bytes: int
    since_ms: int
    priority: int = 0
    lasts_ms: int | None = None


@dataclass(frozen=True, kw_only=True)
class Held:
    """Room that a running node takes. `ends_at_ms` is an estimate, None where there is none; `since_ms` when it began."""

    project_id: ProjectId
    machine: str
    cpus: float
    memory_bytes: int
    job_number: int
    ends_at_ms: int | None = None
    since_ms: int | None = None

    def likely_end_ms(self, now_ms: int) -> int:
        if self.ends_at_ms is not None and self.ends_at_ms > now_ms:
            return self.ends_at_ms
        since_ms = self.since_ms if self.ends_at_ms is None else self.ends_at_ms
        return _NEVER_MS if since_ms is None else 2 * now_ms - since_ms


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """The rest of what decides: nodes of one project at once (0: any number), and the patience."""

    nodes_of_project: int = 0
    patience_ms: int = 120_000


@dataclass(frozen=True)
class Start:
    """`cpus` and `memory_bytes` are what it gets: a node larger than the machine is given the machine."""

    wish: Wish
    machine: str
    cpus: float
    memory_bytes: int


@dataclass
class Decision:
    starts: list[Start] = field(default_factory=list)
    waits: list[tuple[Wish, str]] = field(default_factory=list)


def fit(wishes: Sequence[Wish], held: Iterable[Held], machines: Sequence[Machine], bounds: Bounds, now_ms: int) -> Decision:
    """Decide on every wish. A pure function: the same facts give the same decision."""
    rooms = {machine.name: _Room(machine, now_ms) for machine in machines}
    taken: dict[ProjectId, list[Held]] = defaultdict(list)
    for one in held:
        if one.machine in rooms:  # not one that was removed under its last jobs
            rooms[one.machine].add(one)
        taken[one.project_id].append(one)
    decision = Decision()
    reserved: dict[str, _Reservation] = {}
    full: dict[_Size, str] = {}  # no machine has a place, or is to be kept; rooms only get fuller
    for wish in _in_turn(wishes, taken, bounds, now_ms):
        size = (wish.machines, wish.cpus, wish.memory_bytes)
        why = _why_over_bounds(wish, taken, bounds) or full.get(size)
        if why is None:
            room = _best(wish, rooms, reserved, bounds, now_ms)
            if room is not None:
                decision.starts.append(_start(wish, room, taken, now_ms))
                name = room.machine.name
                if name in reserved:
                    reserved[name] = room.reservation(reserved[name].wish)  # less is left beside it now
                continue
            why, ahead = _explain(wish, rooms, reserved, now_ms)
            for reservation in ahead:
                reserved.setdefault(reservation.machine, reservation)
            if all(name in reserved and not rooms[name].has_place(wish) for name in wish.machines):
                full[size] = why
        decision.waits.append((wish, f"waits: {why}"))
    return decision


# The order of service


def _in_turn(
    wishes: Sequence[Wish], taken: Mapping[ProjectId, Sequence[Held]], bounds: Bounds, now_ms: int
) -> Iterator[Wish]:
    """Each wish once. What a project holds is looked at again whenever its turn comes: earlier starts count."""

    def is_old(wish: Wish) -> bool:
        return now_ms - wish.since_ms > bounds.patience_ms

    yield from sorted((wish for wish in wishes if is_old(wish)), key=lambda wish: wish.since_ms)
    of_project: dict[ProjectId, list[Wish]] = defaultdict(list)
    for _, wish in sorted(enumerate(wishes), key=lambda one: (one[1].priority, -one[1].since_ms, -one[0])):
        if not is_old(wish):
            of_project[wish.project_id].append(wish)  # the next one stands last

    def turn(project: ProjectId) -> tuple[int, float, int, str]:
        head = of_project[project][-1]
        return (-head.priority, sum(one.cpus for one in taken.get(project, ())), head.since_ms, project)

    turns = [(turn(project), project) for project in of_project]
    heapq.heapify(turns)
    while turns:
        before, project = heapq.heappop(turns)
        now = turn(project)
        if now > before:  # it has been given something since
            heapq.heappush(turns, (now, project))
            continue
        yield of_project[project].pop()
        if of_project[project]:
            heapq.heappush(turns, (turn(project), project))


def _why_over_bounds(wish: Wish, taken: Mapping[ProjectId, Sequence[Held]], bounds: Bounds) -> str | None:
    of_project = len(taken.get(wish.project_id, ()))
    if bounds.nodes_of_project and of_project >= bounds.nodes_of_project:
        return f"{_nodes(of_project, ' of this project')}, as many as jobs.at_once_per_project allows"
    return None


# Machines


@dataclass(frozen=True)
class _Reservation:
    """A machine as it will be when `wish` can begin there: from then on only so much is left beside it."""

    wish: Wish
    machine: str
    begins_at_ms: int
    likely_at_ms: int  # also where no estimate says it, or one was wrong
    spare_cpus: float
    spare_memory_bytes: int
    after: int | None  # the number of the job whose end it waits for


@dataclass(frozen=True)
class _Later:
    """What is free of a machine at some time, and the node whose end comes last before it."""

    cpus: float
    memory_bytes: int
    last: Held | None


class _Room:
    """What is left of a machine. Sums are kept, and what was worked out for a size: many wishes are of one size."""

    def __init__(self, machine: Machine, now_ms: int) -> None:
        self.machine = machine
        self._now_ms = now_ms
        self.cpus = machine.cpus
        self.memory_bytes = machine.memory_bytes
        self.nodes = 0
        self._held: list[Held] = []
        self._by_estimate: list[Held] | None = None  # sorted when somebody asks
        self._by_likely_end: list[Held] | None = None
        self._known: dict[tuple[float, int], _Reservation] = {}

    def add(self, one: Held) -> None:
        self._held.append(one)
        self._known.clear()
        self._by_estimate = self._by_likely_end = None
        self.cpus -= one.cpus
        self.memory_bytes -= one.memory_bytes
        self.nodes += 1

    def size_of(self, wish: Wish) -> tuple[float, int]:
        if not wish.cpus:
            return self.machine.cpus / self.machine.nodes, self.machine.memory_bytes // self.machine.nodes
        return min(wish.cpus, self.machine.cpus), min(wish.memory_bytes, self.machine.memory_bytes)

    def has_place(self, wish: Wish) -> bool:
        cpus, memory_bytes = self.size_of(wish)
        return self.nodes < self.machine.nodes and cpus <= self.cpus + _GRAIN and memory_bytes <= self.memory_bytes

    def reservation(self, wish: Wish) -> _Reservation:
        """When `wish` can begin here by what is known of the ends, and what is left beside it then."""
        return replace(self.outlook(wish), wish=wish)

    def outlook(self, wish: Wish) -> _Reservation:
        """That of some wish of the same size."""
        size = self.size_of(wish)
        if size not in self._known:
            self._known[size] = self._worked_out(wish, size)
        return self._known[size]

    def _worked_out(self, wish: Wish, size: tuple[float, int]) -> _Reservation:
        if self._by_estimate is None:
            self._by_estimate = sorted(self._held, key=lambda one: _NEVER_MS if one.ends_at_ms is None else one.ends_at_ms)
        if self._by_likely_end is None:
            self._by_likely_end = sorted(self._held, key=lambda one: one.likely_end_ms(self._now_ms))
        by_estimate = self._after(size, self._by_estimate)
        last = by_estimate.last
        at_ms = 0 if last is None else _NEVER_MS if last.ends_at_ms is None else last.ends_at_ms
        likely = self._after(size, self._by_likely_end).last
        return _Reservation(
            wish=wish,
            machine=self.machine.name,
            begins_at_ms=at_ms,
            likely_at_ms=0 if likely is None else likely.likely_end_ms(self._now_ms),
            spare_cpus=by_estimate.cpus - size[0],
            spare_memory_bytes=by_estimate.memory_bytes - size[1],
            after=None if last is None else last.job_number or None,
        )

    def _after(self, size: tuple[float, int], order: Sequence[Held]) -> _Later:
        """The machine when so many have ended, in this order, that there is a place of `size`."""
        cpus, memory_bytes, nodes, last = self.cpus, self.memory_bytes, self.nodes, None
        for one in order:
            if size[0] <= cpus + _GRAIN and size[1] <= memory_bytes and nodes < self.machine.nodes:
                break
            cpus, memory_bytes, nodes, last = cpus + one.cpus, memory_bytes + one.memory_bytes, nodes - 1, one
        return _Later(cpus, memory_bytes, last)


def _best(
    wish: Wish, rooms: Mapping[str, _Room], reserved: Mapping[str, _Reservation], bounds: Bounds, now_ms: int
) -> _Room | None:
    fitting = [
        rooms[name]
        for name in wish.machines
        if rooms[name].has_place(wish) and not _would_delay(wish, rooms[name], reserved.get(name), bounds, now_ms)
    ]
    return min(fitting, key=lambda room: (_left(wish, room), room.machine.name), default=None)


def _left(wish: Wish, room: _Room) -> float:
    """How much of the machine would be left over, the scarcer of its two sides counting."""
    cpus, memory_bytes = room.size_of(wish)
    return max((room.cpus - cpus) / room.machine.cpus, (room.memory_bytes - memory_bytes) / room.machine.memory_bytes)


def _would_delay(wish: Wish, room: _Room, reserved: _Reservation | None, bounds: Bounds, now_ms: int) -> bool:
    if reserved is None:
        return False
    cpus, memory_bytes = room.size_of(wish)
    if now_ms - reserved.wish.since_ms <= bounds.patience_ms:
        # For now smaller ones may pass. One of its own size may not: else the younger takes what came free for the older.
        own_cpus, own_memory_bytes = room.size_of(reserved.wish)
        return cpus >= own_cpus and memory_bytes >= own_memory_bytes
    if wish.lasts_ms is not None and now_ms + wish.lasts_ms <= reserved.begins_at_ms < _NEVER_MS:
        return False
    return cpus > reserved.spare_cpus + _GRAIN or memory_bytes > reserved.spare_memory_bytes


def _start(wish: Wish, room: _Room, taken: dict[ProjectId, list[Held]], now_ms: int) -> Start:
    cpus, memory_bytes = room.size_of(wish)
    held = Held(
        project_id=wish.project_id,
        machine=room.machine.name,
        cpus=cpus,
        memory_bytes=memory_bytes,
        job_number=0,
        ends_at_ms=None if wish.lasts_ms is None else now_ms + wish.lasts_ms,
        since_ms=now_ms,
    )
    room.add(held)
    taken[wish.project_id].append(held)
    return Start(wish, room.machine.name, cpus, memory_bytes)


# Words


def _explain(
    wish: Wish, rooms: Mapping[str, _Room], reserved: Mapping[str, _Reservation], now_ms: int
) -> tuple[str, Sequence[_Reservation]]:
    """Why it finds no room, and where it can begin soonest; where others come first only if they do so everywhere.

    What is likely changes from look to look, so it never stands alone: a node would be promised one machine after the other.
    """
    if not wish.machines:
        return "no machine that could run it is there now", ()
    names = [name for name in wish.machines if name not in reserved] or wish.machines
    ahead = [rooms[name].outlook(wish) for name in names]
    soonest, likely = min(ahead, key=lambda one: one.begins_at_ms), min(ahead, key=lambda one: one.likely_at_ms)
    kept = [rooms[name].reservation(wish) for name in dict.fromkeys((soonest.machine, likely.machine))]
    room = rooms[likely.machine]
    if room.has_place(wish):
        return "an older job comes first", kept
    where = f" on {room.machine.name}" if len(rooms) > 1 else ""
    return _missing(wish, room, where) + _when(likely, now_ms), kept


def _missing(wish: Wish, room: _Room, where: str) -> str:
    machine, memory_bytes, cpus = room.machine, max(room.memory_bytes, 0), max(room.cpus, 0)
    wants_cpus, wants_bytes = room.size_of(wish)
    alone = ""
    if wish.cpus > machine.cpus or wish.memory_bytes > machine.memory_bytes:
        alone = "; it is larger than what there is and starts when nothing else runs"
    if room.nodes >= machine.nodes:
        return f"{_nodes(room.nodes)} on {machine.name}, as many as {machine.bound}"
    if wants_bytes > memory_bytes:
        needs = max(wish.memory_bytes, wants_bytes)
        return f"needs {needs / GIB:.1f} GiB of memory, {memory_bytes / GIB:.1f} GiB free{where}{alone}"
    return f"needs {max(wish.cpus, wants_cpus):g} CPUs, {cpus:g} free{where}{alone}"


def _nodes(count: int, whose: str = "") -> str:
    return f"1 node{whose} runs" if count == 1 else f"{count} nodes{whose} run"


def _when(ahead: _Reservation, now_ms: int) -> str:
    if ahead.after is None or ahead.begins_at_ms >= _NEVER_MS:
        return ""
    if ahead.begins_at_ms <= now_ms:
        return f"; job {ahead.after} takes longer than it usually does"
    return f"; job {ahead.after} ends in about {_span(ahead.begins_at_ms - now_ms)}"


def _span(span_ms: int) -> str:
    seconds = max(span_ms, 0) / 1000
    if seconds < 90:
        return f"{max(round(seconds, -1), 10):.0f} s"  # in tens: who reads it is told again only when it changes
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
