"""One file, one writer, transactions as functions."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from appliance.crypto import SecretBox
from appliance.errors import Conflict, NotFound, StoreError
from appliance.model import User, Vcs
from appliance.store import jobs, people, projects
from appliance.store.database import Tx, open_database, open_plain, transact


def put(tx: Tx, name: str) -> None:
    tx.execute("INSERT INTO facts (name, value) VALUES (:name, '')", {"name": name})


def names(tx: Tx) -> list[str]:
    return [row["name"] for row in tx.execute("SELECT name FROM facts WHERE value = '' ORDER BY name")]


async def test_transactions_of_many_tasks_do_not_mix(tmp_path: Path) -> None:
    async with open_database(tmp_path / "rondo.db") as db:

        async def write(number: int) -> None:
            """Two rows, or none: every third one breaks between them."""

            def both(tx: Tx) -> None:
                put(tx, f"{number:02}a")
                if number % 3 == 0:
                    raise ValueError(number)
                put(tx, f"{number:02}b")

            if number % 3 == 0:
                with pytest.raises(ValueError, match=str(number)):
                    await db.write(both)
            else:
                await db.write(both)

        await asyncio.gather(*(write(number) for number in range(30)))
        found = await db.read(names)
    assert found == [f"{number:02}{half}" for number in range(30) if number % 3 for half in "ab"]


async def test_a_cancelled_waiter_leaves_no_transaction_open(tmp_path: Path) -> None:
    async with open_database(tmp_path / "rondo.db") as db:
        begun, go_on = threading.Event(), threading.Event()

        def slow(tx: Tx) -> None:
            put(tx, "slow")
            begun.set()
            go_on.wait(10)

        task = asyncio.create_task(db.write(slow))
        await asyncio.to_thread(begun.wait, 10)
        task.cancel()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        await db.write(lambda tx: put(tx, "next"))
        assert await db.read(names) == ["next", "slow"]


async def test_readers_cannot_write(tmp_path: Path) -> None:
    async with open_database(tmp_path / "rondo.db") as db:
        with pytest.raises(StoreError, match="readonly"):
            await db.read(lambda tx: put(tx, "x"))


async def test_the_command_line_writes_beside_a_running_appliance(tmp_path: Path) -> None:
    async with open_database(tmp_path / "rondo.db") as db:
        with closing(open_plain(tmp_path / "rondo.db")) as other:
            transact(other, lambda tx: put(tx, "from outside"))
        await db.write(lambda tx: put(tx, "inside"))
        assert await db.read(names) == ["from outside", "inside"]


def test_a_database_of_a_newer_version_is_refused_with_a_sentence(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "rondo.db")) as connection:
        connection.execute("PRAGMA user_version = 9999")
    with pytest.raises(StoreError, match="newer Rondo"):
        open_plain(tmp_path / "rondo.db")


def test_writes_are_synced_to_the_disk_and_keys_enforced(tmp_path: Path) -> None:
    with closing(open_plain(tmp_path / "rondo.db")) as tx:
        assert tx.execute("PRAGMA synchronous").fetchone()[0] == 2
        assert tx.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        assert tx.execute("PRAGMA foreign_keys").fetchone()[0] == 1


@pytest.mark.parametrize(
    ("sql", "index"),
    [
        (
            "SELECT id, event FROM triggers WHERE state = 'open' AND id > 0"
            " AND project_id NOT IN (SELECT value FROM json_each('[]')) ORDER BY id LIMIT 1",
            "triggers_open",
        ),
        ("SELECT * FROM outbox WHERE state = 'due' AND due_at_ms <= 1 ORDER BY due_at_ms, id LIMIT 20", "outbox_due"),
        ("SELECT * FROM nodes WHERE status = 'running' ORDER BY started_at_ms", "nodes_running"),
        (
            "SELECT jobs.id FROM jobs INDEXED BY jobs_begun JOIN nodes ON nodes.job_id = jobs.id"
            " WHERE jobs.status IN ('not_running', 'running') AND nodes.status = 'waiting'",
            "sqlite_autoindex_nodes_1 (job_id=?)",
        ),
        (
            "SELECT number FROM jobs WHERE project_id = 'p' AND name = 'n' AND status = 'success'"
            " AND started_at_ms IS NOT NULL ORDER BY number DESC LIMIT 5",
            "jobs_history (project_id=? AND name=?)",
        ),
        (
            jobs.PREVIOUS.replace(":project", "'p'").replace(":number", "9").replace(":branch", "'main'"),
            "jobs_of_project (project_id=? AND number<?)",
        ),
    ],
)
def test_the_queries_of_the_loops_use_their_index(tmp_path: Path, sql: str, index: str) -> None:
    with closing(open_plain(tmp_path / "rondo.db")) as tx:
        plan = " ".join(row["detail"] for row in tx.execute(f"EXPLAIN QUERY PLAN {sql}"))
    assert index in plan, plan


def test_secrets_are_sealed_and_bound_to_their_place(tmp_path: Path) -> None:
    box = SecretBox(b"k" * 32)
    with closing(open_plain(tmp_path / "rondo.db")) as tx:
        one = projects.add(tx, org="a", repo="b", vcs=Vcs.HOSTED, git_url=None, default_branch="main", now_ms=1)
        projects.set_secret(tx, box, one.id, "TOKEN", "very-secret-value", 1)
        projects.set_secret(tx, box, one.id, "OTHER", "x", 1)
        assert projects.secrets(tx, box, one.id) == {"TOKEN": "very-secret-value", "OTHER": "x"}
        tx.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert b"very-secret-value" not in (tmp_path / "rondo.db").read_bytes()
        tx.execute("UPDATE secrets SET value = (SELECT value FROM secrets WHERE name = 'TOKEN') WHERE name = 'OTHER'")
        with pytest.raises(StoreError, match="cannot decrypt"):
            projects.secrets(tx, box, one.id)


def test_names_and_keys_mean_one_thing_each(tmp_path: Path) -> None:
    with closing(open_plain(tmp_path / "rondo.db")) as tx:
        projects.add(tx, org="acme", repo="app", vcs=Vcs.HOSTED, git_url=None, default_branch="main", now_ms=1)
        with pytest.raises(Conflict):
            projects.add(tx, org="Acme", repo="App", vcs=Vcs.HOSTED, git_url=None, default_branch="main", now_ms=1)
        for slug in ("acme/app", "circleci/acme/app", "gh/acme/app", "github/ACME/app", "/acme/app.git"):
            assert projects.find(tx, slug).name == "acme/app"
        one, two = (people.add(tx, name=n, is_admin=False, sees_all_projects=True, now_ms=1) for n in ("one", "two"))
        key = people.SshKey("SHA256:x", "ssh-ed25519 AAAA")
        people.add_key(tx, one.id, key, 1)
        people.add_key(tx, one.id, key, 1)
        with pytest.raises(Conflict):
            people.add_key(tx, two.id, key, 1)


def test_strangers_to_a_project_learn_nothing_of_it(tmp_path: Path) -> None:
    with closing(open_plain(tmp_path / "rondo.db")) as tx:
        one = projects.add(tx, org="acme", repo="app", vcs=Vcs.HOSTED, git_url=None, default_branch="main", now_ms=1)
        user: User = people.add(tx, name="one", is_admin=False, sees_all_projects=False, now_ms=1)
        with pytest.raises(NotFound) as hidden:
            projects.find_for(tx, user, "acme/app")
        with pytest.raises(NotFound) as missing:
            projects.find_for(tx, user, "acme/none")
        assert str(hidden.value) == str(missing.value)
        assert projects.all_of(tx, user) == []
        people.let_into(tx, user.id, one.id)
        assert projects.find_for(tx, user, "acme/app") == one
        assert projects.all_of(tx, user) == [one]


def test_tokens_are_kept_as_hashes_and_expire(tmp_path: Path) -> None:
    with closing(open_plain(tmp_path / "rondo.db")) as tx:
        user = people.add(tx, name="one", is_admin=False, sees_all_projects=True, now_ms=1)
        token = people.make_token(tx, user.id, "link", 1000, lasts_ms=500)
        assert people.by_token(tx, token, ("link",), 1400) == user
        assert people.by_token(tx, token, ("api",), 1400) is None
        assert people.by_token(tx, token, ("link",), 1500) is None
        assert token not in "".join(str(tuple(row)) for row in tx.execute("SELECT * FROM tokens"))
