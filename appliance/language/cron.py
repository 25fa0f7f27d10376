"""When a schedule's times are: cron lines as CircleCI takes them, and the walk from one time to the next. All in UTC.

The dialect is the POSIX one with names of days and months (spec 1.9): no steps, no ranges inside lists, no ranges of
names. CircleCI refuses those, so a config that we took here would not run there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_RANGE = re.compile(r"([0-9]{1,4})-([0-9]{1,4})\Z")
_LONGEST_GAP_DAYS = 366 * 8 + 2  # 29 February, over a year like 2100 that leaps none
_LAST_YEAR = 9990  # `datetime` ends soon after


class CronError(ValueError):
    """It is no cron line of this dialect; the text says why, as the end of a sentence."""


@dataclass(frozen=True)
class Times:
    """Minutes of hours of days. A day is one of `days` or one of `weekdays` if `is_either`, else both (0 is Sunday)."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    is_either: bool = False

    def after(self, at_ms: int) -> int | None:
        """The first time later than `at_ms`, milliseconds since 1970; None when there is none, as on 30 February."""
        at = datetime.fromtimestamp(at_ms // 1000, UTC)
        if at.year > _LAST_YEAR:
            return None
        for day in self._days_from(at.date()):
            for hour in self.hours:
                for minute in self.minutes:
                    found_ms = _milliseconds(day, hour, minute)
                    if found_ms > at_ms:
                        return found_ms
        return None

    def _days_from(self, day: date) -> Iterator[date]:
        for _ in range(_LONGEST_GAP_DAYS):
            if day.month in self.months and self._has(day):
                yield day
            day += timedelta(days=1)

    def _has(self, day: date) -> bool:
        in_month, in_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return in_month or in_week if self.is_either else in_month and in_week


def _milliseconds(day: date, hour: int, minute: int) -> int:
    return int(datetime(day.year, day.month, day.day, hour, minute, tzinfo=UTC).timestamp()) * 1000


def parse(line: str) -> Times:
    """The times of a cron line. Raises CronError."""
    fields = line.split()
    if len(fields) != 5:
        raise CronError(f"it has {len(fields)} fields, not five")
    minute, hour, day, month, weekday = fields
    return Times(
        minutes=tuple(sorted(_field(minute, "minute", 0, 59))),
        hours=tuple(sorted(_field(hour, "hour", 0, 23))),
        days=frozenset(_field(day, "day of the month", 1, 31)),
        months=frozenset(_field(month, "month", 1, 12, _MONTHS)),
        weekdays=frozenset(one % 7 for one in _field(weekday, "day of the week", 0, 7, _WEEKDAYS)),
        # POSIX: where both kinds of days are given, one of them is enough.
        is_either=day != "*" and weekday != "*",
    )


def _field(text: str, what: str, low: int, high: int, names: tuple[str, ...] = ()) -> set[int]:
    if text == "*":
        return set(range(low, high + 1))
    if "/" in text:
        raise CronError(f"the {what} {text} has a step, and CircleCI does not do steps: list the values")
    found: set[int] = set()
    items = text.split(",")
    for item in items:
        bounds = _RANGE.match(item)
        if bounds is None:
            found.add(_number(item, what, low, high, names))
            continue
        if len(items) > 1:
            raise CronError(f"the {what} {text} has a range in a list, and CircleCI does not do those: list the values")
        first, last = (_number(bound, what, low, high, ()) for bound in bounds.groups())
        if first > last:
            raise CronError(f"the {what} {text} ends before it begins")
        found.update(range(first, last + 1))
    return found


def _number(text: str, what: str, low: int, high: int, names: tuple[str, ...]) -> int:
    if text.upper() in names:
        return names.index(text.upper()) + low
    if "-" in text and names and any(part.upper() in names for part in text.split("-")):
        raise CronError(f"the {what} {text} is a range of names, and CircleCI does not do those: use numbers")
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and low <= int(text) <= high):
        raise CronError(f"{text[:20] or 'nothing'} is no {what}: it goes from {low} to {high}")
    return int(text)
