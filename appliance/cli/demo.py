"""`rondo demo`: a whole appliance on 127.0.0.1, a project that it hosts, and a real `git push` of a sample into it."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from appliance.errors import RondoError

if TYPE_CHECKING:
    from appliance.app import Appliance
    from appliance.model import PipelineId, WorkflowId
    from appliance.store import jobs, pipelines
    from appliance.store.database import Tx

_LONGEST_S = 600.0
_END_S = 30.0  # for canceled jobs to end
_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_INTERRUPTED = 130
_LOCAL_IMAGES = ("rondo-test/debian", "rondo-test/busybox", "cimg/base", "debian", "ubuntu", "alpine", "busybox")


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("demo", help="show everything at work on this machine, in a fresh data folder")
    parser.add_argument("--once", action="store_true", help="end with the workflow; its success is the exit code")
    parser.add_argument("--data", metavar="DIR", help="data folder to make (default: a temporary one)")
    parser.set_defaults(run=_demo)


def _demo(args: argparse.Namespace) -> int:
    for tool in ("git", "ssh"):
        if shutil.which(tool) is None:
            package = {"ssh": "openssh-client"}.get(tool, tool)
            raise RondoError(f"the demo pushes with {tool}, which is not here: install it (apt-get install {package})")
    with _folder(args.data) as data:
        return asyncio.run(_Demo(data, is_once=args.once).run())


@contextmanager
def _folder(named: str | None) -> Iterator[Path]:
    """A fresh data folder; a temporary one goes away at the end."""
    if named is None:
        with tempfile.TemporaryDirectory(prefix="rondo-demo-", ignore_cleanup_errors=True) as folder:
            yield Path(folder)
        return
    data = Path(named).absolute()
    if (data / "demo_key").exists():  # A database alone may be somebody's real one.
        shutil.rmtree(data)
    elif data.exists() and any(data.iterdir()):
        raise RondoError(f"{data} is not empty and not the folder of an earlier demo: name another one with --data")
    data.mkdir(parents=True, exist_ok=True)
    yield data


class _Demo:
    def __init__(self, data: Path, *, is_once: bool) -> None:
        self._data = data
        self._is_once = is_once
        self._image: str | None = None

    async def run(self) -> int:
        from appliance.app import running
        from appliance.settings import Settings

        logging.basicConfig(filename=self._data / "rondo.log", level="INFO")
        self._image = await asyncio.to_thread(_docker_image)
        settings = Settings(
            {
                "data": str(self._data),
                "web.port": 0,
                "ssh.port": 0,
                "local.enabled": True,
                "docker.enabled": self._image is not None,
                "disk.floor": 0,
                "jobs.cpus": 16.0,
            }
        )
        async with running(settings) as appliance:
            is_green = False
            try:
                with _until_a_signal() as was_stopped:
                    is_green = await self._show(appliance)
            finally:
                await _end_jobs(appliance)
            if was_stopped():
                return _INTERRUPTED if self._is_once else 0
            return 0 if is_green else 1

    async def _show(self, appliance: Appliance) -> bool:
        """All there is to see: with --once to the workflow's end, and whether it is green; else until a signal."""
        link = await self._people_and_project(appliance)
        print(f"Rondo is up at {appliance.web_url} (log: {self._data / 'rondo.log'})")
        print(f"Log in on the pages, once: {link}")
        if self._image is None:
            print("No Docker engine with an image for it answers: the sample has no job in a container.")
        await self._push(appliance)
        is_green = await self._watch(appliance)
        if not self._is_once:
            print("Everything stays up until Ctrl-C.", flush=True)
            await asyncio.Event().wait()
        return is_green

    async def _people_and_project(self, appliance: Appliance) -> str:
        """A user with a key of its own, and a project; the link that logs the user in."""
        import asyncssh

        from appliance.model import Vcs
        from appliance.store import people, projects

        key = asyncssh.generate_private_key("ssh-ed25519", comment="rondo demo")
        key_path = self._data / "demo_key"
        key.write_private_key(key_path)
        key_path.chmod(0o600)
        public = people.SshKey(key.get_fingerprint("sha256"), key.export_public_key("openssh").decode().strip())
        now_ms = time.time_ns() // 1_000_000

        def add(tx: Tx) -> str:
            user = people.add(tx, name="you", is_admin=True, sees_all_projects=True, now_ms=now_ms)
            people.add_key(tx, user.id, public, now_ms)
            projects.add(tx, org="demo", repo="words", vcs=Vcs.HOSTED, git_url=None, default_branch="main", now_ms=now_ms)
            return people.make_token(tx, user.id, "link", now_ms, 24 * 3600 * 1000)

        return f"{appliance.web_url}/login?token={await appliance.db.write(add)}"

    async def _push(self, appliance: Appliance) -> None:
        """Commit the sample and push it with the real git over the real SSH door."""
        folder = self._data / "sample"
        write_sample(folder, self._image, seconds=6 if self._is_once else 30)
        url = f"ssh://git@{appliance.ssh_host}:{appliance.ssh_port}/demo/words.git"
        print(f"$ git push {url} main", flush=True)
        person = ["-c", "user.name=Demo", "-c", "user.email=demo@localhost", "-c", "commit.gpgsign=false"]
        for words in (["init", "-q", "-b", "main"], ["add", "."], [*person, "commit", "-q", "-m", "Count words"]):
            await _git(folder, words)
        await _git(folder, ["push", url, "main"], ssh=self._ssh())

    def _ssh(self) -> str:
        known = self._data / "known_hosts"
        options = f"-o UserKnownHostsFile='{known}' -o StrictHostKeyChecking=accept-new -o LogLevel=ERROR"
        return f"ssh -F none -i '{self._data / 'demo_key'}' {options}"

    async def _watch(self, appliance: Appliance) -> bool:
        """Show the jobs until the workflow has ended; whether it is green."""
        board = _Board()
        has_shown_shell = False
        async with asyncio.timeout(_LONGEST_S):
            while True:
                pipeline, workflows, rows = await appliance.db.read(_state)
                if pipeline is None:
                    await asyncio.sleep(0.1)
                    continue
                running = next((row for row in rows if _is_worth_a_visit(row)), None)
                if running is not None and not has_shown_shell:
                    has_shown_shell = True
                    board.note(f"A page of it:  {appliance.web_url}/jobs/{running.number}")
                    who = f"{running.number}@{appliance.ssh_host}"
                    board.note(f"A shell in it: {self._ssh()} -p {appliance.ssh_port} {who}")
                board.show(rows)
                if pipeline.state == "errored" or (workflows and all(one.status.is_done for one in workflows)):
                    break
                await asyncio.sleep(0.2)
        for problem in pipeline.problems:
            print(problem.text)
        for workflow in workflows:
            print(f"workflow {workflow.name}: {workflow.status}")
        print(f"{appliance.web_url}/pipelines/circleci/demo/words/{pipeline.number}", flush=True)
        return bool(workflows) and all(workflow.status == "success" for workflow in workflows)


