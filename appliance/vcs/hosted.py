"""Repositories that are pushed straight to us: bare ones, at DATA/repos/ORG/REPO.git."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path

from appliance.crypto import write_private
from appliance.errors import Refused, VcsError, lacks_room, needing_room
from appliance.model import Project, Trigger
from appliance.vcs import serving
from appliance.vcs.base import CommitStatus, GitService, Ignored, PushMark, PushService, Resolved
from appliance.vcs.client import Git
from appliance.vcs.mirror import make_bare, remove_stale_locks
from appliance.vcs.names import checked_revision, is_folder_name, is_ref_name
from appliance.vcs.orphans import end_orphans, note
from appliance.vcs.repository import Reading, Repository

_MARK_HOST = "push.rondo.invalid"
_REFLOG_TAIL_BYTES = 8192
_PROTOCOLS = frozenset({"version=0", "version=1", "version=2"})


class Hosted(Reading):
    """The provider `hosted`, and what the SSH door serves (`base.HostedRepositories`). `data` is the data folder."""

    def __init__(self, git: Git, data: Path, *, largest_push_bytes: int = 4 << 30) -> None:
        self._git = git
        self._folder = data / "repos"
        self._hooks = data / "hooks"
        self._pushes = data / "pushes"
        self._unsettled = data / "unsettled"
        self._scratch = data / "scratch"
        self._largest_push_bytes = largest_push_bytes

    def prepare(self) -> None:
        """At boot, once, before anything is served: write the hook, clear what a killed appliance left. Blocks."""
        self._hooks.mkdir(parents=True, exist_ok=True)
        hook = self._hooks / "post-receive"
        if not hook.exists() or hook.read_text() != serving.POST_RECEIVE:  # a full disk must not hold up a start
            temporary = hook.with_suffix(".new")
            temporary.write_text(serving.POST_RECEIVE)
            temporary.chmod(0o755)
            temporary.rename(hook)
        end_orphans(self._pushes)
        for half in self._unsettled.glob("*.new"):  # of a push that git was not let begin
            half.unlink(missing_ok=True)
        shutil.rmtree(self._scratch, ignore_errors=True)
        for repository in self._folder.glob("*/*.git"):
            remove_stale_locks(repository)

    # The provider.

    def receive(self, project: Project, secret: str | None, headers: Mapping[str, str], body: bytes) -> Trigger | Ignored:
        raise Refused(f"{project.name} is hosted here and takes no webhooks: push to it")

    async def fetch(self, project: Project, revision: str | None) -> None:
        if revision is not None and not await self._repository(project).has(checked_revision(revision)):
            raise VcsError(f"there is no commit {revision} in {project.name}")

    async def resolve(self, project: Project, *, branch: str | None, tag: str | None) -> Resolved:
        return await self._resolve_here(project, branch, tag)

    async def say(self, project: Project, revision: str, status: CommitStatus) -> None:
        """There is no forge to tell."""

    # What the SSH door serves.

    async def create(self, project: Project) -> None:
        folder = self.folder_of(project)
        if not (folder / "HEAD").exists():
            await asyncio.to_thread(make_bare, folder, project.default_branch)

    async def refs(self, project: Project) -> Mapping[str, str]:
        if not (self.folder_of(project) / "HEAD").exists():
            return {}
        return await self._repository(project).refs()

    async def peeled(self, project: Project, object_id: str) -> str | None:
        return await self._repository(project).peeled(object_id)

    async def last_push(self, project: Project, ref: str) -> PushMark | None:
        """From the ref's log, which git writes with the ref: never does one know what the other does not."""
        if not is_ref_name(ref):
            raise VcsError(f"{ref[:100]!r} is not the name of a ref")
        log = self.folder_of(project) / "logs" / ref
        return parse_mark(await asyncio.to_thread(_last_line, log))

    async def unsettled(self) -> Mapping[str, str] | None:
        return await asyncio.to_thread(_noted, self._unsettled)

    async def settle(self, push_ids: Iterable[str]) -> None:
        await asyncio.to_thread(_forget, self._unsettled, list(push_ids))

    @contextlib.asynccontextmanager
    async def upload(self, project: Project, protocol: str | None) -> AsyncIterator[GitService]:
        folder = self.folder_of(project)
        with (
            needing_room(f"a fetch in {self._pushes}"),
            serving.folder_for_a_push(self._pushes) as own,
            (own / "errors").open("wb") as errors,
        ):
            await self.create(project)
            async with self._git.running(
                folder,
                *("upload-pack", "--strict", "--timeout=300", str(folder)),
                config=_SERVED,
                environment=_protocol(protocol),
                has_input=True,
                stderr=errors.fileno(),
            ) as process:
                note(own, process.pid)
                yield serving.Service(process, own / "errors")

    @contextlib.asynccontextmanager
    async def receive_push(self, project: Project, mark: PushMark, protocol: str | None) -> AsyncIterator[PushService]:
        folder = self.folder_of(project)
        with (
            needing_room(f"a push in {self._pushes}"),
            serving.folder_for_a_push(self._pushes) as own,
            (own / "errors").open("wb") as errors,
            contextlib.closing(serving.Hook(own)) as hook,
        ):
            await self.create(project)
            async with self._git.running(
                folder,
                *("receive-pack", str(folder)),
                config=self._receiving(),
                environment={**_protocol(protocol), **_identity(mark), serving.PUSH_VARIABLE: str(own)},
                has_input=True,
                stderr=errors.fileno(),
            ) as process:
                note(own, process.pid)
                await asyncio.to_thread(_note, self._unsettled, mark.id, project.name)  # git waits for its client yet
                yield serving.Receiving(process, own / "errors", hook)

    def _receiving(self) -> dict[str, str]:
        return {
            **_SERVED,
            "core.hooksPath": str(self._hooks),
            "core.logAllRefUpdates": "always",  # `last_push` reads the log
            "gc.reflogExpire": "never",
            "gc.reflogExpireUnreachable": "90 days",
            "receive.advertisePushOptions": "true",
            "receive.denyNonFastForwards": "false",
            "receive.denyDeletes": "false",
            "receive.maxInputSize": str(self._largest_push_bytes),
            "transfer.fsckObjects": "true",
            # Old and harmless faults that real histories are full of.
            "receive.fsck.badFilemode": "ignore",  # old repositories are full of them
            "receive.fsck.zeroPaddedFilemode": "warn",
            "receive.fsck.missingSpaceBeforeDate": "warn",
            "receive.fsck.badTimezone": "warn",
            "receive.fsck.badTimezoneOverflow": "warn",
        }

    def folder_of(self, project: Project) -> Path:
        """Where a project's repository is. Raises VcsError when its name cannot be a folder's."""
        if not is_folder_name(project.org) or not is_folder_name(project.repo):
            raise VcsError(f"{project.name[:100]!r} cannot be the name of a hosted repository")
        return self._folder / project.org / f"{project.repo}.git"

    def _repository(self, project: Project) -> Repository:
        return Repository(self._git, self.folder_of(project), self._scratch, project.name)


