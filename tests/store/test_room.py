"""The sums that the database keeps of what things take, against adding them up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from appliance.model import JobId
from appliance.store import artifacts, caches, jobs, retention, room
from appliance.store.database import Tx, open_plain
from tests.bench.million import NOW_MS, fill, sample

SUMS = (
    "SELECT 'artifacts' AS kind, project_id, sum(size_bytes) AS bytes FROM artifacts GROUP BY project_id"
    " UNION ALL SELECT 'caches', project_id, sum(size_bytes) FROM caches GROUP BY project_id"
    " UNION ALL SELECT 'logs', '', coalesce(sum(log_bytes), 0) FROM jobs WHERE log_bytes > 0"
)


@pytest.fixture
def tx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tx]:
    with closing(open_plain(tmp_path_factory.mktemp("room") / "rondo.db")) as connection:
        fill(connection, 200)
        yield connection


def kept_and_summed(tx: Tx) -> tuple[set[tuple[str, str, int]], set[tuple[str, str, int]]]:
    kept = {tuple(row) for row in tx.execute("SELECT kind, project_id, bytes FROM room WHERE bytes != 0")}
    return kept, {tuple(row) for row in tx.execute(SUMS) if row["bytes"]}


def test_the_sums_follow_whatever_comes_and_goes(tx: Tx) -> None:
    one = sample(tx)
    tx.execute("UPDATE jobs SET log_bytes = NULL")
    retention.note_sizes(tx, {job.id: 700 for job in jobs.of_pipeline(tx, one.pipeline)})
    artifacts.forget_older(tx, NOW_MS - 86_400_000, 5)
    caches.forget_least_used(tx)
    kept, summed = kept_and_summed(tx)
    assert {kind for kind, _, _ in kept} == {"artifacts", "caches", "logs"} and kept == summed
    retention.note_removed(tx, [JobId(one.job)], NOW_MS)
    tx.execute("DELETE FROM pipelines WHERE id = :id", {"id": one.pipeline})
    kept, summed = kept_and_summed(tx)
    assert kept == summed and room.of_logs(tx) == 0
    tx.execute("DELETE FROM projects")
    assert kept_and_summed(tx) == (set(), set())


def test_over_its_quota_a_project_loses_its_oldest_artifacts_and_no_more(tx: Tx) -> None:
    one = sample(tx)
    before = dict(room.over(tx, "artifacts", 0))
    assert [each for each, _ in room.over(tx, "artifacts", 25_000)] == [each for each in before if before[each] > 25_000]
    while ids := artifacts.over(tx, 25_000, 2):
        assert len(artifacts.forget(tx, ids)) <= 2
    after = dict(room.over(tx, "artifacts", 0))
    assert all(20_000 <= after[each] <= 25_000 for each in before if before[each] > 25_000) and after[one.project] == 20_000
    rows = tx.execute("SELECT created_at_ms FROM artifacts WHERE project_id = :project", {"project": one.project})
    newest = tx.execute(
        "SELECT min(stopped_at_ms) AS at FROM (SELECT jobs.stopped_at_ms FROM jobs WHERE project_id = :project"
        " AND stopped_at_ms IS NOT NULL ORDER BY created_at_ms DESC LIMIT 8)",
        {"project": one.project},
    ).fetchone()["at"]
    assert all(row["created_at_ms"] >= newest - 86_400_000 for row in rows)
