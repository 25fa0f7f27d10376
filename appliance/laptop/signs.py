"""How jobs are told at a terminal: signs, words, times and colours."""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping
from typing import TextIO

from appliance.laptop.harmless import plain
from appliance.store import jobs

_SIGNS: Mapping[str, str] = {
    "success": "✓",
    "failed": "✗",
    "timedout": "✗",
    "infrastructure_fail": "✗",
    "unauthorized": "✗",
    "running": "●",
    "on_hold": "?",
    "canceled": "-",
    "not_run": "-",
}
_WORDS: Mapping[str, str] = {"infrastructure_fail": "infrastructure failure", "timedout": "timed out", "not_run": "not run"}
_OF_STATUS: Mapping[str, str] = {
    **dict.fromkeys(("success",), "32"),
    **dict.fromkeys(("failed", "timedout", "infrastructure_fail", "unauthorized"), "31"),
    **dict.fromkeys(("running", "on_hold"), "33"),
}
_LABELS = ("36", "35", "34", "33", "32", "96", "95", "94")


class Colours:
    """Escape codes, or none."""

    def __init__(self, *, are_on: bool = False) -> None:
        self.are_on = are_on

    @staticmethod
    def for_stream(stream: TextIO) -> Colours:
        """On a terminal, unless NO_COLOR (https://no-color.org) or a dumb one says otherwise."""
        return Colours(are_on=stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb")

    def bold(self, text: str) -> str:
        return self._in("1", text)

    def dim(self, text: str) -> str:
        return self._in("2", text)

    def of_label(self, label: str) -> str:
        return self._in(_LABELS[zlib.crc32(label.encode()) % len(_LABELS)], label)

    def of_status(self, status: str, text: str) -> str:
        return self._in(_OF_STATUS[status], text) if status in _OF_STATUS else text

    def _in(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.are_on else text


def ended(job: jobs.Job, colours: Colours, label: str = "") -> str:
    """How a job is or ended: a sign, its label if wanted, a word, and why."""
    word = _WORDS.get(job.status, job.status.replace("_", " "))
    why = f": {plain(job.message)}" if job.message and job.status != "success" else ""
    sign = colours.of_status(job.status, _SIGNS.get(job.status, "○"))
    return f"{sign} {f'{label}  ' if label else ''}{colours.of_status(job.status, word)}{why}"


def span(job: jobs.Job, now_ms: int | None = None) -> str:
    """ " (12.3 s)", or nothing for what never ran."""
    until_ms = job.stopped_at_ms or now_ms
    if job.started_at_ms is None or until_ms is None:
        return ""
    return f" ({seconds(until_ms - job.started_at_ms)})"


def seconds(span_ms: int) -> str:
    s = span_ms / 1000
    return f"{s:.1f} s" if s < 90 else f"{int(s // 60)} min {int(s % 60)} s"
