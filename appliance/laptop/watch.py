"""Follows one pipeline from its rows and logs, and tells a display what happens. Decides nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from appliance.bell import Bell
from appliance.blobs import Blobs
from appliance.laptop.harmless import plain
from appliance.model import JobId, JobStatus, NodeStatus, PipelineId, PipelineState, StepStatus
from appliance.store import jobs, pipelines
from appliance.store.database import Database, Tx

_LOOK_S = 0.5  # without a ring: a clock on the screen moves, a lost ring costs this
_PAUSE_S = 0.02  # between two looks, at most: a loud job rings for every chunk
_SHORTEST_PAUSE_S = 0.001
_CHUNK_BYTES = 256 << 10


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A node with its steps."""

    node: jobs.Node
    steps: tuple[jobs.Step, ...]


@dataclass(frozen=True, kw_only=True)
class Row:
    """A job as it is now; `pieces` only of those that have begun."""

    job: jobs.Job
    workflow: str
    label: str  # its name, with the workflow's where two have it
    pieces: tuple[Piece, ...] = ()

    def label_of(self, index: int) -> str:
        return f"{self.label}.{index}" if len(self.pieces) > 1 else self.label


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A pipeline as it is now."""

    pipeline: pipelines.Pipeline
    workflows: tuple[pipelines.Workflow, ...]
    rows: tuple[Row, ...]
    is_over: bool

    @property
    def on_hold(self) -> list[Row]:
        return [row for row in self.rows if row.job.status is JobStatus.ON_HOLD]

    @property
    def is_stuck(self) -> bool:
        """Nothing but approvals is left to wait for."""
        moving = (JobStatus.RUNNING, JobStatus.NOT_RUNNING, JobStatus.QUEUED)
        return bool(self.on_hold) and not any(row.job.status in moving for row in self.rows)


class Display(Protocol):
    """Shows a run. Called from the event loop only, in this order for each job and step."""

    def show(self, seen: Seen) -> None:
        """The state of everything, after each change and twice a second."""

    def begin_step(self, label: str, step: jobs.Step) -> None:
        """A step has something to say, or runs."""

    def output(self, label: str, step: jobs.Step, data: bytes) -> None: ...

    def end_step(self, label: str, step: jobs.Step) -> None: ...

    def end_job(self, row: Row) -> None: ...

    def note(self, text: str) -> None:
        """A line about the run itself."""

    def ask(self, question: str) -> None:
        """Somebody at the terminal is asked, with one key as the answer; "": not any more."""

    def suspended(self) -> AbstractContextManager[None]:
        """The screen belongs to somebody else during the block."""

    def close(self) -> None:
        """Leave the screen as it should stay. May be repeated."""


@dataclass
class _Read:
    """How far a step was told."""

    offset: int = 0
    has_begun: bool = False
    has_ended: bool = False


@dataclass
class Watch:
    """`run` returns when the pipeline is over and its sandboxes are closed, or `may_stop` lets it wait no more.

    `is_idle`: no node is in the hands of a runner. Until then a canceled job still has something to say.
    """

    db: Database
    bell: Bell
    blobs: Blobs
    pipeline_id: PipelineId
    display: Display
    may_stop: Callable[[Seen], Awaitable[bool]]
    is_idle: Callable[[], bool]
    on_job_end: Callable[[Row], Awaitable[None]]
    _told: dict[tuple[JobId, int, int], _Read] = field(default_factory=dict)
    _ended: set[JobId] = field(default_factory=set)

    async def run(self) -> Seen:
        loop = asyncio.get_running_loop()
        pause_s = _PAUSE_S
        with self.bell.listen("") as listener:
            while True:
                looked_at = loop.time()
                seen = await self.db.read(lambda tx: look(tx, self.pipeline_id, self._ended))
                await self._tell(seen)
                may_stop = seen.is_over or await self.may_stop(seen)
                if may_stop and self.is_idle():
                    return await self._last_look()
                await listener.wait(_LOOK_S)
                pause_s = pause(pause_s, loop.time() - looked_at)
                await asyncio.sleep(max(0.0, looked_at + pause_s - loop.time()))

    async def _last_look(self) -> Seen:
        """Rows and logs as the last runner left them."""
        seen = await self.db.read(lambda tx: look(tx, self.pipeline_id, self._ended))
        await self._tell(seen)
        return seen

    async def _tell(self, seen: Seen) -> None:
        for row in seen.rows:
            for piece in row.pieces:
                for step in piece.steps:
                    self._tell_step(row.label_of(piece.node.index), piece, step)
            may_end = row.job.status is not JobStatus.CANCELED or self.is_idle()
            if row.job.status.is_done and may_end and row.job.id not in self._ended:
                self._ended.add(row.job.id)
                await self.on_job_end(row)
                self.display.end_job(row)
        self.display.show(seen)

    def _tell_step(self, label: str, piece: Piece, step: jobs.Step) -> None:
        """Its row may be late, its log never is: ends of steps are written with the start of the next one."""
        key = (step.job_id, step.index, step.position)
        told = self._told.setdefault(key, _Read())
        if told.has_ended:
            return
        if step.status is StepStatus.WAITING and piece.node.status is NodeStatus.RUNNING:
            return
        while data := self.blobs.read_log(step.job_id, step.index, step.position, told.offset, _CHUNK_BYTES):
            if not told.has_begun:
                told.has_begun = True
                self.display.begin_step(label, step)
            told.offset += len(data)
            self.display.output(label, step, data)
        if step.status is StepStatus.RUNNING and not told.has_begun:
            told.has_begun = True
            self.display.begin_step(label, step)
        if step.status.is_done and (piece.node.status is not NodeStatus.CANCELED or self.is_idle()):
            told.has_ended = True
            if step.status is not StepStatus.SKIPPED:
                self.display.end_step(label, step)


def pause(last_s: float, quiet_s: float) -> float:
    """Seconds between two looks, when the second is wanted `quiet_s` after the first: after silence soon, amid noise later.

    The first words of a step come right after the news that it runs, and are to be seen at once.
    """
    return _SHORTEST_PAUSE_S if quiet_s >= _PAUSE_S else min(2 * last_s, _PAUSE_S)


def look(tx: Tx, pipeline_id: PipelineId, ended: set[JobId]) -> Seen:
    """Everything of a pipeline; of jobs that are `ended` without their nodes."""
    pipeline = pipelines.pipeline(tx, pipeline_id)
    workflows = tuple(pipelines.workflows_of(tx, pipeline_id))
    found = [(workflow, job) for workflow in workflows for job in jobs.of_workflow(tx, workflow.id)]
    names = [job.name for _, job in found]
    rows = tuple(
        Row(
            job=job,
            workflow=workflow.name,
            label=plain(f"{workflow.name}/{job.name}" if names.count(job.name) > 1 else job.name),
            pieces=_pieces(tx, job) if job.id not in ended else (),
        )
        for workflow, job in found
    )
    is_over = pipeline.state is not PipelineState.PENDING and all(workflow.status.is_done for workflow in workflows)
    return Seen(pipeline=pipeline, workflows=workflows, rows=rows, is_over=is_over)


def _pieces(tx: Tx, job: jobs.Job) -> tuple[Piece, ...]:
    if job.started_at_ms is None:
        return ()
    return tuple(Piece(node=node, steps=tuple(jobs.steps_of(tx, job.id, node.index))) for node in jobs.nodes_of(tx, job.id))
