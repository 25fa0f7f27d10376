"""Machines that dial in: what a machine's key is not for, whose key is no machine's, and what a machine may say."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path

import asyncssh
import pytest

from appliance import runner_words as words
from appliance.errors import BadRequest, Conflict, Unavailable
from appliance.machine_runner.identity import public_text
from tests.dialling import dialler, enrol
from tests.sshd.jobs import running_job
from tests.sshd.world import World, until, world
from tests.vcs.repos import WorkTree

HELLO = asdict(words.Hello(version="1.0", name="box"))


@asynccontextmanager
async def as_machine(here: World, name: str = "mac") -> AsyncIterator[asyncssh.SSHClientConnection]:
    """A client with a machine's key that need not be a runner of ours."""
    key = asyncssh.read_private_key(here.key(name))
    await here.db.write(lambda tx: enrol(tx, name, public_text(key)))
    async with client(here, key) as connection:
        yield connection


@asynccontextmanager
async def client(here: World, key: asyncssh.SSHKey) -> AsyncIterator[asyncssh.SSHClientConnection]:
    async with asyncssh.connect(
        "127.0.0.1", here.port, config=None, known_hosts=None, username=words.USER, client_keys=[key], agent_path=None
    ) as connection:
        yield connection


async def answer(connection: asyncssh.SSHClientConnection, said: bytes) -> str:
    """What the door says first to a runner that says this."""
    process = await connection.create_process(words.COMMAND, encoding=None)
    process.stdin.write(said)
    async with asyncio.timeout(20):
        line: bytes = await process.stdout.readline()
    return line.decode()


async def test_a_machines_key_opens_nothing(tmp_path: Path) -> None:
    async with world(tmp_path) as here, as_machine(here), running_job(here, await here.project(), tmp_path) as job:
        for to in ("git", words.USER, str(job.number), "root"):
            for command in ("git-upload-pack 'acme/app.git'", "git-receive-pack 'acme/app.git'", "sh", ""):
                said = await here.ssh("mac", to, *([command] if command else []))
                assert said.code != 0 and said.out == ""
                assert "this is the key of machine mac: it serves jobs, and is for nothing else" in said.error


async def test_a_machine_pushes_nothing_even_to_an_open_project(tmp_path: Path) -> None:
    tree = WorkTree(tmp_path / "tree")
    tree.commit("Begin")
    async with world(tmp_path) as here, as_machine(here):
        await here.project()
        push = await here.push("mac", tree, "main")  # type: ignore[arg-type]
        assert push.code != 0


async def test_a_machine_forwards_nothing_but_its_own_name(tmp_path: Path) -> None:
    async with world(tmp_path) as here, as_machine(here) as connection:
        for host, port in (("", 0), ("127.0.0.1", 0), ("0.0.0.0", 8080), (words.HOST, 23), ("", words.PORT)):
            with pytest.raises(asyncssh.ChannelListenError):
                await connection.create_server(lambda *_: True, host, port)
        with pytest.raises(asyncssh.ChannelListenError):
            await connection.create_unix_server(lambda: True, "/tmp/x")
        for open_one in (connection.open_connection("127.0.0.1", here.port), connection.open_unix_connection("/x")):
            with pytest.raises(asyncssh.ChannelOpenError):
                await open_one


