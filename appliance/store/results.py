"""Test results: what jobs stored of their tests (spec 2.4), to be shown, and to split later runs by."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from appliance.model import JobId, ProjectId
from appliance.quantities import counted
from appliance.store.database import Tx


class Verdict(StrEnum):
    """How a test ended; the worse ones last."""

    SUCCESS = "success"
    SKIPPED = "skipped"
    FAILURE = "failure"
    ERROR = "error"


@dataclass(frozen=True, kw_only=True)
class Result:
    name: str
    classname: str
    file: str
    source: str
    verdict: Verdict
    run_time_s: float
    message: str


@dataclass(frozen=True, kw_only=True)
class Upload:
    """One `store_test_results` step of one node."""

    job_id: JobId
    index: int
    step: str
    project_id: ProjectId
    scope: str
    created_at_ms: int


def begin(tx: Tx, upload: Upload) -> int:
    """Begin an upload, in the place of an unfinished one of the same step; how many tests the job's others hold."""
    where = {"job": upload.job_id, "index": upload.index, "step": upload.step}
    tx.execute("DELETE FROM test_uploads WHERE job_id = :job AND idx = :index AND step = :step", where)
    tx.execute(
        "INSERT INTO test_uploads (job_id, idx, step, project_id, job_name, scope, tests, created_at_ms)"
        " SELECT :job_id, :index, :step, :project_id, name, :scope, 0, :created_at_ms FROM jobs WHERE id = :job_id",
        vars(upload),
    )
    row = tx.execute("SELECT coalesce(sum(tests), 0) FROM test_uploads WHERE job_id = :job", where).fetchone()
    return int(row[0])


def add(tx: Tx, upload: Upload, results: Sequence[Result]) -> None:
    """Add some of an upload's results."""
    where = {"job": upload.job_id, "index": upload.index, "step": upload.step}
    tx.executemany(
        "INSERT INTO test_results (job_id, idx, step, result, name, classname, file, source, run_time_s, message)"
        " VALUES (:job, :index, :step, :verdict, :name, :classname, :file, :source, :run_time_s, :message)",
        ({**where, **vars(result)} for result in results),
    )
    tx.execute(
        "UPDATE test_uploads SET tests = tests + :count WHERE job_id = :job AND idx = :index AND step = :step",
        {**where, "count": len(results)},
    )


def page(tx: Tx, job_id: JobId, after: int, limit: int) -> tuple[list[Result], int | None]:
    """Some of a job's results in the order in which they were stored, and what to give as `after` for the next ones."""
    rows = tx.execute(
        "SELECT * FROM test_results WHERE job_id = :job AND id > :after ORDER BY id LIMIT :limit",
        {"job": job_id, "after": after, "limit": limit + 1},
    ).fetchall()
    return [_result(row) for row in rows[:limit]], rows[limit - 1]["id"] if len(rows) > limit else None


def failed(tx: Tx, job_id: JobId, limit: int) -> list[Result]:
    """Tests of a job that failed."""
    rows = tx.execute(
        "SELECT * FROM test_results WHERE job_id = :job AND result IN ('failure', 'error') ORDER BY id LIMIT :limit",
        {"job": job_id, "limit": limit},
    )
    return [_result(row) for row in rows]


def names_to_rerun(tx: Tx, job_id: JobId, limit: int) -> list[str]:
    """Files and classes with a test that failed in the job of which this one is to run only those; else none."""
    rows = tx.execute(
        "SELECT DISTINCT name.value AS name FROM jobs JOIN test_results ON test_results.job_id = jobs.failed_tests_of,"
        " json_each(json_array(test_results.file, test_results.classname)) AS name"
        " WHERE jobs.id = :job AND test_results.result IN ('failure', 'error') AND name.value <> '' ORDER BY 1 LIMIT :limit",
        {"job": job_id, "limit": limit},
    )
    return [row["name"] for row in rows]


def counts(tx: Tx, job_id: JobId) -> Mapping[Verdict, int]:
    """How many tests of a job ended how; empty when none were stored."""
    rows = tx.execute("SELECT result, count(*) AS n FROM test_results WHERE job_id = :job GROUP BY result", {"job": job_id})
    return {Verdict(row["result"]): row["n"] for row in rows}


def summary(counts: Mapping[Verdict, int]) -> str:
    """ "120 tests, 2 failures, 1 skipped" """
    parts = [counted(sum(counts.values()), "test")]
    for verdict, word in ((Verdict.FAILURE, "failure"), (Verdict.ERROR, "error")):
        if counts.get(verdict):
            parts.append(counted(counts[verdict], word))
    if counts.get(Verdict.SKIPPED):
        parts.append(f"{counts[Verdict.SKIPPED]} skipped")
    return ", ".join(parts)


def choose_timings(tx: Tx, job_id: JobId, scope: str) -> JobId | None:
    """The earlier run of the same job by whose results this one is split.

    Chosen once for a job: its nodes begin at different times, and two that split by different timings would run some
    tests twice and others never. The newest successful run; without one the newest that has results.
    """
    tx.execute(
        "INSERT INTO test_timings (job_id, from_job_id) SELECT mine.id, (SELECT jobs.id"
        "  FROM test_uploads JOIN jobs ON jobs.id = test_uploads.job_id"
        "  WHERE test_uploads.project_id = mine.project_id AND test_uploads.job_name = mine.name"
        "   AND test_uploads.tests > 0 AND test_uploads.scope IN ('trusted', :scope)"
        "   AND jobs.stopped_at_ms IS NOT NULL AND jobs.id <> mine.id"
        "  ORDER BY jobs.status = 'success' DESC, jobs.number DESC LIMIT 1)"
        " FROM jobs AS mine WHERE mine.id = :job ON CONFLICT DO NOTHING",
        {"job": job_id, "scope": scope},
    )
    row = tx.execute("SELECT from_job_id FROM test_timings WHERE job_id = :job", {"job": job_id}).fetchone()
    return None if row is None or row["from_job_id"] is None else JobId(row["from_job_id"])


def all_of(tx: Tx, job_id: JobId) -> list[Result]:
    """Every result of a job."""
    return [
        _result(row) for row in tx.execute("SELECT * FROM test_results WHERE job_id = :job ORDER BY id", {"job": job_id})
    ]


def forget_older(tx: Tx, before_ms: int, limit: int = 100) -> int:
    """Forget some uploads made before a time, with their results; how many."""
    gone = tx.execute(
        "DELETE FROM test_uploads WHERE rowid IN"
        " (SELECT rowid FROM test_uploads WHERE created_at_ms < :before ORDER BY created_at_ms LIMIT :limit)",
        {"before": before_ms, "limit": limit},
    )
    return gone.rowcount


def _result(row: sqlite3.Row) -> Result:
    return Result(
        name=row["name"],
        classname=row["classname"],
        file=row["file"],
        source=row["source"],
        verdict=Verdict(row["result"]),
        run_time_s=row["run_time_s"],
        message=row["message"],
    )
