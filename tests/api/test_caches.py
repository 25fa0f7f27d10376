"""A project's caches over the API, on their page and by command: listed by pages, thrown out one by one or by prefix."""

from __future__ import annotations

import io
import logging
from pathlib import Path

import aiohttp
import pytest

from appliance.api import caches as caches_api
from appliance.blobs import Blobs
from appliance.cli import run
from appliance.model import Project
from appliance.store import caches
from appliance.store.database import Tx
from tests.web.world import World


async def keep(world: World, project: Project, *keys: str) -> None:
    def add(tx: Tx) -> None:
        for number, key in enumerate(keys):
            at_ms = 1000 + number // 2  # two at a time have one time: the pages must not lose one between them
            cache = caches.Cache(
                id=f"{number:032x}",
                project_id=project.id,
                scope="trusted",
                key=key,
                root="~",
                size_bytes=2 << 20,
                created_at_ms=at_ms,
                used_at_ms=at_ms,
                expires_at_ms=1 << 42,
                shown=key,
            )
            assert caches.add(tx, cache)

    for number in range(len(keys)):
        world.blobs.store_file(Blobs.CACHES, f"{number:032x}", io.BytesIO(b"x"))
    await world.db.write(add)


async def left(world: World, project: Project) -> list[str]:
    found = await world.db.read(lambda tx: caches.of_project(tx, project.id))
    assert {cache.id for cache in found} == set(world.blobs.ids(Blobs.CACHES))
    return sorted(cache.key for cache in found)


async def test_caches_come_newest_first_page_by_page(world: World) -> None:
    ada, project = await world.user("ada", sees_all=True), await world.project("acme/app")
    keys = [f"v1-{number:03}" for number in range(2 * caches_api.PAGE_SIZE + 5)]
    await keep(world, project, "other", *keys)
    said, token = [], ""
    while token is not None:
        path = f"/project/{project.slug}/caches?prefix=v1-&page-token={token}"
        status, page = await world.json(ada, "GET", path)
        assert status == 200 and len(page["items"]) <= caches_api.PAGE_SIZE
        said += [item["key"] for item in page["items"]]
        token = page["next_page_token"]
    assert said == keys[::-1]
    wanted = {"id", "key", "scope", "size_bytes", "created_at", "used_at", "expires_at"}
    assert set(page["items"][0]) == wanted and page["items"][0]["size_bytes"] == 2 << 20


async def test_one_or_all_with_a_prefix_are_deleted_and_it_is_noted_by_whom(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    ada, project, other = await world.user("ada", sees_all=True), await world.project("acme/app"), await world.project("b/c")
    await keep(world, project, "v1-a", "v1-b", "v10", "V1-c", "v1_d", "v%")
    path = f"/project/{project.slug}/caches"
    assert (await world.json(ada, "DELETE", f"/project/{other.slug}/caches/{1:032x}"))[0] == 404
    assert (await world.json(ada, "DELETE", f"{path}/{0:032x}")) == (200, {"message": "Cache deleted."})
    assert (await world.json(ada, "DELETE", f"{path}/{0:032x}"))[0] == 404
    assert await left(world, project) == ["V1-c", "v%", "v1-b", "v10", "v1_d"]
    assert (await world.json(ada, "DELETE", path))[0] == 400
    assert (await world.json(ada, "DELETE", f"{path}?prefix=v1-"))[1]["deleted"] == 1
    assert (await world.json(ada, "DELETE", f"{path}?prefix=v%25"))[1]["deleted"] == 1
    assert await left(world, project) == ["V1-c", "v10", "v1_d"]
    noted = [record for record in caplog.records if record.message == "caches were deleted"]
    assert [(record.__dict__["by"], record.__dict__["project"], record.__dict__["count"]) for record in noted] == [
        ("ada", "acme/app", 1)
    ] * 3


async def test_the_page_lists_and_deletes(world: World) -> None:
    ada, project = await world.user("ada", sees_all=True), await world.project("acme/app")
    await keep(world, project, "v1-<b>", "v2-x", "v2-y")
    session = await world.token(ada, "session")
    async with aiohttp.ClientSession(world.url, headers={"Cookie": f"rondo={session}"}) as client:
        async with client.get(f"/projects/{project.slug}/caches") as response:
            text = await response.text()
        assert "v1-&lt;b&gt;" in text and "3 caches, 6 MiB of 10 GiB" in text
        csrf = text.partition('name="csrf" value="')[2].partition('"')[0]
        path = f"/projects/{project.slug}/caches"
        async with client.post(path, data={"csrf": csrf, "id": f"{0:032x}", "prefix": ""}) as response:
            assert response.status == 200 and "v1-" not in await response.text()
        async with client.post(path, data={"csrf": csrf, "prefix": "v2-x"}) as response:
            assert response.status == 200
        async with client.post(path, data={"csrf": "", "prefix": "v2-"}) as response:
            assert response.status == 403
    assert await left(world, project) == ["v2-y"]


async def test_the_command_lists_and_deletes(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = await world.project("acme/app")
    await keep(world, project, "v1-a", "v2-b")
    data = str(next(tmp_path.rglob("rondo.db")).parent)
    assert run(["project", "caches", "acme/app", "--data", data]) == 0
    said = capsys.readouterr().out.splitlines()
    assert sorted(line.split()[-1] for line in said) == ["v1-a", "v2-b"] and "2.1 MB" in said[0]
    assert run(["project", "caches", "acme/app", "--delete", "v1", "--data", data]) == 0
    assert capsys.readouterr().out == "deleted 1 cache of acme/app\n"
    assert await left(world, project) == ["v2-b"]


async def test_the_list_uses_an_index(world: World) -> None:
    values = {"project": "p", "prefix": "", "at": 1, "row": 1, "limit": 9}
    plan = await world.db.read(lambda tx: [row["detail"] for row in tx.execute(f"EXPLAIN QUERY PLAN {caches.PAGE}", values)])
    assert plan == ["SEARCH caches USING INDEX caches_listed (project_id=? AND created_at_ms<?)"]
