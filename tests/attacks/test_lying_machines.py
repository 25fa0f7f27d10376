"""A machine that lies: its SSH server answers our questions with floods, forged marks, numbers and terminal escapes.

Whatever it says, those who asked get an answer or a sentence of ours soon; nobody else notices.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import asyncssh
import pytest

from appliance.errors import RondoError, Unavailable
from appliance.executors.base import Command, SandboxSpec, Usage
from appliance.executors.machine import MachineExecutor, MachineOptions, MachineSandbox
from appliance.executors.machine_check import examine, shown_host_key
from appliance.executors.machine_link import Address, over_ssh
from appliance.executors.supervised import Pace

ESCAPES = "\x1b]0;owned\x07\x1b[2J\u202egnp"
FLOOD = b"x" * (4 << 20)

KEY, HOST_KEY = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))

Answer = Callable[[bytes], bytes]
"""Of the mark that an answer has to begin with, what the machine says."""


@asynccontextmanager
async def liar(answer: Answer, *, code: int = 0, to_stderr: bytes = b"") -> AsyncIterator[Address]:
    connections: list[asyncssh.SSHServerConnection] = []

    class Server(asyncssh.SSHServer):
        def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
            connections.append(conn)

        def begin_auth(self, username: str) -> bool:
            return False

    async def serve(process: asyncssh.SSHServerProcess[bytes]) -> None:
        mark = b""
        try:
            while not mark and (line := await process.stdin.readline()):
                found = re.search(rb"r_nonce=([0-9a-f]+)", line)
                mark = b"\x01" + found[1] + b" " if found else b""
            process.stderr.write(to_stderr)
            process.stdout.write(answer(mark))
            await process.stdout.drain()
        except (OSError, asyncssh.Error):
            return
        process.exit(code)

    server = await asyncssh.create_server(
        Server, "127.0.0.1", 0, server_host_keys=[HOST_KEY], process_factory=serve, encoding=None
    )
    async with server:
        yield address_of(server)
        for connection in connections:
            connection.abort()
            await connection.wait_closed()


PLACE = Address(
    host="127.0.0.1",
    user="ci",
    private_key=KEY.export_private_key().decode(),
    host_key=HOST_KEY.export_public_key().decode().strip(),
)


def address_of(server: asyncssh.SSHAcceptor) -> Address:
    return replace(PLACE, port=server.get_port())


def executor(address: Address) -> MachineExecutor:
    options = MachineOptions(patience_s=0.5, end_grace_s=0.1)
    made = MachineExecutor("i", "box", over_ssh(address), options=options, pace=Pace())
    made.ask_s = 3.0
    return made


NAMES = (b"..", b"a/b", b"-rf", b"", b"x\x1b[2J", b"good")
LIES: dict[str, Answer] = {
    "nothing": lambda mark: b"",
    "flood": lambda mark: FLOOD,
    "flood behind an answer": lambda mark: mark + b"ok\n" + FLOOD,
    "escapes before it ends": lambda mark: ESCAPES.encode(),
    "escapes as a reason": lambda mark: mark + b"no " + ESCAPES.encode() + b"\n",
    "a long reason": lambda mark: mark + b"no " + b"y" * 900_000 + b"\n",
    "another's mark": lambda mark: b"\x010123456789abcdef ok\n",
    "no UTF-8": lambda mark: mark + b"\xff\xfe no\n",
    "two answers": lambda mark: mark + b"ok\n" + mark + b"ok\n",
    "names that are none": lambda mark: mark + b"ok\n" + b"".join(mark + b"node " + name + b"\n" for name in NAMES),
}


@pytest.mark.parametrize("lie", LIES)
async def test_a_lie_is_an_answer_or_a_sentence(lie: str) -> None:
    async with liar(LIES[lie], code=255, to_stderr=ESCAPES.encode()) as address, asyncio.timeout(30):
        box = executor(address)
        trouble = await box.check()
        assert trouble is None or (trouble.isprintable() and len(trouble) < 1200)
        for ask in (box.list, lambda: box.remove("n1"), lambda: examine(over_ssh(address))):
            try:
                found = await ask()
                assert found in (None, [], ["good"])
            except RondoError as error:
                assert str(error).isprintable() and len(str(error)) < 1200, repr(error)
        await box.close()


@pytest.mark.parametrize("lie", LIES)
async def test_a_job_on_a_liar_fails_or_is_lost_with_a_sentence(lie: str) -> None:
    async with liar(LIES[lie]) as address, asyncio.timeout(60):
        box = executor(address)
        said: list[bytes] = []

        async def progress(text: bytes) -> None:
            said.append(text)

        try:
            sandbox = await box.open(SandboxSpec(node="n1"), progress)
            assert b"".join(said).decode().strip().isprintable()
            await sandbox.usage()
            await sandbox.detach()
        except RondoError as error:
            assert str(error).isprintable() and len(str(error)) < 1200
        await box.close()


WORDS = [b"-1", b"1e308", b"nan", b"9" * 5000, "²".encode(), b""]


@pytest.mark.parametrize("word", WORDS)
async def test_what_is_no_measure_is_none(word: bytes) -> None:
    async with liar(lambda mark: mark + b"ok " + word + b" 1 1 1 1 1\n") as address:
        box = executor(address)
        assert await MachineSandbox(box, "n1", Pace()).usage() == ()
        await box.close()


async def test_the_largest_measures_fit_a_row() -> None:
    async with liar(lambda mark: mark + b"ok 999999999999999 999999999999999 999999999999999 9 0 4096\n") as address:
        box = executor(address)
        (found,) = await MachineSandbox(box, "n1", Pace()).usage()
        assert isinstance(found, Usage) and found.memory_bytes < 1 << 63
        await box.close()


FACTS = [
    b"begin\nend\n",
    b"begin\nend\nfolder /x\n",
    b"begin\nfree_kib 1\nend\n",
    b"begin\ntime nan\ncpus 1e308\nmemory_kib -5\nload inf\nfree_kib 9e99\nfolder /x\nend\n",
    b"begin\nos %s\narch %s\nsystem <script>\nfolder %s\nend\n" % (ESCAPES.encode(), b"a" * 5000, ESCAPES.encode()),
    b"begin\n" * 100_000,
]


@pytest.mark.parametrize("facts", FACTS)
async def test_facts_that_are_lies_are_small_and_plain(facts: bytes) -> None:
    async with liar(lambda mark: facts) as address, asyncio.timeout(30):
        try:
            found = await examine(over_ssh(address))
        except RondoError as error:
            assert str(error).isprintable()
            return
        texts = [found.os, found.arch, found.system, found.kernel, found.folder, found.user, *found.warnings]
        assert all(text.isprintable() and len(text) < 400 for text in texts)
        numbers = [found.cpus, found.memory_bytes, found.load, found.free_bytes]
        assert all(0 <= number < 1 << 62 for number in numbers)


@pytest.mark.parametrize(
    "said",
    [
        b"SSH-2.0-\xff\r\n",
        b"SSH-2.0-x\r\n" + bytes(4096),
        b"SSH-2.0-x\r\n\x00\x00\x00\x0c\x0a\x14" + b"\xff" * 10,
        b"\xff" * 9000,
    ],
)
async def test_what_is_no_ssh_is_a_sentence(said: bytes) -> None:
    """Before anybody has proved to be the machine."""

    open_ones: set[asyncio.BaseTransport] = set()

    class Speaker(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            self.transport = transport
            open_ones.add(transport)
            transport.write(said)

        def connection_lost(self, exc: Exception | None) -> None:
            open_ones.discard(self.transport)

    server = await asyncio.get_running_loop().create_server(Speaker, "127.0.0.1", 0)
    async with server, asyncio.timeout(20):
        address = replace(PLACE, port=server.sockets[0].getsockname()[1])
        for ask in (over_ssh(address), lambda: shown_host_key(address.host, address.port)):
            with pytest.raises(Unavailable):
                await ask()
        while open_ones:  # noqa: ASYNC110 - until we have hung up
            await asyncio.sleep(0.01)


async def test_a_clock_that_is_years_off_is_told_in_days() -> None:
    async with liar(lambda mark: b"begin\ntime 1\nfolder /x\nend\n") as address:
        (said,) = [each for each in (await examine(over_ssh(address))).warnings if "clock" in each]
        assert re.fullmatch(r"its clock is \d{5} days behind ours: let it follow a time server", said)


OTHERS = b"\x01begin 0123456789abcdef\nof another job\n\x01end 0123456789abcdef 0 15 0\n"


@pytest.mark.parametrize("said", [b"", OTHERS, b"\x01end " + b"9" * 100_000, b"x" * 300_000])
async def test_what_a_liar_says_of_another_job_is_not_this_ones(said: bytes) -> None:
    """It lets us attach, and tells what a command of somebody else's said and how that ended."""
    async with liar(lambda mark: mark + b"ok\n" + said) as address, asyncio.timeout(30):
        box = executor(address)
        sandbox = await box.reattach("n1")
        events = []
        with pytest.raises(RondoError):
            async for event in sandbox.run(Command(id="1", script="true")):
                events.append(event)
        assert events == [] and sandbox.ref == "n1"
        await sandbox.detach()
        await box.close()


async def test_a_server_that_asks_for_our_side_gets_nothing() -> None:
    """Channels from the server to us: an agent, X11, forwarded ports."""
    refused: list[str] = []
    done = asyncio.Event()

    class Server(asyncssh.SSHServer):
        def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
            self._connection = conn

        def begin_auth(self, username: str) -> bool:
            return False

        def auth_completed(self) -> None:
            self._task = asyncio.get_running_loop().create_task(self._ask())

        async def _ask(self) -> None:
            for ask in (
                lambda: self._connection.create_connection(asyncssh.SSHTCPSession, "127.0.0.1", 22),
                lambda: self._connection.create_unix_connection(asyncssh.SSHUNIXSession, "/var/run/docker.sock"),
            ):
                try:
                    await ask()
                except asyncssh.ChannelOpenError as error:
                    refused.append(error.reason)
            done.set()

    server = await asyncssh.create_server(Server, "127.0.0.1", 0, server_host_keys=[HOST_KEY])
    async with server, await over_ssh(address_of(server))(), asyncio.timeout(10):
        await done.wait()
    assert len(refused) == 2
