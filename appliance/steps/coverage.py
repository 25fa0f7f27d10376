"""Coverage reports as test runners write them, read as they come and never whole in memory. No I/O.

Cobertura XML, JaCoCo XML and LCOV, known by what they say first. What counts is the lines that each source file has and
those that ran: they can be put together over reports and nodes without counting a line twice. Reports without lines give
nothing. The files are a job's words: names, lines and files have bounds.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from appliance.steps.xml import BadFile, XmlStream

LONGEST_PATH = 1000
LAST_LINE = 200_000  # of a source file: what comes after it is not counted
MOST_FILES = 20_000  # of one report
_LONGEST_LINE = 1 << 16
_MOST_HELD = 64 << 20  # bytes of one report in memory, about
_CONDITIONS = re.compile(r"\((\d{1,6})/(\d{1,6})\)")


@dataclass
class Covered:
    """What is known of one source file. Bit N of `found` says that line N can run, of `ran` that it did."""

    found: int = 0
    ran: int = 0
    branches: int = 0
    branches_ran: int = 0

    def add(self, other: Covered) -> None:
        """A line ran when it did anywhere. Of branches only counts are known: the fuller ones stand."""
        self.found |= other.found
        self.ran |= other.ran
        self.branches = max(self.branches, other.branches)
        self.branches_ran = max(self.branches_ran, other.branches_ran)


class Reader(Protocol):
    """Takes the bytes of one report."""

    format: str
    files: dict[str, Covered]

    def feed(self, data: bytes, *, is_last: bool = False) -> None:
        """`files` are whole after the last bytes. Raises BadFile: then none of it counts, half would mislead."""


def reader_for(name: str, head: bytes) -> Reader | None:
    """Who can read a file of this name that begins like this; None when it is no coverage report."""
    lower = name.lower()
    if lower.endswith(".xml"):
        if re.search(rb"<coverage[\s>]", head) and re.search(rb"line-rate|lines-valid|<packages|<sources", head):
            return XmlReader("cobertura")
        if re.search(rb"<report[\s>]", head) and re.search(rb"jacoco|<sessioninfo|<package|<group|<counter", head, re.I):
            return XmlReader("jacoco")
    elif lower.endswith((".info", ".lcov")) and re.search(rb"^(TN|SF):", head, re.M):
        return LcovReader()
    return None


class _Gathering:
    """The lines of source files, until their number is too large."""

    def __init__(self) -> None:
        self.files: dict[str, Covered] = {}
        self._lines: dict[str, _Lines] = {}
        self._room = _Room()

    def of(self, path: str) -> _Lines:
        path = _plain(path)
        lines = self._lines.get(path)
        if lines is None:
            if len(self._lines) >= MOST_FILES:
                raise BadFile(f"it has more than {MOST_FILES} source files")
            lines = self._lines[path] = _Lines(self._room)
        return lines

    def settle(self, path: str | None = None) -> None:
        """Turn what was gathered into what is handed out; of one file as soon as it is over, to keep memory small."""
        for each in [_plain(path)] if path is not None else list(self._lines):
            if (lines := self._lines.get(each)) is not None and (covered := lines.covered()).found:
                self.files.setdefault(each, Covered()).add(covered)
                lines.clear()


class _Room:
    """What one report may take; never given back, since what it was taken for goes on into `files`."""

    def __init__(self) -> None:
        self._left = _MOST_HELD

    def take(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise BadFile("it holds more than anybody can keep in mind")


class _Lines:
    def __init__(self, room: _Room) -> None:
        self._room = room
        self._found = bytearray()
        self._ran = bytearray()
        self._branches: dict[int, tuple[int, int]] = {}

    def line(self, number: int, ran: bool) -> None:
        if not 0 < number <= LAST_LINE:
            return
        at, bit = number >> 3, 1 << (number & 7)
        if at >= len(self._found):
            more = bytes(at + 1 - len(self._found))
            self._room.take(2 * len(more))
            self._found += more
            self._ran += more
        self._found[at] |= bit
        if ran:
            self._ran[at] |= bit

    def branch(self, number: int, ran: int, count: int) -> None:
        if 0 < number <= LAST_LINE and count > 0:
            if number not in self._branches:
                self._room.take(100)
            had = self._branches.get(number, (0, 0))
            self._branches[number] = (max(had[0], min(ran, count)), max(had[1], count))

    def covered(self) -> Covered:
        return Covered(
            int.from_bytes(self._found, "little"),
            int.from_bytes(self._ran, "little"),
            sum(count for _, count in self._branches.values()),
            sum(ran for ran, _ in self._branches.values()),
        )

    def clear(self) -> None:
        self._found.clear()
        self._ran.clear()
        self._branches.clear()


def _plain(path: str) -> str:
    """One name for `./a/../b.py` and `b.py`; what is not printable is replaced."""
    clean = "".join(char if char.isprintable() else "_" for char in path[:LONGEST_PATH].replace("\\", "/"))
    return posixpath.normpath(clean) if clean else "?"


class XmlReader:
    """Cobertura: `<class filename><lines><line number hits>`. JaCoCo: `<package name><sourcefile name><line nr mi ci>`."""

    def __init__(self, format: str) -> None:
        self.format = format
        self._gathering = _Gathering()
        self.files = self._gathering.files
        self._package = ""
        self._file: str | None = None
        self._lines: _Lines | None = None
        self._on_line: Callable[[_Lines, dict[str, str]], None] = _jacoco if format == "jacoco" else _cobertura
        self._xml = XmlStream(self._start, self._end)

    def feed(self, data: bytes, *, is_last: bool = False) -> None:
        self._xml.feed(data, is_last=is_last)
        if is_last:
            self._gathering.settle()

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if name == "line":
            if self._lines is not None:
                self._on_line(self._lines, attributes)
        elif name == "package":
            self._package = attributes.get("name", "")
        elif name == "class" and self.format == "cobertura":
            self._begin(attributes.get("filename", ""))
        elif name == "sourcefile" and self.format == "jacoco":
            self._begin(posixpath.join(self._package, attributes.get("name", "")))

    def _begin(self, path: str) -> None:
        if path:
            self._file, self._lines = path, self._gathering.of(path)

    def _end(self, name: str) -> None:
        # Cobertura has a class several times for one file: there the file is over only with the report.
        if name in ("class", "sourcefile") and self._file is not None:
            if self.format == "jacoco":
                self._gathering.settle(self._file)
            self._file = self._lines = None


def _cobertura(lines: _Lines, attributes: dict[str, str]) -> None:
    number = _number(attributes.get("number"))
    lines.line(number, _number(attributes.get("hits")) > 0)
    if (found := _CONDITIONS.search(attributes.get("condition-coverage", "")[:50])) is not None:
        lines.branch(number, int(found[1]), int(found[2]))


def _jacoco(lines: _Lines, attributes: dict[str, str]) -> None:
    number, ran = _number(attributes.get("nr")), _number(attributes.get("cb"))
    lines.line(number, _number(attributes.get("ci")) > 0)
    lines.branch(number, ran, ran + _number(attributes.get("mb")))


class LcovReader:
    """`SF:path`, `DA:line,hits`, `BRDA:line,block,branch,taken`, `end_of_record`."""

    format = "lcov"

    def __init__(self) -> None:
        self._gathering = _Gathering()
        self.files = self._gathering.files
        self._rest = b""
        self._file: str | None = None
        self._branches: dict[int, list[int]] = {}  # of the file: how many of a line ran, and how many there are

    def feed(self, data: bytes, *, is_last: bool = False) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _LONGEST_LINE:
            raise BadFile(f"a line in it is longer than {_LONGEST_LINE >> 10} KiB")
        for line in [*lines, self._rest] if is_last else lines:
            self._take(line.decode("utf-8", "replace").strip())
        if is_last:
            self._over()

    def _take(self, line: str) -> None:
        word, _, rest = line.partition(":")
        if word == "SF":
            self._over()
            self._file = rest
        elif line == "end_of_record":
            self._over()
        elif self._file is None:
            return
        elif word == "DA":
            number, _, hits = rest.partition(",")
            self._gathering.of(self._file).line(_number(number), _number(hits.partition(",")[0]) > 0)
        elif word == "BRDA":
            number, _, _, taken = [*rest.split(","), "", "", ""][:4]
            if 0 < _number(number) <= LAST_LINE:
                counts = self._branches.setdefault(_number(number), [0, 0])
                counts[0] += _number(taken) > 0
                counts[1] += 1

    def _over(self) -> None:
        if self._file is None:
            return
        lines = self._gathering.of(self._file)
        for number, (ran, count) in self._branches.items():
            lines.branch(number, ran, count)
        self._gathering.settle(self._file)
        self._file = None
        self._branches.clear()


def _number(text: str | None) -> int:
    """0 for what is none; hits may be larger than anybody counts, or, of some tools, have a fraction."""
    digits = (text or "").strip()[:20].partition(".")[0]
    return int(digits) if digits.isascii() and digits.isdigit() else 0
