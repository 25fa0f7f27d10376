"""Where a run happens: the project's folder, its config, and `.rondo` in it, which holds all that a run leaves.

.rondo/artifacts/JOB/…    what the last run's jobs stored
.rondo/logs/JOB/…         their logs, a file a step
.rondo/state/             database, caches, sandboxes of this host, the engine's own log
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from appliance import file_lock
from appliance.errors import BadRequest, Conflict
from appliance.vcs.own_git import root_of

NAME = ".rondo"
USUAL_CONFIG = Path(".circleci/config.yml")
_LOOK_S = 0.2


@dataclass(frozen=True)
class Place:
    """`root`: the top of the working tree. `config`: the file that is run, which may lie anywhere."""

    root: Path
    config: Path

    @property
    def own(self) -> Path:
        return self.root / NAME

    @property
    def state(self) -> Path:
        return self.own / "state"

    @property
    def logs(self) -> Path:
        return self.own / "logs"

    @property
    def artifacts(self) -> Path:
        return self.own / "artifacts"

    @property
    def repository(self) -> Path:
        return self.state / "repository"


def find(folder: Path, config: Path | None) -> Place:
    """The place that `folder` is in. Raises BadRequest when there is no config."""
    root = root_of(folder)
    if root is None:
        above = (folder, *folder.parents)
        root = next((each for each in above if (each / USUAL_CONFIG).is_file()), folder)
    found = config.absolute() if config is not None else root / USUAL_CONFIG
    if not found.is_file():
        hint = "" if config is not None else "; name another file with --config"
        raise BadRequest(f"there is no {os.path.relpath(found)} here{hint}")
    return Place(root, found)


def prepare(place: Place) -> None:
    """Make `.rondo`, which git never sees. Raises BadRequest when something else is there."""
    own = place.own
    if own.is_symlink() or (own.exists() and not own.is_dir()):
        raise BadRequest(f"{own} is no folder: runs keep their caches and logs there, so move it away")
    try:
        own.mkdir(exist_ok=True)
        _make_state(place)
        with contextlib.suppress(FileExistsError), (own / ".gitignore").open("x") as file:  # "x" follows no link
            file.write("*\n")
    except OSError as error:
        raise BadRequest(f"cannot write to {own}: {error.strerror}") from None


def _make_state(place: Place) -> None:
    """The folder of the state, which nobody else has furnished: what came with the tree could lead git or us elsewhere."""
    state, mark = place.state, "made-by-rondo"
    with contextlib.suppress(OSError, ValueError):
        if not state.is_symlink() and int((state / mark).read_text()) == state.stat().st_ino:
            return
    if state.is_symlink() or state.is_file():
        state.unlink()
    shutil.rmtree(state, ignore_errors=True)
    import tempfile  # for the first run only

    made = Path(tempfile.mkdtemp(prefix="state-", dir=place.own))
    (made / mark).write_text(f"{made.stat().st_ino}\n")
    try:
        made.rename(state)
    except OSError:  # another run was faster
        shutil.rmtree(made)
        if not state.is_dir():
            raise


def sweep_outputs(place: Place) -> None:
    """What an earlier run left for people goes."""
    for folder in (place.logs, place.artifacts):
        if folder.is_symlink():
            raise BadRequest(f"{folder} is a link, and what it leads to would be emptied: remove it")
        shutil.rmtree(folder, ignore_errors=True)


def held(place: Place, *, waits: bool) -> AbstractContextManager[None]:
    """One run a tree: two would mix their caches and outputs. Entering raises Conflict, unless the run `waits` its turn."""
    is_told = False

    def on_busy(holder: str) -> None:
        nonlocal is_told
        if not waits:
            raise Conflict(f"another run works in {place.root} ({holder}); --wait waits for its end")
        if not is_told:
            print(f"waits for another run in this tree ({holder})", file=sys.stderr, flush=True)
            is_told = True
        time.sleep(_LOOK_S)

    return file_lock.held(place.state / "lock", on_busy)


@dataclass
class Left:
    """`by`: the executors whose jobs and sandboxes a killed run has left, until they are swept."""

    by: set[str]


@contextmanager
def noted(place: Place, executor: str) -> Iterator[Left]:
    """Says what earlier runs left that did not come to their ends; it stays noted until `by` is told that it is gone.

    A run that is interrupted before it has learnt to wait for that leaves something too.
    """
    mark = place.state / "running"
    left = Left(set(mark.read_text().split()) if mark.exists() else set())
    _note(mark, left.by | {executor})
    try:
        yield left
    except Exception:
        _note(mark, left.by)
        raise
    _note(mark, left.by)


def _note(mark: Path, executors: set[str]) -> None:
    if executors:
        mark.write_text(" ".join(sorted(executors)))
    else:
        mark.unlink(missing_ok=True)