_SERVED = {
    "transfer.hideRefs": "refs/rondo",
    "uploadpack.allowFilter": "true",
    "core.bigFileThreshold": "64m",  # larger ones are not held in memory for deltas
}


def _protocol(asked: str | None) -> dict[str, str]:
    return {"GIT_PROTOCOL": asked} if asked in _PROTOCOLS else {}


def _identity(mark: PushMark) -> dict[str, str]:
    """Who git writes into the logs of the refs it updates."""
    name = "".join(character for character in mark.actor if character.isprintable() and character not in "<>") or "-"
    return {"GIT_COMMITTER_NAME": name, "GIT_COMMITTER_EMAIL": f"{mark.id}@{_MARK_HOST}"}


def parse_mark(line: str) -> PushMark | None:
    """The mark in a line of a ref's log: `OLD NEW NAME <ID@HOST> TIME ZONE<tab>WORDS`."""
    head, _, _ = line.partition("\t")
    before, _, after = head.rpartition(" <")
    push_id, _, host = after.partition(">")[0].partition("@")
    if host != _MARK_HOST or not push_id:
        return None
    return PushMark(push_id, before.split(" ", 2)[2] if before.count(" ") >= 2 else "")


# A file for each push that is under way: a start asks git only of the repositories that these name.


def _note(folder: Path, push_id: str, name: str) -> None:
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        write_private(folder / push_id, name.encode())
    except OSError as error:
        if lacks_room(error):
            raise
        raise VcsError(f"the push cannot be written down: {error.strerror}") from error


def _noted(folder: Path) -> Mapping[str, str] | None:
    try:
        return {note.name: note.read_text() for note in folder.iterdir()}
    except FileNotFoundError:
        return None


def _forget(folder: Path, push_ids: list[str]) -> None:
    with contextlib.suppress(OSError):  # it is looked at once more than it must be
        folder.mkdir(mode=0o700, exist_ok=True)
        for push_id in push_ids:
            (folder / push_id).unlink(missing_ok=True)


def _last_line(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - _REFLOG_TAIL_BYTES))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return ""
    return lines[-1] if lines else ""
