"""At boot: git processes that a killed appliance has left.

They go on without us: a push whose data was all there still moves its refs, and its hook then waits for ever. Were it
to move them after we have looked for moved refs, nobody would notice. So each leaves a note of its process in its own
folder, and at boot those that still run are ended before anybody looks.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from pathlib import Path

_NOTE = "process"
_END_TIMEOUT_S = 5.0


def note(folder: Path, pid: int) -> None:
    """Write down that `pid` (the leader of its process group) works for `folder`."""
    (folder / _NOTE).write_text(_identity(pid))


def end_orphans(parent: Path) -> None:
    """End what the folders below `parent` speak of, and remove the folders. Blocks. Before anything new begins there."""
    for folder in (*parent.glob("push-*"), *parent.glob("gone-*")):
        # Under another name first: a hook that comes later finds no FIFO to wait on.
        gone = folder.with_name("gone-" + folder.name.partition("-")[2])
        folder.rename(gone)
        _end(gone)
        _wake(gone)
        shutil.rmtree(gone, ignore_errors=True)


def _end(folder: Path) -> None:
    """Kill the noted process group, if it is still the one that was noted, and wait until it is gone."""
    try:
        noted = (folder / _NOTE).read_text()
        pid = int(noted.split(" ")[0])
    except (OSError, ValueError):
        return
    deadline_s = time.monotonic() + _END_TIMEOUT_S
    while noted == _identity(pid) and time.monotonic() < deadline_s:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
        time.sleep(0.005)


def _wake(folder: Path) -> None:
    """A hook whose git has gone may wait on a FIFO: opening it from the other side lets it go on to its end."""
    for name in ("answers", "pushed"):
        with contextlib.suppress(OSError):
            os.close(os.open(folder / name, os.O_RDWR | os.O_NONBLOCK))


def _identity(pid: int) -> str:
    """The pid and its start time, which no later process of that number shares; only the pid once it has ended."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return str(pid)
    return str(pid) if words[0] in "ZX" else f"{pid} {words[19]}"
