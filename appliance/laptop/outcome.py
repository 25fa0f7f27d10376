"""What a run leaves: logs and artifacts as plain files, a summary with the failed steps and tests, an exit code."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from appliance.blobs import Blobs
from appliance.core import Core
from appliance.laptop.harmless import coloured, plain, plain_lines
from appliance.laptop.place import Place
from appliance.laptop.signs import Colours, ended, span
from appliance.laptop.watch import Piece, Row, Seen
from appliance.model import JobId, PipelineState, StepStatus, WorkflowStatus
from appliance.quantities import counted
from appliance.store import artifacts, jobs, results

SUCCESS, FAILED, WRONG, ON_HOLD, CANCELED = 0, 1, 2, 3, 130
"""Exit codes."""

_LONGEST_NAME, _MOST_FOLDERS = 200, 8  # bytes, and folders in a job's name
_LAST_LINES = 20  # of a step that failed
_LAST_BYTES = 32 << 10
_TESTS = 20  # failed ones of a job
_BAD = (StepStatus.FAILED, StepStatus.TIMEDOUT, StepStatus.INFRASTRUCTURE_FAIL)


@dataclass(frozen=True, kw_only=True)
class Tests:
    """What a job said of its tests."""

    summary: str
    failed: Sequence[results.Result]


@dataclass
class Keeper:
    """Puts a job's logs and artifacts where people look for them when it ends, and keeps what the summary tells."""

    core: Core
    place: Place
    target: Path
    rows: dict[JobId, Row] = field(default_factory=dict)
    tests: dict[JobId, Tests] = field(default_factory=dict)
    files: dict[str, int] = field(default_factory=dict)  # of each job, by label, how many artifacts

    async def keep(self, row: Row) -> None:
        self.rows[row.job.id] = row
        kept = await self.core.db.read(lambda tx: artifacts.of_job(tx, row.job.id))
        counts = await self.core.db.read(lambda tx: results.counts(tx, row.job.id))
        if counts:
            failed = await self.core.db.read(lambda tx: results.failed(tx, row.job.id, _TESTS))
            self.tests[row.job.id] = Tests(summary=results.summary(counts), failed=failed)
        await asyncio.to_thread(self._keep_files, row, kept)

    def _keep_files(self, row: Row, kept: Sequence[artifacts.Artifact]) -> None:
        for piece in row.pieces:
            for step in piece.steps:
                source = self.core.blobs.node_logs(step.job_id, step.index) / f"{step.position}.log"
                if source.exists() and source.stat().st_size:
                    _link(source, self.place.logs / folder_of(row.label_of(piece.node.index)) / log_name(step))
        for artifact in kept:
            label = row.label_of(artifact.index)
            folder = self.target / folder_of(label)
            target = folder / artifact.path
            if folder.resolve() not in target.parent.resolve().parents and target.parent.resolve() != folder.resolve():
                continue  # our own steps let no such name through
            _link(self.core.blobs.path(Blobs.ARTIFACTS, artifact.id), target)
            self.files[label] = self.files.get(label, 0) + 1


def folder_of(label: str) -> str:
    """Where files of a job lie: its name is the config's, and may be ".." or longer than a file system takes."""
    parts = [part.encode()[:_LONGEST_NAME].decode("utf-8", "ignore") for part in label.split("/")]
    return "/".join("_" if part in ("", ".", "..") else part for part in parts[:_MOST_FOLDERS])


def log_name(step: jobs.Step) -> str:
    """What a step's log is called: "03-run-the-tests.log", "service-1-redis.log"; "attempt-2-03-…" in a node begun anew."""
    words = re.sub(r"[^A-Za-z0-9]+", "-", step.name).strip("-").lower()[:40]
    place = f"service-{step.place - jobs.FIRST_SERVICE + 1}" if step.kind == jobs.SERVICE else f"{step.place:02d}"
    attempt = f"attempt-{step.node_attempt}-" if step.node_attempt > 1 else ""
    return f"{attempt}{place}-{words}.log"


def _link(source: Path, target: Path) -> None:
    """The same file under another name; on another disk a copy."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


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
    for label, count in keeper.files.items():
        yield f"{counted(count, 'artifact')} in {_shown(keeper.target / folder_of(label))}"


def _failures(keeper: Keeper, row: Row, piece: Piece, colours: Colours) -> Iterator[str]:
    label = row.label_of(piece.node.index)
    for step in piece.steps:
        if step.status not in _BAD or step.kind == jobs.SERVICE:
            continue
        text = keeper.core.blobs.node_logs(step.job_id, step.index) / f"{step.position}.log"
        lines = _last_lines(text)
        yield ""
        why = f" ({plain(step.message)})" if step.message else ""
        yield colours.of_status("failed", f"✗ {label}: {plain(step.name)}") + why
        yield from (f"  {line}" for line in lines)
        if step.message.startswith("cannot pull image"):
            yield '  another in its place: "NAME" = "IMAGE" under [images] in ~/.config/rondo/run.toml'
        if lines:
            yield colours.dim(f"  all of it: {_shown(keeper.place.logs / folder_of(label) / log_name(step))}")


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
