"""JUnit XML as test runners write it (spec 2.4), read as it comes and never whole in memory. No I/O.

The files are a job's words. No entity is ever declared (so nothing can be blown up or fetched), a tag is bounded, and so
are depth, texts and the count of tests: what is too long is cut, what is no XML ends the file with a word on why. The
tests read before that count.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from xml.parsers import expat

from appliance.store.results import Result, Verdict

LONGEST_NAME = 2000
LONGEST_MESSAGE = 20_000
_LONGEST_TAG = 4 << 20  # bytes: the parser reads a tag from its beginning again with each chunk
_DEEPEST = 200

_VERDICTS = {"failure": Verdict.FAILURE, "error": Verdict.ERROR, "skipped": Verdict.SKIPPED}
_WORSE = list(Verdict)


class BadJunit(Exception):
    """The rest of this file cannot be read; says why."""


class JunitReader:
    """Feed it the bytes of one file; each test goes to `take` as soon as it is read."""

    def __init__(self, take: Callable[[Result], None]) -> None:
        self._take = take
        self._path: list[str] = []
        self._suites: list[Mapping[str, str]] = []
        self._case: _Case | None = None
        self._fed_bytes = 0
        self._last_event_at = 0
        self._has_begun = False
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._text
        self._parser.CommentHandler = lambda _: self._moved()
        self._parser.ProcessingInstructionHandler = lambda *_: self._moved()
        self._parser.EntityDeclHandler = _refuse_entities
        self._parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)

    def feed(self, data: bytes, *, is_last: bool = False) -> None:
        """Raises BadJunit."""
        self._fed_bytes += len(data)
        try:
            self._parser.Parse(data, is_last)
        except (expat.ExpatError, ValueError, LookupError) as error:  # the last two: unknown encodings
            raise BadJunit(f"it is no good XML: {error}") from None
        if self._fed_bytes - self._last_event_at > _LONGEST_TAG:
            raise BadJunit(f"a tag in it is longer than {_LONGEST_TAG >> 20} MiB")

    def _moved(self) -> None:
        self._last_event_at = self._parser.CurrentByteIndex

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._moved()
        name = name.rpartition(":")[2]
        if len(self._path) >= _DEEPEST:
            raise BadJunit(f"its elements lie more than {_DEEPEST} deep in each other")
        self._path.append(name)
        if not self._has_begun and name not in ("testsuites", "testsuite", "testcase"):
            raise BadJunit(f"it is no JUnit XML: it begins with <{name[:50]}>")
        self._has_begun = True
        if name == "testsuite":
            self._suites.append(attributes)
        elif name == "testcase":
            self._case = _Case(attributes, self._suites[-1] if self._suites else {})
        elif self._case is not None:
            self._case.note(name, attributes)

    def _end(self, name: str) -> None:
        self._moved()
        name = self._path.pop()
        if name == "testsuite":
            self._suites.pop()
        elif name == "testcase" and self._case is not None:
            case, self._case = self._case, None
            self._take(case.result())

    def _text(self, text: str) -> None:
        self._moved()
        if self._case is not None and self._path[-1] in _VERDICTS:
            self._case.add_text(text)


class _Case:
    """A test while its element is open."""

    def __init__(self, attributes: Mapping[str, str], suite: Mapping[str, str]) -> None:
        self._attributes = attributes
        self._suite = suite
        self._verdict = Verdict.SUCCESS
        self._message = ""
        self._text = ""

    def note(self, name: str, attributes: Mapping[str, str]) -> None:
        verdict = _VERDICTS.get(name)
        if verdict is None:
            return
        if _WORSE.index(verdict) > _WORSE.index(self._verdict):
            self._verdict, self._message, self._text = verdict, attributes.get("message", "")[:LONGEST_MESSAGE], ""

    def add_text(self, text: str) -> None:
        self._text += text[: LONGEST_MESSAGE - len(self._text)]

    def result(self) -> Result:
        given = self._attributes
        return Result(
            name=given.get("name", "")[:LONGEST_NAME],
            classname=given.get("classname", "")[:LONGEST_NAME],
            file=(given.get("file") or self._suite.get("file", ""))[:LONGEST_NAME],
            source=self._suite.get("name", "")[:LONGEST_NAME] or "unknown",
            verdict=self._verdict,
            run_time_s=_seconds(given.get("time", "")),
            message=self._whole_message()[:LONGEST_MESSAGE],
        )

    def _whole_message(self) -> str:
        """The attribute is often only the first line of the text."""
        text = self._text.strip()
        if self._message.strip() in text:
            return text
        return f"{self._message.strip()}\n{text}".strip()


def _seconds(text: str) -> float:
    """0 for what is no sensible time; some runners write 1,234.5."""
    try:
        seconds = float(text[:50].replace(",", ""))
    except ValueError:
        return 0.0
    return seconds if math.isfinite(seconds) and 0 <= seconds < 1e9 else 0.0


def _refuse_entities(*_: object) -> None:
    raise BadJunit("it declares entities, which are not read")
