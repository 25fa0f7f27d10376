"""Coverage: what ran of a job's source files, over all its reports and nodes, and how that was in earlier runs."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from appliance.model import JobId, ProjectId
from appliance.store.database import Tx

MOST_FILES = 20_000  # of one job


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How much there is, and how much of it ran."""

    lines: int
    lines_ran: int
    branches: int
    branches_ran: int

    @property
    def percent(self) -> float:
        return 100.0 * self.lines_ran / self.lines if self.lines else 0.0

    @property
    def branch_percent(self) -> float | None:
        return 100.0 * self.branches_ran / self.branches if self.branches else None


@dataclass(frozen=True, kw_only=True)
class Coverage(Counts):
    """Of a whole job."""

    job_id: JobId
    job_name: str
    branch: str | None
    files: int
    created_at_ms: int


@dataclass(frozen=True, kw_only=True)
class Report(Counts):
    """One artifact, as it says itself."""

    index: int
    path: str
    format: str
    files: int


@dataclass(frozen=True, kw_only=True)
class File(Counts):
    path: str


@dataclass(frozen=True, kw_only=True)
class Part:
    """What one report says of one source file. Bit N of `found`: line N can run; of `ran`: it did."""

    path: str
    found: int
    ran: int
    branches: int
    branches_ran: int


def begin(tx: Tx, job_id: JobId, scope: str, now_ms: int) -> None:
    """A job has coverage; nothing to do when that is known."""
    tx.execute(
        "INSERT INTO coverage (job_id, project_id, job_name, branch, scope, files, lines, lines_ran, branches, branches_ran,"
        " created_at_ms, has_files)"
        " SELECT jobs.id, jobs.project_id, jobs.name, pipelines.branch, :scope, 0, 0, 0, 0, 0, :now, 1"
        " FROM jobs JOIN workflows ON workflows.id = jobs.workflow_id JOIN pipelines ON pipelines.id = workflows.pipeline_id"
        " WHERE jobs.id = :job ON CONFLICT DO NOTHING",
        {"job": job_id, "scope": scope, "now": now_ms},
    )


def add(tx: Tx, job_id: JobId, parts: Sequence[Part]) -> int:
    """Put some source files together with what other reports say of them; how many there was no room for.

    May be repeated: a line that ran once is not more covered by running twice.
    """
    held = int(tx.execute("SELECT count(*) FROM coverage_files WHERE job_id = :job", {"job": job_id}).fetchone()[0])
    left_out = 0
    for part in parts:
        row = tx.execute(
            "SELECT * FROM coverage_files WHERE job_id = :job AND path = :path", {"job": job_id, "path": part.path}
        ).fetchone()
        if row is None and held >= MOST_FILES:
            left_out += 1
            continue
        held += row is None
        found, ran = part.found | _mask(row, "found"), (part.ran | _mask(row, "ran"))
        branches = max(part.branches, row["branches"] if row is not None else 0)
        tx.execute(
            "INSERT OR REPLACE INTO coverage_files (job_id, path, found, ran, lines, lines_ran, branches, branches_ran)"
            " VALUES (:job, :path, :found, :ran, :lines, :lines_ran, :branches, :branches_ran)",
            {
                "job": job_id,
                "path": part.path,
                "found": _bytes(found),
                "ran": _bytes(ran),
                "lines": found.bit_count(),
                "lines_ran": ran.bit_count(),
                "branches": branches,
                "branches_ran": max(part.branches_ran, row["branches_ran"] if row is not None else 0),
            },
        )
    return left_out


def _mask(row: sqlite3.Row | None, name: str) -> int:
    return 0 if row is None else int.from_bytes(row[name], "little")


