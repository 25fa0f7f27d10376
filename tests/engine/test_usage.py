"""The curve of a node: what it shows, how it stays small, and how it goes on after a restart."""

from __future__ import annotations

import random

import pytest

from appliance.engine.usage import MOST_POINTS, Curve
from appliance.executors.base import Usage
from appliance.store.usage import Series, _dump, _load

MIB = 1 << 20


def reading(cpu_s: float, mib: float = 1, written: int = 0) -> Usage:
    return Usage(cpu_s=cpu_s, memory_bytes=int(mib * MIB), written_bytes=written, processes=1)


def curve(step_s: float = 2.0) -> Curve:
    return Curve(Series(began_at_ms=1_000_000, step_s=step_s), is_fresh=True)


def look(at: Curve, second: float, *containers: Usage) -> None:
    at.add(1_000_000 + int(second * 1000), containers)


def test_cpu_time_becomes_cpus_in_use_and_containers_are_summed() -> None:
    under = curve()
    look(under, 2, reading(1.0, 10), reading(0.5, 30))
    look(under, 4, reading(5.0, 20), reading(0.5, 5))
    assert [(point.at_s, point.cpus, point.memory_bytes // MIB) for point in under.series.points] == [
        (2, 0.75, 40),
        (4, 2.0, 25),
    ]
    assert under.series.most_cpus == 2.0
    assert under.series.most_memory_bytes == 40 * MIB
    assert under.series.mean_cpus == pytest.approx(5.5 / 4)
    assert [(share.cpu_s, share.most_memory_bytes // MIB) for share in under.series.shares] == [(5.0, 20), (0.5, 30)]


def test_five_hours_stay_small_and_keep_sums_and_peaks() -> None:
    under, rng, cpu_s, most, at_s = curve(), random.Random(1), 0.0, 0, 0.0
    while at_s < 5 * 3600:
        passed_s = max(2.0, under.series.step_s / 4) * rng.uniform(0.9, 1.2)
        at_s += passed_s
        cpu_s += passed_s * rng.random() * 3
        mib = rng.randrange(10, 4000)
        most = max(most, mib)
        look(under, at_s, reading(cpu_s, mib, written=int(at_s)))
    under.close()
    series = under.series
    assert MOST_POINTS / 2 - 2 <= len(series.points) <= MOST_POINTS
    assert series.mean_cpus * series.lasted_s == pytest.approx(cpu_s, rel=1e-6)
    assert max(point.memory_bytes for point in series.points) == most * MIB == series.most_memory_bytes
    assert [point.at_s for point in series.points] == sorted({point.at_s for point in series.points})
    assert series.points[-1].written_bytes == int(at_s)
    assert len(_dump(series)) < 20_000
    loaded = _load(_dump(series))
    assert (loaded.most_cpus, len(loaded.points), loaded.shares[0].most_memory_bytes) == (
        series.most_cpus,
        len(series.points),
        most * MIB,
    )


def test_a_restart_goes_on_where_the_row_stands() -> None:
    under = curve()
    for second in range(2, 12, 2):
        look(under, second, reading(second * 1.0))
    again = Curve(_load(_dump(under.series)), is_fresh=False)
    look(again, 40, reading(40.0))
    assert [point.at_s for point in again.series.points] == [2, 4, 6, 8, 10, 40]
    assert again.series.most_cpus == pytest.approx(1.0)


def test_a_sandbox_that_was_never_looked_at_before_a_restart_has_no_peak_at_its_first_look() -> None:
    under = Curve(Series(began_at_ms=1_000_000, step_s=2.0), is_fresh=False)
    look(under, 2, reading(500.0))
    assert under.series.points == ()
    look(under, 4, reading(501.0))
    assert under.series.most_cpus == 0.5


def test_a_clock_that_is_set_back_and_counters_that_shrink_do_no_harm() -> None:
    under = curve()
    look(under, 10, reading(5.0))
    look(under, 3, reading(6.0))
    look(under, 12, reading(4.0))
    assert [point.at_s for point in under.series.points] == [10, 12]
    assert under.series.points[1].cpus == 0.0
