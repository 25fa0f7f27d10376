"""What jobs and configs say, without anything that could command the terminal that shows it."""

from __future__ import annotations

import re

_COLOUR = r"\x1b\[[0-9;:]*m"
_CONTROL = (
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])"
    r"|[\x00-\x08\x0a-\x1f\x7f\x80-\x9f\u202a-\u202e\u2066-\u2069]"
)
_ALL_CONTROL = re.compile(_CONTROL)
_ALL_BUT_COLOUR = re.compile(f"(?!{_COLOUR})(?:{_CONTROL})|({_COLOUR})")


def plain(text: str) -> str:
    """`text` on one line, without anything that is a command to a terminal or turns it round."""
    return _ALL_CONTROL.sub("", text.replace("\n", " "))


def plain_lines(text: str) -> str:
    """Likewise, of more than one line."""
    return "\n".join(map(plain, text.split("\n")))


def coloured(line: bytes) -> str:
    """A line that a job printed, as it would stay on a screen: with its colours, and with no other command."""
    text = _ALL_BUT_COLOUR.sub(lambda found: found[1] or "", last_written(line).decode("utf-8", "replace"))
    return f"{text}\x1b[0m" if "\x1b" in text else text


def last_written(line: bytes) -> bytes:
    """What came after its last carriage return: all that a terminal would go on showing of a line."""
    return line.rstrip(b"\r").rpartition(b"\r")[2]
