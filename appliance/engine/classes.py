"""The resource classes of this appliance (spec 1.6): a table of names and sizes, looked at in several ways. No I/O.

A machine job's `medium` is not a docker job's: `machine.medium` in the table is what machines get, and goes before plain
`medium` for them. A class of the second or third generation that has no line of its own is as large as the first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

GIB = 1 << 30

_MACHINE = "machine."
_NOT_FOR_MACHINES = frozenset({"small", "medium+"})  # CircleCI refuses them there
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*/\s*(\d+(?:\.\d+)?)\s*\Z")


@dataclass(frozen=True)
class Size:
    """What a class gives a node."""

    cpus: float
    memory_bytes: int

    @property
    def gib(self) -> float:
        return self.memory_bytes / GIB


class Classes:
    """`table` is that of the settings: name = "CPUs/GiB". Raises ValueError naming the line that is no size."""

    def __init__(self, table: Mapping[str, str]) -> None:
        self._sizes = {name: _size(name, text) for name, text in table.items()}

    def find(self, name: str, *, is_machine: bool) -> Size | None:
        """The size of a class; None when there is no such class for this kind of executor."""
        names = (name, re.sub(r"\.gen3$", ".gen2", name), re.sub(r"\.gen[23]$", "", name))
        if is_machine:
            special = next((found for each in names if (found := self._sizes.get(_MACHINE + each)) is not None), None)
            if special is not None or names[-1] in _NOT_FOR_MACHINES:
                return special
        return next((self._sizes[each] for each in names if each in self._sizes), None)

    def names(self, *, is_machine: bool) -> list[str]:
        """As a config writes them, in the table's order."""
        return list(dict.fromkeys(name for name, _ in self._of_kind(is_machine)))

    def larger(self, name: str, *, is_machine: bool) -> str | None:
        """The next class of the same family with twice the memory that `name` has, or the largest; None when it is that.

        Twice, since whoever ran out of memory does not know by how much.
        """
        own = self.find(name, is_machine=is_machine)
        if own is None:
            return None
        more = sorted(
            (size.memory_bytes, size.cpus, other)
            for other, size in self._of_kind(is_machine)
            if _family(other) == _family(name) and size.memory_bytes > own.memory_bytes
        )
        return next((each[2] for each in more if each[0] >= 2 * own.memory_bytes), more[-1][2] if more else None)

    def smaller(self, name: str, cpus: float, memory_bytes: int, *, is_machine: bool) -> str | None:
        """The smallest class of the family that holds so much and is smaller than `name`; None when there is none."""
        own = self.find(name, is_machine=is_machine)
        if own is None:
            return None
        enough = [
            (size.memory_bytes, size.cpus, other)
            for other, size in self._of_kind(is_machine)
            if _family(other) == _family(name) and size.cpus >= cpus and memory_bytes <= size.memory_bytes < own.memory_bytes
        ]
        return min(enough)[2] if enough else None

    def _of_kind(self, is_machine: bool) -> Iterator[tuple[str, Size]]:
        for name, size in self._sizes.items():
            plain = name.removeprefix(_MACHINE)
            if is_machine and (name.startswith(_MACHINE) or _MACHINE + plain not in self._sizes):
                if name.startswith(_MACHINE) or plain not in _NOT_FOR_MACHINES:
                    yield plain, size
            elif not is_machine and not name.startswith(_MACHINE):
                yield name, size


def _family(name: str) -> str:
    """`arm` of arm.medium, `windows.gpu.nvidia` of windows.gpu.nvidia.medium; "" of medium and medium.gen2."""
    return re.sub(r"\.gen[23]$", "", name).rpartition(".")[0]


def _size(name: str, text: str) -> Size:
    found = _SIZE.match(text)
    if found is None or not float(found[1]) or not float(found[2]):
        raise ValueError(f'resource_classes: {name} must be "CPUs/GiB" like "2/4", not {text!r}')
    return Size(float(found[1]), int(float(found[2]) * GIB))
