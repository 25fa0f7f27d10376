"""Coverage reports among the artifacts of a step: read where they were kept, and put together for the job."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from appliance.blobs import Blobs
from appliance.steps.base import Data, NodeView
from appliance.steps.coverage import Reader, reader_for
from appliance.steps.xml import BadFile
from appliance.store import coverage
from appliance.store.artifacts import Artifact
from appliance.store.coverage import Coverage, Part, Report
from appliance.store.database import Tx

MOST_REPORTS = 100  # of one step
LARGEST_REPORT = 100 << 20
LARGEST_ALL = 500 << 20
_CHUNK = 1 << 16
_HEAD = 4096
_ROWS = 200  # in one transaction: others wait for the writer meanwhile


@dataclass(frozen=True)
class _Read:
    report: Report
    parts: Sequence[Part]


async def keep_coverage(node: NodeView, kept: Sequence[Artifact]) -> list[str]:
    """What the reports among `kept` say goes to the job's coverage; words about it for the log.

    One that cannot be read is said and left out. Reports are read one after the other, so that one is in memory at once.
    """
    data, words, count, room = node.data, [], 0, LARGEST_ALL
    for artifact in kept:
        if not artifact.path.lower().endswith((".xml", ".info", ".lcov")) or artifact.size_bytes > min(room, LARGEST_REPORT):
            continue
        if count >= MOST_REPORTS:
            words.append(f"Warning: more than {MOST_REPORTS} coverage reports: the rest is not read")
            break
        try:
            read = await asyncio.to_thread(_read, data, node.job.working_directory, artifact)
        except (BadFile, FileNotFoundError) as error:
            words.append(f"Warning: {artifact.path} is no coverage report that can be read: {error}")
            continue
        if read is None:
            continue
        room, count = room - artifact.size_bytes, count + 1
        words += await _add(data, read)
    if count:
        total = await data.db.read(lambda tx: coverage.of_job(tx, data.job_id))
        words += [f"Coverage of this job: {said(total)}"] if total is not None else []
    return words


def said(counts: Coverage | Report) -> str:
    branches = counts.branch_percent
    return f"{counts.percent:.1f} % of {counts.lines} lines" + (
        "" if branches is None else f", {branches:.1f} % of branches"
    )


async def _add(data: Data, read: _Read) -> list[str]:
    now_ms, left_out, parts = data.clock.now_ms(), 0, iter(read.parts)
    await data.db.write(lambda tx: coverage.begin(tx, data.job_id, data.scope, now_ms))
    while some := list(islice(parts, _ROWS)):
        left_out += await data.db.write(_adding(data, some))
    await data.db.write(lambda tx: coverage.finish(tx, data.job_id, [read.report]))
    words = [f"{read.report.path}: {read.report.format}, {said(read.report)}"]
    if left_out:
        words.append(f"Warning: {left_out} source files were left out: of one job {coverage.MOST_FILES} are kept")
    return words


def _adding(data: Data, some: Sequence[Part]) -> Callable[[Tx], int]:
    return lambda tx: coverage.add(tx, data.job_id, some)


def _read(data: Data, working_directory: str, artifact: Artifact) -> _Read | None:
    """On a thread. None when it is no coverage report, or one without lines."""
    with data.blobs.open(Blobs.ARTIFACTS, artifact.id) as file:
        head = file.read(_HEAD)
        reader = reader_for(artifact.path, head)
        if reader is None:
            return None
        reader.feed(head)
        while chunk := file.read(_CHUNK):
            reader.feed(chunk)
        reader.feed(b"", is_last=True)
    parts = list(_parts(reader, working_directory, data.mask))
    return _Read(_report(artifact, reader.format, parts), parts) if parts else None


def _parts(reader: Reader, working_directory: str, mask: Callable[[str], str]) -> Iterator[Part]:
    for path, lines in reader.files.items():
        yield Part(
            path=mask(relative(path, working_directory)),
            found=lines.found,
            ran=lines.ran & lines.found,
            branches=lines.branches,
            branches_ran=min(lines.branches_ran, lines.branches),
        )


def relative(path: str, working_directory: str) -> str:
    """A source file as the repository has it, where a report names it in full: else it would count twice beside another
    report that does not."""
    below = working_directory.removeprefix("~").strip("/") + "/"
    if not path.startswith("/") or below == "/":
        return path
    if not working_directory.startswith("~"):
        return path.removeprefix(f"/{below}")
    return path.partition(f"/{below}")[2] or path  # whatever the home is


def _report(artifact: Artifact, format: str, parts: Sequence[Part]) -> Report:
    return Report(
        index=artifact.index,
        path=artifact.path,
        format=format,
        files=len(parts),
        lines=sum(part.found.bit_count() for part in parts),
        lines_ran=sum(part.ran.bit_count() for part in parts),
        branches=sum(part.branches for part in parts),
        branches_ran=sum(part.branches_ran for part in parts),
    )
