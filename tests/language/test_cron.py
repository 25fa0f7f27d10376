"""Cron lines: which there are, and when their times come, also against a walk through every minute."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.language import cron


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1000


AFTER = """
line                     | after               | next
0 0 * * *                | 2026-11-22 00:00    | 2026-11-23 00:00
0 0 * * *                | 2026-11-21 23:59    | 2026-11-22 00:00
30 2 * * *               | 2026-12-31 02:30    | 2027-01-01 02:30
0 0,6,12,18 * * *        | 2026-11-22 06:00    | 2026-11-22 12:00
0 12 * * 1-5             | 2026-11-20 12:00    | 2026-11-23 12:00
0 10 * * 0               | 2026-11-16 00:00    | 2026-11-22 10:00
0 10 * * 7               | 2026-11-16 00:00    | 2026-11-22 10:00
0 10 * * sun             | 2026-11-16 00:00    | 2026-11-22 10:00
0 6 1 * *                | 2026-11-22 00:00    | 2026-12-01 06:00
0 0 1 JAN *              | 2026-11-22 00:00    | 2027-01-01 00:00
0 0 29 2 *               | 2026-11-22 00:00    | 2028-02-29 00:00
0 0 29 2 *               | 2096-03-01 00:00    | 2104-02-29 00:00
0 0 30 2 *               | 2026-11-22 00:00    | never
0 0 31 4,6,9,11 *        | 2026-11-22 00:00    | never
0 0 13 * 5               | 2026-11-22 00:00    | 2026-11-27 00:00
0 0 13 * 5               | 2026-12-11 00:00    | 2026-12-13 00:00
* * * * *                | 2026-11-22 04:30    | 2026-11-22 04:31
"""


@pytest.mark.parametrize("row", AFTER.strip().splitlines()[1:])
def test_the_next_time_after(row: str) -> None:
    line, after, wanted = (cell.strip() for cell in row.split("|"))
    assert cron.parse(line).after(ms(after)) == (None if wanted == "never" else ms(wanted))


def test_a_time_inside_a_minute_is_followed_by_the_next_one() -> None:
    assert cron.parse("* * * * *").after(ms("2026-11-22 04:30") + 1) == ms("2026-11-22 04:31")


REFUSED = """
*/5 * * * *        | step
0-30/5 * * * *     | step
1-3,5 * * * *      | a range in a list
0 0 * * MON-FRI    | a range of names
0 0 * JAN-MAR *    | a range of names
0 0 * *            | 4 fields
0 0 * * * *        | 6 fields
60 * * * *         | minute
* 24 * * *         | hour
* * 0 * *          | day of the month
* * 32 * *         | day of the month
* * * 13 *         | month
* * * * 8          | day of the week
5-3 * * * *        | ends before it begins
1,,2 * * * *       | nothing
x * * * *          | minute
? * * * *          | minute
* * L * *          | day of the month
99999999999 * * * *| minute
٣ * * * *          | minute
"""


@pytest.mark.parametrize("row", REFUSED.strip().splitlines())
def test_what_circleci_does_not_take_is_refused_with_the_reason(row: str) -> None:
    line, word = (cell.strip() for cell in row.split("|"))
    with pytest.raises(cron.CronError, match=word):
        cron.parse(line)


def field(low: int, high: int) -> st.SearchStrategy[str]:
    one = st.integers(low, high)
    lists = st.lists(one, min_size=1, max_size=3).map(lambda found: ",".join(map(str, found)))
    ranges = st.tuples(one, one).map(lambda pair: f"{min(pair)}-{max(pair)}")
    return st.one_of(st.just("*"), lists, ranges)


LINES = st.tuples(field(0, 59), field(0, 23), field(1, 31), field(1, 12), field(0, 6)).map(" ".join)


def meant(text: str, value: int) -> bool:
    """Whether a field names a value, read anew and simply."""
    if text == "*":
        return True
    if "-" in text:
        first, last = text.split("-")
        return int(first) <= value <= int(last)
    return value in map(int, text.split(","))


def is_time(line: str, at: datetime) -> bool:
    minute, hour, day, month, weekday = line.split()
    days = meant(day, at.day), meant(weekday, at.isoweekday() % 7)
    has_day = any(days) if day != "*" and weekday != "*" else all(days)
    return has_day and meant(minute, at.minute) and meant(hour, at.hour) and meant(month, at.month)


@settings(max_examples=150, deadline=None)
@given(LINES, st.datetimes(datetime(2026, 1, 1), datetime(2032, 1, 1)))
def test_nothing_is_between_a_time_and_the_next(line: str, start: datetime) -> None:
    at = start.replace(second=0, microsecond=0, tzinfo=UTC)
    found = cron.parse(line).after(int(at.timestamp()) * 1000)
    for _ in range(3 * 24 * 60):
        at += timedelta(minutes=1)
        if is_time(line, at):
            assert found == int(at.timestamp()) * 1000
            return
    assert found is None or found > int(at.timestamp()) * 1000
    assert found is None or is_time(line, datetime.fromtimestamp(found / 1000, UTC))
