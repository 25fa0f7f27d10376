"""Databases that older versions wrote, opened by this one: what they say means the same, and their work goes on.

`old/NNNN.sql` is what `old/make.py` got from an appliance with NNNN migrations.
"""

from __future__ import annotations

import base64
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from appliance.app import Appliance, running
from appliance.crypto import SecretBox
from appliance.model import ProjectFlags
from appliance.store import contexts, people, pipelines, projects, room
from appliance.store import jobs as rows
from appliance.store.database import Tx, migrate, open_plain
from tests.store.old.appliance import ENDED, KEY, LONG, NoHistory, Old, source_of
from tests.store.old.appliance import FIRST as FIRST_COMMIT
from tests.whole import ON_THIS_HOST, Place, Served, end_jobs_of_this_host, settings_for, until

DUMPS = sorted((Path(__file__).parent / "old").glob("*.sql"))
# What runs and waits there does so since the dump was made, and is not to end for that.
FOR_EVER = {"jobs.longest": 1e10, "workflows.longest_days": 1e5, "workflows.hold_days": 1e5}
every_dump = pytest.mark.parametrize("dump", DUMPS, ids=[dump.stem for dump in DUMPS])


def restore(dump: Path, data: Path) -> None:
    data.mkdir(mode=0o700)
    (data / "secret_key").write_bytes(base64.b64encode(KEY))
    with closing(sqlite3.connect(data / "rondo.db")) as database:
        database.executescript(dump.read_text())
        make_recent(database)


