"""The SSH door: who may enter, and to whom they are shown.

Public keys only, looked up by fingerprint. The user name says where one wants to go (`git`, a job's number), never who
one is: so there are no accounts to guess, and a stranger's key is refused alike for every name. Nothing is forwarded:
no agent, no X11, no ports, no sockets; only a machine that dials in may forward one port, which is none (see runners).
The key is looked up again for each session on a connection, so whoever was removed gets no further.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import math
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncssh

from appliance import runner_words
from appliance.bell import Bell
from appliance.clock import Clock
from appliance.engine.commands import Commands
from appliance.errors import Refused, RondoError, SettingsError
from appliance.settings import Settings
from appliance.sshd import callers
from appliance.sshd.callers import Caller
from appliance.sshd.git import GitDoor, parse_command
from appliance.sshd.host_key import load_or_make_host_key
from appliance.sshd.runners import KEEPALIVE, Runners
from appliance.sshd.session import Gone, Session, finish, tell
from appliance.sshd.shell import ShellDoor, parse_node
from appliance.store.database import Database
from appliance.vcs.base import HostedRepositories

log = logging.getLogger(__name__)

_VERSION = "Rondo"
_KEEPALIVE_S = 30
_SESSIONS_PER_CONNECTION = 10  # as in OpenSSH
_KEYS_PER_CONNECTION = 50
_JOBS_LIKE_USERS = 5
_STRANGERS_AT_ONCE = 100
_COMPLAIN_S = 60.0
_OPENING_TIMEOUT_S = 120.0
_FAREWELL_S = 1.0  # for last words, before connections are closed
_BLINK_S = 0.02
_CLOSED: dict[str, Any] = {
    "password_auth": False,
    "kbdint_auth": False,
    "host_based_auth": False,
    "gss_host": None,
    "gss_kex": False,
    "gss_auth": False,
    "agent_forwarding": False,
    "x11_forwarding": False,
    "allow_scp": False,
    "compression_algs": None,
}
_ALGORITHMS: dict[str, Any] = {
    "kex_algs": "*25519*,ecdh-sha2-nistp*",
    "encryption_algs": "chacha20-poly1305@openssh.com,aes*-gcm@openssh.com,aes256-ctr,aes128-ctr",
    "mac_algs": "hmac-sha2-*-etm@openssh.com",
    "signature_algs": "ssh-ed25519,sk-ssh-ed25519@openssh.com,ecdsa-*,sk-ecdsa-*,rsa-sha2-*",
}


class Door:
    """The listener, and what it leads to. Use: `listening`, then `reconcile`, then `open`.

    Before `open` whoever comes is let in and waits: the port is known early, and nothing happens before recovery.
    """

    def __init__(
        self,
        *,
        db: Database,
        bell: Bell,
        clock: Clock,
        commands: Commands,
        hosted: HostedRepositories,
        settings: Settings,
        data: Path,
        web_url: str,
        runners: Runners,
        drain_s: float = 10.0,
    ) -> None:
        self._db = db
        self._settings = settings
        self._runners = runners
        self._host_key = data / "ssh_host_key"
        self._drain_s = drain_s
        self._git = GitDoor(db, commands, bell, hosted, pages=web_url)
        self._shell = ShellDoor(db, commands, idle_limit_s=settings.number("ssh.idle_limit"))
        self._name = settings.text("ssh.name") or urlsplit(web_url).hostname or settings.text("ssh.host")
        self._is_open = asyncio.Event()
        self._open: Counter[str] = Counter()  # sessions, by who has them
        self._group: asyncio.TaskGroup | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._guests: dict[Guest, None] = {}  # oldest first
        self._clock = clock
        self._turned_away = 0  # since it was said last
        self._complained_s = -math.inf
        self._port = 0
        self.public_key = ""  # "ssh-ed25519 AAAA...", once it listens

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[int]:
        """Listen during the block; gives the port. Raises SettingsError when the address is taken.

        At the end connections are closed, and pushes that git has taken get some time to become triggers.
        """
        key = await asyncio.to_thread(load_or_make_host_key, self._host_key)
        self.public_key = key.export_public_key("openssh").decode().strip()
        self._runners.host_key = key
        acceptor = await self._listen(key)
        self._port = acceptor.get_port()
        problem: BaseException | None = None
        async with asyncio.TaskGroup() as self._group:
            try:
                yield self._port
            except BaseException as error:  # of the block, not ours: kept out of the group, which would wrap it
                problem = error
            acceptor.close()
            await self._close()
            await acceptor.wait_closed()
        if problem is not None:
            raise problem

    async def reconcile(self) -> None:
        """Take up pushes that a killed appliance left without a trigger. Before `open`."""
        await self._git.pushes.reconcile_all()

    async def catch_up(self) -> None:
        """Give pushes that were taken on a full disk their triggers when there is room. Ends only by being cancelled."""
        await self._git.pushes.run()

    def open(self) -> None:
        self._is_open.set()

    async def _listen(self, key: asyncssh.SSHKey) -> asyncssh.SSHAcceptor:
        host, port = self._settings.text("ssh.host"), self._settings.integer("ssh.port")
        try:
            return await asyncssh.create_server(
                lambda: Guest(self),
                host,
                port,
                server_host_keys=[key],
                server_version=_VERSION,
                login_timeout=self._settings.number("ssh.login_timeout"),
                keepalive_interval=_KEEPALIVE_S,
                encoding=None,
                line_editor=False,
                **_CLOSED,
                **_ALGORITHMS,
            )
        except OSError as error:
            why = error.strerror or str(error)
            raise SettingsError(
                [f"cannot listen on {host}:{port} for SSH: {why}; choose another ssh.port (0: a free one)"]
            ) from None

    def arrive(self, guest: Guest) -> None:
        """A connection. When too many have not logged in yet, one has to go: of the network that has most of them the one
        that has taken the longest.

        Not the newest: then a crowd that says nothing could keep everybody out. And not the oldest of all: a login takes
        some round trips, in which a crowd can come many times over.
        """
        self._guests[guest] = None
        strangers = [one for one in self._guests if not one.is_known]
        if len(strangers) > _STRANGERS_AT_ONCE:
            crowd, _ = Counter(one.network for one in strangers).most_common(1)[0]
            oldest = next(one for one in strangers if one.network == crowd)
            self._complain_of(oldest)
            self.depart(oldest)  # at once: others may arrive before its connection has gone
            oldest.leave_at_once()

    def _complain_of(self, stranger: Guest) -> None:
        """Now and then: a crowd shall not fill the log."""
        self._turned_away += 1
        now_s = self._clock.monotonic_s()
        if now_s - self._complained_s >= _COMPLAIN_S:
            facts = {"address": stranger.address, "turned away": self._turned_away}
            log.warning("too many connections that do not log in", extra=facts)
            self._turned_away, self._complained_s = 0, now_s

    def depart(self, guest: Guest) -> None:
        self._guests.pop(guest, None)

    async def caller_of(self, public_key: str) -> Caller | None:
        return await self._db.read(lambda tx: callers.find(tx, public_key))

    def begin(self, session: Session, guest: Guest) -> None:
        """Serve a session in a task of the door's: it may outlive the connection (a push does)."""
        assert self._group is not None
        task = self._group.create_task(self._serve(session, guest))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, session: Session, guest: Guest) -> None:
        code = 1
        try:
            code = await self._admit(session, guest)
        except Exception as error:  # the top of a request: whatever it was, the door stays open
            _explain(session, error)
        finally:
            guest.sessions -= 1
            finish(session, code)

    async def _admit(self, session: Session, guest: Guest) -> int:
        caller = await self.caller_of(guest.public_key)
        if caller is not None and caller.is_machine:  # also before we are open: its jobs are waiting to be found again
            return await self._serve_machine(session, guest, caller)
        async with asyncio.timeout(_OPENING_TIMEOUT_S):
            await self._is_open.wait()
        caller = await self.caller_of(guest.public_key)
        if caller is None:
            raise Refused("this key is not known any more")
        # The jobs of a project share a key, and a wide one fetches from all its nodes at once.
        most = self._settings.integer("ssh.sessions_per_user") * (_JOBS_LIKE_USERS if caller.project else 1)
        # By the key where jobs have it: they do not use up what a person may open.
        who = guest.public_key if caller.project else caller.name
        if self._open[who] >= most:
            raise Refused(f"{caller.name} has {self._open[who]} sessions open; close one first")
        self._open[who] += 1
        try:
            return await self._route(session, guest, caller)
        finally:
            self._open[who] -= 1

    async def _serve_machine(self, session: Session, guest: Guest, caller: Caller) -> int:
        if session.command != runner_words.COMMAND or guest.connection is None:
            raise Refused(f"this is the key of {caller.name}: it serves jobs, and is for nothing else")
        return await self._runners.serve(session, guest.connection, guest.address, guest.public_key)

    async def _route(self, session: Session, guest: Guest, caller: Caller) -> int:
        """The user name says where to: a number is a job; every other one is for git."""
        node = parse_node(guest.user_name)
        if node is not None:
            return await self._shell.serve(session, caller.person, guest.address, node)
        command = parse_command(session.command)
        if command is not None:
            return await self._git.serve(session, caller, command)
        if session.command is not None:
            raise Refused("only git commands here; for a command in a job: ssh JOB@host COMMAND")
        tell(session, self._greeting(caller))
        return 0

    def _greeting(self, caller: Caller) -> str:
        if caller.project is not None:
            return f"Hello, this is a checkout key of {caller.project.name}. It is for git: there is no shell for it."
        return (
            f"Hello {caller.name}, your key is known here. There is no shell for you, but:\n"
            f"  git clone ssh://git@{self._name}:{self._port}/ORG/REPO.git    fetch and push\n"
            f"  ssh -p {self._port} JOB@{self._name}    a shell in a running job (JOB.NODE for a parallel one)"
        )

    async def _close(self) -> None:
        """End every connection; give pushes that git has taken the time to become triggers."""
        self._git.stop()
        self._runners.close()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_FAREWELL_S)
            await self._see_off()
        for guest in tuple(self._guests):
            guest.leave()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._drain_s)
        for task in self._tasks:
            task.cancel()

    async def _see_off(self) -> None:
        """Let clients hang up by themselves: hung up on, ssh drops the last words and the exit code it still holds."""
        for _ in range(round(_FAREWELL_S / _BLINK_S)):
            if not any(guest.is_known for guest in self._guests):
                return
            await asyncio.sleep(_BLINK_S)


