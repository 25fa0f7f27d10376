"""The clock of who removes and gives up: a jump ahead costs nothing for a day, time that passes counts as ever."""

from __future__ import annotations

from appliance.clock import FakeClock, Unhurried

HOUR_S, DAY_S = 3600.0, 86_400.0
BEGAN_MS = 1_760_000_000_000


def later_s(unhurried: Unhurried) -> float:
    return (unhurried.now_ms() - BEGAN_MS) / 1000


def test_time_that_passes_counts() -> None:
    clock = FakeClock(BEGAN_MS)
    unhurried = Unhurried(clock)
    clock.advance(9 * DAY_S)
    assert later_s(unhurried) == 9 * DAY_S and not unhurried.doubts


def test_a_jump_ahead_is_believed_after_a_day() -> None:
    clock = FakeClock(BEGAN_MS)
    unhurried = Unhurried(clock)
    clock.jump(100 * DAY_S)
    assert later_s(unhurried) == 0 and unhurried.doubts
    clock.advance(DAY_S / 2)
    assert later_s(unhurried) == DAY_S / 2
    clock.advance(DAY_S / 2)
    assert later_s(unhurried) == 101 * DAY_S and not unhurried.doubts


def test_a_clock_that_was_put_right_within_the_day_has_cost_nothing() -> None:
    clock = FakeClock(BEGAN_MS)
    unhurried = Unhurried(clock)
    for _ in range(3):
        clock.jump(100 * DAY_S)
        assert later_s(unhurried) < DAY_S
        clock.advance(DAY_S / 5)
        clock.jump(-100 * DAY_S)
        unhurried.now_ms()
    assert later_s(unhurried) == 3 * DAY_S / 5 and not unhurried.doubts


def test_small_steps_and_steps_back_are_believed_at_once() -> None:
    clock = FakeClock(BEGAN_MS)
    unhurried = Unhurried(clock)
    for step_s in (0.5 * HOUR_S, -0.5 * HOUR_S, -9 * DAY_S):
        clock.jump(step_s)
        assert unhurried.now_ms() == clock.now_ms()
