"""What goes wrong between us and a machine: cut and frozen connections, a server that is started anew, too many at once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from appliance.errors import ConnectionBroke, SandboxLost
from appliance.executors.base import Command, Exit, SandboxSpec
from appliance.executors.machine import MachineExecutor, MachineOptions
from appliance.executors.machine_link import over_ssh
from appliance.executors.supervised import Pace
from tests.contracts.disturbed import CUTS, runs_whole
from tests.contracts.tcp_proxy import Proxy, proxy_to
from tests.contracts.test_machine_end import running
from tests.contracts.worlds import finish, quiet
from tests.openssh import Machine, machine


@asynccontextmanager
async def behind_proxy(there: Machine, folder: Path, **options: float) -> AsyncIterator[tuple[Proxy, MachineExecutor]]:
    async with proxy_to(there.server.port) as proxy:
        connect = over_ssh(there.address(port=proxy.port))
        made = MachineOptions(folder=str(folder / "jobs"), end_grace_s=1.0, **options)  # type: ignore[arg-type]
        executor = MachineExecutor("trouble", "far", connect, options=made, pace=Pace(heartbeat_s=0.5))
        try:
            yield proxy, executor
            proxy.thaw()
            for ref in await executor.list():
                await executor.remove(ref)
        finally:
            await executor.close()


@pytest.mark.slow
async def test_no_byte_is_lost_or_doubled_when_the_connection_is_cut(ssh_machine: Machine, tmp_path: Path) -> None:
    """Half of the time the server is not told, and believes in the dead connection until the end of the test."""
    chance = random.Random(5)
    async with behind_proxy(ssh_machine, tmp_path) as (proxy, executor):
        sandbox = await executor.open(SandboxSpec(node="1.0"), quiet)

        async def cut() -> None:
            await asyncio.sleep(chance.uniform(0.0, 0.3))
            proxy.cut(half=chance.random() < 0.5)

        await runs_whole(sandbox, cut, CUTS)


@pytest.mark.slow
async def test_files_arrive_whole_when_the_connection_is_cut(ssh_machine: Machine, tmp_path: Path) -> None:
    chance = random.Random(3)
    data = bytes(range(256)) * 8192
    async with behind_proxy(ssh_machine, tmp_path) as (proxy, executor):
        sandbox = await executor.open(SandboxSpec(node="1.0"), quiet)

        async def cut() -> None:
            for _ in range(6):
                await asyncio.sleep(chance.uniform(0.1, 0.5))
                proxy.cut(half=chance.random() < 0.5)

        async with asyncio.TaskGroup() as group:
            cutting = group.create_task(cut())
            while not cutting.done():
                await sandbox.put("file", data)
                assert await sandbox.fetch("file", len(data)) == data


async def test_a_process_that_outlived_its_connection_ends_before_the_next_begins(
    ssh_machine: Machine, tmp_path: Path
) -> None:
    word = f"9{random.SystemRandom().randrange(10**6)}"
    async with behind_proxy(ssh_machine, tmp_path) as (proxy, executor):
        sandbox = await executor.open(SandboxSpec(node="1.0"), quiet)
        process = await sandbox.process(["sh", "-c", f"trap '' HUP; echo on; exec sleep {word}"])
        assert await process.read() == b"on\n"
        proxy.cut(half=True)
        assert await process.read() == b""
        with pytest.raises(ConnectionBroke, match="the connection to the machine broke amid a command"):
            await process.wait()
        await process.kill()
        assert running(f"sleep\0{word}")
        following = await sandbox.process(["sh", "-c", "sleep 1000"])
        assert not running(f"sleep\0{word}")
        await following.kill()


async def test_a_silent_network_is_noticed_and_said_and_the_step_goes_on(ssh_machine: Machine, tmp_path: Path) -> None:
    said: list[str] = []

    async def notice(sentence: str) -> None:
        said.append(sentence)
        if "waiting" in sentence:
            proxy.thaw()

    async with behind_proxy(ssh_machine, tmp_path, keepalive_s=0.2, patience_s=60) as (proxy, executor):
        sandbox = await executor.open(SandboxSpec(node="1.0"), quiet)
        output = b""
        script = "echo before; until [ -e ~/go ]; do sleep 0.05; done; echo after"
        async with asyncio.timeout(30):
            async for event in sandbox.run(Command(id="1", script=script), notice=notice):
                if isinstance(event, Exit):
                    break
                output += event
                if output == b"before\n":
                    (tmp_path / "jobs" / "trouble" / "1.0" / "home" / "go").touch()
                    proxy.freeze()
        assert output == b"before\nafter\n"
        assert said == [
            "machine far has not answered for 1 s; waiting up to 60 s for it",
            "machine far answers again",
        ]


async def test_a_machine_that_stays_silent_is_lost_and_named(ssh_machine: Machine, tmp_path: Path) -> None:
    async with behind_proxy(ssh_machine, tmp_path, keepalive_s=0.2, patience_s=2) as (proxy, executor):
        sandbox = await executor.open(SandboxSpec(node="1.0"), quiet)
        run = sandbox.run(Command(id="1", script="echo on; sleep 1000"))
        assert await anext(run) == b"on\n"
        proxy.freeze()
        async with asyncio.timeout(10):
            with pytest.raises(SandboxLost, match="machine far has not answered for 2 s"):
                await anext(run)
        proxy.thaw()


async def test_a_server_that_is_started_anew_costs_the_job_nothing(tmp_path: Path) -> None:
    said: list[str] = []

    async def notice(sentence: str) -> None:
        said.append(sentence)
        if "waiting" in sentence:
            there.server.start()

    with machine(tmp_path / "machine") as there:
        options = MachineOptions(folder=str(tmp_path / "jobs"), end_grace_s=1.0)
        executor = MachineExecutor("trouble", "here", over_ssh(there.address()), options=options)
        sandbox = await executor.open(SandboxSpec(node="1.0"), quiet)
        run = sandbox.run(Command(id="1", script="echo on; sleep 0.5; echo off"), notice=notice)
        assert await anext(run) == b"on\n"
        await asyncio.to_thread(there.server.stop)
        assert [event async for event in run] == [b"off\n", Exit(0)]
        assert len(said) == 2 and "does not answer" in said[0] and said[1] == "machine here answers again"
        await sandbox.close()
        await executor.close()


@pytest.mark.slow
async def test_32_nodes_at_once_share_connections_of_ten_channels(ssh_machine: Machine, tmp_path: Path) -> None:
    options = MachineOptions(folder=str(tmp_path / "jobs"), end_grace_s=1.0)
    executor = MachineExecutor("many", "here", over_ssh(ssh_machine.address()), options=options)

    async def job(number: int) -> bytes:
        sandbox = await executor.open(SandboxSpec(node=f"{number}.0"), quiet)
        output = b""
        for step in range(3):
            output += (await finish(sandbox, Command(id=f"{step}", script=f"echo {number}")))[0]
        await together.wait()
        await sandbox.close()
        return output

    together = asyncio.Barrier(32)
    async with asyncio.TaskGroup() as group:
        jobs = [group.create_task(job(number)) for number in range(32)]
    assert [each.result() for each in jobs] == [b"%d\n" % number * 3 for number in range(32)]
    assert await executor.list() == []
    await executor.close()
