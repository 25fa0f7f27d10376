"""The SSH connections to one machine: where it is and who it is, and as many channels as are wanted at once.

OpenSSH allows ten sessions on a connection (MaxSessions) and ten connections that have not logged in yet (MaxStartups).
So there are several connections, made one after the other; the fullest that still takes a channel gets the next one, and
those above the first are closed when nothing has been on them for a while.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import asyncssh

from appliance.errors import RondoError, SandboxError, Unavailable, printable
from appliance.executors.machine_channel import Channel

Connect = Callable[[], Awaitable[asyncssh.SSHClientConnection]]
"""Makes a new connection, logged in. Raises Unavailable or SandboxError with a sentence that says what is wrong."""

TROUBLES = (OSError, asyncssh.Error, ValueError)
"""What the library raises of a connection: also, as it is, what it cannot decode of what the other end says."""

KEEPALIVE_S = 5.0
KEEPALIVES = 2  # unanswered; the next one that is due ends the connection
CONNECT_S = 10.0
LOGIN_S = 15.0
SHELL = "exec sh -c 'read -r r; eval \"$r\"'"  # why so: machine_script.py
IDLE_S = 60.0  # then a connection without channels is closed, unless it is the only one
CHANNEL_S = 30.0  # more than it takes to notice that the connection is dead
_CLOSE_S = 5.0
_MOST_BROKEN = 5
_FULL_S = 5.0  # a session that we have closed counts until its process has ended: so nothing is full for ever

# Only this key, and nothing of the user's that runs us: no ~/.ssh, no agent, no passwords.
_OURS_ALONE: dict[str, object] = {
    "config": None,
    "agent_path": None,
    "password_auth": False,
    "kbdint_auth": False,
    "host_based_auth": False,
    "gss_host": None,
    "gss_kex": False,
    "gss_auth": False,
    "preferred_auth": "publickey",
    "x509_trusted_certs": None,
    "compression_algs": None,
}


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where a machine is, who logs in, and the one host key that it may show."""

    host: str
    port: int = 22
    user: str
    private_key: str = field(repr=False)  # the text of it
    host_key: str  # "ssh-ed25519 AAAA..."

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def over_ssh(address: Address) -> Connect:
    """Connections straight to the machine's own SSH server. What is said of trouble names no address: jobs say it too."""

    async def connect() -> asyncssh.SSHClientConnection:
        key, pinned = _keys(address)
        guard = _Guard(pinned)
        # Its own kinds of keys first, but any: a server that has only another one is to be named, not "no match".
        kinds = [name.decode() for name in pinned.sig_algorithms]
        kinds += [name for name in _HOST_KEY_KINDS if name not in kinds]
        try:
            async with asyncio.timeout(CONNECT_S + LOGIN_S):
                return await asyncssh.connect(
                    address.host,
                    address.port,
                    username=address.user,
                    client_keys=[key],
                    client_factory=lambda: guard,
                    known_hosts=([], [], []),
                    server_host_key_algs=kinds,
                    connect_timeout=CONNECT_S,
                    login_timeout=LOGIN_S,
                    keepalive_interval=KEEPALIVE_S,
                    keepalive_count_max=KEEPALIVES,
                    **_OURS_ALONE,
                )
        except asyncssh.HostKeyNotVerifiable as problem:
            raise Unavailable(guard.complaint() or f"it shows no host key: {printable(problem.reason)}") from problem
        except asyncssh.PermissionDenied as problem:
            raise Unavailable(
                f"it does not let its user in with the key {key.get_fingerprint()}; is that in ~/.ssh/authorized_keys there?"
            ) from problem
        except TimeoutError as problem:
            raise Unavailable(f"it did not answer in {CONNECT_S:g} s") from problem
        except TROUBLES as problem:
            raise Unavailable(f"cannot connect to it: {why_not(problem)}") from problem

    return connect


_HOST_KEY_KINDS = (
    *("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"),
    *("rsa-sha2-512", "rsa-sha2-256"),
)


def _keys(address: Address) -> tuple[asyncssh.SSHKey, asyncssh.SSHKey]:
    try:
        key = asyncssh.import_private_key(address.private_key)
    except (asyncssh.KeyImportError, ValueError) as problem:
        raise Unavailable(f"the private key for it cannot be read: {problem}") from None
    try:
        return key, asyncssh.import_public_key(address.host_key)
    except (asyncssh.KeyImportError, ValueError) as problem:
        raise Unavailable(f"the host key noted for it cannot be read: {problem}") from None


class _Guard(asyncssh.SSHClient):
    """Knows the machine by its host key."""

    def __init__(self, pinned: asyncssh.SSHKey) -> None:
        self._pinned = pinned
        self._shown: asyncssh.SSHKey | None = None

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        self._shown = key
        return key.public_data == self._pinned.public_data

    def complaint(self) -> str | None:
        if self._shown is None:
            return None
        return (
            f"it shows another host key than was noted: {self._shown.get_fingerprint()} instead of "
            f"{self._pinned.get_fingerprint()}; was it installed anew, or is it somebody else?"
        )


