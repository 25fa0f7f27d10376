"""Dialling in, for ever: connect, say hello, serve, and again after whatever went wrong.

TERM or INT asks the appliance for no more jobs, and ends the runner when the last one on this machine has ended and is
cleared away, or after `longest_leave_s`. A second one ends it at once. Jobs go on by themselves: a runner that comes
back soon enough serves them on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import signal
from collections.abc import Callable
from dataclasses import dataclass

import asyncssh

from appliance import __version__
from appliance import runner_words as words
from appliance.errors import BadRequest, RondoError
from appliance.machine_runner.commands import Children, Host
from appliance.machine_runner.identity import Identity, Server, public_text

log = logging.getLogger("runner")

_KEEPALIVE_S = 5
_KEEPALIVES = 2  # without an answer; then the connection is lost
_CONNECT_S = 20.0
_WELCOME_S = 30.0
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 15.0  # below the patience that an appliance has with a machine


class Unwelcome(RondoError):
    """The server does not let us serve."""


@dataclass(frozen=True, kw_only=True)
class Options:
    server: Server
    name: str  # what the machine's owner calls it
    longest_leave_s: float
    tell: Callable[[str], None]  # takes sd_notify's words


class Runner:
    """The machine's half. `run` once."""

    def __init__(self, identity: Identity, options: Options) -> None:
        self._identity = identity
        self._options = options
        self._children = Children()
        self._is_leaving = False
        self._woken = asyncio.Event()
        self._deadline = asyncio.timeout(None)
        self._door: asyncssh.SSHClientProcess[bytes] | None = None  # the session beside the jobs
        self._running = 0  # jobs here, as the appliance said last
        self._pause_s = _FIRST_PAUSE_S
        self._last_trouble = ""

    async def run(self) -> int:
        """Until it was told to leave; the exit code: 0, or 1 when jobs were left behind."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._leave)
        self._children.watch()
        self._options.tell("READY=1")
        with contextlib.suppress(TimeoutError):
            async with self._deadline:
                await self._dial_until_we_leave()
        if not self._running:
            log.info("bye")
            return 0
        log.warning("leaving %s behind: started again within a minute, this runner serves on", _jobs(self._running))
        return 1

    def _leave(self) -> None:
        now_s = asyncio.get_running_loop().time()
        if self._is_leaving:
            self._deadline.reschedule(now_s)
            return
        self._is_leaving = True
        self._deadline.reschedule(now_s + self._options.longest_leave_s)
        self._options.tell("STOPPING=1")
        log.info("leaving: no new jobs; %s to wait for; a second signal ends this now", _jobs(self._running))
        self._woken.set()
        if self._door is not None:
            self._say_hello(self._door)

    async def _dial_until_we_leave(self) -> None:
        while not (self._is_leaving and not self._running):
            try:
                await self._serve()
            except (OSError, asyncssh.Error, RondoError, ValueError) as error:  # the last is of what cannot be decoded
                self._complain(error)
                await self._rest(self._pause_s * random.uniform(0.5, 1.0))
                self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)

    async def _rest(self, longest_s: float) -> None:
        """Until it is time, or we are told to leave."""
        self._woken.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(longest_s):
                await self._woken.wait()

    async def _serve(self) -> None:
        """One connection, until it breaks or we may leave."""
        client = _Client(self._identity, self._options.server)
        async with await self._connect(client) as connection:
            door_key = connection.get_server_host_key()
            assert door_key is not None
            try:
                await connection.listen_ssh(
                    words.HOST,
                    words.PORT,
                    server_factory=lambda: Host(self._children, door_key),
                    server_host_keys=[self._identity.key],
                    encoding=None,
                    line_editor=False,
                    allow_scp=False,
                    x11_forwarding=False,
                    password_auth=False,
                    kbdint_auth=False,
                    gss_host=None,
                    **words.SHARED,
                )
            except asyncssh.ChannelListenError:
                raise Unwelcome(f"{self._options.server} knows this key, but not as a machine's") from None
            self._door = await connection.create_process(words.COMMAND, encoding=None)
            try:
                await self._converse(self._door)
            finally:
                self._door = None

    async def _connect(self, client: _Client) -> asyncssh.SSHClientConnection:
        server = self._options.server
        try:
            return await asyncssh.connect(
                server.host,
                server.port,
                config=None,
                client_factory=lambda: client,
                known_hosts=([], [], []),
                username=words.USER,
                client_keys=None,
                agent_path=None,
                preferred_auth="publickey",
                gss_host=None,
                client_version="Rondo_runner",
                connect_timeout=_CONNECT_S,
                login_timeout=_CONNECT_S,
                keepalive_interval=_KEEPALIVE_S,
                keepalive_count_max=_KEEPALIVES,
                **words.SHARED,
            )
        except asyncssh.PermissionDenied:
            raise Unwelcome(self._how_to_enrol()) from None
        except asyncssh.HostKeyNotVerifiable:
            raise Unwelcome(client.about_another_key()) from None

    def _how_to_enrol(self) -> str:
        return (
            f"{self._options.server} does not know this machine. Its admin can change that, with one command there:\n"
            f"    rondo machine add {self._options.name} --dials-in --key '{self._identity.public_key}'\n"
            "Until then it is asked again and again."
        )

    async def _converse(self, door: asyncssh.SSHClientProcess[bytes]) -> None:
        self._say_hello(door)
        is_welcome = False
        async with asyncio.timeout(_WELCOME_S) as patience:
            while line := await door.stdout.readline():
                word = words.read_word(line)
                if word.refused:
                    raise Unwelcome(f"{self._options.server} says: {word.refused}")
                if not is_welcome:
                    is_welcome = True
                    patience.reschedule(None)
                    self._welcome(word)
                self._note(word.running)
                if word.may_go:
                    return
        raise ConnectionError("it has hung up")

    def _say_hello(self, door: asyncssh.SSHClientProcess[bytes]) -> None:
        hello = words.Hello(version=__version__, name=self._options.name, is_leaving=self._is_leaving)
        with contextlib.suppress(OSError, asyncssh.Error):
            door.stdin.write(hello.line())

    def _welcome(self, word: words.Word) -> None:
        self._pause_s, self._last_trouble = _FIRST_PAUSE_S, ""
        text = f"connected to {self._options.server} as machine {word.machine}"
        log.info("%s; %s here now", text, _jobs(word.running))
        self._options.tell(f"STATUS={text}")

    def _note(self, running: int) -> None:
        if running != self._running:
            log.info("%s here now", _jobs(running))
        self._running = running

    def _complain(self, error: Exception) -> None:
        """Once for each trouble, however often it is met."""
        text = self._about(error)
        if text != self._last_trouble:
            self._last_trouble = text
            for line in text.splitlines():
                log.warning("%s", line)
            self._options.tell(f"STATUS={text.splitlines()[0]}")

    def _about(self, error: Exception) -> str:
        server = self._options.server
        if isinstance(error, Unwelcome):
            return str(error)
        if isinstance(error, BadRequest):
            return f"{server} says what no Rondo of this version says ({error}); is it another program, or another version?"
        if isinstance(error, TimeoutError):
            return f"{server} does not answer; trying again"
        if isinstance(error, OSError):
            return f"cannot reach {server}: {error.strerror or error}; trying again"
        return f"the connection to {server} broke: {_printable(str(error))}; trying again"


class _Client(asyncssh.SSHClient):
    """Shows our one key to a server with the right host key; the first one that is met becomes the right one."""

    def __init__(self, identity: Identity, server: Server) -> None:
        self._identity = identity
        self._server = server
        self._connection: asyncssh.SSHClientConnection | None = None
        self._shown: asyncssh.SSHKey | None = None
        self._has_asked = False

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        self._connection = conn

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        self._shown = key
        return self._identity.pinned(self._server) in (None, public_text(key))

    def public_key_auth_requested(self) -> asyncssh.SSHKey | None:
        """Now the server has proved that the host key is its own."""
        assert self._connection is not None
        host_key = self._connection.get_server_host_key()
        if host_key is None or self._has_asked:
            return None
        self._has_asked = True
        if self._identity.pinned(self._server) is None:
            self._identity.pin(self._server, public_text(host_key))
            log.info(
                "%s is new to us: its host key, %s, is what it has to show from now on (%s)",
                self._server,
                host_key.get_fingerprint(),
                self._identity.known,
            )
        return self._identity.key

    def about_another_key(self) -> str:
        pinned = self._identity.pinned(self._server)
        assert pinned is not None
        shown = self._shown.get_fingerprint() if self._shown is not None else "none"
        return (
            f"{self._server} shows the host key {shown}, and not {asyncssh.import_public_key(pinned).get_fingerprint()} as"
            f" before. Does somebody stand between? If it was set up anew, remove its line from {self._identity.known}"
            " or start with --host-key."
        )


def _jobs(count: int) -> str:
    return "1 job" if count == 1 else f"{count or 'no'} jobs"


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "�" for character in text)[:500]
