"""Problems of a config: what is wrong, where, what was expected, and how one got there.

A compilation never stops at the first problem. The same text at the same place is kept once: a command with a
mistake may be expanded a hundred times.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol


class Kind(StrEnum):
    """Only ERROR keeps a config from running; `--strict` refuses DEPRECATED and BAD_HABIT as well."""

    ERROR = "error"
    DEPRECATED = "deprecated"
    BAD_HABIT = "bad_habit"
    WARNING = "warning"


_MAX_COMPARISONS = 50_000  # of names, for all "did you mean" of a compilation: a second at most


class Exhausted(Exception):
    """A budget is used up and the compilation ends; the problem has been noted."""


class Placed(Protocol):
    """Anything with a place: a node, a frame."""

    @property
    def file(self) -> str: ...

    @property
    def line(self) -> int: ...

    @property
    def column(self) -> int: ...


@dataclass(frozen=True)
class Frame:
    """One station of the way from a workflow to a problem: "job build", where it is called."""

    what: str
    file: str
    line: int
    column: int


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing wrong. Lines and columns count from 1. `code` is a short name that never changes."""

    kind: Kind
    code: str
    message: str
    file: str
    line: int
    column: int
    expected: str | None = None
    did_you_mean: str | None = None
    trail: tuple[Frame, ...] = ()  # outermost first; empty when the problem is where one looks for it
    source_line: str | None = None  # the line it points at, which may be in an orb

    def headline(self) -> str:
        """The problem in one line."""
        text = f"{self.file}:{self.line}:{self.column}: {self.kind}: {self.message}"
        if self.did_you_mean is not None:
            text += f' Did you mean "{self.did_you_mean}"?'
        return text

    def render(self, source: str | None = None) -> str:
        """The headline, the line it points at with a caret under it, what was expected, and the trail.

        `source` is the text of `file`; a problem that came out of the compiler knows its line without.
        """
        text = self.source_line
        lines = source.splitlines() if source is not None and text is None else []
        if 1 <= self.line <= len(lines):
            text = lines[self.line - 1]
        parts = [self.headline()]
        if text is not None:
            parts += _excerpt(text, self.line, self.column)
        if self.expected is not None:
            parts.append(f"  expected: {self.expected}")
        parts += [f"  in {frame.what} at {frame.file}:{frame.line}" for frame in reversed(self.trail)]
        return "\n".join(parts)


def _excerpt(text: str, line: int, column: int) -> list[str]:
    """The line and a caret. A very long line is cut to the surroundings of the caret."""
    start = max(0, column - 80)
    shown = text[start : start + 120]
    gutter = f"  {line} | "
    # Tabs before the caret are kept as tabs, so that the caret stays below its character.
    pad = "".join("\t" if char == "\t" else " " for char in shown[: column - 1 - start])
    return [gutter + shown, " " * (len(gutter) - 2) + "| " + pad + "^"]


def closest(word: str, choices: Iterable[str]) -> str | None:
    """The choice a person most likely meant by `word`, if there is one."""
    names = list(dict.fromkeys(choices))
    by_lower = {name.lower().replace("_", "-"): name for name in names}
    same = by_lower.get(word.lower().replace("_", "-"))
    if same is not None and same != word:
        return same
    # Comparing is quadratic in the length of words, and a name of a thousand letters is nobody's typing error.
    if len(word) > 100 or len(names) > 2_000:
        return None
    found = difflib.get_close_matches(word, names, n=1, cutoff=0.7)
    return found[0] if found and found[0] != word else None


class Problems:
    """Gathers the problems of one compilation, and the trail that leads to where the compiler is."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._found: dict[tuple[str, int, int, str], Problem] = {}
        self._trail: list[Frame] = []
        self._is_soft = False
        self._comparisons_left = _MAX_COMPARISONS
        self._beyond: set[tuple[str, int, int, str]] = set()  # more than the limit: only counted
        self.error_count = 0

    def error(
        self,
        at: Placed,
        code: str,
        message: str,
        *,
        expected: str | None = None,
        word: str | None = None,
        choices: Iterable[str] = (),
    ) -> None:
        """Note an error. `word` and `choices` look for a "did you mean"."""
        self.add(Kind.ERROR, at, code, message, expected=expected, word=word, choices=choices)

    def warning(self, at: Placed, code: str, message: str, *, expected: str | None = None) -> None:
        self.add(Kind.WARNING, at, code, message, expected=expected)

    def add(
        self,
        kind: Kind,
        at: Placed,
        code: str,
        message: str,
        *,
        expected: str | None = None,
        word: str | None = None,
        choices: Iterable[str] = (),
    ) -> None:
        if self._is_soft and kind is Kind.ERROR:
            kind = Kind.WARNING
        key = (at.file, at.line, at.column, message)
        known = self._found.get(key)
        if known is not None and (known.kind is Kind.ERROR or kind is not Kind.ERROR):
            return
        if kind is Kind.ERROR:
            self.error_count += 1
        is_first_error = kind is Kind.ERROR and self.error_count == 1
        if known is None and len(self._found) >= self._limit and not is_first_error:
            if len(self._beyond) < 10_000:
                self._beyond.add(key)
            return
        trail = tuple(self._trail) if self._trail and self._trail[0].file != at.file else ()
        hint = self._hint(word, choices) if word is not None else None
        self._found[key] = Problem(
            kind=kind,
            code=code,
            message=message,
            file=at.file,
            line=at.line,
            column=at.column,
            expected=expected,
            did_you_mean=hint,
            trail=trail,
        )

    def _hint(self, word: str, choices: Iterable[str]) -> str | None:
        names = list(choices)
        self._comparisons_left -= len(names)
        return closest(word, names) if self._comparisons_left >= 0 else None

    @contextmanager
    def through(self, what: str, at: Placed) -> Iterator[None]:
        """What is reported inside was reached through `what`, called `at`."""
        self._trail.append(Frame(what, at.file, at.line, at.column))
        try:
            yield
        finally:
            self._trail.pop()

    @contextmanager
    def softly(self) -> Iterator[None]:
        """Errors reported inside are warnings: CircleCI does not look there, at least not today."""
        before, self._is_soft = self._is_soft, True
        try:
            yield
        finally:
            self._is_soft = before

    @property
    def left_out(self) -> int:
        return len(self._beyond)

    @property
    def has_errors(self) -> bool:
        return self.error_count > 0

    def sorted(self, first_file: str, line_of: Callable[[str, int], str | None]) -> tuple[Problem, ...]:
        """All problems with their source lines: those of `first_file` first, each file from top to bottom."""

        def order(problem: Problem) -> tuple[bool, str, int, int]:
            return (problem.file != first_file, problem.file, problem.line, problem.column)

        return tuple(
            replace(problem, source_line=line_of(problem.file, problem.line))
            for problem in sorted(self._found.values(), key=order)
        )