def _bytes(mask: int) -> bytes:
    return mask.to_bytes((mask.bit_length() + 7) // 8, "little")


def finish(tx: Tx, job_id: JobId, reports: Sequence[Report]) -> Coverage | None:
    """Note reports, and sum the job up anew; None when no line is known of it."""
    tx.executemany(
        "INSERT OR REPLACE INTO coverage_reports"
        " (job_id, idx, path, format, files, lines, lines_ran, branches, branches_ran)"
        " VALUES (:job, :index, :path, :format, :files, :lines, :lines_ran, :branches, :branches_ran)",
        ({**vars(report), "job": job_id} for report in reports),
    )
    tx.execute(
        "UPDATE coverage SET (files, lines, lines_ran, branches, branches_ran) = (SELECT count(*), coalesce(sum(lines), 0),"
        " coalesce(sum(lines_ran), 0), coalesce(sum(branches), 0), coalesce(sum(branches_ran), 0)"
        " FROM coverage_files WHERE job_id = :job) WHERE job_id = :job",
        {"job": job_id},
    )
    return of_job(tx, job_id)


_SUMS = "job_id, job_name, branch, files, lines, lines_ran, branches, branches_ran, created_at_ms"


def of_job(tx: Tx, job_id: JobId) -> Coverage | None:
    row = tx.execute(f"SELECT {_SUMS} FROM coverage WHERE job_id = :job AND lines > 0", {"job": job_id}).fetchone()
    return None if row is None else _coverage(row)


def of_jobs(tx: Tx, job_ids: Sequence[JobId]) -> Mapping[JobId, Coverage]:
    rows = tx.execute(
        f"SELECT {_SUMS} FROM coverage WHERE job_id IN (SELECT value FROM json_each(:jobs)) AND lines > 0",
        {"jobs": json.dumps(list(job_ids))},
    )
    return {found.job_id: found for found in map(_coverage, rows)}


def reports_of(tx: Tx, job_id: JobId, limit: int) -> list[Report]:
    rows = tx.execute(
        "SELECT * FROM coverage_reports WHERE job_id = :job ORDER BY idx, path LIMIT :limit", {"job": job_id, "limit": limit}
    )
    return [
        Report(index=row["idx"], path=row["path"], format=row["format"], files=row["files"], **_counts(row)) for row in rows
    ]


def worst_files(tx: Tx, job_id: JobId, limit: int) -> list[File]:
    """The source files with the most lines that never ran."""
    rows = tx.execute(
        "SELECT path, lines, lines_ran, branches, branches_ran FROM coverage_files WHERE job_id = :job"
        " ORDER BY lines - lines_ran DESC, path LIMIT :limit",
        {"job": job_id, "limit": limit},
    )
    return [File(path=row["path"], **_counts(row)) for row in rows]


TREND = (
    f"SELECT {_SUMS} FROM coverage WHERE project_id = :project AND job_name = :name AND branch = :branch"
    " AND created_at_ms <= :until AND scope = 'trusted' AND lines > 0 ORDER BY created_at_ms DESC LIMIT :limit"
)
NEWEST = (
    f"SELECT {_SUMS} FROM coverage WHERE project_id = :project AND branch = :branch AND scope = 'trusted' AND lines > 0"
    " ORDER BY created_at_ms DESC LIMIT 1"
)


def trend(tx: Tx, project_id: ProjectId, job_name: str, branch: str, until_ms: int, limit: int) -> list[Coverage]:
    """The last runs of a job on a branch until a time, the oldest first. A fork's branches do not count."""
    rows = tx.execute(
        TREND, {"project": project_id, "name": job_name, "branch": branch, "until": until_ms, "limit": limit}
    ).fetchall()
    return [_coverage(row) for row in reversed(rows)]


def newest(tx: Tx, project_id: ProjectId, branch: str, job_name: str | None, until_ms: int) -> Coverage | None:
    """The newest one of a branch: of any job, or of this one."""
    if job_name is not None:
        return next(iter(trend(tx, project_id, job_name, branch, until_ms, 1)), None)
    row = tx.execute(NEWEST, {"project": project_id, "branch": branch}).fetchone()
    return None if row is None else _coverage(row)


def forget_files_older(tx: Tx, before_ms: int, limit: int = 100) -> int:
    """Forget the source files of some jobs before a time; the sums stay for the trend. How many jobs."""
    rows = tx.execute(
        "UPDATE coverage SET has_files = 0 WHERE job_id IN (SELECT job_id FROM coverage WHERE has_files = 1"
        " AND created_at_ms < :before ORDER BY created_at_ms LIMIT :limit) RETURNING job_id",
        {"before": before_ms, "limit": limit},
    ).fetchall()
    tx.executemany("DELETE FROM coverage_files WHERE job_id = :job", ({"job": row["job_id"]} for row in rows))
    return len(rows)


def _coverage(row: sqlite3.Row) -> Coverage:
    return Coverage(
        job_id=JobId(row["job_id"]),
        job_name=row["job_name"],
        branch=row["branch"],
        files=row["files"],
        created_at_ms=row["created_at_ms"],
        **_counts(row),
    )


def _counts(row: sqlite3.Row) -> dict[str, int]:
    return {name: row[name] for name in ("lines", "lines_ran", "branches", "branches_ran")}
