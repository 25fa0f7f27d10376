"""The time, as a thing that is handed in, so that tests can move it."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol

_JUMP_MS = 3_600_000
_BELIEVED_S = 86_400.0


class Clock(Protocol):
    def now_ms(self) -> int:
        """Milliseconds since 1970, UTC."""

    def monotonic_s(self) -> float:
        """Seconds that never go back; only differences mean anything."""


class SystemClock:
    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        return time.monotonic()


class FakeClock:
    """Stands still until it is moved."""

    def __init__(self, now_ms: int = 1_760_000_000_000) -> None:
        self._now_ms = now_ms
        self._jumped_ms = 0

    def now_ms(self) -> int:
        return self._now_ms

    def monotonic_s(self) -> float:
        return (self._now_ms - self._jumped_ms) / 1000

    def advance(self, seconds: float) -> None:
        self._now_ms += int(seconds * 1000)

    def jump(self, seconds: float) -> None:
        """Somebody sets the clock; no time passes."""
        self._now_ms += int(seconds * 1000)
        self._jumped_ms += int(seconds * 1000)


class Unhurried:
    """The time for who removes what is old, or gives up on what waits: a clock that jumps ahead is believed after a day.

    One that is wrong for an hour must not cost what a year has left. To go back is believed at once: that costs nothing.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ahead_ms = self._found_ms()
        self._jumped_at_s: float | None = None

    def now_ms(self) -> int:
        found_ms, now_s = self._found_ms(), self._clock.monotonic_s()
        if found_ms - self._ahead_ms <= _JUMP_MS:
            self._jumped_at_s = None
        elif self._jumped_at_s is None:
            self._jumped_at_s = now_s
        if self._jumped_at_s is None or now_s - self._jumped_at_s >= _BELIEVED_S:
            self._ahead_ms, self._jumped_at_s = found_ms, None
        return self._ahead_ms + int(now_s * 1000)

    @property
    def doubts(self) -> bool:
        """Whether the clock has jumped ahead, as of the last look."""
        return self._jumped_at_s is not None

    def _found_ms(self) -> int:
        """By how much the clock is ahead of the steady one."""
        return self._clock.now_ms() - int(self._clock.monotonic_s() * 1000)


def rfc3339(at_ms: int) -> str:
    """`2026-11-22T10:15:00.123Z`, as every API of ours writes times (spec 6.1)."""
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at_ms % 1000:03d}Z"