def _is_worth_a_visit(row: jobs.Job) -> bool:
    """The one of the sample that waits for visitors."""
    return row.status == "running" and row.name == "test"


def _state(tx: Tx) -> tuple[pipelines.Pipeline | None, list[pipelines.Workflow], list[jobs.Job]]:
    """The newest pipeline with its workflows and jobs."""
    from appliance.model import PipelineId
    from appliance.store import jobs, pipelines

    row = tx.execute("SELECT id FROM pipelines ORDER BY created_at_ms DESC LIMIT 1").fetchone()
    if row is None:
        return None, [], []
    pipeline_id: PipelineId = PipelineId(row["id"])
    pipeline = pipelines.pipeline(tx, pipeline_id)
    return pipeline, pipelines.workflows_of(tx, pipeline_id), jobs.of_pipeline(tx, pipeline_id)


class _Board:
    """One line a job: in place on a terminal, elsewhere a line for each change."""

    def __init__(self) -> None:
        self._is_terminal = sys.stdout.isatty()
        self._shown: dict[str, str] = {}

    def note(self, line: str) -> None:
        """A line above the jobs."""
        self._wipe()
        print(line, flush=True)
        self._shown = {} if self._is_terminal else self._shown

    def show(self, rows: Sequence[jobs.Job]) -> None:
        lines = {row.name: self._line(row) for row in rows}
        if self._is_terminal:
            self._wipe()
            for line in lines.values():
                print(line)
        else:
            for row in rows:
                if self._shown.get(row.name) != row.status:
                    print(lines[row.name])
        self._shown = {row.name: str(row.status) for row in rows}
        sys.stdout.flush()

    def _wipe(self) -> None:
        if self._is_terminal and self._shown:
            print(f"\x1b[{len(self._shown)}A\x1b[J", end="")

    def _line(self, row: jobs.Job) -> str:
        from appliance.laptop.signs import Colours, ended, span

        now_ms = time.time_ns() // 1_000_000 if self._is_terminal else None
        return f"  {ended(row, Colours.for_stream(sys.stdout), f'{row.name:<18}')}{span(row, now_ms)}"


