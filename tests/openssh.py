"""A real OpenSSH server on a loopback port, with git repositories to be had by key: the git server of somebody else."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import os
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import asyncssh
import pytest

from appliance.crypto import write_private
from tests.vcs.repos import environment

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


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
    if SSHD is None or shutil.which("git-shell") is None:
        if os.environ.get("CI"):
            pytest.fail("sshd is needed: install openssh-server")
        pytest.skip("there is no sshd here: install openssh-server")
    folder.mkdir()
    with contextlib.suppress(OSError):  # where sshd of root wants it
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    write_private(folder / "host_key", asyncssh.generate_private_key("ssh-ed25519").export_private_key())
    public_key = asyncssh.read_private_key(str(folder / "host_key")).export_public_key().decode().strip()
    (folder / "authorized_keys").touch()
    with socket.create_server((host, 0)) as taken:
        port = taken.getsockname()[1]
    options = {
        "ListenAddress": host,
        "Port": port,
        "HostKey": folder / "host_key",
        "AuthorizedKeysFile": folder / "authorized_keys",
        "PermitRootLogin": "yes",
        "PasswordAuthentication": "no",
        "StrictModes": "no",
        "UsePAM": "no",
        "PidFile": "none",
    }
    (folder / "sshd_config").write_text("".join(f"{name} {value}\n" for name, value in options.items()))
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(SSHD, "-D", "-e", "-f", str(folder / "sshd_config"), stderr=log)
    try:
        async with asyncio.timeout(20):
            while True:
                assert process.returncode is None, (folder / "log").read_text()
                with contextlib.suppress(OSError), socket.create_connection((host, port), 1):
                    break
                await asyncio.sleep(0.02)
        yield GitServer(folder, port, public_key)
    finally:
        process.terminate()
        await process.wait()
