"""How the process begins and ends, as systemd and people see it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from tests.whole import until


@asynccontextmanager
async def serving(data: Path, **variables: str) -> AsyncIterator[Process]:
    """`rondo serve` on free ports; what it says is in its output."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "appliance", "serve", "--data", str(data)),
        cwd=Path(__file__).parents[2],
        env={
            "PATH": os.environ["PATH"],
            "RONDO_WEB_PORT": "0",
            "RONDO_SSH_PORT": "0",
            "RONDO_DOCKER_ENABLED": "false",
            **variables,
        },
        stdout=PIPE,
        stderr=STDOUT,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_systemd_hears_that_it_is_ready_when_the_doors_are_open_and_that_it_stops(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notices:
        notices.bind(str(tmp_path / "notify"))
        notices.setblocking(False)
        loop = asyncio.get_running_loop()
        async with serving(data, NOTIFY_SOCKET=str(tmp_path / "notify")) as process, asyncio.timeout(60):
            assert await loop.sock_recv(notices, 100) == b"READY=1"
            web = (data / "web_url").read_text()
            async with aiohttp.ClientSession() as session, session.get(f"{web}/login") as answer:
                assert answer.status == 200, "what is ready answers more than that it lives"
            process.terminate()
            assert await loop.sock_recv(notices, 100) == b"STOPPING=1"
            assert await process.wait() == 0


async def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    """Stopped in between, so that both are there when it looks: else the first could be done before the second comes."""
    async with serving(tmp_path / "data") as process, asyncio.timeout(60):
        assert process.stdout is not None
        while b"SSH door" not in await process.stdout.readline():
            pass
        process.send_signal(signal.SIGSTOP)
        await until(lambda: _is_stopped(process.pid))
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGCONT)
        assert await process.wait() == 1


async def _is_stopped(pid: int) -> bool | None:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T" or None
