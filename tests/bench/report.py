"""Figures and their floors: how they are kept, shown as a table and written as JSON."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tests.engine_fixture import Engine


@dataclass(frozen=True, kw_only=True)
class Aim:
    """What a figure should reach: its value, or its ratio to the floor."""

    of: Literal["value", "ratio"]
    at_most: float | None = None
    at_least: float | None = None

    def is_met_by(self, found: float) -> bool:
        return (self.at_most is None or found <= self.at_most) and (self.at_least is None or found >= self.at_least)

    def __str__(self) -> str:
        sign, bound = ("<=", self.at_most) if self.at_most is not None else (">=", self.at_least)
        return f"{'x' if self.of == 'ratio' else ''}{sign} {bound:g}"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One line of the table: the medians count, the samples are kept."""

    name: str
    unit: str
    samples: Sequence[float]
    floor: str = ""  # what the floor is
    floor_samples: Sequence[float] = ()
    aim: Aim | None = None
    note: str = ""

    @property
    def value(self) -> float:
        return statistics.median(self.samples)

    @property
    def floor_value(self) -> float | None:
        return statistics.median(self.floor_samples) if self.floor_samples else None

    @property
    def ratio(self) -> float | None:
        """Of neighbours in time where samples come in pairs: a machine's drift hits both."""
        if not self.floor_samples:
            return None
        if len(self.samples) == len(self.floor_samples):
            return statistics.median(a / b for a, b in zip(self.samples, self.floor_samples, strict=True))
        return self.value / statistics.median(self.floor_samples)

    @property
    def is_met(self) -> bool | None:
        if self.aim is None:
            return None
        found = self.value if self.aim.of == "value" else self.ratio
        return found is not None and self.aim.is_met_by(found)

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "unit": self.unit,
            "value": _round(self.value),
            "floor": self.floor or None,
            "floor_value": _round(self.floor_value),
            "ratio": _round(self.ratio),
            "aim": str(self.aim) if self.aim else None,
            "is_met": self.is_met,
            "note": self.note or None,
            "samples": [_round(sample) for sample in self.samples],
            "floor_samples": [_round(sample) for sample in self.floor_samples],
        }


def _round(number: float | None) -> float | None:
    return None if number is None else float(f"{number:.4g}")


def table(figures: Sequence[Figure]) -> str:
    rows: list[tuple[str, ...]] = [("figure", "measured", "floor", "ratio", "aim", "", "the floor is")]
    rows += [_row(figure) for figure in figures]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "-" * max(map(len, lines)))
    return "\n".join(lines)


def _row(figure: Figure) -> tuple[str, ...]:
    mark = {None: "", True: "ok", False: "MISSED"}[figure.is_met]
    floor = "" if figure.floor_value is None else f"{_short(figure.floor_value)} {figure.unit}"
    ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
    aim = str(figure.aim) if figure.aim else ""
    return (figure.name, f"{_short(figure.value)} {figure.unit}", floor, ratio, aim, mark, figure.floor)


def _short(number: float) -> str:
    return f"{number:.0f}" if number >= 100 else f"{number:.1f}" if number >= 10 else f"{number:.2f}"


def machine(engine: Engine) -> dict[str, Any]:
    """The facts that figures depend on."""
    docker = subprocess.run(
        ["docker", "-H", engine.url, "version", "--format", "{{.Server.Version}}"],
        capture_output=True,
        text=True,
        check=True,
    )
    return {
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30), 1),
        "kernel": platform.release(),
        "docker": docker.stdout.strip(),
        "python": platform.python_version(),
        "load_at_start": round(os.getloadavg()[0], 2),
    }


def write(path: Path, facts: dict[str, Any], figures: Sequence[Figure]) -> None:
    document = {"machine": facts, "figures": [figure.as_json() for figure in figures]}
    path.write_text(json.dumps(document, indent=2) + "\n")
