"""Visitors who hold connections without saying anything, and parallel guesses."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import aiohttp
from aiohttp import web

from appliance.api.limits import FailedLogins
from appliance.api.patience import PatientSite
from appliance.api.server import listen
from tests.web.world import World, serving_world


async def serve(most: int, slowest_head_s: float) -> tuple[web.AppRunner, int]:
    async def hello(request: web.Request) -> web.Response:
        return web.Response(text=await request.text() or "hello")

    app = web.Application()
    app.router.add_route("*", "/", hello)
    runner = web.AppRunner(app)
    await runner.setup()
    listener = listen("127.0.0.1", 0)
    await PatientSite(runner, listener, most=most, slowest_head_s=slowest_head_s).start()
    return runner, listener.getsockname()[1]


async def test_a_request_that_never_comes_to_its_point_is_cut() -> None:
    runner, port = await serve(100, 0.3)
    async with asyncio.timeout(10):
        for begun in (b"", b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(begun)
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
            writer.close()
    await runner.cleanup()


async def test_a_head_in_pieces_is_fine_and_the_body_may_take_longer() -> None:
    runner, port = await serve(100, 2.0)
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for piece in (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nConnection: close\r", b"\n\r", b"\nab"):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.05)
        await asyncio.sleep(2.1)  # past the limit for the head
        writer.write(b"cd")
        assert (await reader.read()).endswith(b"abcd")
        writer.close()
    await runner.cleanup()


async def test_more_connections_than_allowed_are_refused_and_places_come_back() -> None:
    runner, port = await serve(5, 30)
    async with asyncio.timeout(10):
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(5)]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()
        for _, other in held:
            other.close()
            await other.wait_closed()
        while True:
            try:
                async with aiohttp.request("GET", f"http://127.0.0.1:{port}/") as response:
                    assert await response.text() == "hello"
                    break
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.02)  # until the server has seen them go
    await runner.cleanup()


async def test_guesses_at_once_count_as_much_as_one_after_another(tmp_path: Path) -> None:
    async with serving_world(tmp_path, web__logins_per_minute=5) as world, aiohttp.ClientSession(world.url) as client:

        async def guess(number: int) -> int:
            async with client.post("/login", data={"name": f"u{number}", "password": "x"}) as response:
                return response.status

        statuses = await asyncio.gather(*(guess(number) for number in range(30)))
    assert statuses.count(403) == 5 and statuses.count(429) == 25


async def test_behind_a_proxy_each_visitor_has_a_count_of_his_own(tmp_path: Path) -> None:
    async with serving_world(tmp_path, web__logins_per_minute=2) as world, aiohttp.ClientSession(world.url) as client:

        async def guess(address: str) -> int:
            headers = {"X-Forwarded-For": f"10.9.9.9, {address}"}
            async with client.post("/login", data={"token": "x"}, headers=headers) as response:
                return response.status

        assert [await guess("10.0.0.1") for _ in range(3)] == [403, 403, 429]
        assert await guess("10.0.0.2") == 403


async def test_the_count_of_failures_has_a_bound(world: World) -> None:
    failed = FailedLogins(world.clock)
    for number in range(20_000):
        failed.add(f"address {number}")
    assert len(failed._failures) <= 10_000
