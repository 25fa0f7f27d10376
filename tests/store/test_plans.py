"""No question of a loop or a page looks through a whole table: what SQLite plans for each, over the real functions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing

import pytest

from appliance.store.database import Tx, open_plain
from tests.bench.million import QUESTIONS, fill, sample, undone

# These hold only what goes on or is left to do, which is little, however much there was.
FEW = {
    "jobs_begun",
    "jobs_on_hold",
    "jobs_unmeasured",
    "nodes_running",
    "workflows_open",
    "triggers_open",
    "outbox_due",
    "schedules_due",
    "locks_waiting",
}
# Read in their order, and no further than the page is long.
IN_ORDER = {"caches_unused", "pipelines_recent"}
# A part of a plan: subqueries that were worked out before, values from Python, and a single row.
OWN = re.compile(r"SCAN (?:\(|CONSTANT|json_each|name\b|found\b|names\b|each\b|entries\b|VIRTUAL)")


@pytest.fixture(scope="module")
def tx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tx]:
    with closing(open_plain(tmp_path_factory.mktemp("plans") / "rondo.db")) as connection:
        fill(connection, 400)
        yield connection


def scans(tx: Tx, sql: str) -> list[str]:
    """The lines of a plan that look through a whole table or index."""
    lines = [row["detail"] for row in tx.execute(f"EXPLAIN QUERY PLAN {sql}")]
    return [line for line in lines if line.startswith("SCAN") and not OWN.match(line) and not is_small(line)]


def is_small(line: str) -> bool:
    index = re.search(r"USING (?:COVERING )?INDEX (\w+)", line)
    return index is not None and index[1] in FEW | IN_ORDER


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_question_looks_through_no_whole_table(tx: Tx, name: str) -> None:
    asked: list[str] = []
    one = sample(tx)
    with undone(tx):
        tx.set_trace_callback(asked.append)
        try:
            QUESTIONS[name](tx, one)
        finally:
            tx.set_trace_callback(None)
    assert asked
    found = {sql: scans(tx, sql) for sql in asked if re.match(r"SELECT|WITH|UPDATE|DELETE|INSERT", sql)}
    assert not any(found.values()), found


def test_a_question_without_an_index_would_be_seen(tx: Tx) -> None:
    assert scans(tx, "SELECT id FROM jobs WHERE message = 'x'")
    assert scans(tx, "SELECT count(*) FROM steps WHERE kind = 'run'")
    assert not scans(tx, "SELECT id FROM jobs WHERE id = 'x'")
