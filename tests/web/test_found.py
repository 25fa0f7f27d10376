"""Test results and artifacts on a job's page."""

from __future__ import annotations

import re

from appliance.model import NodeStatus, User
from appliance.store import artifacts, jobs, results
from appliance.store.database import Tx
from appliance.store.results import Result, Upload, Verdict
from tests.web.world import World, job, workflow


async def ran(world: World) -> tuple[User, jobs.Job]:
    ada = await world.user("ada", sees_all=True)
    pipeline = await world.pipeline(await world.project("acme/app"), workflow("ci", job("test", "make")))
    return ada, await world.run(pipeline, "test", NodeStatus.FAILED)


async def store(world: World, found: jobs.Job, *tests: tuple[str, Verdict, str]) -> None:
    upload = Upload(job_id=found.id, index=0, step="s", project_id=found.project_id, scope="trusted", created_at_ms=1)
    rows = [
        Result(name=name, classname="a.B", file="", source="s", verdict=verdict, run_time_s=0, message=message)
        for name, verdict, message in tests
    ]

    def write(tx: Tx) -> None:
        results.begin(tx, upload)
        results.add(tx, upload, rows)

    await world.db.write(write)


def panel(page: str, name: str) -> str:
    found = re.search(rf'<details class="panel slim" id="{name}".*?</details>', page, re.DOTALL)
    return found[0] if found else ""


async def test_a_job_without_any_shows_neither(world: World) -> None:
    ada, found = await ran(world)
    _, page = await world.ask(ada, "GET", f"/jobs/{found.number}")
    assert not panel(page, "tests") and not panel(page, "artifacts")


async def test_failed_tests_are_shown_with_their_message(world: World) -> None:
    ada, found = await ran(world)
    name = '<img src=x onerror=alert(1)>"\u202e{{7*7}}'
    await store(world, found, ("fine", Verdict.SUCCESS, ""), (name, Verdict.FAILURE, "<script>no</script>"))
    _, page = await world.ask(ada, "GET", f"/jobs/{found.number}")
    shown = panel(page, "tests")
    assert "2 tests, 1 failure" in shown and " open>" in shown
    assert "&lt;img src=x onerror=alert(1)&gt;" in shown and "{{7*7}}" in shown
    assert "&lt;script&gt;no&lt;/script&gt;" in shown
    assert "<img" not in shown and "<script" not in shown and "fine" not in shown


async def test_many_failures_are_bounded(world: World) -> None:
    ada, found = await ran(world)
    await store(world, found, *((f"t{number}", Verdict.ERROR, "m" * 20_000) for number in range(60)))
    _, page = await world.ask(ada, "GET", f"/jobs/{found.number}")
    assert "and 10 more that failed" in panel(page, "tests")
    assert len(page) < 300_000


async def test_artifacts_are_links(world: World) -> None:
    ada, found = await ran(world)
    for at, path in enumerate(("out/<b>.html", "a b.txt")):
        kept = artifacts.Artifact(id=f"{at:032x}", job_id=found.id, index=0, path=path, size_bytes=2048, created_at_ms=1)
        await world.db.write(lambda tx, kept=kept: artifacts.put_all(tx, [kept], 1 << 20, 1 << 40))  # type: ignore[misc]
    _, page = await world.ask(ada, "GET", f"/jobs/{found.number}")
    shown = page.partition('id="artifacts"')[2].partition('class="steps"')[0]
    assert f'href="/output/job/{found.id}/artifacts/0/out/%3Cb%3E.html"' in shown
    assert "&lt;b&gt;.html" in shown and "<b>.html" not in shown and "2 KiB" in shown and "a%20b.txt" in shown
