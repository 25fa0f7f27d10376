"""What jobs leave for people: test results by the API, artifacts by the API and under their own URLs, safely shown."""

from __future__ import annotations

import io
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import aiohttp
import pytest

from appliance.api import artifacts as artifacts_api
from appliance.blobs import Blobs
from appliance.engine.janitor import Janitor
from appliance.model import JobId, NodeStatus, Project, User
from appliance.store import artifacts, jobs, results
from appliance.store.database import Tx
from appliance.store.results import Result, Upload, Verdict
from tests.web.world import World, job, workflow


@pytest.fixture
async def ada(world: World) -> User:
    return await world.user("ada", sees_all=True)


@pytest.fixture
async def project(world: World) -> Project:
    return await world.project("acme/app")


async def run(world: World, project: Project, status: NodeStatus = NodeStatus.SUCCESS) -> jobs.Job:
    return await world.run(await world.pipeline(project, workflow("ci", job("test", "make"))), "test", status)


def result(name: str, verdict: Verdict = Verdict.SUCCESS, message: str = "") -> Result:
    return Result(name=name, classname="C", file="f.py", source="s", verdict=verdict, run_time_s=0.5, message=message)


def upload(found: jobs.Job, step: str = "step1", scope: str = "trusted", at_ms: int = 1) -> Upload:
    return Upload(job_id=found.id, index=0, step=step, project_id=found.project_id, scope=scope, created_at_ms=at_ms)


async def store(world: World, one: Upload, *stored: Result) -> int:
    held = await world.db.write(lambda tx: results.begin(tx, one))
    await world.db.write(lambda tx: results.add(tx, one, stored))
    return held


async def keep(world: World, job_id: JobId, path: str, data: bytes, index: int = 0) -> None:
    artifact_id = uuid.uuid4().hex
    world.blobs.store_file(Blobs.ARTIFACTS, artifact_id, io.BytesIO(data))
    kept = artifacts.Artifact(id=artifact_id, job_id=job_id, index=index, path=path, size_bytes=len(data), created_at_ms=1)
    await world.db.write(lambda tx: artifacts.put_all(tx, [kept], 1 << 20, 1 << 40))


@asynccontextmanager
async def getting(world: World, user: User, path: str, **headers: str) -> AsyncIterator[aiohttp.ClientResponse]:
    given = {"Circle-Token": await world.token(user), **headers}
    async with aiohttp.ClientSession(world.url, headers=given) as client, client.get(path) as response:
        yield response


# --- tests


async def test_tests_come_page_by_page(world: World, ada: User, project: Project) -> None:
    found = await run(world, project)
    names = [f"t{number}" for number in range(2500)]
    await store(world, upload(found), *map(result, names))
    said, token, pages = [], "", 0
    while token is not None:
        status, page = await world.json(ada, "GET", f"/project/{project.slug}/{found.number}/tests?page-token={token}")
        assert status == 200
        said += [item["name"] for item in page["items"]]
        token, pages = page["next_page_token"], pages + 1
    assert (said, pages) == (names, 3)
    wanted = {"name", "classname", "file", "source", "result", "run_time", "message"}
    assert set(page["items"][0]) == wanted and page["items"][0]["result"] == "success"


async def test_a_step_that_begins_again_replaces_what_it_stored(world: World, ada: User, project: Project) -> None:
    found = await run(world, project)
    assert await store(world, upload(found), result("old")) == 0
    assert await store(world, upload(found, "step2"), result("other"), result("another")) == 1
    assert await store(world, upload(found), result("new")) == 2
    _, page = await world.json(ada, "GET", f"/project/{project.slug}/{found.number}/tests")
    assert [item["name"] for item in page["items"]] == ["other", "another", "new"]


async def test_counts_and_failures(world: World, project: Project) -> None:
    found = await run(world, project)
    bad = (result("a", Verdict.FAILURE, "no"), result("b", Verdict.ERROR))
    await store(world, upload(found), result("c"), *bad, result("d", Verdict.SKIPPED))
    assert await world.db.read(lambda tx: results.failed(tx, found.id, 10)) == list(bad)
    counts = await world.db.read(lambda tx: results.counts(tx, found.id))
    assert counts == {Verdict.SUCCESS: 1, Verdict.FAILURE: 1, Verdict.ERROR: 1, Verdict.SKIPPED: 1}