class Guest(asyncssh.SSHServer):
    """One connection: first a stranger, then the owner of a key."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self.connection: asyncssh.SSHServerConnection | None = None
        self._keys_tried = 0
        self._asked_about = ""
        self.public_key = ""  # "ssh-ed25519 AAAA...", once it is proved
        self.is_known = False
        self.sessions = 0
        self.user_name = ""
        self.address = ""
        self.network = ""

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self.connection = conn
        peer = conn.get_extra_info("peername")
        self.address = f"{peer[0]}:{peer[1]}" if peer else ""
        self.network = _network(peer[0]) if peer else ""
        self._door.arrive(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._door.depart(self)

    def begin_auth(self, username: str) -> bool:
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    async def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        self._keys_tried += 1
        public_key = " ".join(key.export_public_key("openssh").decode().split()[:2])
        if self._keys_tried > _KEYS_PER_CONNECTION or await self._door.caller_of(public_key) is None:
            return False
        # Set after the wait: from here to `auth_completed` nothing is awaited, so no second request, about a key that
        # the client does not own, can come between the check of the signature and our note of who signed.
        self._asked_about = public_key
        return True

    def auth_completed(self) -> None:
        assert self.connection is not None
        self.is_known = True
        self.public_key = self._asked_about
        self.user_name = str(self.connection.get_extra_info("username"))

    async def server_requested(self, listen_host: str, listen_port: int) -> asyncssh.SSHListener | bool:
        """For machines alone: the way back to them, which listens nowhere."""
        caller = await self._door.caller_of(self.public_key)
        if caller is None or not caller.is_machine or self.connection is None:
            return False
        self.connection.set_keepalive(*KEEPALIVE)
        return (listen_host, listen_port) == (runner_words.HOST, runner_words.PORT) and asyncssh.SSHListener()

    def session_requested(self) -> Session | bool:
        if self.sessions >= _SESSIONS_PER_CONNECTION:
            return False
        self.sessions += 1
        return Session(self._begin, None, 3, False)

    def _begin(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        assert isinstance(process, Session)
        self._door.begin(process, self)

    def leave(self) -> None:
        if self.connection is not None:
            self.connection.close()

    def leave_at_once(self) -> None:
        if self.connection is not None:
            self.connection.abort()


def _network(host: str) -> str:
    """What somebody has who has this address: it alone, or the 2^64 around it."""
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(address.ipv4_mapped or ipaddress.IPv6Network((address, 64), strict=False))


def _explain(session: Session, error: Exception) -> None:
    """Tell the person what they can use; log what only we can."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, Gone):
        return
    if isinstance(error, RondoError):
        tell(session, f"rondo: {error}")
    elif isinstance(error, TimeoutError):
        tell(session, "rondo: this took too long")
    else:
        log.error("a session broke", exc_info=error)
        tell(session, "rondo: something broke here; the log of the server says what")
