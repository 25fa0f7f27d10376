"""A runner that is killed, or whose connection is cut, at any moment: no byte lost, none twice, no step twice."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from appliance.executors.base import SandboxSpec
from tests.contracts.disturbed import CUTS, KILLS, runs_whole
from tests.contracts.tcp_proxy import proxy_to
from tests.contracts.worlds import dialled_in_executor, quiet
from tests.dialling import dialled_in, welcome


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("how", "times"), [("connection cut", CUTS), ("runner killed", KILLS)])
async def test_no_byte_is_lost_or_doubled(tmp_path: Path, how: str, times: int) -> None:
    chance = random.Random(7)
    async with dialled_in(tmp_path) as (here, box), proxy_to(here.port) as proxy:
        await box.kill()
        box.port = proxy.port
        await box.start()
        await welcome(here)

        async def disturb() -> None:
            await asyncio.sleep(chance.uniform(0.0, 0.15))
            if how == "connection cut":
                proxy.cut()
            else:
                await box.kill()
                await box.start()
            await welcome(here)

        executor = dialled_in_executor(here.runners, tmp_path)
        sandbox = await executor.open(SandboxSpec(node="1.0"), quiet)
        await runs_whole(sandbox, disturb, times)
        await welcome(here)
        await sandbox.close()
        await executor.close()
