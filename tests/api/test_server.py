"""What holds for every answer: headers, readiness, errors."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest

from tests.web.world import World, serving_world

PATHS = ["/login", "/health", "/nothing", "/api/v2/me", "/api/v2/nothing", "/gh/acme/app.svg", "/static/x/rondo.css", "/"]


@pytest.mark.parametrize("path", PATHS)
async def test_every_answer_carries_the_security_headers(world: World, path: str) -> None:
    async with aiohttp.ClientSession(world.url) as client, client.get(path, allow_redirects=False) as response:
        headers = response.headers
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'") and "frame-ancestors 'none'" in policy and "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff" and headers["Referrer-Policy"] == "same-origin"
    assert "Server" not in headers or "aiohttp" not in headers["Server"]
    is_for_all = path.startswith(("/static", "/gh"))
    assert is_for_all or headers["Cache-Control"] == "no-store"


async def test_before_recovery_is_done_only_health_answers(tmp_path: Path) -> None:
    async with serving_world(tmp_path, is_ready=False) as world, aiohttp.ClientSession(world.url) as client:
        async with client.get("/health") as response:
            assert response.status == 503 and (await response.json())["message"] == "starting"
        for path in ("/login", "/api/v2/me"):
            async with client.get(path) as response:
                assert response.status == 503 and response.headers["Retry-After"]
        async with client.post("/hooks/github", data=b"{}") as response:
            assert response.status == 503
        world.parts.ready.set()
        async with client.get("/health") as response:
            assert response.status == 200


async def test_programs_get_json_and_people_a_page(world: World) -> None:
    async with aiohttp.ClientSession(world.url) as client:
        async with client.get("/api/v2/nothing") as response:
            assert response.status == 404 and (await response.json())["message"]
        async with client.get("/nothing") as response:
            assert response.status == 404 and "Not found" in await response.text()
        async with client.post("/health") as response:
            assert response.status == 405 and response.headers["Allow"] == "GET,HEAD"


async def test_static_files_are_kept_by_version_and_only_these(world: World) -> None:
    async with aiohttp.ClientSession(world.url) as client:
        async with client.get("/login") as response:
            page = await response.text()
        style = page.split('rel="stylesheet" href="')[1].split('"')[0]
        async with client.get(style) as response:
            assert response.content_type == "text/css" and "immutable" in response.headers["Cache-Control"]
        async with client.get("/static/old/rondo.css") as response:
            assert response.status == 200 and response.headers["Cache-Control"] == "no-cache"
        for name in ("..%2ftemplates%2fbase.html", "base.html", "..", "%2e%2e%2fpage.js", "none.js"):
            async with client.get(f"/static/x/{name}") as response:
                assert response.status == 404


async def test_names_of_every_kind_are_looked_for_and_not_found(world: World) -> None:
    ada = await world.user("ada", is_admin=True)
    for path in ("/pipelines/gh/%00/%ff", "/jobs/999999999999999", "/pipelines/a/b/c/9", "/jobs/1?node=%F0%9F%92%A3"):
        assert (await world.ask(ada, "GET", path))[0] == 404


async def test_a_huge_head_is_refused(world: World) -> None:
    async with (
        aiohttp.ClientSession(world.url) as client,
        client.get("/health", headers={"X": "x" * 20_000}) as response,
    ):
        assert response.status == 400