def why_not(problem: Exception) -> str:
    """asyncio's own words name the address."""
    if isinstance(problem, socket.gaierror):
        return problem.strerror or "its name is not known"
    if isinstance(problem, OSError):
        return os.strerror(problem.errno) if problem.errno else "none of its addresses answers"
    if isinstance(problem, ValueError):
        return "what it says is no SSH"
    return printable(str(problem)) or type(problem).__name__


class _Line:
    """One connection, and the channels on it."""

    def __init__(self, connection: asyncssh.SSHClientConnection) -> None:
        self.connection = connection
        self.channels = 0  # also those that are just being opened
        self.full_until_s = 0.0
        self.is_spoiled = False  # the wait for a session was cancelled: it may be open there, and nobody can close it

    @property
    def is_open(self) -> bool:
        return not self.connection.is_closed()


class Link:
    """All connections to one machine. They are made when they are needed."""

    def __init__(
        self, connect: Connect, *, idle_s: float = IDLE_S, keepalive_s: float = KEEPALIVE_S, shell: str = SHELL
    ) -> None:
        """`shell` is the command line that starts a shell there, which runs what comes on its stdin."""
        self.shell = shell
        self._connect = connect
        self._keepalive_s = keepalive_s
        self._idle_s = idle_s
        self._lines: list[_Line] = []
        self._growing = asyncio.Lock()
        self._failed: tuple[float, RondoError] | None = None  # the latest attempt, if it failed, and when it had
        self.is_closed = False

    @property
    def notices_silence_s(self) -> float:
        """How long the machine may say nothing before its connection counts as broken."""
        return self._keepalive_s * (KEEPALIVES + 1)

    @property
    def connections(self) -> int:
        return len(self._lines)

    async def channel(self, command: str, *, tty: tuple[int, int] | None = None, terminal: str = "") -> Channel:
        """Start `command` on the machine; `tty` is (columns, rows). Raises Unavailable and SandboxError.

        One attempt: those who ask while a connection is being made share what comes of it.
        """
        asked_at = asyncio.get_running_loop().time()
        broken = 0
        while broken < _MOST_BROKEN:
            now = asyncio.get_running_loop().time()
            line = self._best(now)
            if line is None:
                await self._grow(asked_at)
                continue
            try:
                return await self._open(line, command, tty, terminal)
            except asyncssh.ChannelOpenError as problem:
                if line.is_open:
                    if not line.channels:
                        raise SandboxError(f"the machine takes no commands: {printable(problem.reason)}") from problem
                    line.full_until_s = asyncio.get_running_loop().time() + _FULL_S
                else:
                    broken += 1
            except TROUBLES:
                self._drop(line)
                broken += 1
        raise SandboxError("the machine ends every connection as soon as a command is to be run on it")

    def _best(self, now: float) -> _Line | None:
        self._lines = [line for line in self._lines if line.is_open]
        usable = [line for line in self._lines if line.full_until_s <= now and not line.is_spoiled]
        return max(usable, key=lambda line: line.channels, default=None)

    async def _open(self, line: _Line, command: str, tty: tuple[int, int] | None, terminal: str) -> Channel:
        channel = Channel(lambda: self._leave(line))
        line.channels += 1
        try:
            async with asyncio.timeout(CHANNEL_S):
                await line.connection.create_session(
                    lambda: channel,
                    command,
                    encoding=None,
                    request_pty=tty is not None,
                    term_type=terminal or None,
                    term_size=tty,
                )
        except BaseException as problem:
            if not channel.was_begun:
                line.is_spoiled = line.is_spoiled or isinstance(problem, asyncio.CancelledError)
                self._leave(line)
                raise
            channel.abort()  # and it leaves when it has ended
            if isinstance(problem, asyncssh.ChannelOpenError):  # another connection would not change its mind
                raise SandboxError(f"the machine does not run commands: {problem.reason}") from problem
            raise
        return channel

    def _leave(self, line: _Line) -> None:
        line.channels -= 1
        line.full_until_s = 0.0
        if line.channels or not line.is_open:
            return
        if line.is_spoiled:
            self._drop(line)
        else:
            asyncio.get_running_loop().call_later(self._idle_s, self._close_idle, line)

    def _close_idle(self, line: _Line) -> None:
        if not line.channels and line in self._lines and len(self._lines) > 1:
            self._drop(line)

    def _drop(self, line: _Line) -> None:
        with contextlib.suppress(ValueError):
            self._lines.remove(line)
        line.connection.abort()

    async def _grow(self, asked_at: float) -> None:
        async with self._growing:
            if self._best(asyncio.get_running_loop().time()) is not None:
                return
            if self._failed is not None and self._failed[0] >= asked_at:
                raise self._failed[1]
            if self.is_closed:
                raise SandboxError("the connections to the machine were closed")
            try:
                connection = await self._connect()
            except (Unavailable, SandboxError) as problem:
                self._failed = asyncio.get_running_loop().time(), problem
                raise
            if self.is_closed:
                connection.abort()
                raise SandboxError("the connections to the machine were closed")
            connection.set_keepalive(self._keepalive_s, KEEPALIVES)
            self._failed = None
            self._lines.append(_Line(connection))

    async def close(self) -> None:
        """End all connections. May be repeated."""
        self.is_closed = True
        lines = list(self._lines)
        for line in lines:
            self._drop(line)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_S):
                for line in lines:
                    await line.connection.wait_closed()
