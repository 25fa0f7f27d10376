"""Local copies of repositories that live elsewhere: one bare mirror a project, fetched when a revision is missing."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from appliance.errors import VcsError
from appliance.model import Project, ProjectId, public_url
from appliance.vcs.base import Resolved
from appliance.vcs.client import Git, run_blocking
from appliance.vcs.known_hosts import KEY_PREFIX, KnownHosts, key_file
from appliance.vcs.names import checked_revision, http_login, origin_of
from appliance.vcs.repository import Reading, Repository

_HELPER = """!f() { [ "$1" != get ] || printf 'username=%s\\npassword=%s\\n' "$RONDO_GIT_USER" "$RONDO_GIT_PASSWORD"; }; f"""
_REFSPECS = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")


@dataclass(frozen=True)
class Identity:
    """By what mirrors log in at SSH servers: a project's preferred checkout key, where it has one."""

    private_key: Callable[[Project], Awaitable[str | None]]
    known_hosts: KnownHosts


class Mirrors(Reading):
    """The reading half of a provider, for every project with a git URL. `folder` holds the mirrors."""

    def __init__(self, git: Git, folder: Path, identity: Identity | None = None) -> None:
        self._git = git
        self._folder = folder
        self._identity = identity
        self._locks: dict[ProjectId, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._prepared: set[ProjectId] = set()

    def prepare(self) -> None:
        """At a start: remove the keys that a killed appliance left lying, and write down the host keys known so far."""
        for left in (self._folder / "scratch").glob(f"{KEY_PREFIX}*"):
            left.unlink(missing_ok=True)
        if self._identity is not None:
            self._identity.known_hosts.prepare()

    async def fetch(self, project: Project, revision: str | None) -> None:
        """See `Provider.fetch`. One fetch at a time a project; whoever waited looks again before fetching."""
        repository = self._repository(project)
        if revision is not None and await self._has(repository, revision):
            return
        async with self._locks[project.id]:
            await self._prepare(project, repository)
            if revision is not None and await self._has(repository, revision):
                return
            await self._fetch(project, *_REFSPECS)
            if revision is not None and not await repository.has(revision):
                await self._fetch_hidden(project, repository, revision)

    async def resolve(self, project: Project, *, branch: str | None, tag: str | None) -> Resolved:
        """See `Provider.resolve`. Asks the remote: what the mirror knows may be old."""
        await self.fetch(project, None)
        return await self._resolve_here(project, branch, tag)

    def _repository(self, project: Project) -> Repository:
        # By id, not by name: a renamed project keeps its mirror, and an id needs no care as a folder's name.
        folder = self._folder / f"{project.id}.git"
        return Repository(self._git, folder, self._folder / "scratch", project.name)

    async def _has(self, repository: Repository, revision: str) -> bool:
        return (repository.folder / "HEAD").exists() and await repository.has(checked_revision(revision))

    async def _prepare(self, project: Project, repository: Repository) -> None:
        """Make the mirror if need be; after a start, clear the locks that a killed fetch left behind."""
        if project.id in self._prepared:
            return
        if not (repository.folder / "HEAD").exists():
            await asyncio.to_thread(make_bare, repository.folder, project.default_branch)
        await asyncio.to_thread(remove_stale_locks, repository.folder)
        self._prepared.add(project.id)

    async def _fetch(self, project: Project, *refspecs: str) -> None:
        url = checked_url(project)
        arguments = ["fetch", "--quiet", "--force", "--no-tags", "--no-write-fetch-head"]
        if refspecs == _REFSPECS:
            arguments.append("--prune")
        config, environment = _login(url)
        # git hands the URL on to its helpers as an argument, which everybody on this host can see.
        environment |= {
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "remote.origin.url",
            "GIT_CONFIG_VALUE_0": public_url(url),
        }
        folder = self._repository(project).folder
        words = (*arguments, "--end-of-options", "origin", *refspecs)
        async with self._logged_in(project) as by_key:
            done = await self._git.call(folder, *words, config=config, environment={**environment, **by_key})
        if done.code != 0:
            said = done.error or f"exit code {done.code}"
            raise VcsError(f"cannot fetch {project.name} from {public_url(url)}: {said}{self._hint(project, said)}")

    def _hint(self, project: Project, said: str) -> str:
        """What to do about it, where an SSH server would not let us in."""
        if not project.is_fetched_by_ssh or self._identity is None:
            return ""
        if "Permission denied" in said:
            return f"; is its key (rondo project checkout-key list {project.name}) known there?"
        if "Host key verification failed" in said:
            return f"; if that server has a new host key, mend {self._identity.known_hosts.pinned} or git.known_hosts"
        return ""

    @asynccontextmanager
    async def _logged_in(self, project: Project) -> AsyncIterator[Mapping[str, str]]:
        """Environment by which git shows the project's checkout key to an SSH server, during the block."""
        private = None
        if self._identity is not None and project.is_fetched_by_ssh:
            private = await self._identity.private_key(project)
        if self._identity is None or private is None:
            yield {}
            return
        with key_file(self._folder / "scratch", private) as path:
            yield {"GIT_SSH_COMMAND": self._identity.known_hosts.ssh_command(path)}

    async def _fetch_hidden(self, project: Project, repository: Repository, revision: str) -> None:
        """A commit that no branch holds: a pull request's, or one that was pushed over a moment ago."""
        url = project.public_git_url
        try:
            await self._fetch(project, f"{revision}:refs/rondo/hidden/{revision}")
        except VcsError:
            raise VcsError(f"there is no commit {revision} at {url}: it may have been pushed over; push again") from None
        if not await repository.has(revision):
            raise VcsError(f"there is no commit {revision} at {url}")


def _login(url: str) -> tuple[dict[str, str], dict[str, str]]:
    """Configuration and environment by which git logs in with what stands in the URL: at that host, and no other."""
    login = http_login(url)
    if login is None:
        return {}, {}
    config = {f"credential.{origin_of(public_url(url))}.helper": _HELPER}
    return config, {"RONDO_GIT_USER": login[0], "RONDO_GIT_PASSWORD": login[1]}


def checked_url(project: Project) -> str:
    """The project's clone URL. Raises VcsError for what git could take for an option or a program."""
    url = project.git_url or ""
    if not url or url.startswith("-") or "::" in url.split("/", 1)[0] or not url.isprintable():
        raise VcsError(f"the git URL of {project.name} is not one that can be cloned; set it to an https or ssh URL")
    return url


def make_bare(folder: Path, default_branch: str) -> None:
    """An empty bare repository, there whole or not at all. Blocks, for some milliseconds."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".new-", dir=folder.parent))
    try:
        run_blocking("init", "--quiet", "--bare", "--template=", f"--initial-branch={default_branch}", str(temporary))
        temporary.chmod(0o755)
        temporary.rename(folder)
    except OSError:
        if not (folder / "HEAD").exists():  # else somebody else has just made it
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_stale_locks(folder: Path) -> None:
    """A git that was killed leaves its lock files, and every later one gives up on them. Only while none runs here."""
    for lock in (*folder.glob("*.lock"), *(folder / "refs").rglob("*.lock")):
        lock.unlink(missing_ok=True)
