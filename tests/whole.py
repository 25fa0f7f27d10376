"""A whole appliance for a test: real SQLite, real sockets, real git over the real SSH door; jobs on real executors."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Container, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import asyncssh

from appliance.app import Appliance, running
from appliance.clock import Clock
from appliance.crypto import SecretBox, load_or_make_key
from appliance.executors.local import LocalExecutor
from appliance.model import PipelineId, Vcs
from appliance.settings import Settings, Value
from appliance.store import contexts, people, pipelines, projects
from appliance.store import jobs as rows
from appliance.store.database import Tx, open_plain, transact

T = TypeVar("T")
LONGEST_S = 90.0
PERSON = ("-c", "user.name=A Person", "-c", "user.email=person@example.org", "-c", "commit.gpgsign=false")


async def until(condition: Callable[[], Awaitable[T | None]], longest_s: float = LONGEST_S) -> T:
    """Wait for a condition to give something; ask again and again, since it may be another process's doing."""
    async with asyncio.timeout(longest_s):
        while True:
            found = await condition()
            if found is not None:
                return found
            await asyncio.sleep(0.02)


@dataclass(frozen=True)
class Seen:
    """A pipeline as the rows and logs tell it."""

    pipeline: pipelines.Pipeline
    workflows: Mapping[str, str]
    jobs: Mapping[str, rows.Job]
    steps: Mapping[str, list[rows.Step]]  # of every node, in order
    logs: Mapping[str, str]  # of a job: all steps of all nodes, one after the other
    is_over: bool  # every job has ended, also those of one name

    @property
    def statuses(self) -> dict[str, str]:
        return {name: str(job.status) for name, job in self.jobs.items()}


@dataclass
class Place:
    """A data folder with a user `tester` and a hosted project `acme/app`, and a work tree to push from."""

    data: Path
    work: Path
    settings: Settings
    secrets: Mapping[str, str] = field(default_factory=dict)
    contexts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def key(self) -> Path:
        return self.work.parent / "key"

    def read(self, fn: Callable[[Tx], T]) -> T:
        with closing(open_plain(self.data / "rondo.db")) as tx:
            return transact(tx, fn)

    def furnish(self) -> None:
        """Make the user, the project and the secrets."""
        key = asyncssh.generate_private_key("ssh-ed25519")
        key.write_private_key(self.key)
        self.key.chmod(0o600)
        public = people.SshKey(key.get_fingerprint("sha256"), key.export_public_key().decode().strip())
        box = SecretBox(load_or_make_key(self.data / "secret_key"))
        now_ms = time.time_ns() // 1_000_000

        def add(tx: Tx) -> None:
            user = people.add(tx, name="tester", is_admin=False, sees_all_projects=True, now_ms=now_ms)
            people.add_key(tx, user.id, public, now_ms)
            project = projects.add(
                tx, org="acme", repo="app", vcs=Vcs.HOSTED, git_url=None, default_branch="main", now_ms=now_ms
            )
            for name, value in self.secrets.items():
                projects.set_secret(tx, box, project.id, name, value, now_ms)
            for context, variables in self.contexts.items():
                made = contexts.add(tx, context, now_ms)
                for name, value in variables.items():
                    contexts.set_variable(tx, box, made.id, name, value, now_ms)

        self.read(add)

    async def commit(self, files: Mapping[str, str], message: str = "Change things") -> None:
        """Write files into the work tree and commit them."""
        if not (self.work / ".git").exists():
            self.work.mkdir(parents=True)
            await self.git("init", "-q", "-b", "main")
        for name, text in files.items():
            path = self.work / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        await self.git("add", "-A")
        await self.git(*PERSON, "commit", "-q", "--allow-empty", "-m", message)

    async def push(self, *words: str, expect: int = 0) -> str:
        """`git push` to the appliance; what git said on standard error."""
        return await self.git("push", self.url, *(words or ("main",)), expect=expect)

    @property
    def url(self) -> str:
        """Of the project's repository."""
        return f"ssh://git@{(self.data / 'ssh_address').read_text()}/acme/app.git"

    async def git(self, *words: str, expect: int = 0) -> str:
        options = "-o UserKnownHostsFile=/dev/null -o StrictHostKeyChecking=no -o IdentitiesOnly=yes -o LogLevel=ERROR"
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.work.parent),
            "GIT_SSH_COMMAND": f"ssh -F none -i '{self.key}' {options}",
            "GIT_CONFIG_NOSYSTEM": "1",
        }
        process = await asyncio.create_subprocess_exec(
            "git", *words, cwd=self.work, env=environment, stdout=-1, stderr=asyncio.subprocess.STDOUT
        )
        output, _ = await process.communicate()
        assert process.returncode == expect, output.decode()
        return output.decode()

    async def ended(self, number: int = 1) -> Seen:
        """Pipeline `number` once every workflow of it has ended (or it is errored), its nodes closed."""

        async def look() -> Seen | None:
            seen = self.seen(number)
            return seen if seen is not None and (seen.pipeline.state == "errored" or seen.is_over) else None

        return await until(look)

    async def said(self, text: str, number: int = 1) -> None:
        """Wait until this text stands in a log of pipeline `number`."""

        async def look() -> bool | None:
            seen = self.seen(number)
            return (seen is not None and any(text in log for log in seen.logs.values())) or None

        await until(look)

    def seen(self, number: int = 1) -> Seen | None:
        """Pipeline `number` as it is now."""

        def look(tx: Tx) -> Seen | None:
            row = tx.execute("SELECT id FROM pipelines WHERE number = :n", {"n": number}).fetchone()
            if row is None:
                return None
            pipeline = pipelines.pipeline(tx, PipelineId(row["id"]))
            jobs = rows.of_pipeline(tx, pipeline.id)
            found = {job.name: job for job in jobs}
            steps = {
                name: [step for node in rows.nodes_of(tx, job.id) for step in rows.steps_of(tx, job.id, node.index)]
                for name, job in found.items()
            }
            logs = {name: "".join(self._log(step) for step in of_job) for name, of_job in steps.items()}
            workflows = {one.name: str(one.status) for one in pipelines.workflows_of(tx, pipeline.id)}
            is_over = pipeline.state != "pending" and all(job.status.is_done for job in jobs)
            return Seen(pipeline, workflows, found, steps, logs, is_over)

        return self.read(look)

    def _log(self, step: rows.Step) -> str:
        return self.log_path(step).read_text("utf-8", "replace") if self.log_path(step).exists() else ""

    def log_path(self, step: rows.Step) -> Path:
        return self.data / "blobs/logs" / step.job_id[:2] / step.job_id / str(step.index) / f"{step.position}.log"


