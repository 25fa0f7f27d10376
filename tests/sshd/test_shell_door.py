"""Shells and commands in running jobs, with the real ssh and real processes of this host."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import pty
import signal
import struct
import subprocess
import termios
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import pytest

from appliance.executors.base import Container, SandboxSpec
from appliance.executors.docker import DockerExecutor
from appliance.model import JobId, ProjectFlags
from appliance.sshd.shell import NodeName, parse_node
from appliance.store import contexts, projects, restrictions, visits
from tests.engine_fixture import BUSYBOX, DEBIAN, Engine
from tests.sshd.jobs import add_job, quiet, running_job, shown
from tests.sshd.world import World, line_of, run, started, until, world


async def test_a_command_runs_in_the_jobs_directory_with_its_environment(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        ada = await here.user("ada")
        project = await here.project(ada)
        async with running_job(here, project, tmp_path) as job:
            said = await here.ssh(ada, str(job.number), 'pwd; echo "$GREETING, $LATER"; exit 7')
            directory = f"{tmp_path}/sandboxes/{job.number}.0/home/project"
            assert (said.code, said.error) == (7, "")
            assert said.out.splitlines() == [directory, "hello from the job, from BASH_ENV"]
            assert (await here.ssh(ada, f"{job.number}.0", "kill -9 $$")).code == 137


async def test_a_directory_that_is_not_there_yet_is_no_trouble(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        ada = await here.user("ada")
        project = await here.project(ada)
        async with running_job(here, project, tmp_path, directory="~/not/yet") as job:
            said = await here.ssh(ada, str(job.number), "pwd")
            assert said.out.strip() == f"{tmp_path}/sandboxes/{job.number}.0/home"


async def test_a_script_on_standard_input_is_run(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        ada = await here.user("ada")
        project = await here.project(ada)
        async with running_job(here, project, tmp_path) as job:
            said = await here.ssh(ada, str(job.number), data=b"echo $GREETING\nexit 3\n")
            assert (said.code, said.out) == (3, "hello from the job\n")


async def test_megabytes_go_through_both_ways_untouched(tmp_path: Path) -> None:
    data = os.urandom(6 << 20)
    async with world(tmp_path) as here:
        ada = await here.user("ada")
        project = await here.project(ada)
        async with running_job(here, project, tmp_path) as job:
            said = await here.ssh(ada, str(job.number), "sha256sum", data=data)
            assert said.out.split()[0] == hashlib.sha256(data).hexdigest()
            said = await here.ssh(ada, str(job.number), "cat | base64 -w0", data=data)
            assert len(said.out) == (len(data) + 2) // 3 * 4


async def test_scp_works_through_the_jobs_own_scp(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        ada = await here.user("ada")
        project = await here.project(ada)
        async with running_job(here, project, tmp_path) as job:
            options = ["-O", "-q", *here.ssh_options(ada), "-P", str(here.port)]
            source = tmp_path / "source"
            source.write_bytes(os.urandom(100_000))
            said = await run("scp", *options, str(source), f"{job.number}@127.0.0.1:there")
            assert said.code == 0, said.error
            said = await run("scp", *options, f"{job.number}@127.0.0.1:there", str(tmp_path / "back"))
            assert said.code == 0, said.error
            assert (tmp_path / "back").read_bytes() == source.read_bytes()


class Terminal:
    """A terminal with an ssh in it, as a person has one."""

    def __init__(self, argv: list[str], columns: int, rows: int) -> None:
        self._master, slave = pty.openpty()
        self.resize(columns, rows, tell=False)
        self.process = subprocess.Popen(
            argv,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            env={**os.environ, "TERM": "xterm-256color"},
        )
        os.close(slave)
        os.set_blocking(self._master, False)
        self.screen = b""

    def resize(self, columns: int, rows: int, *, tell: bool = True) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        if tell:
            self.process.send_signal(signal.SIGWINCH)

    def type(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def look(self) -> bytes:
        with contextlib.suppress(BlockingIOError, OSError):
            self.screen += os.read(self._master, 65536)
        return self.screen

    async def see(self, words: str) -> None:
        """Wait for words on the screen; what stands before them is gone then."""
        try:
            await until(lambda: words.encode() in self.look())
        except TimeoutError:
            raise AssertionError(f"no {words!r} on {self.screen!r}") from None
        self.screen = self.screen.partition(words.encode())[2]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)


@contextlib.contextmanager
def terminal(argv: list[str], columns: int = 111, rows: int = 37) -> Iterator[Terminal]:
    made = Terminal(argv, columns, rows)
    try:
        yield made
    finally:
        made.close()


async def use_a_terminal(here: World, user: str, number: int, directory: str) -> None:
    """What a person does: look around, resize the window, break a command, leave."""
    with terminal(here.ssh_argv(user, str(number))) as screen:
        screen.type("echo ready-$((40+2))\r")
        await screen.see("ready-42")
        screen.type("echo [$(pwd)] [$GREETING] [$TERM]; stty size; tty\r")
        await screen.see(f"[{directory}] [hello from the job] [xterm-256color]")
        await screen.see("37 111")
        screen.resize(99, 22)

        async def has_new_size() -> bool:
            screen.type("stty size\r")
            with contextlib.suppress(TimeoutError):
                await until(lambda: b"22 99" in screen.look(), 1.0)
                return True
            return False

        await until(has_new_size)
        screen.type("sh -c 'echo sleeping-$((5+5)); exec sleep 1000'; echo broken-$?\r")
        await screen.see("sleeping-10")
        screen.type("\x03")
        screen.type("echo back-$((3+3))\r")
        await screen.see("back-6")
        screen.type("exit 9\r")
        await until(lambda: screen.look() is not None and screen.process.poll() is not None)
        assert screen.process.returncode == 9


async def test_a_terminal_has_size_keys_and_an_end(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        ada = await here.user("ada")
        project = await here.project(ada)
        async with running_job(here, project, tmp_path) as job:
            await use_a_terminal(here, "ada", job.number, f"{tmp_path}/sandboxes/{job.number}.0/home/project")


@pytest.mark.docker
@pytest.mark.parametrize("image", [DEBIAN, BUSYBOX])
async def test_a_terminal_in_a_container(tmp_path: Path, docker_engine: Engine, image: str) -> None:
    async with world(tmp_path) as here:
        ada = await here.user("ada")
        project = await here.project(ada)
        job_id, number = await add_job(here, project)
        executor = DockerExecutor(f"ssh-{number}-{tmp_path.name}"[:40], docker_engine.url)
        spec = SandboxSpec(node=f"{number}.0", containers=(Container(image=image),))
        sandbox = await executor.open(spec, quiet)
        try:
            async with shown(here, job_id, sandbox, tmp_path):
                said = await here.ssh(ada, str(number), "echo $GREETING; exit 5")
                assert (said.code, said.out) == (5, "hello from the job\n")
                home = (await here.ssh(ada, str(number), "echo $HOME")).out.strip()
                await use_a_terminal(here, "ada", number, f"{home}/project".replace("//", "/"))
                async with started(*here.ssh_argv(ada, str(number), "echo $$; exec sleep 98765")) as client:
                    pid = await line_of(client.stdout)
                assert pid.isdigit()

                async def is_gone() -> bool:
                    return (await here.ssh(ada, str(number), f"kill -0 {pid}")).code != 0

                await until(is_gone)
        finally:
            await sandbox.close()
            await executor.close()


async def test_who_hangs_up_leaves_nothing_running(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        ada = await here.user("ada")
        project = await here.project(ada)
        async with running_job(here, project, tmp_path) as job:
            script = "trap '' HUP TERM; sleep 98765 & echo $$ $!; wait"
            for options in ((), ("-tt",)):
                async with started(*here.ssh_argv(ada, str(job.number), script, options=options)) as client:
                    pids = [int(word) for word in (await line_of(client.stdout)).split()]
                    assert len(pids) == 2 and all(is_alive(pid) for pid in pids)
                await until(lambda: not any(is_alive(pid) for pid in pids))  # noqa: B023
            await until_left(here, job.id)


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


async def until_left(here: World, job_id: JobId) -> None:
    async def has_left() -> bool:
        found = await here.db.read(lambda tx: visits.of_job(tx, job_id))
        return all(visit.left_at_ms is not None for visit in found)

    await until(has_left)


async def test_a_visit_is_recorded_with_who_from_where_and_what(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        ada = await here.user("ada")
        project = await here.project(ada)
        async with running_job(here, project, tmp_path) as job:
            async with started(*here.ssh_argv(ada, str(job.number), "echo in; cat")) as client:
                assert await line_of(client.stdout) == "in"
                (visit,) = await here.db.read(lambda tx: visits.of_job(tx, job.id))
                assert (visit.user_name, visit.index, visit.command) == ("ada", 0, "echo in; cat")
                assert visit.address.startswith("127.0.0.1:") and visit.left_at_ms is None
            await until_left(here, job.id)
            await here.ssh(ada, str(job.number), data=b"exit\n")
            found = await here.db.read(lambda tx: visits.of_job(tx, job.id))
            assert [visit.command for visit in found] == ["echo in; cat", ""]


async def test_a_job_that_is_not_there_and_one_that_one_may_not_see_look_alike(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        ada, mallory = await here.user("ada"), await here.user("mallory")
        project = await here.project(ada)
        async with running_job(here, project, tmp_path) as job:
            await here.db.write(lambda tx: projects.set_flags(tx, project.id, ProjectFlags(oss=True)))
            said = await here.ssh(mallory, str(job.number), "id")
            assert (said.code, said.out, said.error) == (1, "", f"rondo: there is no job {job.number} that you may see\n")
            assert await here.db.read(lambda tx: visits.of_job(tx, job.id)) == []
            for name in ("4711", "0", "999999999999999"):
                said = await here.ssh(ada, name, "id")
                assert (said.code, said.out, said.error) == (1, "", f"rondo: there is no job {name} that you may see\n")
            said = await here.ssh(ada, f"{job.number}.1", "id")
            assert said.error == f"rondo: job {job.number} has no node 1: its nodes are 0 to 0\n"
        assert "is not running" in (await here.ssh(ada, str(job.number), "id")).error


async def test_a_strangers_fork_is_for_admins_only(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        ada, root = await here.user("ada"), await here.user("root", is_admin=True)
        project = await here.project(ada)
        async with running_job(here, project, tmp_path, is_fork=True) as job:
            said = await here.ssh(ada, str(job.number), "id")
            assert (said.code, said.out) == (1, "")
            assert said.error == f"rondo: job {job.number}.0 runs what a stranger's fork has pushed: only admins may enter\n"
            assert (await here.ssh(root, str(job.number), "echo ok")).out == "ok\n"


async def test_a_project_may_allow_no_shells(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        ada, root = await here.user("ada"), await here.user("root", is_admin=True)
        project = await here.project(ada)
        await here.db.write(lambda tx: projects.set_flags(tx, project.id, ProjectFlags(disable_ssh=True)))
        async with running_job(here, project, tmp_path) as job:
            for user in (ada, root):
                said = await here.ssh(user, str(job.number), "echo in")
                assert (said.code, said.out) == (1, "")
                assert said.error == f"rondo: job {job.number}.0: the settings of its project allow no SSH\n"


async def test_who_may_not_have_a_context_gets_no_shell_beside_it(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        ada, bea, root = await here.user("ada"), await here.user("bea"), await here.user("root", is_admin=True)
        project = await here.project(ada, bea)
        context = await here.db.write(lambda tx: contexts.add(tx, "deploy", 1))
        await here.db.write(lambda tx: restrictions.add(tx, context.id, restrictions.Type.GROUP, ada.id, 1))
        async with running_job(here, project, tmp_path, contexts=("deploy",)) as job:
            assert (await here.ssh(ada, str(job.number), "echo in")).out == "in\n"
            assert (await here.ssh(root, str(job.number), "echo in")).out == "in\n"
            said = await here.ssh(bea, str(job.number), "echo in")
            assert (said.code, said.out) == (1, "") and "restricted to ada" in said.error
            kind, text = restrictions.Type.EXPRESSION, "not job.ssh.enabled"
            await here.db.write(lambda tx: restrictions.add(tx, context.id, kind, text, 1))
            assert "closed to you" in (await here.ssh(root, str(job.number), "echo in")).error


async def test_a_message_in_a_terminal_begins_its_lines_at_the_left(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        ada = await here.user("ada")
        said = await here.ssh(ada, "4711", options=("-tt",))
        assert said.error == "rondo: there is no job 4711 that you may see\r\n"


async def test_an_idle_shell_is_closed_and_a_busy_one_is_not(tmp_path: Path) -> None:
    async with world(tmp_path, ssh__idle_limit=0.5) as here:
        ada = await here.user("ada")
        project = await here.project(ada)
        async with running_job(here, project, tmp_path) as job:
            said = await here.ssh(ada, str(job.number), "for i in 1 2 3 4 5 6 7 8 9; do sleep 0.1; echo $i; done")
            assert (said.code, said.out.split()[-1]) == (0, "9")
            async with started(*here.ssh_argv(ada, str(job.number), "sleep 98765")) as client:
                out, error = await client.communicate()
            assert b"rondo: closed after 0.5 s without input or output" in error and out == b""
            assert client.returncode not in (0, None)


async def test_a_job_that_ends_ends_its_shells(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        ada = await here.user("ada")
        project = await here.project(ada)
        async with (
            running_job(here, project, tmp_path) as job,
            started(*here.ssh_argv(ada, str(job.number), "echo in; sleep 98765")) as client,
        ):
            assert await line_of(client.stdout) == "in"
            await job.sandbox.close()
            async with asyncio.timeout(20):
                await client.communicate()
            assert client.returncode != 0
        assert (await here.ssh(ada, "git")).code == 0


async def test_a_signal_from_the_client_ends_the_command(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        ada = await here.user("ada")
        project = await here.project(ada)
        async with (
            running_job(here, project, tmp_path) as job,
            asyncssh.connect(
                "127.0.0.1",
                here.port,
                username=str(job.number),
                client_keys=[str(here.key("ada"))],
                known_hosts=None,
                config=None,
                agent_path=None,
            ) as connection,
        ):
            process = await connection.create_process("echo $$; exec sleep 98765", encoding=None)
            pid = int(await process.stdout.readline())
            process.send_signal("USR1")  # not one that ends
            process.send_signal("TERM")
            async with asyncio.timeout(20):
                await process.wait()
            assert not is_alive(pid)


async def test_a_slow_reader_holds_up_the_job_not_our_memory(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        ada = await here.user("ada")
        project = await here.project(ada)
        async with running_job(here, project, tmp_path) as job:
            count = tmp_path / "count"
            script = f"while :; do head -c 1048576 /dev/zero; echo x >> {count}; done"
            async with started(*here.ssh_argv(ada, str(job.number), script)) as client:
                await until(lambda: count.exists())
                # Nobody reads: once pipes and windows are full, the job stands still.
                assert await stands_still(count)
                assert count.stat().st_size < 2 * 40
                assert client.returncode is None


async def stands_still(file: Path) -> bool:
    """Whether a file stops growing: three looks in a row that find the same."""
    sizes: list[int] = []

    def is_still() -> bool:
        sizes.append(file.stat().st_size)
        return len(sizes) > 30 and len(set(sizes[-30:])) == 1

    await until(is_still)
    return True


@pytest.mark.parametrize(("name", "node"), [("812", NodeName(812, 0)), ("812.3", NodeName(812, 3)), ("0", NodeName(0, 0))])
def test_digits_are_jobs(name: str, node: NodeName) -> None:
    assert parse_node(name) == node


@pytest.mark.parametrize("name", ["git", "", "812.", ".1", "812.1.1", "-1", "812a", "٨١٢", "8" * 16, "812\n", " 812"])
def test_other_names_are_not(name: str) -> None:
    assert parse_node(name) is None
