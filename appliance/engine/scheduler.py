"""Gives waiting nodes to runners while there is room: oldest first, smaller ones may pass a big one for a while.

The room that is taken is counted by the runners that live in this process, not by the rows: a cancelled node holds its
memory until its sandbox is gone, and nothing else can run nodes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from appliance.bell import Bell
from appliance.clock import Clock
from appliance.engine import admission, classes, moves, placement
from appliance.errors import DiskFull
from appliance.executors.base import Executor
from appliance.language import plan as plans
from appliance.model import JobId, JobStatus
from appliance.store import contexts, jobs
from appliance.store.database import Database, Tx

log = logging.getLogger(__name__)

_LOOK_S = 2.0
_BATCH = 200  # waiting nodes looked at in one go
_CHECK_S = 5.0  # an engine that hangs holds up the others' nodes for no longer
_PATIENCE_MS = 120_000  # after that nothing passes the oldest node any more

RunNode = Callable[[JobId, int], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """What running nodes may take in all."""

    cpus: float
    memory_bytes: int
    nodes: int


@dataclass(frozen=True)
class _Held:
    cpus: float
    memory_bytes: int


class Scheduler:
    def __init__(
        self,
        *,
        db: Database,
        bell: Bell,
        clock: Clock,
        executors: Mapping[str, Executor],
        places: placement.Places,
        capacity: Capacity,
        run_node: RunNode,
        check_disk: Callable[[], None],
    ) -> None:
        self._db = db
        self._bell = bell
        self._clock = clock
        self._executors = executors
        self._places = places
        self._capacity = capacity
        self._run_node = run_node
        self._check_disk = check_disk
        self._held: dict[tuple[JobId, int], _Held] = {}

    async def run(self, resumed: list[jobs.Node]) -> None:
        """Schedule until cancelled; `resumed` nodes run already and are gone on with. Cancelling detaches all runners."""
        async with asyncio.TaskGroup() as runners:
            for node in resumed:
                self._begin(runners, node.job_id, node.index, node.cpus, node.memory_bytes)
            with self._bell.listen("work") as listener:
                while True:
                    await self._look(runners)
                    await listener.wait(_LOOK_S)

    async def _look(self, runners: asyncio.TaskGroup) -> None:
        """Start what fits, and say of the rest why it waits: all in one write, since each costs the disk a sync."""
        reasons: dict[JobId, str] = {}
        try:
            await self._fill(runners, reasons)
            if reasons:
                await self._explain(reasons)
        except DiskFull as error:
            log.error("a full disk holds up the scheduler", extra={"error": str(error)})

    async def _fill(self, runners: asyncio.TaskGroup, reasons: dict[JobId, str]) -> None:
        waiting = await self._db.read(lambda tx: jobs.waiting(tx, _BATCH))
        troubles: dict[str, str | None] = {}
        passed: list[placement.Placement] = []
        for job, node in waiting:
            placed = await self._placed(job)
            if placed is None:
                continue
            if placed.executor not in troubles:
                troubles[placed.executor] = await self._trouble(placed.executor)
            why = troubles[placed.executor] or self._why_not(placed, passed)
            if why is None:
                await self._start(runners, job, node, placed)
                continue
            if job.status is JobStatus.NOT_RUNNING and job.message != why:
                reasons[job.id] = why
            if troubles[placed.executor]:
                continue
            passed.append(placed)
            if self._clock.now_ms() - (job.queued_at_ms or 0) > _PATIENCE_MS:
                return

    async def _placed(self, job: jobs.Job) -> placement.Placement | None:
        """Where a job goes; one that can go nowhere ends here with the reason."""
        plan, missing, denied = await self._db.read(lambda tx: _wishes(tx, job.id))
        placed = placement.place(plan, self._places)
        if denied:
            await self._deny(job, denied)
            return None
        if isinstance(placed, placement.Placement) and not missing:
            return placed
        reason = placed if isinstance(placed, str) else f"there is no context {', '.join(missing)}"
        now_ms = self._clock.now_ms()
        changed = await self._db.write(lambda tx: moves.fail_waiting_job(tx, job.id, reason, now_ms))
        self._bell.ring("work", "outbox", *changed.topics())
        return None

    async def _deny(self, job: jobs.Job, why: str) -> None:
        now_ms = self._clock.now_ms()
        changed = await self._db.write(lambda tx: moves.deny_job(tx, job.id, why, now_ms))
        self._bell.ring("work", "outbox", *changed.topics())
        log.info("job unauthorized", extra={"job": job.number, "why": why})

    async def _trouble(self, executor: str) -> str | None:
        try:
            self._check_disk()
        except DiskFull as error:
            return f"waits: {error}"
        try:
            async with asyncio.timeout(_CHECK_S):
                trouble = await self._executors[executor].check()
        except TimeoutError:
            trouble = f"the {executor} executor has not answered for {_CHECK_S:g} seconds"
        return f"waits: {trouble}" if trouble else None

    def _why_not(self, placed: placement.Placement, passed: Sequence[placement.Placement]) -> str | None:
        """None when there is room. A node larger than the machine runs when it is alone.

        Room may have come free since an older node was `passed` over in this look: only a smaller one may overtake it.
        """
        if not self._held and not passed:
            return None
        if len(self._held) >= self._capacity.nodes:
            return f"waits: {len(self._held)} nodes run, as many as jobs.at_once allows"
        cpus = self._capacity.cpus - sum(held.cpus for held in self._held.values())
        memory = self._capacity.memory_bytes - sum(held.memory_bytes for held in self._held.values())
        alone = ""
        if placed.cpus > self._capacity.cpus or placed.memory_bytes > self._capacity.memory_bytes:
            alone = "; it is larger than what there is and starts when nothing else runs"
        if placed.memory_bytes > memory:
            need, free = placed.memory_bytes / classes.GIB, max(memory, 0) / classes.GIB
            return f"waits: needs {need:.1f} GiB of memory, {free:.1f} GiB free{alone}"
        if placed.cpus > cpus:
            return f"waits: needs {placed.cpus:g} CPUs, {max(cpus, 0):g} free{alone}"
        if any(placed.cpus >= one.cpus and placed.memory_bytes >= one.memory_bytes for one in passed):
            return "waits: an older job of its size comes first"
        return None

    async def _explain(self, reasons: Mapping[JobId, str]) -> None:
        explained = await self._db.write(lambda tx: [moves.explain_wait(tx, job_id, why) for job_id, why in reasons.items()])
        for changed in explained:
            if changed is not None:
                self._bell.ring(*changed.topics())

    async def _start(self, runners: asyncio.TaskGroup, job: jobs.Job, node: jobs.Node, placed: placement.Placement) -> None:
        # A node larger than the machine is given the machine.
        cpus = min(placed.cpus, self._capacity.cpus)
        memory = min(placed.memory_bytes, self._capacity.memory_bytes)
        now_ms = self._clock.now_ms()

        def claim(tx: Tx) -> moves.Changed | None:
            plan = jobs.plan_of(tx, job.id)
            if admission.why_denied(tx, job.id, plan):
                return None  # since it was placed: the next look says so
            wanted = moves.Claim(
                job=job,
                index=node.index,
                plan=plan,
                executor=placed.executor,
                cpus=cpus,
                memory_bytes=memory,
            )
            return moves.start_node(tx, wanted, now_ms)

        changed = await self._db.write(claim)
        if changed is None:
            return
        self._begin(runners, job.id, node.index, cpus, memory)
        self._bell.ring("outbox", *changed.topics())
        log.info("node started", extra={"job": job.number, "node": node.index, "executor": placed.executor})

    def _begin(self, runners: asyncio.TaskGroup, job_id: JobId, index: int, cpus: float, memory_bytes: int) -> None:
        self._held[job_id, index] = _Held(cpus, memory_bytes)
        runners.create_task(self._run(job_id, index))

    async def _run(self, job_id: JobId, index: int) -> None:
        try:
            await self._run_node(job_id, index)
        finally:
            del self._held[job_id, index]
            self._bell.ring("work")


def _wishes(tx: Tx, job_id: JobId) -> tuple[plans.Job, list[str], str]:
    """A job's plan, the contexts that it names and nobody has made, and why it may not have one of the others."""
    plan = jobs.plan_of(tx, job_id)
    if not plan.contexts:
        return plan, [], ""
    return plan, contexts.missing(tx, plan.contexts), admission.why_denied(tx, job_id, plan)
