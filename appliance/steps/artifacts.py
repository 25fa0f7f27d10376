"""`store_artifacts` (spec 2.3)."""

from __future__ import annotations

import asyncio
import posixpath
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import IO

from appliance.blobs import Blobs
from appliance.errors import lacks_room
from appliance.language import plan as plans
from appliance.model import StepStatus
from appliance.quantities import counted, size
from appliance.steps import reports
from appliance.steps.base import SUCCESS, Data, NodeView, Outcome
from appliance.steps.files import NothingThere, each_file, safe_path
from appliance.store import artifacts
from appliance.store.artifacts import Artifact, Room
from appliance.store.database import Tx

_ROWS = 500  # in one transaction: others wait for the writer meanwhile
_MOST_NAMED = 1000  # files that the log names


async def store(step: plans.StoreArtifacts, node: NodeView) -> Outcome:
    """Upload a file or a folder. A path that is not there, or what is over a limit, is said and fails nothing."""
    data = node.data
    taken = await data.db.read(lambda tx: artifacts.taken(tx, data.job_id, node.index))
    room = Room(data.limits.artifacts, data.limits.artifacts_bytes, taken)
    with data.blobs.hand() as new_id:
        return await _upload(_Upload(step, node, room, new_id))


async def _upload(upload: _Upload) -> Outcome:
    node, step, is_full = upload.node, upload.step, False
    try:
        largest = node.data.limits.artifact_bytes
        large = await each_file(node.sandbox, node.job.working_directory, step.path, upload.take, largest)
        upload.unfit += [node.data.mask(safe_path(name) or "a file") for name in large]
    except NothingThere:
        await node.say(f"There is nothing at {step.path}: no artifacts\n")
        return SUCCESS
    except OSError as error:
        if not lacks_room(error):
            raise
        is_full = True
    await _settle(node.data, upload)
    await node.say(_words(upload))
    for line in await reports.keep_coverage(node, upload.kept):
        await node.say(line + "\n")
    if is_full:
        await node.say("There is no room left for more artifacts\n")
        return Outcome(StepStatus.FAILED, message="no room left for artifacts")
    return SUCCESS


@dataclass
class _Upload:
    """What became of the files so far. Filled on a thread."""

    step: plans.StoreArtifacts
    node: NodeView
    room: Room
    new_id: Callable[[], str]
    kept: list[Artifact] = field(default_factory=list)
    unfit: list[str] = field(default_factory=list)  # too large, or their name is nothing that can be shown
    left_out: int = 0  # over what one job may keep

    def take(self, name: str, size_bytes: int, content: IO[bytes]) -> None:
        data = self.node.data
        path = artifact_path(self.step, name)
        shown = None if path is None else data.mask(path)
        if shown is None or size_bytes > data.limits.artifact_bytes:
            self.unfit.append(data.mask(safe_path(name) or "a file"))
            return
        if not self.room.take(shown, size_bytes):
            self.left_out += 1
            return
        artifact_id = self.new_id()
        data.blobs.store_file(Blobs.ARTIFACTS, artifact_id, content)
        self.kept.append(
            Artifact(
                id=artifact_id,
                job_id=data.job_id,
                index=self.node.index,
                path=shown,
                size_bytes=size_bytes,
                created_at_ms=data.clock.now_ms(),
            )
        )


async def _settle(data: Data, upload: _Upload) -> None:
    """Rows for what was uploaded; only then does what they take the place of go."""
    await asyncio.to_thread(data.blobs.settle, Blobs.ARTIFACTS, [artifact.id for artifact in upload.kept])
    kept: list[Artifact] = []
    for at in range(0, len(upload.kept), _ROWS):
        put = await data.db.write(_putting(data, upload.kept[at : at + _ROWS]))
        refused = {artifact.id for artifact in put.refused}
        upload.left_out += len(refused)
        kept += [artifact for artifact in upload.kept[at : at + _ROWS] if artifact.id not in refused]
        for artifact_id in [*put.replaced, *refused]:
            data.blobs.drop(Blobs.ARTIFACTS, artifact_id)
    upload.kept = kept


def _putting(data: Data, some: Sequence[Artifact]) -> Callable[[Tx], artifacts.Put]:
    return lambda tx: artifacts.put_all(tx, some, data.limits.artifacts, data.limits.artifacts_bytes)


def _words(upload: _Upload) -> str:
    limits = upload.node.data.limits
    lines = [f"{artifact.path} ({artifact.size_bytes} bytes)" for artifact in upload.kept[:_MOST_NAMED]]
    if len(upload.kept) > _MOST_NAMED:
        lines.append(f"and {len(upload.kept) - _MOST_NAMED} more")
    why = f"larger than {size(limits.artifact_bytes)}, or its name is nothing that can be shown"
    lines += [f"{name} was left out: {why}" for name in upload.unfit[:_MOST_NAMED]]
    if upload.left_out:
        most = f"{limits.artifacts} files and {size(limits.artifacts_bytes)}"
        lines.append(f"Warning: {counted(upload.left_out, 'file')} left out: the artifacts of one job may be {most}")
    lines.append(f"Uploaded {counted(len(upload.kept), 'file')}\n")
    return "\n".join(lines)


def artifact_path(step: plans.StoreArtifacts, name: str) -> str | None:
    """Under which path a file is shown.

    `name` is the file's below the step's path: for a single file its own name. With a destination, a single file is
    called so, and a folder's files lie below it; without one they keep the path that the step gave.
    """
    is_single = posixpath.basename(step.path.rstrip("/")) == name
    if step.destination is not None:
        text = step.destination if is_single and not step.destination.endswith("/") else f"{step.destination}/{name}"
    else:
        base = step.path.removeprefix("~/")
        text = base if is_single else f"{base}/{name}"
    return safe_path(text)
