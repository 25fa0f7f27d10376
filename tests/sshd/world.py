"""A door on a loopback port with a real database, real repositories and the real OpenSSH client."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path

import asyncssh

from appliance.bell import Bell
from appliance.clock import SystemClock
from appliance.engine.commands import Commands, LiveNodes
from appliance.model import Project, User, Vcs
from appliance.settings import Settings
from appliance.sshd.door import Door
from appliance.sshd.runners import Runners
from appliance.store import people, projects
from appliance.store.database import Database, Tx, open_database
from appliance.vcs.client import Git
from appliance.vcs.hosted import Hosted
from tests.vcs.repos import WorkTree, environment

PAGES = "http://ci.example"


@dataclass(frozen=True)
class Said:
    """How a client ended."""

    code: int
    out: str
    error: str


@dataclass
class World:
    folder: Path
    db: Database
    bell: Bell
    clock: SystemClock
    commands: Commands
    hosted: Hosted
    door: Door
    runners: Runners
    port: int

    async def user(self, name: str, *, is_admin: bool = False, sees_all: bool = False, shown_as: str = "") -> User:
        """A user with a key; `shown_as` is another name for the database than for the key's file."""
        key = self.key(shown_as or name)
        fingerprint = asyncssh.read_public_key(f"{key}.pub").get_fingerprint()

        def add(tx: Tx) -> User:
            user = people.add(tx, name=shown_as or name, is_admin=is_admin, sees_all_projects=sees_all, now_ms=1)
            people.add_key(tx, user.id, people.SshKey(fingerprint, key.with_suffix(".pub").read_text()), 1)
            return user

        return await self.db.write(add)

    def key(self, name: str) -> Path:
        """The private key of that name, made by ssh-keygen on the first call."""
        path = self.folder / f"key-{name.encode().hex()}"
        if not path.exists():
            argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(path)]
            subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)
        return path

    async def project(self, *members: User, repo: str = "app", vcs: Vcs = Vcs.HOSTED) -> Project:
        def add(tx: Tx) -> Project:
            url = None if vcs is Vcs.HOSTED else "https://git.example/acme/app.git"
            made = projects.add(tx, org="acme", repo=repo, vcs=vcs, git_url=url, default_branch="main", now_ms=1)
            for user in members:
                people.let_into(tx, user.id, made.id)
            return made

        return await self.db.write(add)

    def ssh_options(self, user: User | str) -> list[str]:
        name = user if isinstance(user, str) else user.name
        options = {
            "IdentityFile": str(self.key(name)),
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "UserKnownHostsFile": os.devnull,
            "StrictHostKeyChecking": "no",
            "LogLevel": "ERROR",
            "BatchMode": "yes",
        }
        return ["-F", "none", *(argument for name, value in options.items() for argument in ("-o", f"{name}={value}"))]

    def ssh_argv(self, user: User | str, to: str, *command: str, options: tuple[str, ...] = ()) -> list[str]:
        # ssh takes the first value it is given, so these come before ours.
        return ["ssh", *options, *self.ssh_options(user), "-p", str(self.port), f"{to}@127.0.0.1", *command]

    async def ssh(self, user: User | str, to: str, *command: str, options: tuple[str, ...] = (), data: bytes = b"") -> Said:
        return await run(*self.ssh_argv(user, to, *command, options=options), data=data)

    def git_environment(self, user: User) -> dict[str, str]:
        return environment({"GIT_SSH_COMMAND": " ".join(["ssh", *self.ssh_options(user)])})

    def url(self, path: str = "acme/app.git") -> str:
        return f"ssh://git@127.0.0.1:{self.port}/{path}"

    async def git(self, user: User, tree: WorkTree, *arguments: str) -> Said:
        return await run("git", *arguments, env=self.git_environment(user), cwd=tree.folder)

    async def push(self, user: User, tree: WorkTree, *refspecs: str, options: tuple[str, ...] = ()) -> Said:
        return await self.git(user, tree, "push", *options, self.url(), *refspecs)


async def run(*argv: str, data: bytes = b"", env: dict[str, str] | None = None, cwd: Path | None = None) -> Said:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*argv, stdin=pipe, stdout=pipe, stderr=pipe, env=env, cwd=cwd)
    async with asyncio.timeout(60):
        out, error = await process.communicate(data)
    assert process.returncode is not None
    return Said(process.returncode, out.decode("utf-8", "replace"), error.decode("utf-8", "replace"))


@contextlib.asynccontextmanager
async def world(folder: Path, *, is_open: bool = True, **changes: str | int | float | bool) -> AsyncIterator[World]:
    """All of it, in `folder`; `ssh__idle_limit=10.0` changes a setting."""
    settings = Settings({"ssh.port": 0}).replaced(**changes)
    async with open_database(folder / "rondo.db") as db:
        bell, clock = Bell(), SystemClock()
        commands = Commands(db, bell, clock, LiveNodes())
        hosted = Hosted(Git(timeout_s=60), folder)
        hosted.prepare()
        runners = Runners(db, bell)
        door = Door(
            db=db,
            bell=bell,
            clock=clock,
            commands=commands,
            hosted=hosted,
            settings=settings,
            data=folder,
            web_url=PAGES,
            runners=runners,
        )
        async with door.listening() as port:
            await door.reconcile()
            if is_open:
                door.open()
            yield World(folder, db, bell, clock, commands, hosted, door, runners, port)


@contextlib.asynccontextmanager
async def owned(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Runs `work` during the block."""
    problem: BaseException | None = None
    async with asyncio.TaskGroup() as group:
        task = group.create_task(work)
        try:
            yield
        except BaseException as error:  # else the group would wrap a failed assertion
            problem = error
        task.cancel()
    if problem is not None:
        raise problem


@contextlib.asynccontextmanager
async def started(*argv: str, env: dict[str, str] | None = None, cwd: Path | None = None) -> AsyncIterator[Process]:
    """A client that runs during the block; killed at its end, with the ssh below it."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *argv, stdin=pipe, stdout=pipe, stderr=pipe, env=env, cwd=cwd, start_new_session=True
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.communicate()


async def line_of(stream: asyncio.StreamReader | None) -> str:
    assert stream is not None
    async with asyncio.timeout(20):
        return (await stream.readline()).decode().strip()


async def until(condition: Callable[[], Awaitable[bool]] | Callable[[], bool], timeout_s: float = 20.0) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(timeout_s):
        while True:
            found = condition()
            if found if isinstance(found, bool) else await found:
                return
            await asyncio.sleep(0.01)
