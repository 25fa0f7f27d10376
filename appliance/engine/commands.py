"""What a door may ask of the engine. Each command is one transaction and a ring; rights were checked by the door."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from appliance.bell import Bell
from appliance.clock import Clock
from appliance.engine import continuation, flags, moves, moves_schedules, moves_setup, reruns, rights
from appliance.errors import NotFound
from appliance.executors.base import Sandbox
from appliance.model import JobId, PipelineId, ProjectFlags, ProjectId, Trigger, User, WorkflowId
from appliance.store import jobs, pipelines, schedules, visits
from appliance.store.database import Database, Tx
from appliance.store.schedules import Schedule
from appliance.store.usage import Series


@dataclass(frozen=True, kw_only=True)
class LiveNode:
    """A node whose sandbox is open in this process."""

    job_id: JobId
    index: int
    sandbox: Sandbox
    working_directory: str
    series: Callable[[], Series | None] = lambda: None  # what it has taken so far, fresher than the row


class LiveNodes:
    """The open sandboxes, for shells. Filled by the runners; a convenience, never the truth."""

    def __init__(self) -> None:
        self._nodes: dict[tuple[JobId, int], LiveNode] = {}

    @contextlib.contextmanager
    def show(self, node: LiveNode) -> Iterator[None]:
        """`node` can be entered during the block."""
        self._nodes[node.job_id, node.index] = node
        try:
            yield
        finally:
            del self._nodes[node.job_id, node.index]

    def get(self, job_id: JobId, index: int) -> LiveNode | None:
        return self._nodes.get((job_id, index))


@dataclass(frozen=True)
class Accepted:
    """What became of a trigger: its id, or None with the reason why it starts nothing."""

    trigger_id: int | None
    reason: str = ""


class Commands:
    def __init__(self, db: Database, bell: Bell, clock: Clock, live: LiveNodes, *, honour_skip_ci: bool = True) -> None:
        self._db = db
        self._bell = bell
        self._clock = clock
        self._honour_skip_ci = honour_skip_ci
        self.live = live

    async def accept(self, trigger: Trigger) -> Accepted:
        """Write a verified event down; when this returns it survives a power cut. The same event twice is one."""
        now_ms = self._clock.now_ms()
        accepted = await self._db.write(lambda tx: moves.receive(tx, trigger, now_ms, self._honour_skip_ci))
        if accepted is None:
            return Accepted(None, "this event was received before")
        if isinstance(accepted, moves.NotBuilt):
            return Accepted(None, accepted.reason)
        if accepted.is_skipped:
            return Accepted(None, "the commit message says to skip")
        self._bell.ring("triggers")
        return Accepted(accepted.trigger_id)

    async def pipeline_of(self, trigger_id: int, timeout_s: float) -> PipelineId | None:
        """Wait until a trigger has become a pipeline; None when that takes longer than `timeout_s`."""
        deadline = self._clock.monotonic_s() + timeout_s
        with self._bell.listen("pipelines") as listener:
            while True:
                found = await self._db.read(lambda tx: pipelines.pipeline_of_trigger(tx, trigger_id))
                left_s = deadline - self._clock.monotonic_s()
                if found is not None or left_s <= 0:
                    return found
                await listener.wait(min(left_s, 1.0))

    async def continue_pipeline(
        self, key: str, configuration: str, parameters: Mapping[str, Any], request: str | None = None
    ) -> None:
        """Continue a pipeline from its setup phase. What is asked twice as the same `request` is done once.

        Raises NotFound for an unknown key, Conflict for a used or old one, BadRequest for what cannot be a continuation.
        """
        given = await continuation.checked(self._db, self._clock, key, configuration, parameters, request)
        now_ms = self._clock.now_ms()
        changed = await self._db.write(
            lambda tx: moves_setup.accept_continuation(tx, key, configuration, given, request, now_ms)
        )
        self._bell.ring(continuation.TOPIC, *changed.topics())

    async def cancel_workflow(self, workflow_id: WorkflowId, user: User) -> None:
        """Cancel every job of a workflow that has not ended. Raises NotFound."""
        now_ms = self._clock.now_ms()
        changed = await self._db.write(lambda tx: moves.cancel_workflow(tx, workflow_id, user.name, now_ms))
        self._ring(changed)

    async def cancel_pipeline(self, pipeline_id: PipelineId, user: User) -> None:
        """Cancel every workflow of a pipeline, those too that are still being compiled. Raises NotFound."""
        now_ms = self._clock.now_ms()
        changed = await self._db.write(lambda tx: moves.cancel_pipeline(tx, pipeline_id, user.name, now_ms))
        self._ring(changed)

    async def cancel_job(self, job_id: JobId, user: User) -> None:
        """Cancel one job; those that need it go on by their `requires`. Raises NotFound; nothing to do when it has ended."""
        now_ms = self._clock.now_ms()
        changed = await self._db.write(lambda tx: moves.cancel_job(tx, job_id, user.name, now_ms))
        self._ring(changed)

    async def approve(self, job_id: JobId, user: User) -> None:
        """Approve a job of type approval that is on hold. Raises NotFound, Conflict when it is not on hold."""
        now_ms = self._clock.now_ms()
        changed = await self._db.write(lambda tx: moves.approve(tx, job_id, user, now_ms))
        self._ring(changed)

    async def rerun(self, workflow_id: WorkflowId, wish: reruns.Wish, user: User) -> WorkflowId:
        """Run a workflow again, or a part of it; the new workflow. Raises NotFound, BadRequest, Refused, Conflict."""
        now_ms = self._clock.now_ms()
        again = await self._db.write(lambda tx: reruns.rerun(tx, workflow_id, wish, user, now_ms))
        self._ring(again.changed)
        return again.workflow_id

    async def change_settings(self, project_id: ProjectId, wanted: Mapping[str, object], user: User) -> ProjectFlags:
        """Change a project's settings, see `flags.change`; one that is stopped has all that is open cancelled.

        Raises Refused when somebody else than an administrator opens a project to everybody.
        """
        if wanted.get("oss"):
            rights.check_is_admin(user)
        now_ms = self._clock.now_ms()

        def change(tx: Tx) -> tuple[ProjectFlags, list[moves.Changed]]:
            changed = flags.change(tx, project_id, wanted, user.name)
            return changed, moves.cancel_open(tx, project_id, user.name, now_ms) if changed.is_stopped else []

        found, canceled = await self._db.write(change)
        for one in canceled:
            self._ring(one)
        return found

    async def create_schedule(self, project_id: ProjectId, wish: moves_schedules.Wish, user: User) -> Schedule:
        """A schedule of the API, see `moves_schedules.create`. Raises BadRequest past their number."""
        now_ms = self._clock.now_ms()
        made = await self._db.write(lambda tx: moves_schedules.create(tx, project_id, wish, user, now_ms))
        self._bell.ring("schedules")
        return made

    async def change_schedule(self, schedule_id: str, wish: moves_schedules.Wish, user: User) -> Schedule:
        """Change what `wish` names. Raises NotFound, Refused."""
        now_ms = self._clock.now_ms()
        changed = await self._db.write(lambda tx: moves_schedules.change(tx, schedule_id, wish, user, now_ms))
        self._bell.ring("schedules")
        return changed

    async def remove_schedule(self, schedule_id: str) -> None:
        """Remove a schedule; what it has started goes on."""
        await self._db.write(lambda tx: schedules.remove(tx, schedule_id))

    async def release_lock(self, job_id: JobId) -> None:
        """Let the next of a serial group begin while this one goes on. Raises NotFound, Conflict when it holds none."""
        now_ms = self._clock.now_ms()
        changed = await self._db.write(lambda tx: moves.release_lock(tx, job_id, now_ms))
        self._ring(changed)

    async def enter(self, job_number: int, index: int, user: User, address: str, command: str) -> tuple[LiveNode, int]:
        """Record a visit to a running job; gives the node and the visit's id. Raises NotFound when it is not running."""
        job = await self._db.read(lambda tx: jobs.by_number(tx, job_number))
        node = self.live.get(job.id, index)
        if node is None:
            raise NotFound(f"job {job_number}.{index} is not running")
        now_ms = self._clock.now_ms()
        visit = await self._db.write(lambda tx: visits.enter(tx, job.id, index, user, address, command, now_ms))
        self._bell.ring(f"job:{job.id}")
        return node, visit

    async def leave(self, node: LiveNode, visit_id: int) -> None:
        now_ms = self._clock.now_ms()
        await self._db.write(lambda tx: visits.leave(tx, visit_id, now_ms))
        self._bell.ring(f"job:{node.job_id}")

    def _ring(self, changed: moves.Changed) -> None:
        self._bell.ring("work", "outbox", *changed.topics())
