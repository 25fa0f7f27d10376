"""Bounds on what one visitor may do: failed logins a minute, streams at once."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web

from appliance.clock import Clock
from appliance.errors import RondoError

_WINDOW_S = 60.0
_KEYS = 10_000


class TooMany(RondoError):
    """Asked too often, or for too much at once; `retry_after_s` says when to come back."""

    def __init__(self, text: str, retry_after_s: int) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s


class FailedLogins:
    """Counts failures of a minute by key. Past 10,000 keys the oldest are forgotten: memory is bounded first."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failures: dict[str, deque[float]] = {}
        self.hashing = asyncio.Semaphore(2)  # passwords compared at once: each takes 16 MiB and 50 ms

    def check(self, key: str, limit: int) -> None:
        """Raises TooMany when `key` failed `limit` times within the last minute."""
        times = self._failures.get(key)
        if times is None:
            return
        now_s = self._clock.monotonic_s()
        while times and now_s - times[0] > _WINDOW_S:
            times.popleft()
        if len(times) >= limit:
            raise TooMany("Too many failed logins. Wait a minute and try again.", int(_WINDOW_S))

    def add(self, key: str) -> None:
        times = self._failures.pop(key, None)
        if times is None:
            times = deque(maxlen=1000)
            if len(self._failures) >= _KEYS:
                del self._failures[next(iter(self._failures))]
        times.append(self._clock.monotonic_s())
        self._failures[key] = times  # at the end: the freshest


class Streams:
    """The answers that do not end by themselves, so that each user has a bounded number and a shutdown ends them."""

    def __init__(self, per_user: int = 60) -> None:
        self._per_user = per_user
        self._open: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[object]] = set()

    @contextmanager
    def hold(self, user: str) -> Iterator[None]:
        """One stream, for as long as the block runs. Raises TooMany."""
        if self._open[user] >= self._per_user:
            raise TooMany("Too many live views are open. Close some tabs.", 5)
        task = asyncio.current_task()
        assert task is not None
        self._open[user] += 1
        self._tasks.add(task)
        try:
            yield
        finally:
            self._tasks.discard(task)
            self._open[user] -= 1
            if not self._open[user]:
                del self._open[user]

    def end_all(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()


FAILED_LOGINS = web.AppKey("failed_logins", FailedLogins)
STREAMS = web.AppKey("streams", Streams)
