"""Coming in and going out: links that work once, passwords, sessions, tokens."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import aiohttp
import pytest
from yarl import URL

from appliance.api.auth import local_path
from appliance.clock import FakeClock
from appliance.crypto import password_hash
from appliance.model import User
from appliance.store import people
from tests.web.world import World, serving_world


async def post(world: World, path: str, origin: str | None = None, **fields: str) -> tuple[int, aiohttp.ClientResponse]:
    headers = {"Origin": origin or world.url}
    async with (
        aiohttp.ClientSession(world.url, headers=headers) as client,
        client.post(path, data=fields, allow_redirects=False) as response,
    ):
        await response.read()
        return response.status, response


async def with_password(world: World, name: str, password: str) -> User:
    user = await world.user(name)
    hashed = await asyncio.to_thread(password_hash, password)
    await world.db.write(lambda tx: people.set_password_hash(tx, user.id, hashed))
    return user


async def front_page_status(world: World, session: str) -> int:
    async with (
        aiohttp.ClientSession(world.url, cookies={"rondo": session}) as client,
        client.get("/", allow_redirects=False) as response,
    ):
        return response.status


async def test_a_link_works_once_and_only_by_its_button(world: World) -> None:
    token = await world.token(await world.user("ada"), "link")
    for _ in range(2):  # previews of mail programs look without pressing
        async with aiohttp.ClientSession(world.url) as client, client.get(f"/login?token={token}") as response:
            assert token in await response.text() and "Set-Cookie" not in response.headers
    status, response = await post(world, "/login", token=token, next="/projects")
    assert status == 303 and response.headers["Location"] == "/projects"
    session = response.cookies["rondo"]
    assert session["httponly"] and session["samesite"] == "Lax" and not session["secure"]
    assert await front_page_status(world, session.value) == 200
    status, response = await post(world, "/login", token=token)
    assert status == 403 and "rondo" not in response.cookies


async def test_an_old_link_and_an_api_token_log_nobody_in(tmp_path: Path) -> None:
    clock = FakeClock()
    async with serving_world(tmp_path, clock=clock) as world:
        ada = await world.user("ada")
        old, api = await world.token(ada, "link", 1000), await world.token(ada, "api")
        clock.advance(2)
        for token in (old, api, "rondo_guess"):
            assert (await post(world, "/login", token=token))[0] == 403


async def test_password_logs_in_and_wrong_ones_look_alike(world: World) -> None:
    await with_password(world, "ada", "correct horse")
    status, response = await post(world, "/login", name="ada", password="correct horse")
    assert status == 303 and await front_page_status(world, response.cookies["rondo"].value) == 200
    answers = set()
    for name, password in (("ada", "wrong"), ("nobody", "wrong"), ("ada", ""), ("ada", "x" * 5000)):
        async with (
            aiohttp.ClientSession(world.url) as client,
            client.post("/login", data={"name": name, "password": password}) as response,
        ):
            answers.add((response.status, re.sub(r'data-now="\d+"', "", await response.text())))
    assert len(answers) == 1


async def test_failed_logins_are_counted_by_address_until_a_minute_has_passed(tmp_path: Path) -> None:
    clock = FakeClock()
    async with serving_world(tmp_path, clock=clock, web__logins_per_minute=3) as world:
        await with_password(world, "ada", "right")
        for _ in range(3):
            assert (await post(world, "/login", name="ada", password="wrong"))[0] == 403
        status, response = await post(world, "/login", name="ada", password="right")
        assert status == 429 and response.headers["Retry-After"] == "60"
        clock.advance(61)
        assert (await post(world, "/login", name="ada", password="right"))[0] == 303


async def test_another_site_cannot_log_its_visitor_in(world: World) -> None:
    token = await world.token(await world.user("eve"), "link")
    assert (await post(world, "/login", origin="http://evil.example", token=token))[0] == 403


async def test_logging_out_ends_the_session(world: World) -> None:
    ada = await world.user("ada")
    status, _ = await world.post_form(ada, "/logout")
    assert status == 303
    rows = (await world.everything())["tokens"]
    assert not [row for row in rows if "session" in row]


async def test_a_session_ends_by_itself(tmp_path: Path) -> None:
    clock = FakeClock()
    async with serving_world(tmp_path, clock=clock) as world:
        session = await world.token(await world.user("ada"), "session", 10_000)
        assert await front_page_status(world, session) == 200
        clock.advance(11)
        assert await front_page_status(world, session) == 303


async def test_behind_tls_the_cookie_is_bound_to_the_host(tmp_path: Path) -> None:
    async with serving_world(tmp_path, web_url="https://ci.example.org") as world:
        token = await world.token(await world.user("ada"), "link")
        status, response = await post(world, "/login", origin="https://ci.example.org", token=token)
        cookie = response.cookies["__Host-rondo"]
        assert status == 303 and cookie["secure"] and cookie["path"] == "/" and not cookie["domain"]
        assert "max-age" in response.headers["Strict-Transport-Security"]


@pytest.mark.parametrize(
    "wanted",
    [
        "https://evil.example",
        "//evil.example",
        "/\\evil.example",
        "javascript:alert(1)",
        "/a\r\nSet-Cookie: x=1",
        "/a b",
        "",
        None,
        "evil",
        "/\t/evil.example",
    ],
)
def test_only_our_own_paths_follow_a_login(wanted: str | None) -> None:
    assert local_path(wanted) == "/"


def test_our_own_paths_follow_a_login() -> None:
    assert local_path("/pipelines/gh/a/b?branch=x%2Fy") == "/pipelines/gh/a/b?branch=x%2Fy"


async def test_the_way_back_survives_the_login_page(world: World) -> None:
    async with (
        aiohttp.ClientSession(world.url) as client,
        client.get("/jobs/7?node=2", allow_redirects=False) as response,
    ):
        location = URL(response.headers["Location"])
    assert location.path == "/login" and location.query["next"] == "/jobs/7?node=2"


async def test_tokens_come_in_every_form_that_clients_use(world: World) -> None:
    token = await world.token(await world.user("ada"))
    basic = aiohttp.encode_basic_auth(token, "")
    for headers, query in (
        ({"Circle-Token": token}, ""),
        ({"Authorization": f"Bearer {token}"}, ""),
        ({"Authorization": basic}, ""),
        ({"Circle-Token": token, "Authorization": basic}, ""),
        ({}, f"?circle-token={token}"),
    ):
        async with aiohttp.ClientSession(world.url, headers=headers) as client, client.get("/api/v2/me" + query) as response:
            assert response.status == 200 and (await response.json())["login"] == "ada"


async def test_sessions_links_and_nonsense_are_no_tokens(world: World) -> None:
    ada = await world.user("ada")
    session, link = await world.token(ada, "session"), await world.token(ada, "link")
    for token in (session, link, "", "rondo_x", "é", "x" * 5000):
        headers = {"Circle-Token": token.encode().decode("latin-1")}
        async with aiohttp.ClientSession(world.url, headers=headers) as client, client.get("/api/v2/me") as response:
            assert response.status == 401 and await response.json() == {"message": "Invalid token provided."}
    async with aiohttp.ClientSession(world.url, cookies={"rondo": session}) as client, client.get("/api/v2/me") as response:
        assert response.status == 401
    headers = {"Authorization": "Basic %%%"}
    async with aiohttp.ClientSession(world.url, headers=headers) as client, client.get("/api/v2/me") as response:
        assert response.status == 401
