"""Machines that dial in: who is connected, and the way back to them.

A runner is a client of our door, with a machine's key. Through the forwarding that it asked for we open SSH connections
in which it is the server, and we log in with our host key: to those who run jobs it is a machine like any other.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

import asyncssh

from appliance import runner_words as words
from appliance.bell import Bell
from appliance.errors import BadRequest, Refused, RondoError, Unavailable, printable
from appliance.runner_words import Word
from appliance.sshd.session import Gone, Session, send
from appliance.store import machines
from appliance.store.database import Database, Tx

log = logging.getLogger(__name__)

BELLS = ("pool", "machines")  # for who looks after them, and for pages
KEEPALIVE = (5, 2)  # seconds, and unanswered ones: silence is noticed within 15 s
_PROBE = (1, 2)
_PROBE_S = 4.0
_HELLO_S = 30.0
_DIAL_S = 15.0
_LOOK_S = 1.0  # how soon a machine goes whose key was taken away
_CLEAR_S = 60.0  # for the removal of what its jobs left on a machine that leaves
_CLEAR_AGAIN_S = 0.1

Clear = Callable[[str], Awaitable[bool]]
"""Removes from a machine what no node owns any more; whether nothing of ours is left there. Raises RondoError."""


@dataclass(eq=False, kw_only=True)
class _Connected:
    """A runner that was made welcome."""

    name: str
    public_key: str
    connection: asyncssh.SSHServerConnection
    address: str
    is_leaving: bool = False
    gone: asyncio.Event = field(default_factory=asyncio.Event)


class Runners:
    """The machines that are connected now. `host_key` and `clear` are set before the first of them can be."""

    def __init__(self, db: Database, bell: Bell) -> None:
        self._db = db
        self._bell = bell
        self._connected: dict[str, _Connected] = {}
        self.host_key: asyncssh.SSHKey | None = None
        self.clear: Clear | None = None

    def connect(self, name: str) -> Callable[[], Awaitable[asyncssh.SSHClientConnection]]:
        """Makes connections to a machine (see executors.machine_link)."""

        async def dial() -> asyncssh.SSHClientConnection:
            one = self._connected.get(name)
            if one is None:
                raise Unavailable(f"machine {name} is not connected; is `rondo runner` at work there?")
            try:
                async with asyncio.timeout(_DIAL_S):
                    return await self._dial(one)
            except (OSError, asyncssh.Error, ValueError) as error:  # the last is of what cannot be decoded
                raise Unavailable(
                    f"machine {name} is connected, but does not answer: {printable(str(error)) or 'it took too long'}"
                ) from None

        return dial

    def trouble(self, name: str) -> str | None:
        """Why a machine takes no new jobs, as far as we know; None when it may."""
        one = self._connected.get(name)
        if one is None:
            return f"machine {name} is not connected; is `rondo runner` at work there?"
        return f"machine {name} is leaving: its runner was told to stop" if one.is_leaving else None

    def close(self) -> None:
        """Hang up on all of them; they come back to the next appliance."""
        for one in self._connected.values():
            one.connection.close()

    async def _dial(self, one: _Connected) -> asyncssh.SSHClientConnection:
        assert self.host_key is not None
        return await asyncssh.connect(
            words.HOST,
            words.PORT,
            tunnel=one.connection,
            config=None,
            username=words.USER,
            client_keys=[self.host_key],
            known_hosts=([asyncssh.import_public_key(one.public_key)], [], []),
            agent_path=None,
            preferred_auth="publickey",
            gss_host=None,
            **words.SHARED,
        )

    async def serve(self, session: Session, connection: asyncssh.SSHServerConnection, address: str, public_key: str) -> int:
        """The session beside the jobs of who has shown `public_key`. Ends with the connection, and ends it."""
        lines = _Lines(session)
        try:
            async with asyncio.timeout(_HELLO_S):
                hello = words.read_hello(await lines.next())
            machine = await self._db.read(lambda tx: machines.by_runner_key(tx, public_key))
            if machine is None:
                raise Refused("this is not a machine's key any more")
            name = machine.name
            one = _Connected(name=name, public_key=public_key, connection=connection, address=address)
            one.is_leaving = hello.is_leaving
            await self._seat(one)
            facts = {"machine": name, "address": address, "calls itself": hello.name, "version": hello.version}
            log.info("a machine has dialled in", extra=facts)
            try:
                self._bell.ring(*BELLS)
                await self._attend(session, lines, one)
            finally:
                del self._connected[name]
                one.gone.set()
                self._bell.ring(*BELLS)
                log.info("a machine has gone", extra={"machine": name, "address": address})
        except (Refused, BadRequest) as error:
            await send(session, Word(refused=str(error)).line())
        finally:
            connection.close()
        return 0

    async def _seat(self, one: _Connected) -> None:
        """One connection a machine. One that is there already may be dead without knowing: it has to give a sign of life."""
        while (former := self._connected.get(one.name)) is not None:
            former.connection.set_keepalive(*_PROBE)
            try:
                async with asyncio.timeout(_PROBE_S):
                    await former.gone.wait()
            except TimeoutError:
                former.connection.set_keepalive(*KEEPALIVE)
                log.warning("a second runner with the key of a machine", extra={"machine": one.name, "address": one.address})
                raise Refused(
                    f"a runner with this key is connected from {former.address} already; was the folder of the key copied?"
                ) from None
        self._connected[one.name] = one

    async def _attend(self, session: Session, lines: _Lines, one: _Connected) -> None:
        """Tell the runner what is new, until it goes or has to."""
        told: Word | None = None
        while True:
            word = await self._db.read(lambda tx: _word(tx, one.name, one.public_key))
            if word is None:
                raise Refused(f"this is not the key of machine {one.name} any more")
            if one.is_leaving and not word.running:
                if told is None or not told.may_go:
                    await self._clear(one.name)
                word = replace(word, may_go=True)
            if word != told:
                told = word
                await send(session, word.line())
            try:
                async with asyncio.timeout(_LOOK_S):
                    line = await lines.next()
            except TimeoutError:
                continue
            if one.is_leaving or not words.read_hello(line).is_leaving:
                raise BadRequest("a runner says hello once, and once more when it leaves")
            one.is_leaving = True
            told = None
            self._bell.ring(*BELLS)
            log.info("a machine is leaving", extra={"machine": one.name})

    async def _clear(self, name: str) -> None:
        """What is left when the machine has gone could be swept only when it is back."""
        if self.clear is None:
            return
        try:
            async with asyncio.timeout(_CLEAR_S):
                while not await self.clear(name):  # noqa: ASYNC110 - nothing rings when a folder goes
                    await asyncio.sleep(_CLEAR_AGAIN_S)
        except (RondoError, TimeoutError) as error:
            log.warning("something may be left on a machine that leaves", extra={"machine": name, "error": str(error)})


class _Lines:
    """What a runner says, line by line."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._held = b""

    async def next(self) -> bytes:
        """Raises Gone at the end, and BadRequest for what is no line. May be cancelled without loss."""
        while b"\n" not in self._held:
            if len(self._held) > words.LONGEST_LINE:
                raise BadRequest("this line is too long")
            try:
                data = await self._session.stdin.read(words.LONGEST_LINE)
            except (OSError, asyncssh.Error):
                data = b""
            if not data:
                raise Gone("the runner has gone")
            self._held += data
        line, _, self._held = self._held.partition(b"\n")
        return line


def _word(tx: Tx, name: str, public_key: str) -> Word | None:
    """None when the key is another machine's now, or nobody's."""
    machine = machines.by_runner_key(tx, public_key)
    if machine is None or machine.name != name:
        return None
    return Word(machine=name, running=machines.running_on(tx).get(name, 0))
