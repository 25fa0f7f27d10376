"""How we run git: an environment built from scratch, options no repository can change, arguments that stay arguments.

Everything that comes from outside (branch names, revisions, URLs) reaches git either validated and after
`--end-of-options`, or on its standard input, or as a value of a configuration variable. There is never a shell.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import tempfile
from asyncio.subprocess import Process
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from appliance.errors import VcsError
from appliance.vcs import process as processes
from appliance.vcs.words import MESSAGE_LIMIT, readable

_PASSED_ON = (
    *("PATH", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR"),
    *("http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"),
)
_OPTIONS = {
    "core.hooksPath": os.devnull,
    "core.fsmonitor": "false",
    "credential.helper": "",
    "gc.autoDetach": "false",  # a collector in the background would outlive its process group's reason to live
    "fetch.recurseSubmodules": "false",
    "advice.detachedHead": "false",
}


@dataclass(frozen=True)
class Done:
    """How a git command ended."""

    code: int
    out: bytes
    error: str  # cleaned, without credentials


class Git:
    """Runs git. Holds no state but its options; any number of commands at once."""

    def __init__(self, *, timeout_s: float = 600.0, program: str = "git") -> None:
        self.timeout_s = timeout_s
        self._program = program

    async def call(
        self,
        repository: Path | None,
        *arguments: str,
        config: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
        stdin: bytes | None = None,
        limit_bytes: int = 1 << 20,
    ) -> Done:
        """Run a command to its end, whatever its exit code. Raises VcsError past the timeout or `limit_bytes`."""
        verb = arguments[0]
        try:
            async with (
                asyncio.timeout(self.timeout_s),
                self.running(
                    repository, *arguments, config=config, environment=environment, has_input=stdin is not None
                ) as process,
                asyncio.TaskGroup() as group,
            ):
                out = group.create_task(processes.read_limited(process, limit_bytes))
                error = group.create_task(processes.read_tail(process.stderr))
                await processes.feed(process, stdin or b"")
                code = await process.wait()
        except TimeoutError:
            raise VcsError(f"git {verb} took longer than {self.timeout_s:g} s") from None
        found = out.result()
        if found is None:
            raise VcsError(f"git {verb} wrote more than {limit_bytes} bytes")
        return Done(code, found, readable(error.result()))

    async def run(
        self,
        repository: Path | None,
        *arguments: str,
        config: Mapping[str, str] | None = None,
        stdin: bytes | None = None,
        limit_bytes: int = 1 << 20,
    ) -> bytes:
        """Like `call`; the output. Raises VcsError with git's words when the exit code is not 0."""
        done = await self.call(repository, *arguments, config=config, stdin=stdin, limit_bytes=limit_bytes)
        if done.code != 0:
            raise VcsError(f"git {arguments[0]} failed: {done.error or f'exit code {done.code}'}")
        return done.out

    async def stream(
        self, repository: Path, *arguments: str, config: Mapping[str, str] | None = None
    ) -> AsyncGenerator[bytes, None]:
        """The output of a command, chunk by chunk; a slow reader slows it down.

        Raises VcsError at the end when it failed. Close it (`contextlib.aclosing`) when breaking off.
        """
        with tempfile.TemporaryFile() as errors:
            async with self.running(repository, *arguments, config=config, stderr=errors.fileno()) as process:
                assert process.stdout is not None
                while chunk := await self._read(process.stdout, arguments[0]):
                    yield chunk
                code = await process.wait()
                if code != 0:
                    raise VcsError(f"git {arguments[0]} failed: {_last_words(errors) or f'exit code {code}'}")

    async def _read(self, stream: asyncio.StreamReader, verb: str) -> bytes:
        # The timeout is on each read, not on the whole: whoever takes the data may be slow for good reasons.
        try:
            async with asyncio.timeout(self.timeout_s):
                return await stream.read(processes.CHUNK_BYTES)
        except TimeoutError:
            raise VcsError(f"git {verb} wrote nothing for {self.timeout_s:g} s") from None

    def running(
        self,
        repository: Path | None,
        *arguments: str,
        config: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
        has_input: bool = False,
        stderr: int = asyncio.subprocess.PIPE,
    ) -> AbstractAsyncContextManager[Process]:
        """A running git as a context manager; for those who talk to it. `environment` is added to the clean one."""
        argv = [self._program, *_options(repository, config or {}), *arguments]
        return processes.running(argv, {**clean_environment(), **(environment or {})}, has_input=has_input, stderr=stderr)


def run_blocking(*arguments: str, timeout_s: float = 60.0) -> None:
    """git without an event loop, for what is short. Raises VcsError."""
    try:
        argv = ["git", *_options(None, {}), *arguments]
        done = subprocess.run(argv, env=clean_environment(), cwd="/", capture_output=True, timeout=timeout_s, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise VcsError(f"cannot run git {arguments[0]}: {error}; is git installed?") from None
    if done.returncode != 0:
        raise VcsError(f"git {arguments[0]} failed: {readable(done.stderr)}")


def clean_environment() -> dict[str, str]:
    """Only what git and ssh need to reach the network; nothing that can change what they do."""
    kept = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return {
        "PATH": os.defpath,
        **kept,
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ALLOW_PROTOCOL": "http:https:ssh:git:file",
        "GIT_SSH_COMMAND": "ssh -oBatchMode=yes -oConnectTimeout=20 -oForwardAgent=no -oPermitLocalCommand=no",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_HTTP_LOW_SPEED_LIMIT": "1",
        "GIT_HTTP_LOW_SPEED_TIME": "60",
    }


def _options(repository: Path | None, config: Mapping[str, str]) -> list[str]:
    options = {**_OPTIONS, **config}
    if repository is not None:
        # The data folder may belong to somebody else (a volume); it is ours all the same.
        options["safe.directory"] = str(repository)
    arguments = [argument for name, value in options.items() for argument in ("-c", f"{name}={value}")]
    return arguments if repository is None else [*arguments, f"--git-dir={repository}"]


def _last_words(errors: IO[bytes]) -> str:
    errors.seek(0)
    return readable(errors.read(MESSAGE_LIMIT * 8))