async def test_old_results_are_forgotten_bit_by_bit(world: World, project: Project) -> None:
    found = await run(world, project)
    for number in range(5):
        await store(world, upload(found, f"step{number}", at_ms=number), result(f"t{number}"))
    assert await world.db.write(lambda tx: results.forget_older(tx, 4, limit=3)) == 3
    assert [one.name for one in await world.db.read(lambda tx: results.all_of(tx, found.id))] == ["t3", "t4"]
    janitor = Janitor(db=world.db, clock=world.clock, blobs=world.blobs, executors={}, cache_quota=0, disk_floor=0)
    await janitor.sweep_once()
    assert not await world.db.read(lambda tx: results.all_of(tx, found.id))


async def test_timings_are_of_the_newest_success_and_chosen_once(world: World, project: Project) -> None:
    async def choose(scope: str = "trusted", now: jobs.Job | None = None) -> tuple[jobs.Job, JobId | None]:
        mine = now or await world.job_of(await world.pipeline(project, workflow("ci", job("test", "make"))), "test")
        return mine, await world.db.write(lambda tx: results.choose_timings(tx, mine.id, scope))

    first, chosen = await choose()
    assert chosen is None
    failed, good, newer = [
        await run(world, project, status) for status in (NodeStatus.FAILED, NodeStatus.SUCCESS, NodeStatus.FAILED)
    ]
    await store(world, upload(failed), result("a"))
    assert (await choose())[1] == failed.id
    await store(world, upload(good), result("a"))
    await store(world, upload(newer), result("a"))
    assert (await choose())[1] == good.id
    assert (await choose(now=first))[1] is None
    forked = await run(world, project)
    await store(world, upload(forked, scope="fork of x"), result("a"))
    assert (await choose())[1] == good.id
    assert (await choose("fork of x"))[1] == forked.id
    empty = await run(world, project)
    await store(world, upload(empty))
    assert (await choose())[1] == good.id


async def test_the_queries_of_listings_use_an_index(world: World) -> None:
    for query in (
        "SELECT * FROM test_results WHERE job_id = 'x' AND id > 0 ORDER BY id LIMIT 9",
        "SELECT * FROM test_results WHERE job_id = 'x' AND result IN ('failure', 'error') ORDER BY id LIMIT 9",
        "SELECT rowid FROM test_uploads WHERE created_at_ms < 5 ORDER BY created_at_ms LIMIT 9",
        "DELETE FROM test_results WHERE job_id = 'x' AND idx = 0 AND step = 's'",
    ):
        plan = await world.db.read(lambda tx: [row["detail"] for row in tx.execute(f"EXPLAIN QUERY PLAN {query}")])  # noqa: B023
        assert all("INDEX" in line for line in plan), plan


# --- artifacts


async def test_artifacts_are_listed_with_urls_that_lead_to_them(world: World, ada: User, project: Project) -> None:
    found = await run(world, project)
    names = {"plain.txt": b"x", "out/ü & ?.txt": b"y", "out/100%.txt": b"z", "out/a#b.txt": b"", "<img onerror=x>.txt": b"!"}
    for path, data in names.items():
        await keep(world, found.id, path, data)
    await keep(world, found.id, "plain.txt", b"of node 1", index=1)
    _, page = await world.json(ada, "GET", f"/project/{project.slug}/{found.number}/artifacts")
    assert {(item["path"], item["node_index"]) for item in page["items"]} == {(n, 0) for n in names} | {("plain.txt", 1)}
    for item in page["items"]:
        async with getting(world, ada, item["url"].removeprefix(world.url)) as response:
            assert response.status == 200, item
            wanted = b"of node 1" if item["node_index"] else names[item["path"]]
            assert await response.read() == wanted


async def test_artifacts_come_page_by_page(world: World, ada: User, project: Project) -> None:
    found = await run(world, project)
    count = artifacts_api.PAGE_SIZE + 1

    def fill(tx: Tx) -> None:
        for number in range(count):
            one = artifacts.Artifact(
                id=f"{number:032x}", job_id=found.id, index=0, path=f"{number:05}", size_bytes=0, created_at_ms=1
            )
            artifacts.put_all(tx, [one], 1 << 20, 1 << 40)

    await world.db.write(fill)
    path = f"/project/{project.slug}/{found.number}/artifacts"
    _, first = await world.json(ada, "GET", path)
    _, second = await world.json(ada, "GET", f"{path}?page-token={first['next_page_token']}")
    assert [item["path"] for item in first["items"] + second["items"]] == [f"{number:05}" for number in range(count)]
    assert second["next_page_token"] is None


