"""What a node took, as a page shows it: a sentence, a hint about its resource class, and curves as points of an SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from appliance.engine.classes import Classes
from appliance.language import plan as plans
from appliance.model import NodeStatus
from appliance.quantities import size
from appliance.store.jobs import Node
from appliance.store.usage import Series

WIDTH, HEIGHT = 600, 100
_NEAR = 0.9  # of a limit is near it
_SPARE = 1.25  # a class that "would do" leaves so much room
_LEAST_S = 30.0  # shorter jobs say little about the class that they need


@dataclass(frozen=True)
class Chart:
    """One curve in a box of WIDTH × HEIGHT."""

    name: str
    most: str
    line: str  # points of a polyline
    limit_y: float | None
    limit: str


@dataclass(frozen=True)
class Seen:
    """All that is said of a node's use."""

    sentence: str
    hint: str
    is_near: bool  # a limit
    lasted_ms: int
    charts: Sequence[Chart]
    shares: Sequence[tuple[str, str]]  # image and what it took, where there are services


def seen(series: Series, node: Node, plan: plans.Job, classes: Classes, default_class: str) -> Seen:
    """The view of a curve that has at least one point."""
    verb = "uses" if node.status is NodeStatus.RUNNING else "used"
    sentence = (
        f"{verb} {series.mean_cpus:.1f} of {node.cpus:g} {'CPU' if node.cpus == 1 else 'CPUs'} on average,"
        f" {series.most_cpus:.1f} at most; {size(series.most_memory_bytes)} of {size(node.memory_bytes)}"
    )
    name = plan.resource_class or default_class
    hint = _hint(series, node, name, classes, is_machine=isinstance(plan.executor, plans.Machine))
    return Seen(
        sentence=sentence,
        hint=hint,
        is_near=series.most_memory_bytes >= _NEAR * node.memory_bytes,
        lasted_ms=int(series.lasted_s * 1000),
        charts=_charts(series, node),
        shares=_shares(series, plan),
    )


def _hint(series: Series, node: Node, name: str, classes: Classes, *, is_machine: bool) -> str:
    larger = classes.larger(name, is_machine=is_machine)
    advice = f"; try resource_class: {larger}" if larger else ""
    if series.most_memory_bytes >= _NEAR * node.memory_bytes:
        return f"Close to its memory limit{advice}."
    if series.lasted_s < _LEAST_S:
        return ""
    if series.mean_cpus >= _NEAR * node.cpus:
        return f"Its {'CPU was' if node.cpus == 1 else 'CPUs were'} busy nearly all the time{advice}."
    if node.status is not NodeStatus.SUCCESS:
        return ""
    cpus, memory = series.most_cpus, int(series.most_memory_bytes * _SPARE)
    smaller = classes.smaller(name, cpus, memory, is_machine=is_machine)
    return f"resource_class: {smaller} would do." if smaller else ""


def _charts(series: Series, node: Node) -> list[Chart]:
    at = [point.at_s for point in series.points]
    found = [
        _chart("CPU", at, [point.cpus for point in series.points], node.cpus, f"{node.cpus:g}", f"{series.most_cpus:.1f}"),
        _chart(
            "Memory",
            at,
            [point.memory_bytes for point in series.points],
            node.memory_bytes,
            size(node.memory_bytes),
            size(series.most_memory_bytes),
        ),
    ]
    written = series.points[-1].written_bytes
    if written:
        found.append(_chart("Written to disk", at, [point.written_bytes for point in series.points], 0, "", size(written)))
    return found


def _chart(name: str, at: Sequence[float], values: Sequence[float], limit: float, said: str, most: str) -> Chart:
    top = max(limit, *values) * 1.08 or 1.0
    points = [(0.0, values[0]), *zip(at, values, strict=True)]
    line = " ".join(f"{x / at[-1] * WIDTH:.1f},{HEIGHT - y / top * HEIGHT:.1f}" for x, y in points)
    return Chart(name, most, line, round(HEIGHT - limit / top * HEIGHT, 1) if limit else None, said)


def _shares(series: Series, plan: plans.Job) -> list[tuple[str, str]]:
    if not isinstance(plan.executor, plans.Docker) or len(plan.executor.images) < 2:
        return []
    return [
        (image.image, f"{share.cpu_s:.1f} s of CPU, {size(share.most_memory_bytes)} at most")
        for image, share in zip(plan.executor.images, series.shares, strict=False)
    ]
