"""A real OpenSSH server on a loopback port: somebody else's git server, or a machine for jobs."""

from __future__ import annotations

import contextlib
import getpass
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncssh
import pytest

from appliance.crypto import write_private
from appliance.executors.machine_link import Address
from tests.lacking import give_up
from tests.vcs.repos import environment

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
NO_SERVER = "TESTS OF SSH WERE NOT RUN"


@dataclass(frozen=True)
class GitServer:
    folder: Path
    port: int
    host_key: str  # "ssh-ed25519 AAAA..."

    def allow(self, public_key: str) -> None:
        """Let a key in; only git is served to it."""
        shell = f'command="git-shell -c \\"$SSH_ORIGINAL_COMMAND\\"",restrict {public_key}\n'
        with (self.folder / "authorized_keys").open("a") as file:
            file.write(shell)

    def url(self, repository: Path, host: str = "127.0.0.1") -> str:
        return f"ssh://{getpass.getuser()}@{host}:{self.port}{repository}"

    def known_host(self, host: str = "127.0.0.1") -> str:
        return f"[{host}]:{self.port} {self.host_key}"

    def repository(self, name: str, **files: str) -> Path:
        """A bare repository with a commit on main."""
        work, bare = self.folder / f"{name}.work", self.folder / f"{name}.git"
        work.mkdir()
        for file, text in files.items():
            (work / file).write_text(text)
        for words in (
            ["init", "-q", "-b", "main", "."],
            ["add", "-A"],
            ["commit", "-q", "-m", "A commit"],
            ["clone", "-q", "--bare", ".", str(bare)],
        ):
            subprocess.run(["git", *words], cwd=work, env=environment(), check=True)
        return bare


@contextlib.asynccontextmanager
async def git_server(folder: Path, host: str = "127.0.0.1") -> AsyncIterator[GitServer]:
    """sshd as this user. Skips the test where there is none."""
    if shutil.which("git-shell") is None:
        give_up(NO_SERVER, "there is no git-shell here: install git")
    with Sshd(folder, host) as server:
        yield GitServer(folder, server.port, server.host_key)


class Sshd:
    """An sshd as this user, from `with` to its end. Skips the test where there is none."""

    def __init__(self, folder: Path, host: str = "127.0.0.1", **options: object) -> None:
        self.folder = folder
        self.host = host
        if SSHD is None:
            give_up(NO_SERVER, "there is no sshd here: install openssh-server")
        folder.mkdir()
        with contextlib.suppress(OSError):  # where sshd of root wants it
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        (folder / "authorized_keys").touch()
        with socket.create_server((host, 0)) as taken:
            self.port: int = taken.getsockname()[1]
        self._options = {
            "ListenAddress": host,
            "Port": self.port,
            "HostKey": folder / "host_key",
            "AuthorizedKeysFile": folder / "authorized_keys",
            "PermitRootLogin": "yes",
            "PasswordAuthentication": "no",
            "StrictModes": "no",
            "UsePAM": "no",
            "SetEnv": "SHLVL=1",  # so that bash leaves out our own .bashrc, which may cost a quarter of a second
            "PidFile": "none",
            **options,
        }
        self._process: subprocess.Popen[bytes] | None = None
        self.host_key = ""
        self.new_host_key()

    def new_host_key(self, kind: str = "ssh-ed25519") -> None:
        """For the next start."""
        key = asyncssh.generate_private_key(kind)
        write_private(self.folder / "host_key", key.export_private_key())
        self.host_key = key.export_public_key().decode().strip()  # "ssh-ed25519 AAAA..."

    def start(self) -> None:
        (self.folder / "sshd_config").write_text("".join(f"{name} {value}\n" for name, value in self._options.items()))
        assert SSHD is not None
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen([SSHD, "-D", "-e", "-f", str(self.folder / "sshd_config")], stderr=log)
        deadline = time.monotonic() + 20
        while True:
            assert self._process.poll() is None and time.monotonic() < deadline, (self.folder / "log").read_text()
            with contextlib.suppress(OSError), socket.create_connection((self.host, self.port), 1):
                return
            time.sleep(0.02)

    def stop(self) -> None:
        """The listener, and with it every connection: as when a machine is switched off. May be repeated."""
        process, self._process = self._process, None
        if process is None:
            return
        monitors = children_of(process.pid)  # one for each connection, and below it one with the user's rights
        connections = [*monitors, *(pid for each in monitors for pid in children_of(each))]
        process.terminate()
        process.wait()
        for pid in connections:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    @contextlib.contextmanager
    def silent(self) -> Iterator[None]:
        """It keeps its connections and takes new ones, and says nothing: as one that hangs does."""
        assert self._process is not None
        pids = [self._process.pid, *children_of(self._process.pid)]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    def __enter__(self) -> Sshd:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def children_of(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


@dataclass(frozen=True)
class Machine:
    """A machine to be reached over SSH, and a user of it. Its folder for jobs is below `folder`."""

    server: Sshd
    user: str
    private_key: str
    folder: Path

    def address(self, port: int | None = None) -> Address:
        return Address(
            host=self.server.host,
            port=port or self.server.port,
            user=self.user,
            private_key=self.private_key,
            host_key=self.server.host_key,
        )


@contextlib.contextmanager
def machine(folder: Path, **options: str) -> Iterator[Machine]:
    """This host, as the user who runs the tests."""
    with Sshd(folder, **options) as server:
        yield Machine(server, getpass.getuser(), allow(server), folder / "jobs")


@contextlib.contextmanager
def machine_of_plain_user(folder: Path, **options: str) -> Iterator[Machine]:
    """This host, as a user without any rights, who is there as long as the block. Skips the test unless we are root."""
    if os.geteuid() != 0 or shutil.which("useradd") is None:
        pytest.skip("only root can make a user for the test")
    user = f"rondo-test-{os.getpid()}"
    home = Path(tempfile.mkdtemp(prefix=f"{user}-"))
    # The keys are where only root may read, and without a password sshd would think that the user is locked.
    keys = {"AuthorizedKeysFile": "none", "AuthorizedKeysCommandUser": "root"}
    with Sshd(folder, **keys, AuthorizedKeysCommand=f"/bin/cat {folder}/authorized_keys", **options) as server:
        subprocess.run(["useradd", "-M", "-d", str(home), "-s", "/bin/bash", "-p", "*", user], check=True)
        try:
            entry = pwd.getpwnam(user)
            os.chown(home, entry.pw_uid, entry.pw_gid)
            yield Machine(server, user, allow(server), home / "jobs")
        finally:
            server.stop()
            left = _processes_of(user)
            subprocess.run(["userdel", "-f", user], check=True, capture_output=True)
            shutil.rmtree(home)
            assert not left, f"jobs have left processes: {left}"


def allow(server: Sshd) -> str:
    """Let a new key in, and say its private half."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    with (server.folder / "authorized_keys").open("ab") as file:
        file.write(key.export_public_key())
    return key.export_private_key().decode()


def _processes_of(user: str) -> str:
    """What is left of a user's after a moment, in which what was just ended is reaped."""
    for _ in range(100):
        left = subprocess.run(
            ["ps", "-u", user, "-o", "pid=,stat=,args="], capture_output=True, text=True, check=False
        ).stdout
        if not left:
            break
        time.sleep(0.05)
    return left
