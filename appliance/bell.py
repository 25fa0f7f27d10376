"""A bell says "look again" to whoever waits for a topic. It carries no news: the news is in the database.

A loop must do right if every ring is lost; so each waiter also has a time after which it looks by itself.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class Bell:
    """Rings are remembered per listener until its next `wait`, so a ring between two looks is never missed."""

    def __init__(self) -> None:
        self._listeners: dict[str, set[Listener]] = defaultdict(set)

    def ring(self, *topics: str) -> None:
        """Wake the listeners of `topics`, and of `""` (those of everything). Only from the event loop's thread."""
        for topic in (*topics, ""):
            for listener in tuple(self._listeners.get(topic, ())):
                listener.wake(topic if topic else (topics[0] if topics else ""))

    @contextmanager
    def listen(self, *topics: str) -> Iterator[Listener]:
        """A listener for `topics`; `""` hears every ring."""
        listener = Listener()
        for topic in topics:
            self._listeners[topic].add(listener)
        try:
            yield listener
        finally:
            self._drop(listener, topics)

    def _drop(self, listener: Listener, topics: Iterable[str]) -> None:
        for topic in topics:
            self._listeners[topic].discard(listener)
            if not self._listeners[topic]:
                del self._listeners[topic]


class Listener:
    """One waiter. `heard` holds at most 1,000 topics; past that it only knows that something rang."""

    _LIMIT = 1000

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._heard: set[str] = set()

    def wake(self, topic: str) -> None:
        if len(self._heard) < self._LIMIT:
            self._heard.add(topic)
        self._event.set()

    async def wait(self, timeout_s: float) -> frozenset[str]:
        """The topics that rang since the last call; empty after `timeout_s` without a ring."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._event.wait()
        except TimeoutError:
            return frozenset()
        self._event.clear()
        heard, self._heard = frozenset(self._heard), set()
        return heard
