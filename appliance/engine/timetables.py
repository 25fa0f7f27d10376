"""When schedules fire: timetables of the API read and turned into times, and the next slot of a schedule. Pure, UTC.

A slot is a time of the timetable; the schedule fires its offset later, which is chosen once. The slot is what a firing is
known by: one slot starts one pipeline, however often the clock passes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from appliance.errors import BadRequest
from appliance.language import cron
from appliance.store.schedules import Schedule, Timing

WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
LATE_MS = 120_000  # from when on a firing says that it is late
_FIELDS = ("per-hour", "hours-of-day", "days-of-week", "days-of-month", "months")
_LONGEST_OFFSET_S = 600
_HOUR_S = 3600


def checked(value: object) -> dict[str, object]:
    """A timetable as a body has it, without what is null. Raises BadRequest with the reason (spec 4.3)."""
    if not isinstance(value, dict):
        raise BadRequest("timetable must be a JSON object.")
    found = {name: item for name, item in value.items() if item is not None}
    for name in found:
        if name not in _FIELDS:
            raise BadRequest(f"Unexpected field '{name[:100]}' in timetable.")
    if not _is_whole(found.get("per-hour"), 1, 60):
        raise BadRequest("timetable.per-hour must be a number between 1 and 60.")
    _check(found, "hours-of-day", "numbers between 0 and 23", range(24))
    if ("days-of-week" in found) == ("days-of-month" in found):
        raise BadRequest("timetable must have either days-of-week or days-of-month.")
    if "days-of-week" in found:
        _check(found, "days-of-week", "days like MON", WEEKDAYS)
    else:
        _check(found, "days-of-month", "numbers between 1 and 31", range(1, 32))
    if "months" in found:
        _check(found, "months", "months like JAN", MONTHS)
    return found


def _check(found: Mapping[str, object], name: str, what: str, allowed: Sequence[object]) -> None:
    values = found.get(name)
    # `True` is 1 to `in`, and 1.0 too.
    if (
        not isinstance(values, list)
        or not values
        or any(isinstance(one, bool | float | list | dict) or one not in allowed for one in values)
        or len(set(values)) < len(values)
    ):
        raise BadRequest(f"timetable.{name} must be a list of {what}, each at most once.")


def _is_whole(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def times(timing: Timing) -> list[cron.Times]:
    """The times of a config's cron lines, or of a checked timetable."""
    if not isinstance(timing, Mapping):
        return [cron.parse(line) for line in timing]
    per_hour: int = timing["per-hour"]  # type: ignore[assignment]
    return [
        cron.Times(
            minutes=tuple(number * 60 // per_hour for number in range(per_hour)),
            hours=tuple(sorted(_list(timing, "hours-of-day"))),
            days=frozenset(_list(timing, "days-of-month") or range(1, 32)),
            months=frozenset(_places(timing, "months", MONTHS, 1) or range(1, 13)),
            weekdays=frozenset(_places(timing, "days-of-week", WEEKDAYS, 0) or range(7)),
        )
    ]


def _list(timing: Mapping[str, object], name: str) -> list[int]:
    return timing.get(name) or []  # type: ignore[return-value]


def _places(timing: Mapping[str, object], name: str, words: Sequence[str], first: int) -> list[int]:
    return [words.index(str(word)) + first for word in _list(timing, name)]


def longest_offset_s(timing: Mapping[str, object]) -> int:
    """An offset stays below this: up to ten minutes, but never past the next slot."""
    per_hour: int = timing["per-hour"]  # type: ignore[assignment]
    return min(_LONGEST_OFFSET_S, _HOUR_S // per_hour)


def next_slot(timing: Timing, after_ms: int) -> int | None:
    """The first time later than `after_ms`; None when there never is one."""
    found = [one.after(after_ms) for one in times(timing)]
    return min((slot for slot in found if slot is not None), default=None)


def lateness(schedule: Schedule, now_ms: int, cause: str) -> str:
    """What the pipeline of a slot that is fired long after its time says; "" when it is in time."""
    assert schedule.slot_ms is not None and schedule.due_at_ms is not None
    if now_ms - schedule.due_at_ms < LATE_MS:
        return ""
    following = next_slot(schedule.timing, schedule.slot_ms)
    more = following is not None and following + schedule.offset_ms <= now_ms
    left_out = "; this one run stands for all the times that were missed" if more else ""
    return f"scheduled for {_minute(schedule.slot_ms)}, started at {_minute(now_ms)}: {cause}{left_out}"


def _minute(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