def make_recent(database: sqlite3.Connection) -> None:
    """As if the appliance had just stopped: else its job has run longer than any may, and one day its approval expires."""
    columns = (
        "SELECT tables.name, columns.name FROM sqlite_master AS tables, pragma_table_info(tables.name) AS columns"
        " WHERE tables.type = 'table' AND columns.name LIKE '%\\_at\\_ms' ESCAPE '\\'"
    )
    (begun_ms,) = database.execute("SELECT max(started_at_ms) FROM nodes").fetchone()
    for table, column in database.execute(columns).fetchall():
        database.execute(f"UPDATE {table} SET {column} = {column} + ?", (time.time_ns() // 1_000_000 - begun_ms,))
    database.commit()


@every_dump
def test_an_old_database_is_brought_to_the_schema_of_a_new_one(dump: Path, tmp_path: Path) -> None:
    restore(dump, tmp_path / "data")

    def schema(database: Tx) -> set[tuple[str, str]]:
        migrate(database)
        assert not database.execute("PRAGMA foreign_key_check").fetchall()
        assert database.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        columns = "SELECT m.name, group_concat(c.name) FROM sqlite_master m, pragma_table_info(m.name) c GROUP BY m.name"
        indexes = "SELECT name, coalesce(sql, '') FROM sqlite_master WHERE type = 'index'"
        return {tuple(row) for query in (columns, indexes) for row in database.execute(query)}

    with closing(open_plain(tmp_path / "data/rondo.db")) as old, closing(open_plain(tmp_path / "new.db")) as new:
        assert schema(old) == schema(new)


@asynccontextmanager
async def opened(dump: Path, folder: Path) -> AsyncIterator[tuple[Place, Appliance, str]]:
    """An appliance of today on the old data, and a token for it."""
    data = folder / "data"
    restore(dump, data)
    place = Place(data, folder / "work", settings_for(data, {**ON_THIS_HOST, **FOR_EVER}))
    async with running(place.settings) as appliance:
        token = place.read(lambda tx: people.make_token(tx, people.by_name(tx, "tester").id, "api", 1))
        yield place, appliance, token
    await end_jobs_of_this_host(place)


async def get(appliance: Appliance, token: str, path: str) -> Any:
    async with (
        aiohttp.ClientSession(headers={"Circle-Token": token}) as session,
        session.get(appliance.web_url + path) as answer,
    ):
        assert answer.status == 200, (path, answer.status, await answer.text())
        return await (answer.json() if path.startswith("/api") else answer.text())


@every_dump
async def test_what_ended_long_ago_is_shown_as_it_was(dump: Path, tmp_path: Path) -> None:
    async with opened(dump, tmp_path) as (place, appliance, token):
        seen = place.seen(1)
        assert seen is not None

        def statuses(tx: Tx) -> dict[str, str]:
            workflows = pipelines.workflows_of(tx, seen.pipeline.id)
            return {
                f"{each.name}/{job.name}": str(job.status) for each in workflows for job in rows.of_workflow(tx, each.id)
            }

        found = place.read(statuses)
        assert found == ENDED
        number = seen.jobs["make"].number
        project = "/api/v2/project/gh/acme/app"
        artifacts = (await get(appliance, token, f"{project}/{number}/artifacts"))["items"]
        assert sorted(one["path"] for one in artifacts if one["node_index"] == 0) == ["out/junit.xml", "out/made-0"]
        tests = (await get(appliance, token, f"{project}/{number}/tests"))["items"]
        assert [(one["name"], one["result"]) for one in tests] == [("counts", "success")] * 2
        for path in (f"{project}/job/{number}", f"{project}/pipeline", f"{project}/envvar"):
            await get(appliance, token, path)
        place.read(lambda tx: projects.set_flags(tx, seen.pipeline.project_id, ProjectFlags(oss=True)))  # needs no login
        for page in ("/pipelines/circleci/acme/app", "/pipelines/circleci/acme/app/1", f"/jobs/{number}"):
            assert "Make things" in await get(appliance, token, page)
        assert place.seen(2).pipeline.state == "errored"  # type: ignore[union-attr]


@every_dump
async def test_secrets_and_requirements_of_old_are_there(dump: Path, tmp_path: Path) -> None:
    restore(dump, tmp_path / "data")
    box = SecretBox(KEY)
    with closing(open_plain(tmp_path / "data/rondo.db")) as tx:
        project = projects.find(tx, "acme/app")
        assert projects.secrets(tx, box, project.id) == {"API_KEY": "open-sesame"}
        assert contexts.values(tx, box, ["deploy"]) == {"DEPLOY": "hocus-pocus"}
        needed = [tuple(row) for row in tx.execute(_NEEDS)]
    assert needed == [
        ("all", "mend", 0, "make", '["success"]', 0),
        ("all", "mend", 1, "broken", '["failed"]', 0),
        ("held", "mend", 0, "ask", '["success"]', 1),
    ]


@every_dump
def test_the_room_that_old_things_take_is_counted(dump: Path, tmp_path: Path) -> None:
    restore(dump, tmp_path / "data")
    with closing(open_plain(tmp_path / "data/rondo.db")) as tx:
        migrate(tx)
        sums = tx.execute("SELECT project_id, sum(size_bytes) FROM artifacts GROUP BY 1").fetchall()
        assert sums and room.over(tx, "artifacts", 0) == [tuple(row) for row in sums]


_NEEDS = (
    "SELECT workflows.name, jobs.name, requirements.position, required.name, statuses, jobs.unmet FROM requirements"
    " JOIN jobs ON jobs.id = job_id JOIN jobs AS required ON required.id = required_id"
    " JOIN workflows ON workflows.id = jobs.workflow_id ORDER BY 1, 2, 3"
)


@every_dump
async def test_work_of_old_goes_on(dump: Path, tmp_path: Path) -> None:
    """The running job's sandbox did not come along: it is lost, with a word. The approval can be given; numbers go on."""
    async with opened(dump, tmp_path) as (place, appliance, token):

        async def lost() -> rows.Job | None:
            job = place.seen(3).jobs["long"]  # type: ignore[union-attr]
            return job if job.status.is_done else None

        job = await until(lost)
        assert (job.status, job.number) == ("infrastructure_fail", 5)
        seen = place.seen(1)
        assert seen is not None
        tester = place.read(lambda tx: people.by_name(tx, "tester"))
        await appliance.commands.approve(seen.jobs["ask"].id, tester)

        async def ended() -> str | None:
            held = next(
                job for job in place.read(lambda tx: rows.of_workflow(tx, seen.jobs["ask"].workflow_id)) if job.number
            )
            return str(held.status) if held.status.is_done else None

        assert await until(ended) == "failed", "nothing was persisted in this workflow"
        workflow = seen.jobs["broken"].workflow_id
        async with (
            aiohttp.ClientSession(headers={"Circle-Token": token}) as session,
            session.post(f"{appliance.web_url}/api/v2/workflow/{workflow}/rerun", json={"from_failed": True}) as answer,
        ):
            assert answer.status == 202, await answer.text()

        async def rerun() -> list[int] | None:
            found = place.read(lambda tx: tx.execute("SELECT number FROM jobs WHERE number > 5 ORDER BY 1").fetchall())
            return [row["number"] for row in found] or None

        assert (await until(rerun))[0] == 6


@pytest.mark.slow
@pytest.mark.parametrize("how", ["kill", "terminate"])
async def test_a_job_begun_under_an_old_version_ends_under_this_one(how: str, tmp_path: Path) -> None:
    """The real thing: the old code serves, its job runs; it is ended, and this code goes on with its data."""
    try:
        with source_of(FIRST_COMMIT, tmp_path / "source") as source:
            old = Old(source, tmp_path)
            await old.process.start()
            try:
                old.furnish()
                await old.push(LONG.replace("GO", str(tmp_path / "go")), "Take long")
                log = "blobs/logs/*/*/0/1.log"

                async def talks() -> Path | None:
                    return next((path for path in old.place.data.glob(log) if path.stat().st_size > 40), None)

                path = await until(talks)
                await getattr(old.process, how)()
                before = path.read_text()
                new = Served(old.place)
                await new.start()
                try:
                    await until(talks)
                    await new.kill()  # and once more, as itself
                    await new.start()
                    (tmp_path / "go").touch()
                    seen = await old.place.ended(1)
                finally:
                    await new.terminate()
            finally:
                await end_jobs_of_this_host(old.place)
    except NoHistory as problem:
        pytest.skip(f"THE UPGRADE OF A RUNNING APPLIANCE WAS NOT TESTED: {problem}")
    assert seen.statuses == {"long": "success"}, seen.logs
    lines = path.read_text().splitlines()
    assert lines == [*(f"line {number}" for number in range(1, len(lines))), f"{len(lines) - 1} lines"]
    assert path.read_text().startswith(before) and len(lines) > 2
    assert seen.steps["long"][-1].name == "notes" and seen.logs["long"].endswith("talk\n")