def settings_for(data: Path, changes: Mapping[str, Value]) -> Settings:
    """Free ports, no floor for the disk, no executor but what `changes` switch on."""
    plain: dict[str, Value] = {"data": str(data), "docker.enabled": False, "disk.floor": 0, "jobs.grace": 1.0}
    return Settings({**plain, "web.port": 0, "ssh.port": 0, **changes})


ON_THIS_HOST: Mapping[str, Value] = {"local.enabled": True, "local.takes": "all", "local.forks": True, "jobs.cpus": 16.0}


@asynccontextmanager
async def house(
    tmp_path: Path,
    changes: Mapping[str, Value],
    secrets: Mapping[str, str] | None = None,
    contexts: Mapping[str, Mapping[str, str]] | None = None,
    clock: Clock | None = None,
) -> AsyncIterator[tuple[Place, Appliance]]:
    """A furnished appliance in this process."""
    settings = settings_for(tmp_path / "data", changes)
    place = Place(tmp_path / "data", tmp_path / "work", settings, secrets or {}, contexts or {})
    try:
        async with running(place.settings, clock) as appliance:
            place.furnish()
            yield place, appliance
    finally:
        await end_jobs_of_this_host(place)


async def end_jobs_of_this_host(place: Place) -> None:
    """Jobs survive their appliance; after a test there is none to come back to them."""
    executor = LocalExecutor("test", place.data / "sandboxes")
    for ref in await executor.list():
        await executor.remove(ref)
    await executor.close()


class Served:
    """The appliance as a process of its own, to be killed and started again."""

    def __init__(
        self,
        place: Place,
        more: Mapping[str, str] | None = None,
        source: Path | None = None,
        knows: Container[str] | None = None,
    ) -> None:
        """`more`: further environment variables. `source`: where the code lies, when it is not this one; then `knows`
        are the settings that it has."""
        self.place = place
        self._more = more or {}
        self._knows = knows
        self._source = source or Path(__file__).parent.parent
        self._process: asyncio.subprocess.Process | None = None
        self._log = place.data.parent / "served.log"

    async def start(self) -> None:
        """Returns when the doors are open."""
        await self.spawn()
        process, noted = self._process, self.place.data / "web_url"
        assert process is not None

        async def is_up() -> bool | None:
            assert process.returncode is None, self._log.read_text()
            return True if noted.exists() else None

        await until(is_up, 30)

    async def spawn(self) -> None:
        """Begin to start."""
        variables = {
            f"RONDO_{name.upper().replace('.', '_')}": value if isinstance(value, str) else json.dumps(value)
            for name, value in self.place.settings._values.items()
            if value not in ("", (), {}) and (self._knows is None or name in self._knows)
        }
        variables = {name: json.dumps(value) if isinstance(value, tuple) else value for name, value in variables.items()}
        (self.place.data / "web_url").unlink(missing_ok=True)
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "appliance",
                "serve",
                env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **variables, **self._more},
                cwd=self._source,
                stdout=log,
                stderr=log,
            )

    async def kill(self) -> None:
        """SIGKILL: what a crash or the kernel does."""
        assert self._process is not None
        self._process.kill()
        await self._process.wait()

    async def terminate(self) -> int:
        """SIGTERM: what systemd does; the exit code."""
        assert self._process is not None
        self._process.terminate()
        async with asyncio.timeout(30):
            return await self._process.wait()

    @property
    def said(self) -> str:
        return self._log.read_text()


@asynccontextmanager
async def served(
    tmp_path: Path, changes: Mapping[str, Value], secrets: Mapping[str, str] | None = None
) -> AsyncIterator[tuple[Place, Served]]:
    """A furnished appliance in a process of its own; ended with SIGTERM when it still runs."""
    data = tmp_path / "data"
    data.mkdir()
    place = Place(data, tmp_path / "work", settings_for(data, changes), secrets or {})
    process = Served(place)
    await process.start()
    try:
        place.furnish()
        yield place, process
    finally:
        assert process._process is not None
        if process._process.returncode is None:
            await process.terminate()
        await end_jobs_of_this_host(place)