def write_sample(folder: Path, image: str | None, seconds: int = 6) -> None:
    """The sample repository's files, with the docker job when there is an image, and `seconds` to look in."""
    (folder / ".circleci").mkdir(parents=True)
    files = resources.files("appliance.cli").joinpath("sample")
    config = files.joinpath("config.yml").read_text("utf-8")
    lines = [
        line.removeprefix("#docker").replace("DOCKER_IMAGE", image or "").replace("default: 6", f"default: {seconds}")
        for line in config.splitlines()
        if image is not None or not line.startswith("#docker")
    ]
    (folder / ".circleci" / "config.yml").write_text("\n".join(lines) + "\n")
    for file in files.iterdir():
        if file.name.endswith(".py.txt"):
            (folder / file.name.removesuffix(".txt")).write_text(file.read_text("utf-8"))


def _docker_image() -> str | None:
    """An image that an engine here has already; None without an engine or image. Nothing is pulled for a demo."""
    if shutil.which("docker") is None:
        return None
    try:
        listed = subprocess.run(
            ["docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    names = [name for name in listed.stdout.split() if "<none>" not in name]
    return next((name for wanted in _LOCAL_IMAGES for name in names if name.rpartition(":")[0] == wanted), None)


async def _git(folder: Path, words: Sequence[str], ssh: str = "") -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment |= {"GIT_SSH_COMMAND": ssh, "GIT_TERMINAL_PROMPT": "0"} if ssh else {}
    process = await asyncio.create_subprocess_exec("git", "-C", str(folder), *words, env=environment)
    try:
        code = await process.wait()
    finally:
        if process.returncode is None:
            process.terminate()
    if code != 0:
        raise RondoError(f"git {words[0]} did not work; the lines above say why")


@contextmanager
def _until_a_signal() -> Iterator[Callable[[], bool]]:
    """Ctrl-C and the like end the block, as if it had come to its end. Says whether one came.

    From then on they do nothing: what follows is bounded, and a second Ctrl-C must not leave jobs behind.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    came = is_over = False

    def stop() -> None:
        nonlocal came
        if not is_over and not came:
            came = True
            task.cancel()

    for number in _STOPPING:
        loop.add_signal_handler(number, stop)
    try:
        yield lambda: came
    except asyncio.CancelledError:
        if not came:
            raise
        task.uncancel()
        print("ending what still runs", flush=True)
    finally:
        is_over = True


async def _end_jobs(appliance: Appliance) -> None:
    """Cancel what has not ended and wait until it is gone: jobs that outlived the demo would outlive its data folder."""
    from appliance.engine.recovery import sweep
    from appliance.store import people

    you = await appliance.db.read(lambda tx: next((user for user in people.everybody(tx) if user.name == "you"), None))
    if you is None:
        return  # nothing was pushed yet
    with suppress(TimeoutError):
        async with asyncio.timeout(_END_S):
            while True:
                workflows, is_coming = await appliance.db.read(_open)
                for workflow in workflows:
                    await appliance.commands.cancel_workflow(workflow, you)
                if not workflows and not is_coming and appliance.hands.are_empty:
                    break
                await asyncio.sleep(0.1)
    for executor in appliance.executors.values():
        await sweep(executor, set())


def _open(tx: Tx) -> tuple[list[WorkflowId], bool]:
    """The workflows that have not ended, and whether a pipeline is still to come."""
    from appliance.store import pipelines, projects

    found = [one for project in projects.all_of(tx) for one in pipelines.open_workflows_of(tx, project.id)]
    return found, pipelines.oldest_open_trigger(tx) is not None