async def test_a_persons_key_is_no_machine(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        await here.user("ada", is_admin=True)
        key = asyncssh.read_private_key(here.key("ada"))
        async with client(here, key) as connection:
            with pytest.raises(asyncssh.ChannelListenError):
                await connection.listen_ssh(words.HOST, words.PORT, server_host_keys=[key])
            assert await answer(connection, json.dumps(HELLO).encode() + b"\n") == ""
        with pytest.raises(BadRequest, match="is the key of a user already"):
            await here.db.write(lambda tx: enrol(tx, "mac", public_text(key)))


async def test_a_key_is_one_machines_and_no_persons(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        key = asyncssh.read_private_key(here.key("mac"))
        await here.db.write(lambda tx: enrol(tx, "mac", public_text(key)))
        with pytest.raises(BadRequest, match="is the key of machine mac already"):
            await here.db.write(lambda tx: enrol(tx, "second", public_text(key)))
        with pytest.raises(Conflict, match="belongs to machine mac"):
            await here.user("mac")


async def test_a_strangers_key_hears_the_same_as_ever(tmp_path: Path) -> None:
    async with world(tmp_path) as here, as_machine(here):
        said = {(await here.ssh("stranger", to)).error.partition("@")[2] for to in (words.USER, "git", "1", "mac")}
        assert said == {"127.0.0.1: Permission denied (publickey).\r\n"}


LIES = [
    b"\n",
    b"{}\n",
    b"[" * 4000 + b"\n",
    b"x" * 10_000,
    b"\xff\x00\n",
    *(
        json.dumps({**HELLO, **change}).encode() + b"\n"
        for change in (
            {"name": "\x1b]0;owned\x07"},
            {"name": "a\nb"},
            {"name": "<script>"},
            {"name": "x" * 65},
            {"name": 7},
            {"name": None},
            {"version": "1 2"},
            {"version": "\x1b[2J"},
        )
    ),
]


async def test_a_hello_that_is_none_is_refused(tmp_path: Path) -> None:
    async with world(tmp_path) as here, as_machine(here):
        for lie in LIES:
            async with client(here, asyncssh.read_private_key(here.key("mac"))) as connection:
                said = words.read_word((await answer(connection, lie)).encode())
                assert said.refused and said.refused.isprintable()
                async with asyncio.timeout(5):
                    await connection.wait_closed()
            assert here.runners.trouble("mac") is not None


async def test_who_says_hello_on_and_on_is_sent_away(tmp_path: Path) -> None:
    async with world(tmp_path) as here, as_machine(here) as connection:
        line = json.dumps(HELLO).encode() + b"\n"
        process = await connection.create_process(words.COMMAND, encoding=None)
        process.stdin.write(line * 100_000)
        async with asyncio.timeout(10):
            assert b"hello once" in await process.stdout.read()
        await until(lambda: here.runners.trouble("mac") is not None)


async def test_of_two_that_come_at_once_with_one_key_one_is_let_in(tmp_path: Path) -> None:
    async with (
        world(tmp_path) as here,
        as_machine(here) as first,
        client(here, asyncssh.read_private_key(here.key("mac"))) as second,
    ):
        hello = json.dumps(HELLO).encode() + b"\n"
        lines = await asyncio.gather(*(answer(one, hello) for one in (first, second)))
        said = [words.read_word(line.encode()) for line in lines]
        (refused,) = [word.refused for word in said if word.refused]
        assert refused.startswith("a runner with this key is connected from 127.0.0.1:")
        assert [word.machine for word in said if not word.refused] == ["mac"]
        assert here.runners.trouble("mac") is None


async def test_a_machine_without_a_way_back_is_no_more_than_unreachable(tmp_path: Path) -> None:
    """It said hello, and serves nothing; or something else than SSH."""
    async with world(tmp_path) as here, as_machine(here) as connection:
        await answer(connection, json.dumps(HELLO).encode() + b"\n")
        with pytest.raises(Exception, match="machine mac is connected, but does not answer"):
            await here.runners.connect("mac")()


async def test_a_machine_that_does_not_speak_ssh_is_no_more_than_unreachable(tmp_path: Path) -> None:
    def speak(host: str, port: int) -> Callable[..., Awaitable[None]]:
        async def serve(_: object, writer: asyncssh.SSHWriter[bytes]) -> None:
            writer.write(b"SSH-2.0-\xff\r\n")

        return serve

    async with world(tmp_path) as here, as_machine(here) as connection:
        await connection.start_server(speak, words.HOST, words.PORT, encoding=None)
        await answer(connection, json.dumps(HELLO).encode() + b"\n")
        with pytest.raises(Unavailable, match="machine mac is connected, but does not answer"):
            await here.runners.connect("mac")()


async def test_what_answers_with_another_key_is_not_the_machine(tmp_path: Path) -> None:
    async with world(tmp_path) as here, as_machine(here) as connection:
        other = asyncssh.generate_private_key("ssh-ed25519")
        await connection.listen_ssh(words.HOST, words.PORT, server_host_keys=[other])
        await answer(connection, json.dumps(HELLO).encode() + b"\n")
        with pytest.raises(Exception, match="Host key is not trusted"):
            await here.runners.connect("mac")()


async def test_nobody_but_the_door_gets_into_a_runner(tmp_path: Path) -> None:
    """Through the same connection, with any key but the door's."""
    async with world(tmp_path) as here, dialler(tmp_path / "box", here.port) as box:
        await here.db.write(lambda tx: enrol(tx, "mac", box.public_key))
        await box.start()
        await until(lambda: here.runners.trouble("mac") is None)
        here.runners.host_key = asyncssh.generate_private_key("ssh-ed25519")
        with pytest.raises(Exception, match="Permission denied"):
            await here.runners.connect("mac")()


@pytest.mark.parametrize("want", ["shell", "subsystem", "forward", "listen"])
async def test_a_runner_runs_commands_and_does_nothing_else(tmp_path: Path, want: str) -> None:
    async with world(tmp_path) as here, dialler(tmp_path / "box", here.port) as box:
        await here.db.write(lambda tx: enrol(tx, "mac", box.public_key))
        await box.start()
        await until(lambda: here.runners.trouble("mac") is None)
        async with await here.runners.connect("mac")() as machine:
            with pytest.raises((asyncssh.ChannelOpenError, asyncssh.ChannelListenError)):
                if want == "shell":
                    await machine.create_process()
                elif want == "subsystem":
                    await machine.start_sftp_client()
                elif want == "forward":
                    await machine.open_connection("127.0.0.1", here.port)
                else:
                    await machine.create_server(lambda *_: True, "127.0.0.1", 0)


def test_what_a_server_says_moves_no_terminal() -> None:
    assert words.read_word(words.Word(refused="\x1b[2J‮no").line()).refused == "�[2J�no"
    with pytest.raises(BadRequest):
        words.read_word(words.Word(machine="\x1b[2J").line())
