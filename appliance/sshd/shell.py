"""Shells and commands in running jobs: `ssh 812@host`, `ssh 812.1@host COMMAND`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass

import asyncssh

from appliance.engine import admission
from appliance.engine.commands import Commands, LiveNode
from appliance.engine.entering import shell_argv, terminal_size
from appliance.errors import NotFound, Refused, RondoError
from appliance.executors.base import Process
from appliance.model import User
from appliance.sshd.session import Session, send, tell
from appliance.store import jobs, people, pipelines, projects
from appliance.store.database import Database, Tx

log = logging.getLogger(__name__)

_CHUNK_BYTES = 65536
_LEAVE_TIMEOUT_S = 30.0
_LOOK_S = 1.0  # how soon a shell ends whose user may not be there any more
_COMMAND_LIMIT = 4000  # of what is recorded, not of what is run
_NODE = re.compile(r"(\d{1,15})(?:\.(\d{1,6}))?")
_TERM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")
_END_OF_TRANSMISSION = b"\x04"
_ENDING_SIGNALS = frozenset({"HUP", "INT", "KILL", "QUIT", "TERM"})


@dataclass(frozen=True)
class NodeName:
    """Which node a user name means."""

    job_number: int
    index: int

    def __str__(self) -> str:
        return f"{self.job_number}.{self.index}"


def parse_node(user_name: str) -> NodeName | None:
    """`812` and `812.1` name nodes; None for any other user name."""
    found = _NODE.fullmatch(user_name)
    return NodeName(int(found[1]), int(found[2] or 0)) if found and user_name.isascii() else None


class ShellDoor:
    """Lets users into running jobs. A session without input or output ends after `idle_limit_s`."""

    def __init__(self, db: Database, commands: Commands, *, idle_limit_s: float) -> None:
        self._db = db
        self._commands = commands
        self._idle_limit_s = idle_limit_s

    async def serve(self, session: Session, user: User, address: str, name: NodeName) -> int:
        """A shell, or the session's command, in a node; the exit code. Raises NotFound, Refused, SandboxError."""
        await self._db.read(lambda tx: _check(tx, user, name))
        command = (session.command or "")[:_COMMAND_LIMIT]
        node, visit = await self._commands.enter(name.job_number, name.index, user, address, command)
        try:
            process = await _start(session, node)
            try:
                return await _Bridge(session, process, self._idle_limit_s, lambda: self._may_stay(user, name)).run()
            finally:
                await _in_time(process.kill())
        finally:
            await _in_time(self._commands.leave(node, visit))

    async def _may_stay(self, user: User, name: NodeName) -> bool:
        """Asked anew: accounts and rights can be taken away while a shell is open."""
        try:
            await self._db.read(lambda tx: _check(tx, people.by_id(tx, user.id), name))
        except (NotFound, Refused):
            return False
        return True


def _check(tx: Tx, user: User, name: NodeName) -> None:
    """Who may not see a job hears what they would hear if there were none."""
    nowhere = NotFound(f"there is no job {name.job_number} that you may see")
    try:
        job = jobs.by_number(tx, name.job_number)
    except NotFound:
        raise nowhere from None
    if not projects.may_enter(tx, user, job.project_id):
        raise nowhere
    workflow = pipelines.workflow(tx, job.workflow_id)
    if not pipelines.pipeline(tx, workflow.pipeline_id).is_trusted and not user.is_admin:
        raise Refused(f"job {name} runs what a stranger's fork has pushed: only admins may enter")
    if projects.flags(tx, job.project_id).disable_ssh:
        raise Refused(f"job {name}: the settings of its project allow no SSH")
    denied = admission.why_not_enter(tx, job, user)
    if denied:
        raise Refused(f"job {name} is closed to you: {denied}")
    indices = [node.index for node in jobs.nodes_of(tx, job.id)]
    if indices and name.index not in indices:
        raise NotFound(f"job {name.job_number} has no node {name.index}: its nodes are 0 to {max(indices)}")


async def _start(session: Session, node: LiveNode) -> Process:
    environment = dict(await node.sandbox.environment_of())
    size = None
    if session.term_type is not None:
        environment["TERM"] = session.term_type if _TERM.fullmatch(session.term_type) else "dumb"
        columns, rows = session.term_size[:2]
        size = terminal_size(columns, rows)
    argv = shell_argv(session.command, node.working_directory, has_terminal=size is not None)
    return await node.sandbox.process(argv, environment=environment, tty=size)


class _Bridge:
    """Between a session and a process: input, output, window sizes, signals, the end of either."""

    def __init__(
        self, session: Session, process: Process, idle_limit_s: float, may_stay: Callable[[], Awaitable[bool]]
    ) -> None:
        self._session = session
        self._may_stay = may_stay
        self._process = process
        self._idle_limit_s = idle_limit_s
        self._patience = asyncio.timeout(idle_limit_s)
        self._is_watched = False

    async def run(self) -> int:
        """Until the process has ended, for whatever reason; its exit code."""
        async with asyncio.TaskGroup() as group:
            watches = (self._end_when_gone(), self._end_when_idle(), self._end_when_unwelcome())
            others = [group.create_task(work) for work in (self._take(), *watches)]
            while data := await self._process.read():
                self._be_active()
                await send(self._session, data)
            code = await self._process.wait()
            for task in others:
                task.cancel()
        return code

    def _be_active(self) -> None:
        if self._is_watched:
            self._patience.reschedule(asyncio.get_running_loop().time() + self._idle_limit_s)

    async def _take(self) -> None:
        """From the client to the process."""
        with contextlib.suppress(OSError, asyncssh.Error):
            while not self._session.stdin.at_eof():
                await self._take_some()
        if self._session.term_type is None:
            await self._process.write_eof()
        else:
            await self._process.write(_END_OF_TRANSMISSION)  # a terminal has no end of file but this key

    async def _take_some(self) -> None:
        try:
            data = await self._session.stdin.read(_CHUNK_BYTES)
        except asyncssh.TerminalSizeChanged as change:
            await self._process.resize(*terminal_size(change.width, change.height))
        except asyncssh.SignalReceived as received:
            if received.signal in _ENDING_SIGNALS:
                await self._process.kill()
        except asyncssh.BreakReceived:
            pass
        else:
            self._be_active()
            await self._process.write(data)

    async def _end_when_gone(self) -> None:
        await self._session.wait_closed()
        await self._process.kill()

    async def _end_when_idle(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with self._patience:
                self._is_watched = True
                await asyncio.Event().wait()
        self._is_watched = False
        tell(self._session, f"rondo: closed after {self._idle_limit_s:g} s without input or output")
        await self._process.kill()

    async def _end_when_unwelcome(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            if not await self._may_stay():
                break
        tell(self._session, "rondo: closed: you may not be in this job any more")
        await self._process.kill()


async def _in_time(work: Coroutine[None, None, None]) -> None:
    """Clean up, but not for ever; a failure is no reason to lose the session's own end."""
    try:
        async with asyncio.timeout(_LEAVE_TIMEOUT_S):
            await work
    except (TimeoutError, RondoError) as error:
        log.warning("could not clean up after a shell", extra={"error": str(error) or "it took too long"})
