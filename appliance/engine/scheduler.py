"""Gives waiting nodes to runners while there is room; `fit` decides which, and says of the rest why they wait.

The room that is taken is counted by the runners that live in this process, not by the rows: a cancelled node holds its
memory until its sandbox is gone, and nothing else can run nodes.
"""

from __future__ import annotations

import asyncio
import contextlib
import fnmatch
import itertools
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from appliance.bell import Bell
from appliance.clock import Clock
from appliance.engine import admission, fit, moves, placement, spots
from appliance.engine.checks import Checks
from appliance.engine.classes import GIB, Size
from appliance.engine.spots import Spot
from appliance.errors import DiskFull, NotFound
from appliance.executors.base import Executor
from appliance.model import JobId, JobStatus
from appliance.store import contexts, jobs, queue
from appliance.store.database import Database, Tx
from appliance.store.machines import executor_of, name_of, takes_jobs

log = logging.getLogger(__name__)

_LOOK_S = 2.0
_REST_S = 0.01  # between two looks: what rings meanwhile is seen in one
_BATCH = 500  # waiting nodes looked at in one go
_BATCH_OF_PROJECT = 100
_EXPLAINED = 100  # so many of them are told why they wait

HERE = "this machine"
_OF_A_SLOT = Size(2, 4 * GIB)  # of a machine that nobody has measured yet

RunNode = Callable[[JobId, int], Awaitable[None]]
Priorities = Mapping[str, int]
"""Patterns of "ORG/REPO" or "ORG/REPO@BRANCH" to a priority; the first that matches counts. From the settings only: what
stands in a repository could raise itself."""


@dataclass(frozen=True)
class _Known:
    """What was found out about a waiting job."""

    candidate: queue.Candidate
    placed: placement.Placement
    priority: int


@dataclass(frozen=True)
class _Facts:
    """A job, the contexts that it names and nobody has made, and why it may not have one of the others."""

    job_id: JobId
    candidate: queue.Candidate
    missing: tuple[str, ...]
    denied: str


