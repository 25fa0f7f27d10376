"""One node's life: open the sandbox (or find it again), walk through the steps, write down the end, close the sandbox.

The rows say how far a node is, the sandbox's supervisor says what its commands did. Neither is kept here: a runner that
dies at any point is followed by one that reads the rows, re-attaches, and hands over the same commands under the same
ids, which start nothing twice. Cancelling a runner therefore only lets go of the sandbox.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from enum import Enum

from appliance import shim
from appliance.bell import Listener
from appliance.engine import key_ring, moves, oidc, placement, registries, remote_docker, rules
from appliance.engine.answers import answer_questions
from appliance.engine.commands import LiveNode
from appliance.engine.hold import Hold
from appliance.engine.record import Record, lost, write_when_room
from appliance.engine.services import Services
from appliance.engine.usage import Meter
from appliance.engine.walk import Walk, variables
from appliance.engine.workshop import Facts, Workshop, facts_of
from appliance.errors import ImageError, RondoError, SandboxLost
from appliance.executors.base import Sandbox
from appliance.model import JobId, JobStatus, NodeStatus, StepStatus
from appliance.steps.base import SUCCESS, Outcome
from appliance.store import jobs
from appliance.store.database import Tx
from appliance.store.machines import name_of

log = logging.getLogger(__name__)

_LOOK_S = 5.0  # a lost ring for a cancel costs at most this
_CLOSE_S = 60.0
_CLOSE_LOST_S = 5.0  # a machine that is away is swept when it is back


class _Stop(Enum):
    """Why a node ends before its steps do."""

    CANCELED = "canceled"
    OUT_OF_TIME = "out of time"


async def run_node(shop: Workshop, job_id: JobId, index: int) -> None:
    """Take a claimed node to its end. Cancelling lets go of the sandbox, which lives on."""
    with shop.bell.listen(f"cancel:{job_id}") as cancels:  # from before its rows are read, so that none is missed
        await _run(shop, job_id, index, cancels)


async def _run(shop: Workshop, job_id: JobId, index: int, cancels: Listener) -> None:
    def read(tx: Tx) -> tuple[Facts, oidc.Signer | None]:
        facts = facts_of(tx, shop.box, job_id, index)
        return facts, oidc.signer_of(tx, shop, facts)

    try:
        facts, signer = await shop.db.read(read)
        if key_ring.lacks_checkout_key(facts.project, facts.plan, facts.keys):
            await key_ring.add_checkout_key(shop.db, shop.box, shop.clock, facts.project)
            facts, signer = await shop.db.read(read)
        if facts.node.executor not in shop.executors:
            raise SandboxLost(_gone(facts.node.executor))
        facts = await oidc.with_tokens(shop, facts, signer)
    except RondoError as error:  # or this node would take the appliance down, at every start again
        await _give_up(shop, job_id, index, error)
        return
    runner = _Runner(shop, facts, cancels)
    try:
        await runner.run()
    except Exception:  # the top of a runner: one broken node does not take the others along
        log.exception("a runner broke", extra={"job": facts.job.number, "node": index})
        await runner.record.finish(NodeStatus.INFRASTRUCTURE_FAIL, "Rondo itself broke here; its log says how")
        with contextlib.suppress(Exception):  # whatever broke may break this too; the janitor sweeps what it leaves
            await runner.close()


def _gone(executor: str) -> str:
    machine = name_of(executor)
    if machine is not None:
        return f"machine {machine}, on which this ran, is none of ours any more"
    return f"the {executor} executor, on which this ran, is switched off now"


async def _give_up(shop: Workshop, job_id: JobId, index: int, error: RondoError) -> None:
    """End a node that cannot be begun, or let it wait for another machine where its own is none of ours any more.

    A sandbox that it may have is nobody's then: the janitor's.
    """
    why, now_ms = str(error), shop.clock.now_ms()

    def end(tx: Tx) -> moves.Changed:
        node = jobs.node(tx, job_id, index)
        if rules.is_lost(node.executor, error, is_opening=False):
            loss = moves.Loss(job_id=job_id, index=index, attempt=node.attempt, why=why)
            return moves.lose_node(tx, loss, shop.limits.restarts, (), now_ms)
        return moves.finish_node(tx, job_id, index, NodeStatus.INFRASTRUCTURE_FAIL, why, (), now_ms)

    changed = await write_when_room(shop.db, end)
    shop.bell.ring("work", "outbox", *changed.topics())
    log.error("a node cannot be begun", extra={"job": job_id, "node": index, "error": why})


class _Runner:
    def __init__(self, shop: Workshop, facts: Facts, cancels: Listener) -> None:
        self._shop = shop
        self._facts = facts
        self._first = facts.node.first_position
        self._cancels = cancels
        self._executor = shop.executors[facts.node.executor]
        self._sandbox: Sandbox | None = None
        self._walk: Walk | None = None
        self._meter: Meter | None = None
        self._stop: _Stop | None = None
        self._lost_by: RondoError | None = None
        self.record = Record(shop, facts)

    async def run(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                work = group.create_task(self._work())
                watch = group.create_task(self._watch(work))
                await asyncio.wait({work})
                watch.cancel()
            await self._end()
        except asyncio.CancelledError:
            await self._let_go()
            raise

    async def _let_go(self) -> None:
        """The appliance stops: a sandbox whose node has ended goes, any other lives on. Both may be repeated."""
        if self.record.is_finished:
            await self.close()
        elif self._sandbox is not None:
            await self._sandbox.detach()

    async def _end(self) -> None:
        if self._stop is _Stop.CANCELED:
            await self.record.finish(NodeStatus.CANCELED, "")
        elif self._stop is _Stop.OUT_OF_TIME:
            minutes = self._shop.limits.longest_s / 60
            why = f"the job ran longer than {minutes:g} minutes, the longest allowed (jobs.longest)"
            await self.record.finish(NodeStatus.TIMEDOUT, why)
        elif self._lost_by is not None:
            await self.close(_CLOSE_LOST_S)
            await self.record.lose(str(self._lost_by))  # the last of all: its next attempt may begin at once
            return
        if self._meter is not None:
            await self._meter.finish()
        await self.close()

    async def _work(self) -> None:
        """Everything up to the node's end, unless a stop comes first. What the world does wrong ends the node."""
        try:
            self._sandbox = sandbox = await self._open()
            if self._shop.carry_on is not None and self._facts.workflow.is_setup:
                await sandbox.install("curl", shim.text("curl.sh"))
        except ImageError as error:
            self.record.end_step(self._first, Outcome(StepStatus.FAILED, message=str(error)))
            await self._finish(NodeStatus.FAILED, str(error))
            return
        except RondoError as error:
            self.record.end_step(self._first, lost(error))
            await self._break(error, is_opening=self._facts.node.sandbox is None)
            return
        self.record.end_step(self._first, SUCCESS)
        self._walk = Walk(self._shop, self._facts, sandbox, self.record)
        self._meter = meter = Meter(self._shop, self._facts, sandbox)
        live = LiveNode(
            job_id=self._facts.job.id,
            index=self._facts.node.index,
            sandbox=sandbox,
            working_directory=self._facts.plan.working_directory,
            series=lambda: meter.series,
        )
        with self._shop.live.show(live):
            hold = Hold(self._shop, self._facts, self.record)
            await hold.enable()
            services = Services(self._shop, self._facts, sandbox, self.record)
            async with asyncio.TaskGroup() as beside:
                helpers = [
                    beside.create_task(meter.run()),
                    beside.create_task(services.run()),
                    beside.create_task(answer_questions(self._shop, self._facts, sandbox, self.record)),
                ]
                status, message = await self._walk.walk(lambda: self._stop is not None)
                if self._stop is None and status is not NodeStatus.INFRASTRUCTURE_FAIL:
                    await hold.wait()
                for helper in helpers:
                    helper.cancel()
            await services.end()
            if status is NodeStatus.INFRASTRUCTURE_FAIL and self._walk.broken_by is not None:
                await self._break(self._walk.broken_by, is_opening=False)
            else:
                await self._finish(status, message)

    async def _finish(self, status: NodeStatus, message: str) -> None:
        if self._stop is None:
            await self.record.finish(status, message)

    async def _break(self, error: RondoError, *, is_opening: bool) -> None:
        """End the node by what broke around it, or note that it was lost: that is written when nothing of it is left."""
        if rules.is_lost(self._facts.node.executor, error, is_opening=is_opening):
            self._lost_by = error
        else:
            await self._finish(NodeStatus.INFRASTRUCTURE_FAIL, str(error))

    async def _open(self) -> Sandbox:
        """The node's sandbox: found again when its row names one, else a new one."""
        if self._facts.node.sandbox is not None:
            await self.record.recall_secrets()
            try:
                sandbox = self._sandbox = await self._executor.reattach(self._facts.node.sandbox)
            except RondoError as error:
                await self._say_of_lost_steps(error)
                raise
            await remote_docker.start_of_machine(self._shop, self._facts, sandbox)  # a crash may have come before
            return sandbox
        job, node = self._facts.job, self._facts.node
        placed = placement.Placement(executor=node.executor, cpus=node.cpus, memory_bytes=node.memory_bytes)
        known = variables(self._shop, self._facts)
        docker = remote_docker.access_of(self._shop, self._facts).kind
        name = f"{job.number}.{node.index}" if node.attempt == 1 else f"{job.number}.{node.index}.{node.attempt}"
        spec = placement.spec(name, self._facts.plan, placed, self._shop.places, known, docker)
        spec = registries.with_logins(self._shop, self._facts, spec, known)
        with self.record.log(self._first) as step_log:

            async def progress(text: bytes) -> None:
                await step_log.say(text.decode("utf-8", "replace"))

            if node.lost_why:
                await step_log.say(f"{rules.said_of_loss(node.executor, node.lost_why)}\n")
            try:
                sandbox = self._sandbox = await self._executor.open(spec, progress)  # ours to close from now on
            except RondoError as error:
                await step_log.say(f"{error}\n")
                raise
            await self.record.opened(sandbox.ref)
            await step_log.say(await remote_docker.start_of_machine(self._shop, self._facts, sandbox))
            assert job.number is not None
            how = self._shop.ssh_command(job.number, node.index)
            await step_log.say(f"A shell in this job while it runs: {how}\n" if how else "")
        return sandbox

    async def _say_of_lost_steps(self, error: RondoError) -> None:
        """On those that a runner before this one left under way."""
        for row in self._facts.steps:
            if row.status is StepStatus.RUNNING and row.kind != jobs.SERVICE:
                with self.record.log(row.position) as step_log:
                    await step_log.say_again(f"\n{error}\n")
                self.record.end_step(row.position, lost(error))

    async def close(self, patience_s: float = _CLOSE_S) -> None:
        """End the sandbox; one that can't be reached now is reaped by the janitor later."""
        if self._sandbox is None:
            return
        try:
            async with asyncio.timeout(patience_s):
                await self._sandbox.close()
        except (RondoError, TimeoutError) as error:
            log.warning("a sandbox could not be closed", extra={"sandbox": self._sandbox.ref, "error": str(error)})
        await remote_docker.release(self._shop, self._facts)

    async def _watch(self, work: asyncio.Task[None]) -> None:
        """Stop the work when the job is cancelled or its time is over."""
        # By the wall clock across a restart, by the steady one from here on: a clock that is set, or a machine that
        # slept, ends no job.
        clock = self._shop.clock
        started_ms = self._facts.node.started_at_ms or clock.now_ms()
        until_s = clock.monotonic_s() + self._shop.limits.longest_s - max(0, clock.now_ms() - started_ms) / 1000
        job = self._facts.job
        while job.status is not JobStatus.CANCELED and clock.monotonic_s() <= until_s:
            await self._cancels.wait(_LOOK_S)
            job = await self._shop.db.read(lambda tx: jobs.by_id(tx, self._facts.job.id))
        self._stop = _Stop.CANCELED if job.status is JobStatus.CANCELED else _Stop.OUT_OF_TIME
        await self._kill_current(work)
        work.cancel()

    async def _kill_current(self, work: asyncio.Task[None]) -> None:
        """Stop the command that runs, with time for its last words to reach the log."""
        if self._sandbox is None or self._walk is None or self._walk.current is None:
            return
        grace_s = self._shop.limits.grace_s
        with contextlib.suppress(RondoError, TimeoutError):
            async with asyncio.timeout(grace_s + 10):
                await self._sandbox.kill(self._walk.current, grace_s)
                await asyncio.wait({work}, timeout=5)
