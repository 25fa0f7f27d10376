"""Which scalar of a tree stands under the cursor, and on which ways from the root one comes to it.

An anchor used ten times is one node in ten places: only the way that leads through a job says what a name in it means.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from appliance.language.nodes import Map, Node, Scalar
from appliance.language.nodes import Sequence as ListNode
from appliance.lsp.places import token_at

Path = tuple[str | int, ...]

_MOST_VISITS = 300_000  # of nodes, aliases followed: a third of a second
_MOST_WAYS = 16


@dataclass(frozen=True)
class Spot:
    """A scalar and one way to it. The way to a key ends with the key itself."""

    scalar: Scalar
    path: Path
    is_key: bool


@dataclass(frozen=True)
class _Step:
    """One step of a way, and the steps before it: a way is only spelled out for what is found."""

    name: str | int
    before: _Step | None


def spots_before(root: Node, line: int, column: int) -> list[Spot]:
    """The last scalar that begins at or before a place, once for each way to it."""
    best: tuple[int, int] = (0, 0)
    found: list[tuple[Scalar, _Step | None, bool]] = []
    open_: list[tuple[Node, _Step | None, bool]] = [(root, None, False)]
    left = _MOST_VISITS
    while open_ and left > 0:
        left -= 1
        node, way, is_key = open_.pop()
        if isinstance(node, Scalar):
            place = (node.line, node.column)
            if best < place <= (line, column):
                best, found = place, []
            if place == best and len(found) < _MOST_WAYS:
                found.append((node, way, is_key))
        else:
            open_ += _children(node, way)
    return [Spot(scalar, _spelled(way), is_key) for scalar, way, is_key in found]


def _children(node: Node, way: _Step | None) -> list[tuple[Node, _Step | None, bool]]:
    if isinstance(node, ListNode):
        return [(item, _Step(index, way), False) for index, item in enumerate(node.items)]
    found: list[tuple[Node, _Step | None, bool]] = []
    for key, value in node.items() if isinstance(node, Map) else ():
        step = _Step(key.text, way)
        found += [(key, step, True), (value, step, False)]
    return found


def _spelled(way: _Step | None) -> Path:
    names: list[str | int] = []
    while way is not None:
        names.append(way.name)
        way = way.before
    return tuple(reversed(names))


def is_on(scalar: Scalar, lines: Sequence[str], line: int, column: int) -> bool:
    """Whether the cursor is on the scalar's token, its right edge included."""
    token = token_at(lines, scalar.file, scalar.line, scalar.column)
    return scalar.line == line and token.column <= column <= token.end