class Scheduler:
    def __init__(
        self,
        *,
        db: Database,
        bell: Bell,
        clock: Clock,
        executors: Mapping[str, Executor],
        places: placement.Places,
        machine: fit.Machine,
        pool: Callable[[], Sequence[Spot]] = tuple,
        refresh_pool: Callable[[], Awaitable[None]] | None = None,
        bounds: fit.Bounds,
        run_node: RunNode,
        check_disk: Callable[[], None],
        priorities: Priorities | None = None,
    ) -> None:
        self._db = db
        self._bell = bell
        self._clock = clock
        self._checks = Checks(executors, bell, clock)
        self._places = places
        self._machine = machine
        self._pool = pool
        self._refresh_pool = refresh_pool
        self._spots: Mapping[str, Spot] = {}  # as the pool was at the last look
        self._bounds = bounds
        self._run_node = run_node
        self._check_disk = check_disk
        self._priorities = priorities or {}
        self._held: dict[int, fit.Held] = {}  # by the runner: a node that was lost may have two for a moment
        self._begun = itertools.count()
        self._known: dict[JobId, _Known] = {}
        self._lost: set[tuple[JobId, int, int]] = set()  # the nodes that waited to be started again at the last look

    async def run(self, resumed: list[jobs.Node]) -> None:
        """Schedule until cancelled; `resumed` nodes run already and are gone on with. Cancelling detaches all runners."""
        async with asyncio.TaskGroup() as runners:
            for node in resumed:
                self._begin(runners, node.job_id, node.index, await self._db.read(lambda tx: _held_by(tx, node)))  # noqa: B023
            with self._bell.listen("work") as listener:
                while True:
                    await self._look(runners)
                    await asyncio.sleep(_REST_S)
                    await listener.wait(_LOOK_S)

    async def _look(self, runners: asyncio.TaskGroup) -> None:
        """Start what fits, and say of the rest why it waits: each in one write, since a write costs the disk a sync."""
        try:
            waiting = await self._db.read(lambda tx: queue.waiting(tx, _BATCH, _BATCH_OF_PROJECT))
            self._look_at_pool()
            await self._learn(waiting)
            wishes, reasons = await self._wishes(runners, waiting)
            machines = (self._machine, *(_machine(spot) for spot in self._spots.values()))
            decision = fit.fit(wishes, self._held.values(), machines, self._bounds, self._clock.now_ms())
            await self._start(runners, decision.starts)
            reasons |= {(wish.job_id, wish.index): why for wish, why in decision.waits}
            await self._explain(waiting, reasons)
        except DiskFull as error:
            log.error("a full disk holds up the scheduler", extra={"error": str(error)})

    def _look_at_pool(self) -> None:
        """Where it is another one than at the last look, all find their places anew."""
        now = {spot.name: spot for spot in self._pool()}
        known = [] if now == self._spots else list(self._known.items())
        self._spots = now
        for job_id, one in known:
            placed = self._placed(one.candidate)
            if isinstance(placed, str):
                del self._known[job_id]  # to be told so
            else:
                self._known[job_id] = replace(one, placed=placed)

    async def _learn(self, waiting: Sequence[queue.Waiting]) -> None:
        """Find places for those that are new; one that can go nowhere ends here with the reason."""
        of_jobs = dict.fromkeys(one.job_id for one in waiting)
        self._known = {job_id: known for job_id, known in self._known.items() if job_id in of_jobs}
        new = [job_id for job_id in of_jobs if job_id not in self._known]
        for facts in await self._db.read(lambda tx: [_facts(tx, job_id) for job_id in new]) if new else ():
            if facts is not None:
                with contextlib.suppress(NotFound):  # its project was removed meanwhile
                    await self._place(facts)

    async def _find_place(self, candidate: queue.Candidate) -> placement.Placement | str:
        """A machine that was added just now is one that the pool has not met: before a job fails for it, it looks."""
        placed = self._placed(candidate)
        if isinstance(placed, str) and self._refresh_pool is not None:
            await self._refresh_pool()
            self._look_at_pool()
            placed = self._placed(candidate)
        return placed

    async def _place(self, facts: _Facts) -> None:
        job_id, candidate = facts.job_id, facts.candidate
        placed = await self._find_place(candidate)
        now_ms = self._clock.now_ms()
        if facts.denied:
            changed = await self._db.write(lambda tx: moves.deny_job(tx, job_id, facts.denied, now_ms))
            log.info("job unauthorized", extra={"job": candidate.number, "why": facts.denied})
        elif isinstance(placed, placement.Placement) and not facts.missing:
            self._known[job_id] = _Known(candidate, placed, self._priority(candidate))
            return
        else:
            reason = placed if isinstance(placed, str) else f"there is no context {', '.join(facts.missing)}"
            changed = await self._db.write(lambda tx: moves.fail_waiting_job(tx, job_id, reason, now_ms))
        self._bell.ring("work", "outbox", *changed.topics())

    def _placed(self, candidate: queue.Candidate) -> placement.Placement | str:
        pool = tuple(self._spots.values())
        return placement.place(candidate.plan, self._places, pool, is_trusted=candidate.is_trusted)

    def _priority(self, candidate: queue.Candidate) -> int:
        names = (candidate.project, f"{candidate.project}@{candidate.branch or ''}")
        matching = (
            priority
            for pattern, priority in self._priorities.items()
            if any(fnmatch.fnmatchcase(name, pattern) for name in names)
        )
        return next(matching, 0)

    async def _wishes(
        self, runners: asyncio.TaskGroup, waiting: Sequence[queue.Waiting]
    ) -> tuple[list[fit.Wish], dict[tuple[JobId, int], str]]:
        """Those that can start where there is room, and of the others why not."""
        wishes, reasons, full = list[fit.Wish](), dict[tuple[JobId, int], str](), self._full_disk()
        asked = {known.placed.executor for known in self._known.values() if known.placed.executor}
        asked |= {one.lost_on for one in waiting if name_of(one.lost_on) in self._spots}
        troubles = {} if full else await self._checks.troubles(runners, asked, self._doubted(waiting))
        for one in waiting:
            if (known := self._known.get(one.job_id)) is None:
                continue
            machines = () if full else self._open_machines(one, known.placed, troubles)
            if machines:
                wishes.append(_wish(one, known, machines))
            else:
                reasons[one.job_id, one.index] = f"waits: {full or self._why_closed(one, known.placed, troubles)}"
        return wishes, reasons

    def _doubted(self, waiting: Sequence[queue.Waiting]) -> set[str]:
        """The executors of nodes that were lost since the last look: whatever they answered before counts no more."""
        lost = {(one.job_id, one.index, one.attempt): one.lost_on for one in waiting if one.lost_on}
        new = {executor for key, executor in lost.items() if key not in self._lost}
        self._lost = set(lost)
        return new

    def _full_disk(self) -> str:
        try:
            self._check_disk()
        except DiskFull as error:
            return str(error)
        return ""

    def _open_machines(
        self, one: queue.Waiting, placed: placement.Placement, troubles: Mapping[str, str]
    ) -> tuple[str, ...]:
        """Where a node could start if there is room; one that was lost on another machine than that, where it can."""
        if placed.executor:
            return () if placed.executor in troubles else (HERE,)
        machines = tuple(name for name in placed.machines if not self._spots[name].trouble)
        elsewhere = tuple(name for name in machines if executor_of(name) != one.lost_on)
        return elsewhere if elsewhere or one.lost_on in troubles else machines

    def _why_closed(self, one: queue.Waiting, placed: placement.Placement, troubles: Mapping[str, str]) -> str:
        if placed.executor:
            return troubles[placed.executor]
        if one.lost_on in troubles and placed.machines == (name_of(one.lost_on),):
            return f"{troubles[one.lost_on]}; no other machine could run it"
        return spots.why_waiting([self._spots[name] for name in placed.machines])

    async def _start(self, runners: asyncio.TaskGroup, starts: Sequence[fit.Start]) -> None:
        if not starts:
            return
        now_ms = self._clock.now_ms()
        changes = await self._db.write(lambda tx: [self._claim(tx, start, now_ms) for start in starts])
        for start, changed in zip(starts, changes, strict=True):
            if changed is None:  # cancelled since, or denied: what the rows say now is looked at anew
                self._known.pop(start.wish.job_id, None)
                continue
            candidate = self._known[start.wish.job_id].candidate
            held = fit.Held(
                project_id=start.wish.project_id,
                machine=start.machine,
                cpus=start.cpus,
                memory_bytes=start.memory_bytes,
                job_number=candidate.number,
                ends_at_ms=None if candidate.lasts_ms is None else now_ms + candidate.lasts_ms,
                since_ms=now_ms,
            )
            self._begin(runners, start.wish.job_id, start.wish.index, held)
            self._bell.ring("outbox", "machines", *changed.topics())
            log.info("node started", extra={"job": candidate.number, "node": start.wish.index})

    def _claim(self, tx: Tx, start: fit.Start, now_ms: int) -> moves.Changed | None:
        known = self._known[start.wish.job_id]
        if admission.why_denied(tx, start.wish.job_id, known.candidate.plan):
            return None  # since it was placed: the next look says so
        if start.machine != HERE and not takes_jobs(tx, start.machine, is_trusted=known.candidate.is_trusted):
            return None  # drained this moment, or closed to forks
        claim = moves.Claim(
            job_id=start.wish.job_id,
            index=start.wish.index,
            plan=known.candidate.plan,
            executor=known.placed.executor or executor_of(start.machine),
            cpus=start.cpus,
            memory_bytes=start.memory_bytes,
        )
        return moves.start_node(tx, claim, now_ms)

    async def _explain(self, waiting: Sequence[queue.Waiting], reasons: Mapping[tuple[JobId, int], str]) -> None:
        """On each job once; also on nodes that were lost, whose jobs are under way."""
        found: dict[tuple[JobId, int], tuple[queue.Waiting, str]] = {}
        for one in waiting:
            why = reasons.get((one.job_id, one.index))
            if why is not None and (one.lost_on or one.status is JobStatus.NOT_RUNNING):
                found[one.job_id, one.index if one.lost_on else -1] = (one, why)
        new = [(one.job_id, one.index, why) for one, why in found.values() if why != one.message][:_EXPLAINED]
        if not new:
            return
        explained = await self._db.write(lambda tx: [moves.explain_wait(tx, *one) for one in new])
        for changed in explained:
            if changed is not None:
                self._bell.ring(*changed.topics())

    def _begin(self, runners: asyncio.TaskGroup, job_id: JobId, index: int, held: fit.Held) -> None:
        number = next(self._begun)
        self._held[number] = held
        runners.create_task(self._run(job_id, index, number))

    async def _run(self, job_id: JobId, index: int, number: int) -> None:
        try:
            await self._run_node(job_id, index)
        finally:
            del self._held[number]
            self._bell.ring("work", "machines")


