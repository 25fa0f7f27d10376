"""What nodes took of CPU, memory and disk over their time: one row a node, with a curve of bounded size."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from appliance.model import JobId
from appliance.store.database import Tx


@dataclass(frozen=True, kw_only=True)
class Point:
    """A stretch of a node's time, up to `at_s` after the curve's beginning."""

    at_s: float
    cpus: float  # in use on average
    memory_bytes: int  # the most
    written_bytes: int  # to disk since the beginning


@dataclass(frozen=True, kw_only=True)
class Share:
    """What one container of the node took."""

    cpu_s: float
    most_memory_bytes: int


@dataclass(frozen=True, kw_only=True)
class Series:
    """A node's curve, and what it comes to. `began_at_ms` is when somebody first looked."""

    began_at_ms: int
    looked_s: float = 0.0  # when the counters were last read, after the beginning
    cpu_s: float = 0.0  # CPU time in all by then, since the sandbox began
    most_cpus: float = 0.0
    most_memory_bytes: int = 0
    most_processes: int = 0
    step_s: float  # between two points
    points: Sequence[Point] = ()
    shares: Sequence[Share] = ()  # of the containers, the primary one first

    @property
    def lasted_s(self) -> float:
        return self.points[-1].at_s if self.points else 0.0

    @property
    def mean_cpus(self) -> float:
        """On average over the curve."""
        before_s, taken_s = 0.0, 0.0
        for point in self.points:
            taken_s += point.cpus * (point.at_s - before_s)
            before_s = point.at_s
        return taken_s / before_s if before_s else 0.0


def keep(tx: Tx, job_id: JobId, index: int, series: Series, now_ms: int) -> None:
    """Write a node's curve in the place of what was known of it."""
    tx.execute(
        "INSERT INTO node_usage (job_id, idx, series, updated_at_ms) VALUES (:job, :index, :series, :now)"
        " ON CONFLICT (job_id, idx) DO UPDATE SET series = excluded.series, updated_at_ms = excluded.updated_at_ms",
        {"job": job_id, "index": index, "series": _dump(series), "now": now_ms},
    )


def of_node(tx: Tx, job_id: JobId, index: int) -> Series | None:
    """None when nobody ever looked at it: it was over too soon."""
    row = tx.execute(
        "SELECT series FROM node_usage WHERE job_id = :job AND idx = :index", {"job": job_id, "index": index}
    ).fetchone()
    return None if row is None else _load(row["series"])


def _dump(series: Series) -> str:
    facts = asdict(series)
    facts["points"] = [
        [round(point.at_s, 2), round(point.cpus, 3), point.memory_bytes, point.written_bytes] for point in series.points
    ]
    facts["shares"] = [[round(share.cpu_s, 2), share.most_memory_bytes] for share in series.shares]
    return json.dumps(facts, separators=(",", ":"))


def _load(text: str) -> Series:
    facts = json.loads(text)
    points = [
        Point(at_s=at, cpus=cpus, memory_bytes=memory, written_bytes=disk) for at, cpus, memory, disk in facts["points"]
    ]
    shares = [Share(cpu_s=cpu, most_memory_bytes=memory) for cpu, memory in facts["shares"]]
    return Series(**{**facts, "points": tuple(points), "shares": tuple(shares)})
