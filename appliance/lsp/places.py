"""Places in a text: which token stands at a line and column, and which template surrounds it.

The tree knows where a token begins, not where it ends; an editor wants both.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"|' + r"'(?:[^']|'')*'")
_PLAIN_END = re.compile(r":(?=\s|$)|\s#|$")
_FLOW_END = re.compile(r":(?=\s|$)|\s#|[,\[\]{}]|$")
_PROPERTIES = re.compile(r"(?:[&!][^\s,\[\]{}]*\s+)+")
_WORD = re.compile(r"[\w.?/\-]+")


@dataclass(frozen=True)
class Place:
    """A stretch of one line: from `column` up to, not including, `end`."""

    file: str
    line: int
    column: int
    end: int


@dataclass(frozen=True)
class Template:
    """A `<< body >>` on one line. `word` is the name under the cursor, "" when there is none."""

    body: str
    word: str
    column: int
    end: int


def token_at(lines: Sequence[str], file: str, line: int, column: int) -> Place:
    """The token that begins at a place; at least one character, even where the text has none."""
    text = lines[line - 1] if 1 <= line <= len(lines) else ""
    start = min(max(column - 1, 0), len(text))
    return Place(file, line, start + 1, max(_token_end(text, start), start + 1) + 1)


def _token_end(text: str, start: int) -> int:
    closing = _end_of_template(text, start)
    if closing is not None:
        return closing
    properties = _PROPERTIES.match(text, start)
    begin = properties.end() if properties is not None else start
    quoted = _QUOTED.match(text, begin)
    if quoted is not None:
        return quoted.end()
    return start + len(text[start : _plain_end(text, begin)].rstrip())


def _plain_end(text: str, start: int) -> int:
    """Where an unquoted token ends; a comma or a bracket ends it only inside brackets of the same line."""
    before = text[:start]
    is_flow = before.count("[") + before.count("{") > before.count("]") + before.count("}")
    at = start
    while True:
        found = (_FLOW_END if is_flow else _PLAIN_END).search(text, at)
        end = found.start() if found is not None else len(text)
        opened = text.rfind("<<", start, end)
        closed = text.find(">>", opened) if opened >= 0 else -1
        if closed < end:
            return end
        at = closed + 2  # what looked like an end stands inside a template


def _end_of_template(text: str, start: int) -> int | None:
    """The end of the words in `<< words >>`, when `start` is at one of them."""
    opened = text.rfind("<<", 0, start)
    if opened < 0 or ">>" in text[opened:start]:
        return None
    closed = text.find(">>", start)
    return len(text[:closed].rstrip()) if closed > start else None


def template_at(text: str, column: int) -> Template | None:
    """The template of a line that the cursor is in or at the edge of."""
    at = column - 1
    start = text.rfind("<<", 0, at + 2)
    if start < 0 or (start > 0 and text[start - 1] == "\\"):
        return None
    closed = text.find(">>", start + 2)
    if closed < 0 or at > closed + 2:
        return None
    body = text[start + 2 : closed]
    words = _WORD.finditer(body)
    under = next((word.group() for word in words if word.start() <= at - start - 2 <= word.end()), "")
    return Template(body.strip(), under, start + 1, closed + 3)
