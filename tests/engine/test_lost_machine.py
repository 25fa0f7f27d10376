"""Machines over a real OpenSSH server: one falls silent in mid-job, and the job ends well on the other one."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from appliance.engine.spots import Spot
from appliance.executors.machine import MachineExecutor, MachineOptions
from appliance.executors.machine_link import over_ssh
from appliance.language import plan as plans
from appliance.model import JobStatus
from appliance.store import jobs
from tests import openssh
from tests.engine.shop import at_work, scheduler
from tests.engine.test_losses import M1, M2, add_machines, world
from tests.whole import until

PATIENCE_S = 2.0


@asynccontextmanager
async def two_machines(folder: Path) -> AsyncIterator[tuple[openssh.Machine, dict[str, MachineExecutor]]]:
    """The first one, and the executors of both. Nothing is left on them."""
    with ExitStack() as stack:
        machines = {key: stack.enter_context(openssh.machine(folder / key[-2:])) for key in (M1, M2)}
        options = {
            key: MachineOptions(folder=str(one.folder), patience_s=PATIENCE_S, end_grace_s=0.5)
            for key, one in machines.items()
        }
        executors = {
            key: MachineExecutor(f"lost-{os.getpid()}", key[-2:], over_ssh(one.address()), options=options[key])
            for key, one in machines.items()
        }
        try:
            yield machines[M1], executors
        finally:
            for executor in executors.values():
                for ref in await executor.list():
                    await executor.remove(ref)
                await executor.close()


@pytest.mark.slow
async def test_a_job_ends_well_on_the_second_machine_when_the_first_falls_silent(tmp_path: Path) -> None:
    go = tmp_path / "go"
    script = f"echo before; [ -e {go} ] || sleep 1000; echo after"
    async with (
        two_machines(tmp_path) as (first, executors),
        world(tmp_path, script, executor=plans.Machine(image="ubuntu-2204:current")) as here,
    ):
        await here.db.write(add_machines)
        shop = replace(here.shop, executors=executors)
        spots = [Spot(name="m1", os="linux", arch="amd64")]

        async def is_under_way() -> bool | None:
            return b"before" in shop.blobs.read_log(here.job.id, 0, 2, 0, 999) or None

        async def is_clean() -> bool | None:
            return await executors[M2].list() == [] or None

        async with at_work(scheduler(shop, pool=lambda: tuple(spots)).run([])):
            await until(is_under_way, 20)
            with first.server.silent():
                spots.append(Spot(name="m2", os="linux", arch="amd64"))
                go.touch()
                assert await until(here.end, 45) is JobStatus.SUCCESS
            node = await here.node()
            assert (node.executor, node.attempt, node.lost_on) == (M2, 2, M1)
            assert node.lost_why.startswith("machine m1 has not answered for ")
            steps = {position: (status, log) for position, status, log in await here.steps()}
            assert steps[2][0] == "infrastructure_fail" and steps[2][1].endswith(f"{node.lost_why}\n")
            assert steps[2][1].startswith("before\n") and "after" not in steps[2][1]
            assert f"Started again on m2: {node.lost_why}\n" in steps[jobs.LATER][1]
            assert steps[jobs.LATER + 2] == ("success", "before\nafter\n")

            await until(is_clean, 20)
            assert await executors[M1].list() == ["1.0"], "what is left there is nobody's: it is swept when it is back"
