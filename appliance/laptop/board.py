"""The display on a terminal: what has ended stays above, below it a board of what runs, with the tails of its output."""

from __future__ import annotations

import shutil
import sys
import time
import unicodedata
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TextIO

from appliance.laptop.harmless import last_written, plain
from appliance.laptop.signs import Colours, ended, seconds, span
from appliance.laptop.watch import Row, Seen
from appliance.model import JobStatus
from appliance.store import jobs

_EVERY_S = 0.05  # between two drawings
_TAIL = 8  # lines of a job's output, where there is room
_MOST_HELD = 4096  # bytes of an unfinished line
_HIDE, _SHOW = "\x1b[?25l", "\x1b[?25h"


@dataclass
class _Tail:
    """The last lines of a node, and what it is doing."""

    step: str = ""
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=_TAIL))
    rest: bytes = b""

    def take(self, data: bytes) -> None:
        *lines, rest = (self.rest + data).split(b"\n")
        self.rest = rest[-_MOST_HELD:]
        self.lines.extend(text for text in map(_plain, lines[-_TAIL:]) if text)

    @property
    def last(self) -> list[str]:
        open_line = _plain(self.rest)
        return [*self.lines, *([open_line] if open_line else [])]


class Board:
    """Redraws in place. Nothing that a job says reaches the terminal as a command to it."""

    def __init__(self, out: TextIO | None = None, *, colours: Colours | None = None) -> None:
        self._out = out or sys.stdout
        self._colours = colours or Colours()
        self._tails: dict[str, _Tail] = {}
        self._seen: Seen | None = None
        self._question = ""
        self._drawn = 0  # lines of the board on the screen
        self._drawn_at = 0.0
        self._is_suspended = False
        self._said: list[str] = []  # lines that wait to stand above

    def show(self, seen: Seen) -> None:
        self._seen = seen
        now = time.monotonic()
        if now - self._drawn_at >= _EVERY_S:
            self._drawn_at = now
            self._draw()

    def begin_step(self, label: str, step: jobs.Step) -> None:
        if step.kind != jobs.SERVICE:
            self._tails.setdefault(label, _Tail()).step = step.name

    def output(self, label: str, step: jobs.Step, data: bytes) -> None:
        if step.kind != jobs.SERVICE:
            self._tails.setdefault(label, _Tail()).take(data)

    def end_step(self, label: str, step: jobs.Step) -> None:
        if step.kind != jobs.SERVICE and (tail := self._tails.get(label)) is not None:
            tail.rest = b""

    def end_job(self, row: Row) -> None:
        for index in range(max(1, len(row.pieces))):
            self._tails.pop(row.label_of(index), None)
        if row.job.status is not JobStatus.NOT_RUN:
            self._say(f"{ended(row.job, self._colours, row.label)}{span(row.job)}")

    def note(self, text: str) -> None:
        self._say(self._colours.dim(f"rondo: {_plain(text.encode())}"))

    def ask(self, question: str) -> None:
        self._question = question
        self._draw()

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """The screen is somebody else's; what is said meanwhile comes after."""
        self._wipe()
        self._out.write(_SHOW)
        self._out.flush()
        self._is_suspended = True
        try:
            yield
        finally:
            self._is_suspended = False
            self._draw()

    def close(self) -> None:
        self._flush_said()
        self._wipe()
        self._out.write(_SHOW)
        self._out.flush()

    def _say(self, line: str) -> None:
        self._said.append(line)
        self._draw()

    def _draw(self) -> None:
        if self._is_suspended:
            return
        self._flush_said()
        columns, rows = shutil.get_terminal_size()
        lines = [_cut(line, columns - 1) for line in self._lines(rows - 2)]
        up = f"\x1b[{self._drawn}A\r" if self._drawn else "\r"
        self._out.write(_HIDE + up + "".join(f"{line}\x1b[K\n" for line in lines) + "\x1b[J")
        self._out.flush()
        self._drawn = len(lines)

    def _flush_said(self) -> None:
        if self._is_suspended or not self._said:
            return
        said, self._said = self._said, []
        self._wipe()
        self._out.write("".join(f"{line}\n" for line in said))

    def _wipe(self) -> None:
        if self._drawn:
            self._out.write(f"\x1b[{self._drawn}A\r\x1b[J")
            self._drawn = 0

    def _lines(self, room: int) -> list[str]:
        """The board, at most `room` lines: every running node has one; what is left goes to their tails."""
        seen = self._seen
        if seen is None:
            return []
        now_ms = int(time.time() * 1000)
        running = [
            (row, piece)
            for row in seen.rows
            if row.job.status is JobStatus.RUNNING
            for piece in row.pieces
            if not piece.node.status.is_done and piece.node.started_at_ms is not None
        ]
        foot = self._foot(seen)
        shown = running[: max(1, room - len(foot) - 1)]
        each = (room - len(foot) - len(shown)) // max(1, len(shown))
        lines = []
        for row, piece in shown:
            label = row.label_of(piece.node.index)
            tail = self._tails.get(label, _Tail())
            took = seconds(now_ms - (piece.node.started_at_ms or now_ms))
            sign = self._colours.of_status("running", "●")
            lines.append(f"{sign} {self._colours.bold(label)}  {_plain(tail.step.encode())} ({took})")
            lines += [self._colours.dim(f"    {line}") for line in tail.last[-min(each, _TAIL) :] if each > 0]
        if len(running) > len(shown):
            lines.append(f"  … and {len(running) - len(shown)} more")
        return lines + foot

    def _foot(self, seen: Seen) -> list[str]:
        waiting = [row for row in seen.rows if not row.job.status.is_done and row.job.status is not JobStatus.RUNNING]
        lines = []
        ready = [row for row in waiting if row.job.status in (JobStatus.NOT_RUNNING, JobStatus.QUEUED) and row.job.message]
        lines += [f"○ {row.label}  {plain(row.job.message)}" for row in ready[:3]]
        others = [row.label for row in waiting if row not in ready and row.job.status is not JobStatus.ON_HOLD]
        if others:
            lines.append(self._colours.dim(f"○ {len(others)} to come: {', '.join(others)}"))
        if self._question:
            lines.append(f"{self._colours.of_status('on_hold', '?')} {self._colours.bold(self._question)}")
        return lines


def _plain(line: bytes) -> str:
    """What a terminal would show of a line, without colours and without anything that moves its cursor."""
    return plain(last_written(line).decode("utf-8", "replace").expandtabs(4)).rstrip()


def _cut(line: str, columns: int) -> str:
    """At most so many columns, escape codes of ours not counted; a line that wraps would break the redrawing."""
    width, at = 0, 0
    while at < len(line):
        if line[at] == "\x1b":
            at = line.index("m", at) + 1
            continue
        wide = 2 if unicodedata.east_asian_width(line[at]) in "WF" else 0 if unicodedata.combining(line[at]) else 1
        if width + wide > columns:
            return line[:at] + ("\x1b[0m" if "\x1b" in line else "")
        width += wide
        at += 1
    return line
