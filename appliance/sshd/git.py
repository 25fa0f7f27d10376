"""git over SSH: fetch from and push to the repositories that we host."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import shlex
import uuid
from collections.abc import Coroutine
from dataclasses import dataclass, field

import asyncssh

from appliance.bell import Bell
from appliance.engine.commands import Commands
from appliance.errors import NotFound, Refused, RondoError, printable
from appliance.model import Project, Vcs
from appliance.sshd.callers import Caller
from appliance.sshd.pushes import Outcome, Pushes
from appliance.sshd.report import Report
from appliance.sshd.session import Gone, Session, send, tell
from appliance.store import projects
from appliance.store.database import Database, Tx
from appliance.vcs.base import GitService, HostedRepositories, Pushed, PushMark, PushService

log = logging.getLogger(__name__)

_CHUNK_BYTES = 65536
_PATH = re.compile(r"/?([A-Za-z0-9._-]+)/([A-Za-z0-9._-]+?)(\.git)?/?")
_PUSH, _FETCH = "git-receive-pack", "git-upload-pack"


@dataclass(frozen=True)
class GitCommand:
    """What git's client asks for."""

    service: str
    name: str  # ORG/REPO


def parse_command(command: str | None) -> GitCommand | None:
    """The git command in an SSH command; None when it is another. Never run: only understood."""
    try:
        words = shlex.split(command or "")
    except ValueError:
        return None
    if words[:1] == ["git"]:
        words = ["-".join(words[:2]), *words[2:]]
    if len(words) != 2 or words[0] not in (_PUSH, _FETCH):
        return None
    path = _PATH.fullmatch(words[1])
    return GitCommand(words[0], f"{path[1]}/{path[2]}" if path else "")


class GitDoor:
    """Serves git to people and to their jobs. `pages` is the URL of the pages, shown to pushers."""

    def __init__(
        self,
        db: Database,
        commands: Commands,
        bell: Bell,
        repositories: HostedRepositories,
        *,
        pages: str,
        patience_s: float = 10.0,
        longest_s: float = 6 * 3600.0,
    ) -> None:
        self._db = db
        self._commands = commands
        self._bell = bell
        self._repositories = repositories
        self._pages = pages.rstrip("/")
        self._patience_s = patience_s
        self._longest_s = longest_s
        self._stops = asyncio.Event()
        self.pushes = Pushes(db, commands, repositories)

    def stop(self) -> None:
        """The appliance stops: whoever waits for a pipeline is told that it goes on, and let go in peace."""
        self._stops.set()

    async def serve(self, session: Session, caller: Caller, command: GitCommand) -> int:
        """Carry a fetch or push through; the exit code. Raises NotFound, Refused, VcsError."""
        project = await self._project(caller, command.name)
        if command.service == _PUSH and not caller.may_push:
            raise Refused(f"a deploy key only reads: push to {project.name} with a user's key")
        protocol = _text(session.env.get("GIT_PROTOCOL"))
        async with asyncio.timeout(self._longest_s):
            if command.service == _FETCH:
                async with self._repositories.upload(project, protocol) as service:
                    return await _serve_fetch(session, service)
            await self.pushes.catch_up(project)
            mark = PushMark(uuid.uuid4().hex, caller.name)
            async with self._repositories.receive_push(project, mark, protocol) as push:
                return await self._serve_push(session, project, mark, push)

    async def _project(self, caller: Caller, name: str) -> Project:
        def look(tx: Tx) -> Project:
            project = projects.find(tx, name)
            if not caller.may_read(tx, project):
                raise NotFound("not for them")
            return project

        try:
            project = await self._db.read(look)
        except NotFound:
            raise NotFound("repository not found: is the name right, and may you see the project?") from None
        if project.vcs is not Vcs.HOSTED:
            raise Refused(f"{project.name} is not hosted here: use its own git URL")
        return project

    async def _serve_push(self, session: Session, project: Project, mark: PushMark, push: PushService) -> int:
        """Bridge a push; turn what it changed into triggers; tell the pusher.

        A pusher who leaves ends nothing: the refs that git moves become triggers all the same.
        """
        stage = _Stage()
        async with asyncio.TaskGroup() as group:
            inwards = group.create_task(_take(session, push))
            leaving = group.create_task(_when_gone(session, stage))
            handling = group.create_task(self._handle(project, mark, push, stage))
            await _give_to_the_end(session, push)
            code = await push.wait()
            stage.no_more_to_tell.set()
            inwards.cancel()
            leaving.cancel()
            if not stage.has_heard:
                handling.cancel()
        if not stage.has_heard:
            await self.pushes.look_after(project, mark)
        if code != 0:
            tell(session, (await push.error()).decode("utf-8", "replace").strip())
        return code

    async def _handle(self, project: Project, mark: PushMark, push: PushService, stage: _Stage) -> None:
        pushed = await push.pushed()
        stage.has_heard = True
        try:
            outcomes = await self.pushes.accept(project, mark, pushed.updates)
            await _unless(stage.no_more_to_tell, self._report(project, push, pushed, outcomes))
        except RondoError as error:
            log.error("a push was taken but starts nothing", extra={"project": project.name, "error": str(error)})
            await push.tell(f"rondo: the push is here, but no pipeline could be started yet: {printable(str(error))}")
        finally:
            push.let_go()

    async def _report(self, project: Project, push: PushService, pushed: Pushed, outcomes: list[Outcome]) -> None:
        report = Report(self._db, self._commands, self._bell, self._pages, project, push.tell, patience_s=self._patience_s)
        for pipeline_id in await report.outcomes(outcomes):
            if "wait" in pushed.options:
                await _unless(self._stops, report.follow(pipeline_id))
        if "wait" in pushed.options and self._stops.is_set():
            await push.tell(f"rondo: the server stops now; jobs go on and are found again: {self._pages}/pipelines")


@dataclass
class _Stage:
    """How far a push is."""

    has_heard: bool = False  # the hook has told us what was pushed
    no_more_to_tell: asyncio.Event = field(default_factory=asyncio.Event)  # the pusher, or their git, has left


async def _serve_fetch(session: Session, service: GitService) -> int:
    async with asyncio.TaskGroup() as group:
        inwards = group.create_task(_take(session, service))
        while data := await service.read():
            await send(session, data)
        code = await service.wait()
        inwards.cancel()
    if code != 0:
        tell(session, (await service.error()).decode("utf-8", "replace").strip())
    return code


async def _take(session: Session, service: GitService) -> None:
    """From the client to git, until the client has no more or has left."""
    with contextlib.suppress(OSError, asyncssh.Error):
        while not session.stdin.at_eof():
            with contextlib.suppress(asyncssh.SignalReceived, asyncssh.BreakReceived, asyncssh.TerminalSizeChanged):
                await service.write(await session.stdin.read(_CHUNK_BYTES))
    service.write_eof()


async def _give_to_the_end(session: Session, service: GitService) -> None:
    """From git to the client; on to git's end when the client has left, so that git never finds its pipe shut."""
    is_gone = False
    while data := await service.read():
        if not is_gone:
            try:
                await send(session, data)
            except Gone:
                is_gone = True


async def _when_gone(session: Session, stage: _Stage) -> None:
    await session.wait_closed()
    stage.no_more_to_tell.set()


async def _unless(event: asyncio.Event, work: Coroutine[None, None, None]) -> None:
    """Do `work`, but break it off at `event`."""
    async with asyncio.TaskGroup() as group:
        working = group.create_task(work)
        waiting = group.create_task(event.wait())
        await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
        working.cancel()
        waiting.cancel()


def _text(value: str | bytes | None) -> str | None:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
