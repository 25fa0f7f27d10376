"""The display off a terminal, and with --verbose on one: a line of a job as `job | text`, whole lines only."""

from __future__ import annotations

import contextlib
import sys
from contextlib import AbstractContextManager
from typing import TextIO

from appliance.laptop.harmless import coloured, plain
from appliance.laptop.signs import Colours, ended, span
from appliance.laptop.watch import Row, Seen
from appliance.store import jobs

_LONGEST_LINE = 64 << 10  # an unfinished line is told in pieces from there on


class Lines:
    """`is_quiet`: only the ends of jobs and what concerns the run."""

    def __init__(self, out: TextIO | None = None, *, is_quiet: bool = False, colours: Colours | None = None) -> None:
        self._out = out or sys.stdout
        self._is_quiet = is_quiet
        self._colours = colours or Colours()
        self._open: dict[tuple[str, int], bytes] = {}  # of each step the line that is not finished

    def show(self, seen: Seen) -> None:
        self._out.flush()

    def begin_step(self, label: str, step: jobs.Step) -> None:
        if not self._is_quiet and step.kind != jobs.SERVICE:
            self._line(label, self._colours.bold(f"== {plain(step.name)}"))

    def output(self, label: str, step: jobs.Step, data: bytes) -> None:
        if self._is_quiet or step.kind == jobs.SERVICE:
            return
        key = (label, step.position)
        *lines, rest = (self._open.pop(key, b"") + data).split(b"\n")
        for line in lines:
            self._line(label, coloured(line))
        if len(rest) > _LONGEST_LINE:
            self._line(label, coloured(rest))
            rest = b""
        if rest:
            self._open[key] = rest

    def end_step(self, label: str, step: jobs.Step) -> None:
        rest = self._open.pop((label, step.position), b"")
        if rest and not self._is_quiet:
            self._line(label, coloured(rest))

    def end_job(self, row: Row) -> None:
        self._line(row.label, f"{ended(row.job, self._colours)}{span(row.job)}")

    def note(self, text: str) -> None:
        print(f"rondo: {plain(text)}", file=self._out, flush=True)

    def ask(self, question: str) -> None:
        if question:
            self.note(question)

    def suspended(self) -> AbstractContextManager[None]:
        return contextlib.nullcontext()

    def close(self) -> None:
        self._out.flush()

    def _line(self, label: str, text: str) -> None:
        print(f"{self._colours.of_label(label)} | {text}", file=self._out)
