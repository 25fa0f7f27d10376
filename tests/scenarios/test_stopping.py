"""An engine that takes connections and is silent: the appliance starts and stops all the same."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path

import pytest

from appliance.settings import Value
from tests.whole import served


@pytest.mark.slow
async def test_an_engine_that_does_not_answer_holds_up_no_start_and_no_stop(tmp_path: Path) -> None:
    has_asked = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        has_asked.set()
        with contextlib.suppress(asyncio.CancelledError):
            await reader.read()
        writer.close()

    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        engine: dict[str, Value] = {"docker.enabled": True, "docker.url": f"tcp://127.0.0.1:{port}", "drain.longest": 0.5}
        async with served(tmp_path, engine) as (_, process):
            async with asyncio.timeout(30):
                await has_asked.wait()
            began_s = time.monotonic()
            assert await process.terminate() == 0
            assert time.monotonic() - began_s < 20
            assert "without an answer" in process.said