@pytest.mark.parametrize(
    ("path", "kind", "how"),
    [
        ("a.html", "text/html; charset=utf-8", "inline"),
        ("a.svg", "image/svg+xml", "inline"),
        ("a.png", "image/png", "inline"),
        ("a.json", "text/plain; charset=utf-8", "inline"),
        ("a.js", "text/plain; charset=utf-8", "inline"),
        ("a.xml", "text/", "inline"),
        ("a.xhtml", "application/xhtml+xml", "attachment"),
        ("a.pdf", "application/pdf", "attachment"),
        ("a.tar.gz", "application/octet-stream", "attachment"),
        ("data:text/html,x", "application/octet-stream", "attachment"),
        ("noext", "application/octet-stream", "attachment"),
        ('x"; filename="evil.exe\r\nX: y.html', "text/html; charset=utf-8", "inline"),
    ],
)
async def test_no_artifact_can_do_anything(
    world: World, ada: User, project: Project, path: str, kind: str, how: str
) -> None:
    found = await run(world, project)
    path = path.replace("\r\n", "")
    await keep(world, found.id, path, b"<script>alert(1)</script>")
    [kept] = await world.db.read(lambda tx: artifacts.of_job(tx, found.id))
    async with getting(world, ada, artifacts_api.artifact_path(kept), **{"Accept-Encoding": "gzip"}) as response:
        assert response.status == 200
        headers: Mapping[str, str] = response.headers
    assert headers["Content-Type"].startswith(kind)
    assert headers["Content-Disposition"].startswith(f"{how}; filename*=UTF-8''")
    assert '"' not in headers["Content-Disposition"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("sandbox; default-src 'none'") and "allow-" not in policy and "script-src" not in policy


async def test_a_range_of_an_artifact(world: World, ada: User, project: Project) -> None:
    found = await run(world, project)
    await keep(world, found.id, "a.bin", b"0123456789")
    async with getting(world, ada, f"/output/job/{found.id}/artifacts/0/a.bin", Range="bytes=3-5") as response:
        assert (response.status, await response.read()) == (206, b"345")
    async with getting(world, ada, f"/output/job/{found.id}/artifacts/0/a.bin", Range="bytes=99-") as response:
        assert response.status == 416


@pytest.mark.parametrize(
    "path",
    ["0/no", "1/a.txt", "0/../a.txt", "0/%2e%2e/a.txt", "0/..%2f..%2frondo.db", "0/a.txt%00", "999999/a.txt", "0//a.txt"],
)
async def test_what_is_not_there_is_not_found(world: World, ada: User, project: Project, path: str) -> None:
    found = await run(world, project)
    await keep(world, found.id, "a.txt", b"x")
    async with getting(world, ada, f"/output/job/{found.id}/artifacts/{path}") as response:
        assert response.status == 404


async def test_an_artifact_whose_blob_has_gone_is_not_found(world: World, ada: User, project: Project) -> None:
    found = await run(world, project)
    await keep(world, found.id, "a.txt", b"x")
    [kept] = await world.db.read(lambda tx: artifacts.of_job(tx, found.id))
    world.blobs.drop(Blobs.ARTIFACTS, kept.id)
    assert (await world.ask(ada, "GET", artifacts_api.artifact_path(kept)))[0] == 404


async def test_what_is_wrong_with_an_artifact_is_json_for_a_program_and_a_page_for_a_person(
    world: World, ada: User, project: Project
) -> None:
    found, key = await run(world, project), await world.token(ada)
    url = f"{world.url}/output/job/{found.id}/artifacts/0/none.txt"
    cookie = {"Cookie": f"rondo={await world.token(ada, 'session', 60_000)}"}
    programs = {"Circle-Token": key}, {"Authorization": f"Bearer {key}"}
    for headers, status, kind in (
        *((one, 404, "application/json") for one in programs),
        (cookie, 404, "text/html"),
        ({"Circle-Token": "wrong"}, 401, "application/json"),
    ):
        async with aiohttp.ClientSession(headers=headers) as client, client.get(url, allow_redirects=False) as response:
            assert (response.status, response.content_type) == (status, kind), headers


async def test_artifacts_and_tests_are_for_those_who_may_see_the_job(world: World, project: Project) -> None:
    found, eve = await run(world, project), await world.user("eve")
    await keep(world, found.id, "a.txt", b"x")
    assert (await world.ask(eve, "GET", f"/output/job/{found.id}/artifacts/0/a.txt"))[0] == 404
    for what in ("tests", "artifacts"):
        assert (await world.json(eve, "GET", f"/project/{project.slug}/{found.number}/{what}"))[0] == 404
    async with (
        aiohttp.ClientSession(world.url) as client,
        client.get(f"/output/job/{found.id}/artifacts/0/a.txt", allow_redirects=False) as response,
    ):
        assert response.status in (302, 303, 401)
