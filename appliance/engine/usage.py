"""Looks now and then what a node takes, and keeps a curve of it: of bounded size, by making it coarser as it grows.

It waits for nobody and nobody waits for it: a short job is over before the first look, and costs nothing. The rows get
the curve once a minute and at the end; in between, pages see it here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace

from appliance.engine.workshop import Facts, Workshop
from appliance.errors import DiskFull
from appliance.executors.base import Sandbox, Usage
from appliance.store import usage
from appliance.store.usage import Point, Series, Share

log = logging.getLogger(__name__)

MOST_POINTS = 360
_FIRST_S = 1.0  # the first look, unless the node is over by then
_LEAST_S = 0.2  # two looks nearer than this say little about a rate
_RING_S = 5.0  # between two rings for open pages
_WRITE_S = 60.0  # between two writes of the row


class Curve:
    """Turns readings of counters into a `Series`. No waiting.

    `is_fresh`: the sandbox began with the series, so all that its counters say belongs to it. Else the first look at a
    series without points only says where the counters stand.
    """

    def __init__(self, series: Series, *, is_fresh: bool) -> None:
        self.series = series
        self._gathered: list[Point] = []
        self._knows_counters = is_fresh or bool(series.points)

    def add(self, now_ms: int, containers: Sequence[Usage]) -> None:
        """One look at all containers of the node."""
        at_s = (now_ms - self.series.began_at_ms) / 1000
        cpu_s = max(sum(each.cpu_s for each in containers), self.series.cpu_s)
        memory = sum(each.memory_bytes for each in containers)
        cpus = 0.0
        if self._knows_counters:
            passed_s = at_s - self.series.looked_s
            if passed_s < _LEAST_S:  # too near, or the clock was set back
                return
            cpus = (cpu_s - self.series.cpu_s) / passed_s
            written = sum(each.written_bytes for each in containers)
            self._gather(Point(at_s=at_s, cpus=cpus, memory_bytes=memory, written_bytes=written))
        self._knows_counters = True
        self.series = replace(
            self.series,
            looked_s=at_s,
            cpu_s=cpu_s,
            most_cpus=max(cpus, self.series.most_cpus),
            most_memory_bytes=max(memory, self.series.most_memory_bytes),
            most_processes=max(sum(each.processes for each in containers), self.series.most_processes),
            shares=_shares(self.series.shares, containers),
        )

    def _gather(self, point: Point) -> None:
        """Looks within one step of the curve become one point; a full curve gets steps of double length."""
        before_s = self.series.lasted_s
        self._gathered.append(point)
        # A little early counts: looks come at about, not at exactly, their time.
        if point.at_s - before_s < 0.9 * self.series.step_s:
            return
        points = (*self.series.points, _joined(self._gathered, before_s))
        self._gathered = []
        step_s = self.series.step_s
        if len(points) >= MOST_POINTS:
            points, step_s = _halved(points), 2 * step_s
        self.series = replace(self.series, points=points, step_s=step_s)

    def close(self) -> None:
        """What was gathered becomes the last point."""
        if self._gathered:
            points = (*self.series.points, _joined(self._gathered, self.series.lasted_s))
            self._gathered = []
            self.series = replace(self.series, points=points)


def _joined(points: Sequence[Point], before_s: float) -> Point:
    taken_s = 0.0
    began_s = before_s
    for point in points:
        taken_s += point.cpus * (point.at_s - before_s)
        before_s = point.at_s
    return replace(points[-1], cpus=taken_s / (before_s - began_s), memory_bytes=max(point.memory_bytes for point in points))


def _halved(points: Sequence[Point]) -> tuple[Point, ...]:
    starts = [0.0, *(point.at_s for point in points)]
    return tuple(_joined(points[at : at + 2], starts[at]) for at in range(0, len(points), 2))


def _shares(before: Sequence[Share], containers: Sequence[Usage]) -> tuple[Share, ...]:
    known = [*before, *(Share(cpu_s=0, most_memory_bytes=0) for _ in containers)]
    return tuple(
        Share(
            cpu_s=max(share.cpu_s, each.cpu_s),
            most_memory_bytes=max(share.most_memory_bytes, each.memory_bytes),
        )
        for share, each in zip(known, containers, strict=False)
    )


class Meter:
    """One node's curve while it runs. `run` looks until it is cancelled; `finish` after that."""

    def __init__(self, shop: Workshop, facts: Facts, sandbox: Sandbox) -> None:
        self._shop = shop
        self._clock = shop.clock
        self._job_id = facts.job.id
        self._index = facts.node.index
        self._sandbox = sandbox
        self._is_fresh = facts.node.sandbox is None
        self._every_s = shop.limits.sample_s
        self._curve: Curve | None = None
        self._written_s = self._rang_s = 0.0

    @property
    def series(self) -> Series | None:
        """As it stands now, for whoever looks at the node."""
        return self._curve.series if self._curve is not None else None

    async def run(self) -> None:
        if not self._every_s:
            return
        fresh = Series(began_at_ms=self._clock.now_ms(), step_s=self._every_s)
        await asyncio.sleep(_FIRST_S)
        known = await self._shop.db.read(lambda tx: usage.of_node(tx, self._job_id, self._index))
        curve = Curve(known or fresh, is_fresh=known is None and self._is_fresh)
        self._written_s = self._clock.monotonic_s()
        while True:
            await self._look(curve)
            self._curve = curve
            self._ring()
            if self._clock.monotonic_s() - self._written_s >= _WRITE_S:
                await self._write(curve)
            # As the curve gets coarser, so do the looks, down to four for each point: peaks are worth something.
            await asyncio.sleep(max(self._every_s, curve.series.step_s / 4))

    async def finish(self) -> None:
        """A last look, and the row; nothing when there was no look before. The node's end is written already."""
        if self._curve is not None:
            await self._look(self._curve)
            self._curve.close()
            await self._write(self._curve)
            self._shop.bell.ring(f"job:{self._job_id}")

    def _ring(self) -> None:
        """Every open page of the job asks for all of itself again: not at every look."""
        now_s = self._clock.monotonic_s()
        if now_s - self._rang_s >= _RING_S:
            self._rang_s = now_s
            self._shop.bell.ring(f"job:{self._job_id}")

    async def _look(self, curve: Curve) -> None:
        containers = await self._sandbox.usage()
        if containers:
            curve.add(self._clock.now_ms(), containers)

    async def _write(self, curve: Curve) -> None:
        """A full disk costs the curve some of its points, and nobody else anything."""
        self._written_s, now_ms, series = self._clock.monotonic_s(), self._clock.now_ms(), curve.series
        try:
            await self._shop.db.write(lambda tx: usage.keep(tx, self._job_id, self._index, series, now_ms))
        except DiskFull as error:
            log.warning("no room to write down what a node takes", extra={"error": str(error)})
