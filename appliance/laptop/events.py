"""The display of --json: what happens as one JSON object a line, for programs. What jobs print is in their logs."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import TextIO

from appliance.laptop.keeper import Keeper
from appliance.laptop.watch import Row, Seen
from appliance.model import JobId, JobStatus, PipelineState, StepStatus
from appliance.store import jobs


class Events:
    """`job_started`, `step_ended` and `job_ended`, each once and in this order; `job_on_hold` of an approval; `note`s."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._started: set[JobId] = set()
        self._on_hold: set[JobId] = set()
        self._ended: set[tuple[JobId, int, int]] = set()  # steps

    def show(self, seen: Seen) -> None:
        for row in seen.rows:
            self._tell(row)

    def begin_step(self, label: str, step: jobs.Step) -> None:
        """`show` has the rows."""

    def output(self, label: str, step: jobs.Step, data: bytes) -> None:
        """It is not told."""

    def end_step(self, label: str, step: jobs.Step) -> None:
        """`show` has the rows."""

    def end_job(self, row: Row) -> None:
        self._tell(row)
        self._say("job_ended", row, status=row.job.status, message=row.job.message, seconds=_seconds(row.job))

    def note(self, text: str) -> None:
        print(_line("note", text=text), file=self._out, flush=True)

    def ask(self, question: str) -> None:
        """Nobody sits there."""

    def suspended(self) -> AbstractContextManager[None]:
        return contextlib.nullcontext()

    def close(self) -> None:
        self._out.flush()

    def _tell(self, row: Row) -> None:
        if row.job.status is JobStatus.ON_HOLD and row.job.id not in self._on_hold:
            self._on_hold.add(row.job.id)
            self._say("job_on_hold", row, status=row.job.status)
        if row.job.started_at_ms is not None and row.job.id not in self._started:
            self._started.add(row.job.id)
            self._say("job_started", row, number=row.job.number)
        for step in (step for piece in row.pieces for step in piece.steps):
            key = (step.job_id, step.index, step.position)
            is_told = key in self._ended or step.kind == jobs.SERVICE
            if is_told or not step.status.is_done or step.status is StepStatus.SKIPPED:
                continue
            self._ended.add(key)
            self._say(
                "step_ended",
                row,
                node=step.index,
                step=step.name,
                status=step.status,
                exit_code=step.exit_code,
                message=step.message,
                seconds=_seconds(step),
            )

    def _say(self, event: str, row: Row, **facts: object) -> None:
        print(_line(event, workflow=row.workflow, job=row.job.name, **facts), file=self._out, flush=True)


def at_end(keeper: Keeper, seen: Seen) -> Iterator[str]:
    """`artifact` for each file that was kept, `problem` where a config could not be run, `workflow_ended` for each."""
    for file in keeper.files:
        row, path = file.row, str(file.path.absolute())
        yield _line("artifact", workflow=row.workflow, job=row.job.name, node=file.index, path=path)
    if seen.pipeline.state is PipelineState.ERRORED:
        yield from (_line("problem", text=problem.text) for problem in seen.pipeline.problems if problem.kind == "error")
    for workflow in seen.workflows:
        yield _line("workflow_ended", workflow=workflow.name, status=workflow.status)


def trouble(text: str, exit_code: int) -> str:
    """The `problem` that keeps a run from beginning."""
    return _line("problem", text=text, exit_code=exit_code)


def _seconds(row: jobs.Job | jobs.Step) -> float | None:
    if row.started_at_ms is None or row.stopped_at_ms is None:
        return None
    return (row.stopped_at_ms - row.started_at_ms) / 1000


def _line(event: str, **facts: object) -> str:
    return json.dumps({"event": event, **facts})
