"""The pool of machines: an executor for each row, in step with the rows while they change; and who is well enough for jobs.

A machine whose check fails, or that has lost several jobs in a row (`store.machines.note_loss`), is out: it gets nothing
new, and its row says why. It is asked again, ever less often, and is back when it answers. Whatever it ran before it was
away and nobody owns any more is removed then.

An executor that is not wanted any more, since its machine was removed or has another address now, is closed when the
nodes that it had then have ended, and a little later: their runners have still to close what they opened.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from appliance.bell import Bell
from appliance.clock import Clock
from appliance.engine.recovery import remove_unowned
from appliance.engine.spots import Spot, spot_of
from appliance.errors import RondoError
from appliance.executors.base import Executor, TellsLoad
from appliance.executors.machine_check import Examination
from appliance.model import JobId
from appliance.store import jobs, machines
from appliance.store.database import Database, Tx
from appliance.store.machines import Machine

log = logging.getLogger(__name__)

TOPIC = "pool"  # a machine dials in or hangs up, or somebody changed a row
_LOOK = "pool anew"  # our own: at what stands in the rows
_SHOWN = "machines"  # what pages follow; rung by every node that starts or ends, which is nothing to us

Make = Callable[[Machine], Executor]
"""Makes the executor of a machine. Connects nowhere, raises nothing: what is wrong its `check` says."""
Examine = Callable[[Machine], Awaitable[Examination]]
"""Looks what a machine is and has. Raises Unavailable and SandboxError."""
Nodes = frozenset[tuple[JobId, int]]


@dataclass(frozen=True, kw_only=True)
class Rhythm:
    """Seconds. Tests have other ones."""

    look: float = 2.0  # between two looks at the rows
    check: float = 10.0  # between two questions to a machine that is well
    longest_check: float = 45.0
    examine: float = 600.0  # between two looks at what a machine is and has
    note: float = 60.0  # between two notes in its row that it is well, and how busy
    first_pause: float = 2.0  # before one that is in trouble is asked again; then twice as long, and so on
    longest_pause: float = 300.0
    rest: float = 60.0  # of one that has lost jobs; twice as long for each more that it has lost since one ended well
    longest_rest: float = 3600.0
    sweep: float = 60.0
    linger: float = 75.0  # more than a runner takes to close its sandbox


@dataclass(eq=False, kw_only=True)
class _Member:
    """A machine and what has to do with it. `machine` is its row as it was read last."""

    machine: Machine
    executor: Executor
    watch: asyncio.Task[None] | None = None
    has_answered: bool = False  # since we know it, or since its trouble
    failures: int = 0
    swept_s: float | None = None
    examined_s: float | None = None
    noted_s: float = 0.0  # when its row was told that it is well


@dataclass(frozen=True)
class _Rows:
    machines: Sequence[Machine]
    running: Mapping[str, Nodes]  # by executor


class Pool:
    """`executors` is the mapping that everybody looks into: those of machines come and go in it, others stay."""

    def __init__(
        self,
        *,
        db: Database,
        bell: Bell,
        clock: Clock,
        executors: dict[str, Executor],
        make: Make,
        examine: Examine | None = None,
        why_away: Callable[[str], str | None] = lambda name: None,
        rhythm: Rhythm | None = None,
    ) -> None:
        self._db = db
        self._bell = bell
        self._clock = clock
        self._executors = executors
        self._make = make
        self._examine = examine
        self._why_away = why_away
        self._rhythm = rhythm or Rhythm()
        self._members: dict[str, _Member] = {}
        self._spots: tuple[Spot, ...] = ()
        self._looking = asyncio.Lock()  # an older look never comes after a newer one
        self._tasks: asyncio.TaskGroup | None = None  # while `run` does

    def spots(self) -> Sequence[Spot]:
        """The machines as the scheduler sees them."""
        return self._spots

    async def refresh(self) -> None:
        """Bring members and executors in step with the rows. Called once before recovery, then while `run` does."""
        async with self._looking:
            self._meet(await self._db.read(_rows))

    def _meet(self, rows: _Rows) -> None:
        for machine in rows.machines:
            self._take(machine, rows)
        for name in self._members.keys() - {machine.name for machine in rows.machines}:
            self._drop(name)
        here = [member for _, member in sorted(self._members.items()) if member.machine.removed_at_ms is None]
        before, self._spots = self._spots, tuple(_spot(member) for member in here)
        if [(spot, spot.trouble) for spot in before] != [(spot, spot.trouble) for spot in self._spots]:
            self._bell.ring("work", _SHOWN)

    async def look_again(self) -> None:
        """Meet a machine that was added just now, before a job is told that there is none for it."""
        if self._tasks is not None:
            await self.refresh()
            if any(member.watch is None for member in self._members.values()):
                self._bell.ring(_LOOK)

    async def run(self) -> None:
        """Watch the rows and the machines. Ends only by being cancelled."""
        async with asyncio.TaskGroup() as self._tasks:
            with self._bell.listen(TOPIC, _LOOK) as listener:
                while True:
                    try:
                        await self._forget_removed()
                        await self.refresh()
                    except RondoError as error:
                        log.error("cannot look after the machines", extra={"error": str(error)})
                    for member in self._members.values():
                        if member.watch is None:
                            member.watch = self._tasks.create_task(self._watch(member))
                    await listener.wait(self._rhythm.look)

    async def clear(self, name: str) -> bool:
        """Remove from a machine what no node owns; whether nothing of ours is left. Raises SandboxError, Unavailable."""
        member = self._members.get(name)
        if member is None:
            return True
        await remove_unowned(self._db, member.machine.executor, member.executor)
        return not await member.executor.list()

    async def close(self) -> None:
        """Let go of all connections; what runs on the machines lives on."""
        for member in self._members.values():
            await member.executor.close()

    # Who belongs to it

    def _take(self, machine: Machine, rows: _Rows) -> None:
        name, member = machine.name, self._members.get(machine.name)
        if member is not None and _way_to(member.machine) == _way_to(machine):
            member.machine = machine
            return
        if member is not None:
            self._retire(member, rows.running.get(machine.executor, frozenset()))
        log.info("a machine has come" if member is None else "a machine has changed", extra={"machine": name})
        executor = self._make(machine)
        self._members[name] = _Member(machine=machine, executor=executor)
        self._executors[machine.executor] = executor

    def _drop(self, name: str) -> None:
        member = self._members.pop(name)
        del self._executors[member.machine.executor]
        self._retire(member, frozenset())
        log.info("a machine has gone", extra={"machine": name})

    def _retire(self, member: _Member, nodes: Nodes) -> None:
        assert self._tasks is not None, "there is nobody to retire before `run`"
        if member.watch is not None:
            member.watch.cancel()
        self._tasks.create_task(self._see_off(member.machine.executor, member.executor, nodes))

    async def _see_off(self, key: str, executor: Executor, nodes: Nodes) -> None:
        """Close an executor when the nodes that it had are over. From a machine that is gone, what was left goes first."""
        try:
            with self._bell.listen("work") as listener:
                while nodes & (await self._db.read(_rows)).running.get(key, frozenset()):
                    await listener.wait(self._rhythm.look)
            await asyncio.sleep(self._rhythm.linger)
            if key not in self._executors:
                async with asyncio.timeout(self._rhythm.longest_check):
                    await remove_unowned(self._db, key, executor)
        except (RondoError, TimeoutError) as error:
            log.warning("something may be left on a machine that was removed", extra={"executor": key, "error": str(error)})
        finally:
            await executor.close()

    async def _forget_removed(self) -> None:
        """Those whose last node has ended."""
        for member in self._members.values():
            name = member.machine.name
            if member.machine.removed_at_ms is not None:
                await self._db.write(lambda tx: machines.forget(tx, name))  # noqa: B023 - awaited at once

    # How they are

    async def _watch(self, member: _Member) -> None:
        """Ask a machine again and again; at once when it has lost a node, or a runner comes or goes."""
        topics = (member.machine.executor, *((TOPIC,) if member.machine.dials_in else ()))
        with self._bell.listen(*topics) as listener:
            while True:
                await listener.wait(await self._ask(member))

    async def _ask(self, member: _Member) -> float:
        """Ask a machine how it is, and note it. The seconds until it is to be asked again."""
        resting_s = self._rest_s(member.machine)
        if resting_s > 0:
            return min(resting_s, self._rhythm.longest_pause)
        trouble = await self._trouble(member)
        try:
            if trouble:
                await self._note_trouble(member, trouble)
                return min(self._rhythm.first_pause * 2.0 ** min(member.failures - 1, 30), self._rhythm.longest_pause)
            await self._note_well(member)
            await self._sweep(member)
            await self._look_again(member)
        except RondoError as error:  # of the database, or of the machine while it was swept
            log.warning("could not look after a machine", extra={"machine": member.machine.name, "error": str(error)})
        return self._rhythm.check

    def _rest_s(self, machine: Machine) -> float:
        more = machine.lost_in_a_row - machines.MOST_LOST
        if machine.broken_since_ms is None or more < 0:
            return 0.0
        rest_s = min(self._rhythm.rest * 2.0 ** min(more, 30), self._rhythm.longest_rest)
        return rest_s - (self._clock.now_ms() - machine.broken_since_ms) / 1000

    async def _trouble(self, member: _Member) -> str:
        name = member.machine.name
        try:
            async with asyncio.timeout(self._rhythm.longest_check):
                said = (self._why_away(name) if member.machine.dials_in else None) or await member.executor.check() or ""
                if not said and self._examine is not None and not member.machine.measured:
                    said = await self._measured(member, self._examine)
        except TimeoutError:
            said = f"it has not answered for {self._rhythm.longest_check:g} seconds"
        except RondoError as error:
            said = str(error)
        except Exception:  # the top of a machine: what one says does not take the others along
            log.exception("the look at a machine broke", extra={"machine": name})
            said = "Rondo itself broke on what it says; the server's log says how"
        return said.removeprefix(f"machine {name}: ").removeprefix(f"machine {name} ")

    async def _measured(self, member: _Member, examine: Examine) -> str:
        """Before it gets its first job: what it is and has. The trouble with it, or ""."""
        machine, member.examined_s = member.machine, self._clock.monotonic_s()
        found = await examine(machine)
        await self._db.write(lambda tx: machines.measured(tx, machine.name, found.facts()))
        self._bell.ring(_LOOK, _SHOWN)
        return found.trouble

    async def _look_again(self, member: _Member) -> None:
        """At one that is well, now and then. A look that fails is no trouble: the check says whether there is one."""
        now_s = self._clock.monotonic_s()
        if self._examine is None or (member.examined_s is not None and now_s - member.examined_s < self._rhythm.examine):
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._rhythm.longest_check):
                await self._measured(member, self._examine)

    async def _note_trouble(self, member: _Member, trouble: str) -> None:
        before, name, now_ms = member.machine, member.machine.name, self._clock.now_ms()
        member.failures += 1
        member.has_answered = False
        member.swept_s = None
        await self._db.write(lambda tx: machines.mark_broken(tx, name, trouble, now_ms))
        if before.broken_since_ms is None or before.trouble != trouble:
            log.warning("a machine is out", extra={"machine": name, "trouble": trouble})
        self._bell.ring(_LOOK)

    async def _note_well(self, member: _Member) -> None:
        """Its row is told when it was out, and now and then how busy it is."""
        before, now_ms, now_s = member.machine, self._clock.now_ms(), self._clock.monotonic_s()
        member.failures = 0
        if member.has_answered and before.broken_since_ms is None and now_s - member.noted_s < self._rhythm.note:
            return
        load = member.executor.load if isinstance(member.executor, TellsLoad) else None
        member.has_answered, member.noted_s = True, now_s
        if before.broken_since_ms is None:  # as far as we know: it may have lost its third job this moment
            await self._db.write(lambda tx: machines.mark_seen(tx, before.name, now_ms, load))
        else:
            since_ms = before.broken_since_ms
            await self._db.write(lambda tx: machines.mark_well(tx, before.name, now_ms, since_ms))
            log.info("a machine is back", extra={"machine": before.name})
        self._bell.ring(_LOOK, _SHOWN)

    async def _sweep(self, member: _Member) -> None:
        """Remove what nobody owns: when it is back, and every minute. A tree that takes longer is gone on with at the next:
        the machine has to be asked meanwhile how it is."""
        now_s = self._clock.monotonic_s()
        if member.swept_s is not None and now_s - member.swept_s < self._rhythm.sweep:
            return
        member.swept_s = now_s
        try:
            async with asyncio.timeout(self._rhythm.longest_check):
                await remove_unowned(self._db, member.machine.executor, member.executor)
        except TimeoutError:
            log.warning("what is left on a machine takes long to remove", extra={"machine": member.machine.name})


def _rows(tx: Tx) -> _Rows:
    running: dict[str, set[tuple[JobId, int]]] = defaultdict(set)
    for node in jobs.running_nodes(tx):
        running[node.executor].add((node.job_id, node.index))
    return _Rows(machines.with_leaving(tx), {executor: frozenset(nodes) for executor, nodes in running.items()})


def _way_to(machine: Machine) -> tuple[object, ...]:
    """What its executor is made of."""
    return (
        *(machine.address, machine.port, machine.user_name, machine.sealed_key, machine.key_file, machine.host_key),
        *(machine.os, machine.home, machine.folder, machine.dials_in, machine.runner_key),
    )


def _spot(member: _Member) -> Spot:
    machine = member.machine
    trouble = ""
    if machine.drained_at_ms is not None:
        trouble = "is drained"
    elif machine.broken_since_ms is not None:
        trouble = f"is out: {machine.trouble}"
    elif not member.has_answered:
        trouble = "is being asked whether it can run jobs"
    return spot_of(machine, trouble)
