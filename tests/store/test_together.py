"""Transactions that are committed together: each whole or not at all, in order, and none told of before the COMMIT."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from appliance.errors import DiskFull, StoreError
from appliance.store.database import Database, Tx, open_database

FACTS = "SELECT name FROM facts WHERE value = '' ORDER BY rowid"


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(tmp_path / "rondo.db") as database:
        yield database


def put(tx: Tx, name: str) -> str:
    tx.execute("INSERT INTO facts (name, value) VALUES (:name, '')", {"name": name})
    return name


def names(tx: Tx) -> list[str]:
    return [row["name"] for row in tx.execute(FACTS)]


class Held:
    """A write that keeps the writer busy until it is let go, so that those behind it wait together."""

    def __init__(self, db: Database) -> None:
        self._begun, self._go_on = threading.Event(), threading.Event()
        self._task = asyncio.ensure_future(db.write(self._hold))

    def _hold(self, tx: Tx) -> None:
        self._begun.set()
        assert self._go_on.wait(10)

    async def until_begun(self) -> None:
        assert await asyncio.to_thread(self._begun.wait, 10)

    async def let_go(self) -> None:
        self._go_on.set()
        await asyncio.gather(self._task, return_exceptions=True)  # it may be in one transaction with the others


async def waiting(db: Database, *fns: Callable[[Tx], object]) -> list[asyncio.Task[object]]:
    """Tasks that have asked for their write, in this order."""
    tasks: list[asyncio.Task[object]] = [asyncio.ensure_future(db.write(fn)) for fn in fns]
    await asyncio.sleep(0)
    return tasks


async def test_those_that_wait_together_share_one_transaction_and_keep_their_order(db: Database, tmp_path: Path) -> None:
    seen: list[list[str]] = []

    def look_and_put(tx: Tx, name: str) -> str:
        with sqlite3.connect(f"{(tmp_path / 'rondo.db').as_uri()}?mode=ro", uri=True) as outside:
            seen.append([row[0] for row in outside.execute(FACTS)])
        seen.append(names(tx))
        return put(tx, name)

    held = Held(db)
    await held.until_begun()
    tasks = await waiting(db, *(lambda tx, name=name: look_and_put(tx, name) for name in "cab"))
    await held.let_go()
    assert await asyncio.gather(*tasks) == ["c", "a", "b"]
    assert seen == [[], [], [], ["c"], [], ["c", "a"]], "outside nothing is seen before the end, inside all before"
    assert await db.read(names) == ["c", "a", "b"]


async def test_one_that_fails_is_rolled_back_alone(db: Database) -> None:
    def half(tx: Tx) -> None:
        put(tx, "half")
        raise ValueError("no")

    def twice(tx: Tx) -> None:
        put(tx, "twice")
        put(tx, "first")  # which is there: the constraint fails the statement, not the transaction

    held = Held(db)
    await held.until_begun()
    tasks = await waiting(db, lambda tx: put(tx, "first"), half, twice, lambda tx: put(tx, "last"))
    await held.let_go()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert found[0] == "first"
    assert isinstance(found[1], ValueError)
    assert isinstance(found[2], sqlite3.IntegrityError)
    assert found[3] == "last"
    assert await db.read(names) == ["first", "last"]


async def test_what_ends_the_transaction_is_told_to_all_in_it_and_to_nobody_after(db: Database) -> None:
    def give_up(tx: Tx) -> None:
        put(tx, "lost")
        tx.execute("ROLLBACK")
        raise sqlite3.OperationalError("database or disk is full")

    held = Held(db)
    await held.until_begun()
    tasks = await waiting(db, lambda tx: put(tx, "before"), give_up, lambda tx: put(tx, "after"))
    await held.let_go()
    before, broken, after = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(before, DiskFull)
    assert isinstance(broken, DiskFull)
    assert after == "after"
    assert await db.read(names) == ["after"]


async def test_a_commit_that_fails_is_everybodys_failure_but_of_those_that_failed_before(db: Database) -> None:
    def break_commit(tx: Tx) -> None:
        tx.execute("PRAGMA defer_foreign_keys = ON")
        tx.execute("INSERT INTO members (project_id, user_id) VALUES ('nobody', 'nothing')")

    def fail(tx: Tx) -> None:
        raise ValueError("mine")

    held = Held(db)
    await held.until_begun()
    tasks = await waiting(db, lambda tx: put(tx, "good"), fail, break_commit)
    await held.let_go()
    good, failed, broken = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(good, sqlite3.IntegrityError)
    assert isinstance(failed, ValueError)
    assert isinstance(broken, sqlite3.IntegrityError)
    assert await db.read(names) == []
    await db.write(lambda tx: put(tx, "next"))


async def test_one_whose_waiter_was_cancelled_is_done_all_the_same(db: Database) -> None:
    held = Held(db)
    await held.until_begun()
    tasks = await waiting(db, lambda tx: put(tx, "first"), lambda tx: put(tx, "cancelled"), lambda tx: put(tx, "last"))
    tasks[1].cancel()
    await held.let_go()
    assert [await tasks[0], await tasks[2]] == ["first", "last"]
    assert tasks[1].cancelled()
    assert await db.read(names) == ["first", "cancelled", "last"]


async def test_a_full_disk_rolls_back_and_the_next_small_write_goes_through(db: Database) -> None:
    def lower(tx: Tx) -> None:
        pages = tx.execute("PRAGMA page_count").fetchone()[0]
        tx.execute(f"PRAGMA max_page_count = {pages + 4}")

    def large(tx: Tx) -> None:
        tx.execute("INSERT INTO facts (name, value) VALUES ('large', :text)", {"text": "x" * 200_000})

    await db.write(lower)
    held = Held(db)
    await held.until_begun()
    tasks = await waiting(db, large, lambda tx: put(tx, "small"))
    await held.let_go()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(found[0], DiskFull)
    assert found[1] == "small"
    assert await db.read(names) == ["small"]


async def test_hundreds_at_once_all_arrive_and_each_reads_what_it_wrote(db: Database) -> None:
    async def one(number: int) -> None:
        await db.write(lambda tx: put(tx, f"{number}"))
        assert f"{number}" in await db.read(names)

    await asyncio.gather(*(one(number) for number in range(300)))
    assert len(await db.read(names)) == 300


async def test_a_closed_database_says_so(tmp_path: Path) -> None:
    async with open_database(tmp_path / "rondo.db") as db:
        await db.write(lambda tx: put(tx, "x"))
    with pytest.raises(StoreError, match="closed"):
        await db.write(lambda tx: put(tx, "y"))


async def test_what_no_future_can_hold_comes_out_too(db: Database) -> None:
    with pytest.raises(RuntimeError, match="StopIteration"):
        await db.write(lambda tx: next(iter(())))
