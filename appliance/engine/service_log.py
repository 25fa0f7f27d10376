"""The log of a service on its way from the engine to its file, exact across a restart of ours.

A step's output has offsets; a service's has only the engine's times. So beside the log and its notes lies a third file
that says, now and then, which mark belongs to which offset. Who goes on asks the engine for what comes behind the last
mark that the log reaches, and leaves out the few bytes that the log holds of it already.
"""

from __future__ import annotations

import contextlib
import os
import struct
from pathlib import Path
from types import TracebackType
from typing import Self

from appliance.engine.follow import StepLog
from appliance.executors.base import LogMark

_NOTE = struct.Struct("<QQQ")  # offset, time, count
_EVERY_BYTES = 512  # between two notes: small lines need not have one each
_LINE_COST = 64  # a line costs the engine and us about as much as so many bytes


class ServiceLog:
    """Takes chunks with their marks. `limit_bytes` bounds what it takes, lines counting for what they cost."""

    def __init__(self, step_log: StepLog, path: Path, limit_bytes: int) -> None:
        self._log = step_log
        self._file = os.open(path.with_suffix(".marks"), os.O_RDWR | os.O_CREAT, 0o600)
        self._left = limit_bytes - step_log.writer.size
        self.mark = LogMark()
        self._offset = 0  # of the output, behind `mark`
        self._noted = self._size = 0
        self._resume()
        self._known = step_log.writer.offset - self._offset

    @property
    def is_full(self) -> bool:
        return self._left <= 0

    def _resume(self) -> None:
        """The last note that the log reaches; those behind it are of output that was lost with us."""
        notes = os.pread(self._file, os.fstat(self._file).st_size, 0)
        good = 0
        for at in range(0, len(notes) - len(notes) % _NOTE.size, _NOTE.size):
            offset, at_ns, count = _NOTE.unpack_from(notes, at)
            if offset > self._log.writer.offset:
                break
            self._offset, self.mark, good = offset, LogMark(at_ns, count), at + _NOTE.size
        os.ftruncate(self._file, good)
        self._size = good
        self._noted = self._offset

    async def take(self, output: bytes, mark: LogMark) -> None:
        self._offset += len(output)
        self.mark = mark
        self._left -= len(output) + _LINE_COST * output.count(b"\n")
        known = min(self._known, len(output))
        self._known -= known
        if known < len(output):
            await self._log.take(output[known:])
        # Noted even when the log holds a little less by now: a note that the log does not reach is not believed.
        if self._offset - self._noted >= _EVERY_BYTES:
            self._note()

    def _note(self) -> None:
        """A full disk costs a note, and so at most some lines after a restart: the log itself waits for room."""
        note = _NOTE.pack(self._offset, self.mark.at_ns, self.mark.count)
        with contextlib.suppress(OSError):
            if os.pwrite(self._file, note, self._size) == _NOTE.size:
                self._size += _NOTE.size
                self._noted = self._offset

    async def end(self) -> None:
        await self._log.end_output()
        if self.is_full:
            await self._log.say("\nThe rest is left out: the log of this service is long (jobs.service_log_limit).\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        os.close(self._file)
