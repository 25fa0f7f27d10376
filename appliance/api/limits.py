"""Bounds on what one visitor may try: failed logins a minute."""

from __future__ import annotations

import asyncio
from collections import deque

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

    def check(self, key: str, limit: int, what: str = "failed logins") -> None:
        """Raises TooMany when `key` failed `limit` times within the last minute."""
        times = self._failures.get(key)
        if times is None:
            return
        now_s = self._clock.monotonic_s()
        while times and now_s - times[0] > _WINDOW_S:
            times.popleft()
        if len(times) >= limit:
            raise TooMany(f"Too many {what}. Wait a minute and try again.", int(_WINDOW_S))

    def forget(self, key: str) -> None:
        """Take back the newest failure of `key`: it was none."""
        if times := self._failures.get(key):
            times.pop()

    def add(self, key: str) -> None:
        times = self._failures.pop(key, None)
        if times is None:
            times = deque(maxlen=1000)
            if len(self._failures) >= _KEYS:
                del self._failures[next(iter(self._failures))]
        times.append(self._clock.monotonic_s())
        self._failures[key] = times  # at the end: the freshest


def address_of(request: web.Request) -> str:
    """Where a request comes from. A proxy on this host says for whom it asks, last of all in the list it passes on.

    A proxy that passes on what visitors claim makes this forgeable; the limit by name then remains.
    """
    peer = request.remote or ""
    claimed = request.headers.get("X-Forwarded-For", "").rpartition(",")[2].strip()
    return claimed[:64] if claimed and peer in ("127.0.0.1", "::1") else peer


FAILED_LOGINS = web.AppKey("failed_logins", FailedLogins)
