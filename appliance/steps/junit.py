"""JUnit XML as test runners write it (spec 2.4), read as it comes and never whole in memory. No I/O.

The files are a job's words: texts and the count of tests are bounded. What is too long is cut; what is no XML ends the file
with a word on why, and the tests read before that count.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from appliance.steps.xml import BadFile, XmlStream
from appliance.store.results import Result, Verdict

LONGEST_NAME = 2000
LONGEST_MESSAGE = 20_000

_VERDICTS = {"failure": Verdict.FAILURE, "error": Verdict.ERROR, "skipped": Verdict.SKIPPED}
_WORSE = list(Verdict)


class JunitReader:
    """Feed it the bytes of one file; each test goes to `take` as soon as it is read."""

    def __init__(self, take: Callable[[Result], None]) -> None:
        self._take = take
        self._suites: list[Mapping[str, str]] = []
        self._case: _Case | None = None
        self._has_begun = False
        self._xml = XmlStream(self._start, self._end, self._text)

    def feed(self, data: bytes, *, is_last: bool = False) -> None:
        """Raises BadFile."""
        self._xml.feed(data, is_last=is_last)

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if not self._has_begun and name not in ("testsuites", "testsuite", "testcase"):
            raise BadFile(f"it is no JUnit XML: it begins with <{name[:50]}>")
        self._has_begun = True
        if name == "testsuite":
            self._suites.append(attributes)
        elif name == "testcase":
            self._case = _Case(attributes, self._suites[-1] if self._suites else {})
        elif self._case is not None:
            self._case.note(name, attributes)

    def _end(self, name: str) -> None:
        if name == "testsuite":
            self._suites.pop()
        elif name == "testcase" and self._case is not None:
            case, self._case = self._case, None
            self._take(case.result())

    def _text(self, text: str) -> None:
        if self._case is not None and self._xml.path[-1] in _VERDICTS:
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
