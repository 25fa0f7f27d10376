"""What a run says at its end: a summary with the failed steps and tests, and an exit code."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from appliance.laptop.harmless import coloured, plain, plain_lines
from appliance.laptop.keeper import Keeper, Tests
from appliance.laptop.signs import Colours, ended, span
from appliance.laptop.watch import Piece, Row, Seen
from appliance.model import PipelineState, StepStatus, WorkflowStatus
from appliance.quantities import counted
from appliance.store import jobs

SUCCESS, FAILED, WRONG, ON_HOLD, CANCELED = 0, 1, 2, 3, 130
"""Exit codes."""

_LAST_LINES = 20  # of a step that failed
_LAST_BYTES = 32 << 10
_BAD = (StepStatus.FAILED, StepStatus.TIMEDOUT, StepStatus.INFRASTRUCTURE_FAIL)


def code_of(seen: Seen, *, is_canceled: bool) -> int:
    """The exit code. A workflow that was rerun by itself counts with its last run."""
    again = {workflow.rerun_of for workflow in seen.workflows}
    statuses = {workflow.status for workflow in seen.workflows if workflow.id not in again}
    if is_canceled:
        return CANCELED
    if seen.pipeline.state is PipelineState.ERRORED:
        return WRONG
    if seen.on_hold:
        return ON_HOLD
    return SUCCESS if statuses <= {WorkflowStatus.SUCCESS, WorkflowStatus.NOT_RUN} else FAILED


def summary(keeper: Keeper, seen: Seen, colours: Colours) -> Iterator[str]:
    """Lines for a person: what failed and where to read on, the tests, how each workflow ended, the artifacts."""
    rows = [keeper.rows.get(row.job.id, row) for row in seen.rows]
    for row in rows:
        for piece in row.pieces:
            yield from _failures(keeper, row, piece, colours)
    for row in rows:
        if row.job.id in keeper.tests:
            yield from _of_tests(row, keeper.tests[row.job.id], colours)
    if seen.pipeline.state is PipelineState.ERRORED:
        yield from (f"\n{plain_lines(problem.text)}" for problem in seen.pipeline.problems if problem.kind == "error")
    for workflow in seen.workflows:
        name = colours.bold(f"workflow {plain(workflow.name)}")
        yield f"\n{name}: {colours.of_status(workflow.status, str(workflow.status))}"
        for row in rows:
            if row.job.workflow_id == workflow.id:
                yield f"  {ended(row.job, colours, row.label)}{span(row.job)}"
    for label, count in Counter(file.row.label_of(file.index) for file in keeper.files).items():
        yield f"{counted(count, 'artifact')} in {_shown(keeper.artifacts_of(label))}"


def _failures(keeper: Keeper, row: Row, piece: Piece, colours: Colours) -> Iterator[str]:
    label = row.label_of(piece.node.index)
    for step in piece.steps:
        if step.status not in _BAD or step.kind == jobs.SERVICE:
            continue
        text = keeper.log_of(step)
        lines = _last_lines(text)
        yield ""
        why = f" ({plain(step.message)})" if step.message else ""
        yield colours.of_status("failed", f"✗ {label}: {plain(step.name)}") + why
        yield from (f"  {line}" for line in lines)
        if step.message.startswith("cannot pull image"):
            yield '  another in its place: "NAME" = "IMAGE" under [images] in ~/.config/rondo/run.toml'
        if lines:
            yield colours.dim(f"  all of it: {_shown(keeper.shown_log(label, step))}")


def _last_lines(log: Path) -> list[str]:
    try:
        with log.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - _LAST_BYTES))
            text = file.read()
    except FileNotFoundError:
        return []
    return [coloured(line.rstrip()) for line in text.split(b"\n") if line.strip()][-_LAST_LINES:]


def _of_tests(row: Row, tests: Tests, colours: Colours) -> Iterator[str]:
    yield f"\n{row.label}: {tests.summary}"
    for test in tests.failed:
        first = next(iter(test.message.strip().splitlines()), "")
        name = " ".join(word for word in (test.classname, test.name) if word)
        yield colours.of_status("failed", f"  ✗ {plain(name)}") + (f": {plain(first)}" if first else "")


def _shown(path: Path) -> str:
    """Short from where the person stands."""
    shown = os.path.relpath(path)
    return str(path) if shown.startswith("..") else shown
