"""Where the jobs of a workflow stand when it is drawn: in columns, each right of all it requires.

The numbers are also those of the style sheet (`.card`, `.columns`): cards are HTML, the lines between them SVG.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from appliance.store.overview import JobChip

WIDTH, HEIGHT = 216, 54
GAP_X, GAP_Y = 44, 12


@dataclass(frozen=True)
class Edge:
    path: str  # of an SVG <path>
    status: str  # of the job it comes from


@dataclass(frozen=True)
class Drawing:
    columns: tuple[tuple[JobChip, ...], ...]
    edges: tuple[Edge, ...]
    width: int
    height: int


def draw(jobs: Sequence[JobChip]) -> Drawing:
    depths = _depths(jobs)
    columns = [[job for job in jobs if depths[job.name] == depth] for depth in range(max(depths.values(), default=-1) + 1)]
    places = {job.name: (x, y) for x, column in enumerate(columns) for y, job in enumerate(column)}
    by_name = {job.name: job for job in jobs}
    heights = [len(column) for column in columns]
    edges = [
        Edge(_curve(places[require.job], places[job.name], heights), by_name[require.job].status)
        for job in jobs
        for require in job.requires
        if require.job in by_name
    ]
    rows = max((len(column) for column in columns), default=0)
    return Drawing(
        columns=tuple(tuple(column) for column in columns),
        edges=tuple(edges),
        width=max(len(columns) * (WIDTH + GAP_X) - GAP_X, 0),
        height=max(rows * (HEIGHT + GAP_Y) - GAP_Y, 0),
    )


def _depths(jobs: Sequence[JobChip]) -> dict[str, int]:
    """How many jobs stand before each at least. The compiler refuses circles; one in the rows still ends here."""
    depths = {job.name: 0 for job in jobs}
    for _ in jobs:
        changed = False
        for job in jobs:
            before = [depths[require.job] + 1 for require in job.requires if require.job in depths]
            depth = min(max(before, default=0), len(jobs) - 1)
            changed, depths[job.name] = changed or depth != depths[job.name], depth
        if not changed:
            break
    return depths


def _curve(start: tuple[int, int], end: tuple[int, int], heights: Sequence[int]) -> str:
    """From card to card. Columns of so many cards that lie between are passed where no card hides the line."""
    x1, y1 = start[0] * (WIDTH + GAP_X) + WIDTH, _middle(start[1])
    x2, y2 = end[0] * (WIDTH + GAP_X), _middle(end[1])
    between = heights[start[0] + 1 : end[0]]
    if not between:
        return f"M{x1} {y1}{_bend(x1, y1, x2, y2)}"
    lane, left, right = _lane(start[1], end[1], max(between)), x1 + GAP_X, x2 - GAP_X
    return f"M{x1} {y1}{_bend(x1, y1, left, lane)}H{right}{_bend(right, lane, x2, y2)}"


def _lane(start: int, end: int, occupied: int) -> int:
    """The height at which a line passes columns whose first `occupied` rows have cards: in a free row, else between two."""
    if max(start, end) >= occupied:
        return _middle(start if start >= occupied else end)
    return _middle(start) + (HEIGHT + GAP_Y) // 2 * (1 if end >= start else -1)


def _middle(row: int) -> int:
    return row * (HEIGHT + GAP_Y) + HEIGHT // 2


def _bend(x1: int, y1: int, x2: int, y2: int) -> str:
    middle = GAP_X // 2
    return f"C{x1 + middle} {y1} {x2 - middle} {y2} {x2} {y2}"