def _machine(spot: Spot) -> fit.Machine:
    return fit.Machine(
        name=spot.name,
        cpus=spot.cpus or _OF_A_SLOT.cpus * spot.slots,
        memory_bytes=spot.memory_bytes or _OF_A_SLOT.memory_bytes * spot.slots,
        nodes=spot.slots,
    )


def _wish(one: queue.Waiting, known: _Known, machines: tuple[str, ...]) -> fit.Wish:
    return fit.Wish(
        job_id=one.job_id,
        index=one.index,
        project_id=one.project_id,
        machines=machines,
        cpus=known.placed.cpus,
        memory_bytes=known.placed.memory_bytes,
        since_ms=one.queued_at_ms,
        priority=known.priority,
        lasts_ms=known.candidate.lasts_ms,
    )


def _facts(tx: Tx, job_id: JobId) -> _Facts | None:
    """None for a job whose project was removed meanwhile."""
    try:
        candidate = queue.candidate(tx, job_id)
    except NotFound:
        return None
    if not candidate.plan.contexts:
        return _Facts(job_id, candidate, (), "")
    denied = admission.why_denied(tx, job_id, candidate.plan)
    return _Facts(job_id, candidate, tuple(contexts.missing(tx, candidate.plan.contexts)), denied)


def _held_by(tx: Tx, node: jobs.Node) -> fit.Held:
    """The room of a node that ran before we did."""
    job = jobs.by_id(tx, node.job_id)
    lasts_ms = queue.typical_ms(tx, job.project_id, job.name)
    return fit.Held(
        project_id=job.project_id,
        machine=name_of(node.executor or "") or HERE,
        cpus=node.cpus,
        memory_bytes=node.memory_bytes,
        job_number=job.number or 0,
        ends_at_ms=None if lasts_ms is None or node.started_at_ms is None else node.started_at_ms + lasts_ms,
        since_ms=node.started_at_ms,
    )
