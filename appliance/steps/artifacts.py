"""`store_artifacts` (spec 2.3)."""

from __future__ import annotations

import errno
import posixpath
import uuid
from collections.abc import Callable
from typing import IO

from appliance.blobs import Blobs
from appliance.language import plan as plans
from appliance.model import StepStatus
from appliance.steps.base import SUCCESS, NodeView, Outcome
from appliance.steps.files import NothingThere, each_file, safe_path
from appliance.store import artifacts

_LARGEST = 3 << 30


async def store(step: plans.StoreArtifacts, node: NodeView) -> Outcome:
    """Upload a file or a folder. A path that is not there is said and fails nothing."""
    kept: list[artifacts.Artifact] = []
    left_out: list[str] = []
    try:
        await each_file(node.sandbox, node.job.working_directory, step.path, _taker(step, node, kept, left_out))
    except NothingThere:
        await node.say(f"There is nothing at {step.path}: no artifacts\n")
        return SUCCESS
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        await node.say("There is no room left for artifacts\n")
        return Outcome(StepStatus.FAILED, message="no room left for artifacts")
    for artifact in kept:
        replaced = await node.data.db.write(lambda tx: artifacts.put(tx, artifact))  # noqa: B023 - awaited at once
        if replaced is not None:
            node.data.blobs.drop(Blobs.ARTIFACTS, replaced)
        await node.say(f"{artifact.path} ({artifact.size_bytes} bytes)\n")
    for name in left_out:
        await node.say(f"{name} was left out: larger than 3 GB, or its name is nothing that can be shown\n")
    await node.say(f"Uploaded {len(kept)} files\n")
    return SUCCESS


def _taker(
    step: plans.StoreArtifacts, node: NodeView, kept: list[artifacts.Artifact], left_out: list[str]
) -> Callable[[str, int, IO[bytes]], None]:
    def take(name: str, size_bytes: int, content: IO[bytes]) -> None:
        path = artifact_path(step, name)
        if path is None or size_bytes > _LARGEST:
            left_out.append(safe_path(name) or "a file")
            return
        artifact_id = uuid.uuid4().hex
        node.data.blobs.store_file(Blobs.ARTIFACTS, artifact_id, content)
        kept.append(
            artifacts.Artifact(
                id=artifact_id,
                job_id=node.data.job_id,
                index=node.index,
                path=path,
                size_bytes=size_bytes,
                created_at_ms=node.data.clock.now_ms(),
            )
        )

    return take


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
