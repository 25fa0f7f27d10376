"""Finding the questions of a sandbox in what its supervisor says aside. No I/O.

A job may write there what it likes. So everything is bounded, what is not a question is no error, and a question says
nothing about who asks: that is the sandbox whose channel it came by.
"""

from __future__ import annotations

import asyncio
import re

from appliance.executors.base import Question

_LONGEST_LINE = 4096
_MOST_WAITING = 32
_ASK = re.compile(rb"\x01question ([0-9a-z]{1,40}) ([^\x00-\x1f\x7f]{1,2000}) ;")


class Questions:
    """The questions that wait to be taken, each once; when there are too many, new ones are left to be asked again."""

    def __init__(self) -> None:
        self._rest = b""
        self._waiting: dict[str, Question] = {}
        self._has_some = asyncio.Event()

    def feed(self, data: bytes) -> None:
        *lines, rest = (self._rest + data).split(b"\n")
        self._rest = rest[-_LONGEST_LINE:]
        for line in lines:
            found = _ASK.fullmatch(line)
            if found is not None and len(self._waiting) < _MOST_WAITING:
                question = Question(found[1].decode(), found[2].decode("utf-8", "replace"))
                self._waiting[question.id] = question
                self._has_some.set()

    async def take(self) -> Question:
        """The one that has waited longest. May be cancelled without loss."""
        await self._has_some.wait()
        question = self._waiting.pop(next(iter(self._waiting)))
        if not self._waiting:
            self._has_some.clear()
        return question
