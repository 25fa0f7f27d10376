"""Timetables of the API: when their slots are, also against a walk through every minute, and where an offset may lie."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.engine.timetables import MONTHS, WEEKDAYS, checked, longest_offset_s, next_slot


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1000


EVERY_DAY = {"days-of-week": list(WEEKDAYS)}
AFTER: list[tuple[dict[str, Any], str, str | None]] = [
    ({"per-hour": 1, "hours-of-day": [3], **EVERY_DAY}, "2026-11-22 02:00", "2026-11-22 03:00"),
    ({"per-hour": 1, "hours-of-day": [3], **EVERY_DAY}, "2026-11-22 03:00", "2026-11-23 03:00"),
    ({"per-hour": 4, "hours-of-day": [3], **EVERY_DAY}, "2026-11-22 03:00", "2026-11-22 03:15"),
    ({"per-hour": 4, "hours-of-day": [3], **EVERY_DAY}, "2026-11-22 03:45", "2026-11-23 03:00"),
    ({"per-hour": 7, "hours-of-day": [3], **EVERY_DAY}, "2026-11-22 03:00", "2026-11-22 03:08"),
    ({"per-hour": 60, "hours-of-day": [23], **EVERY_DAY}, "2026-11-22 23:59", "2026-11-23 23:00"),
    ({"per-hour": 1, "hours-of-day": [15, 3], **EVERY_DAY}, "2026-11-22 04:00", "2026-11-22 15:00"),
    ({"per-hour": 1, "hours-of-day": [3], "days-of-week": ["SUN"]}, "2026-11-22 03:00", "2026-11-29 03:00"),
    ({"per-hour": 1, "hours-of-day": [3], "days-of-month": [31]}, "2026-11-22 03:00", "2026-12-31 03:00"),
    (
        {"per-hour": 1, "hours-of-day": [3], "days-of-month": [29], "months": ["FEB"]},
        "2026-11-22 03:00",
        "2028-02-29 03:00",
    ),
    ({"per-hour": 1, "hours-of-day": [3], "days-of-month": [31], "months": ["FEB", "JUN"]}, "2026-11-22 03:00", None),
    ({"per-hour": 1, "hours-of-day": [0], "days-of-week": ["MON"], "months": ["JAN"]}, "2026-11-22", "2027-01-04 00:00"),
]


@pytest.mark.parametrize(("timetable", "after", "wanted"), AFTER)
def test_the_slot_after(timetable: dict[str, Any], after: str, wanted: str | None) -> None:
    assert next_slot(checked(timetable), ms(after)) == (None if wanted is None else ms(wanted))


def some(values: list[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.sampled_from(values), min_size=1, max_size=len(values), unique=True)


TIMETABLES = st.builds(
    lambda per_hour, hours, days, months: {"per-hour": per_hour, "hours-of-day": hours, **days, **months},
    st.integers(1, 60),
    some(list(range(24))),
    some(list(WEEKDAYS)).map(lambda days: {"days-of-week": days})
    | some(list(range(1, 32))).map(lambda days: {"days-of-month": days}),
    some(list(MONTHS)).map(lambda months: {"months": months}) | st.just({}),
)


def is_slot(timetable: dict[str, Any], at: datetime) -> bool:
    """Read anew and simply."""
    return (
        at.hour in timetable["hours-of-day"]
        and at.minute in [number * 60 // timetable["per-hour"] for number in range(timetable["per-hour"])]
        and at.strftime("%a").upper() in timetable.get("days-of-week", WEEKDAYS)
        and at.day in timetable.get("days-of-month", range(1, 32))
        and at.strftime("%b").upper() in timetable.get("months", MONTHS)
    )


@settings(max_examples=100, deadline=None)
@given(TIMETABLES, st.datetimes(datetime(2026, 1, 1), datetime(2032, 1, 1)))
def test_nothing_is_between_a_slot_and_the_next(timetable: dict[str, Any], start: datetime) -> None:
    at = start.replace(second=0, microsecond=0, tzinfo=UTC)
    found = next_slot(checked(timetable), int(at.timestamp()) * 1000)
    for _ in range(3 * 24 * 60):
        at += timedelta(minutes=1)
        if is_slot(timetable, at):
            assert found == int(at.timestamp()) * 1000
            return
    assert found is None or found > int(at.timestamp()) * 1000
    assert found is None or is_slot(timetable, datetime.fromtimestamp(found / 1000, UTC))


@pytest.mark.parametrize(("per_hour", "longest"), [(1, 600), (6, 600), (7, 514), (60, 60)])
def test_an_offset_stays_before_the_next_slot(per_hour: int, longest: int) -> None:
    assert longest_offset_s({"per-hour": per_hour}) == longest
