"""A file that one process holds at a time; it is free again when that process ends, however it ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_LONGEST_BYTES = 200


@contextmanager
def held(path: Path, on_busy: Callable[[str], None]) -> Iterator[None]:
    """Hold the file during the block, with a line in it that says who does.

    While somebody else holds it, `on_busy` is called with their line: it raises to give up, or returns when it is time to
    try again.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while not _lock(descriptor):
            on_busy(os.pread(descriptor, _LONGEST_BYTES, 0).decode("utf-8", "replace").strip() or "somebody")
        with contextlib.suppress(OSError):  # a full disk: the lock holds without words
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"process {os.getpid()}, since {time.strftime('%Y-%m-%d %H:%M:%S')}".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
