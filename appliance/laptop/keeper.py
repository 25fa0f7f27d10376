"""Puts the logs and artifacts of jobs where people look for them, as plain files."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from appliance.blobs import Blobs
from appliance.core import Core
from appliance.laptop.watch import Row
from appliance.model import JobId
from appliance.store import artifacts, jobs, results

_LONGEST_NAME, _MOST_FOLDERS = 200, 8  # bytes, and folders in a job's name
_TESTS = 20  # failed ones of a job


@dataclass(frozen=True, kw_only=True)
class Tests:
    """What a job said of its tests."""

    summary: str
    failed: Sequence[results.Result]


@dataclass(frozen=True, kw_only=True)
class File:
    """An artifact, where it lies now; `index` is its node's."""

    row: Row
    index: int
    path: Path


@dataclass
class Keeper:
    """`keep` takes a job that has ended; the rest is what a summary tells of all of them. Labels are `Row.label_of`'s."""

    core: Core
    logs_folder: Path
    artifacts_folder: Path
    rows: dict[JobId, Row] = field(default_factory=dict)
    tests: dict[JobId, Tests] = field(default_factory=dict)
    files: list[File] = field(default_factory=list)

    def log_of(self, step: jobs.Step) -> Path:
        """As the engine has it."""
        return self.core.blobs.log_in(self.core.blobs.node_logs(step.job_id, step.index), step.position)

    def shown_log(self, label: str, step: jobs.Step) -> Path:
        """Where people find it."""
        return self.logs_folder / folder_of(label) / log_name(step)

    def artifacts_of(self, label: str) -> Path:
        return self.artifacts_folder / folder_of(label)

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
                source = self.log_of(step)
                if source.exists() and source.stat().st_size:
                    _link(source, self.shown_log(row.label_of(piece.node.index), step))
        for artifact in kept:
            folder = self.artifacts_of(row.label_of(artifact.index))
            target = folder / artifact.path
            if folder.resolve() not in target.parent.resolve().parents and target.parent.resolve() != folder.resolve():
                continue  # our own steps let no such name through
            _link(self.core.blobs.path(Blobs.ARTIFACTS, artifact.id), target)
            self.files.append(File(row=row, index=artifact.index, path=target))


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
