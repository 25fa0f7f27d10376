"""Connections to a machine: who it is, who we are, and many channels at once on a server that allows ten each."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import pytest

from appliance.errors import SandboxError, Unavailable
from appliance.executors.machine_link import Link, over_ssh
from tests.openssh import Machine, machine
from tests.whole import until


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Machine]:
    with machine(tmp_path / "machine") as made:
        yield made


async def test_a_command_runs_and_its_output_arrives(here: Machine) -> None:
    link = Link(over_ssh(here.address()))
    channel = await link.channel("exec sh -c 'cat; exit 3'")
    await channel.write(b"hello\n")
    channel.write_eof()
    assert await channel.read(100) == b"hello\n"
    assert await channel.read(100) == b""
    assert await channel.wait() == 3
    await link.close()


async def test_another_host_key_is_refused_with_both_fingerprints(here: Machine) -> None:
    noted = asyncssh.generate_private_key("ssh-ed25519")
    address = dataclasses.replace(here.address(), host_key=noted.export_public_key().decode())
    shown = asyncssh.import_public_key(here.server.host_key).get_fingerprint()
    with pytest.raises(Unavailable, match="shows another host key") as refused:
        await over_ssh(address)()
    assert shown in str(refused.value) and noted.get_fingerprint() in str(refused.value)


async def test_a_host_key_of_another_kind_is_named_too(here: Machine) -> None:
    address = here.address()
    here.server.stop()
    here.server.new_host_key("ecdsa-sha2-nistp256")
    here.server.start()
    with pytest.raises(Unavailable, match="shows another host key"):
        await over_ssh(address)()


async def test_a_key_that_is_not_let_in_is_named(here: Machine) -> None:
    stranger = asyncssh.generate_private_key("ssh-ed25519")
    address = dataclasses.replace(here.address(), private_key=stranger.export_private_key().decode())
    with pytest.raises(Unavailable) as refused:
        await over_ssh(address)()
    assert stranger.get_fingerprint() in str(refused.value) and "authorized_keys" in str(refused.value)


async def test_a_machine_that_is_not_there_is_said(here: Machine) -> None:
    with pytest.raises(Unavailable, match="cannot connect to it: Connection refused"):
        await over_ssh(here.address(port=1))()


async def test_many_channels_at_once_get_connections_that_close_again(here: Machine) -> None:
    made = 0

    async def connect() -> asyncssh.SSHClientConnection:
        nonlocal made
        made += 1
        return await over_ssh(here.address())()

    link = Link(connect, idle_s=0.1)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(link.channel("exec cat")) for _ in range(32)]
    channels = [task.result() for task in tasks]
    assert link.connections == made == 4
    for channel in channels:
        await channel.write(b"x")
        assert await channel.read(10) == b"x"
    for channel in channels:
        channel.abort()

    async def has_one() -> bool | None:
        return True if link.connections == 1 else None

    await until(has_one, 10)
    assert await (await link.channel("exec true")).wait() == 0
    await link.close()


async def test_those_who_ask_while_a_connection_fails_share_its_failure(here: Machine) -> None:
    attempts = 0

    async def connect() -> asyncssh.SSHClientConnection:
        nonlocal attempts
        attempts += 1
        await asyncio.sleep(0.01)
        raise Unavailable("no")

    link = Link(connect)
    results = await asyncio.gather(*(link.channel("x") for _ in range(32)), return_exceptions=True)
    assert all(isinstance(result, Unavailable) for result in results)
    assert attempts == 1


async def test_cancelled_waits_for_a_session_use_up_none(here: Machine) -> None:
    """What was asked for is opened there all the same, and would count among the ten of its connection for ever."""
    link = Link(over_ssh(here.address()))
    await (await link.channel("exec true")).wait()
    for _ in range(12):
        asking = asyncio.create_task(link.channel("exec cat"))
        await asyncio.sleep(0)  # now the question is on its way
        asking.cancel()
        await asyncio.wait({asking})
        assert asking.cancelled()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(link.channel("exec cat")) for _ in range(10)]
    assert link.connections == 1
    for task in tasks:
        task.result().abort()
    await link.close()


class RunsNothing(asyncssh.SSHServer):
    def begin_auth(self, username: str) -> bool:
        return False

    def session_requested(self) -> asyncssh.SSHServerSession[bytes]:
        return asyncssh.SSHServerSession()  # which says no to every command


async def test_a_server_that_runs_no_commands_is_asked_once() -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    server = await asyncssh.listen("127.0.0.1", 0, server_host_keys=[key], server_factory=RunsNothing)
    link = Link(lambda: asyncssh.connect("127.0.0.1", server.get_port(), known_hosts=None, config=None, client_keys=None))
    with pytest.raises(SandboxError, match="does not run commands"):
        await link.channel("exec true")
    assert link.connections == 1
    await link.close()
    server.close()


async def test_a_connection_that_comes_after_the_end_is_not_kept(ssh_machine: Machine) -> None:
    begun, go = asyncio.Event(), asyncio.Event()
    made: list[asyncssh.SSHClientConnection] = []

    async def connect() -> asyncssh.SSHClientConnection:
        begun.set()
        await go.wait()
        made.append(await over_ssh(ssh_machine.address())())
        return made[0]

    link = Link(connect)
    asked = asyncio.create_task(link.channel("true"))
    await begun.wait()
    await link.close()
    go.set()
    async with asyncio.timeout(10):
        with pytest.raises(SandboxError, match="the connections to the machine were closed"):
            await asked
        await made[0].wait_closed()
    assert link.connections == 0
