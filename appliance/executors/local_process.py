"""Processes of this host: data streams and debug shells of a local sandbox, and ending all that a job started."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import secrets
import signal
import struct
import termios
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from appliance.errors import SandboxError
from appliance.executors.payload import expand_home

READ_BYTES = 256 * 1024
POLL_S = 0.02
HANGUP_GRACE_S = 0.5
COOKIE = "RONDO_PROCESS"


class LocalProcess:
    """See `base.Process`. `master` is our end of the terminal, when there is one."""

    def __init__(self, process: asyncio.subprocess.Process, master: int | None, cookie: str) -> None:
        self._process = process
        self._cookie = cookie.encode()
        self._master = master

    async def read(self) -> bytes:
        if self._master is None:
            assert self._process.stdout is not None
            return await self._process.stdout.read(READ_BYTES)
        while True:
            try:
                return os.read(self._master, READ_BYTES)
            except BlockingIOError:
                await ready(self._master, is_write=False)
            except OSError:  # EIO: the last process has closed the terminal
                return b""

    async def write(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            if self._master is not None:
                await write_all(self._master, data)
            elif self._process.stdin is not None:
                self._process.stdin.write(data)
                await self._process.stdin.drain()

    async def write_eof(self) -> None:
        if self._master is not None:
            await self.write(b"\x04")
        elif self._process.stdin is not None:
            self._process.stdin.close()

    async def resize(self, columns: int, rows: int) -> None:
        if self._master is not None:
            _set_size(self._master, columns, rows)

    async def wait(self) -> int:
        code = await self._process.wait()
        return 128 - code if code < 0 else code

    async def kill(self) -> None:
        sessions = {self._process.pid}
        await _end(lambda: _with_cookie(self._cookie) | _in_sessions(sessions), signal.SIGHUP, HANGUP_GRACE_S)
        await self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
        while self._process.stdout is not None and await self._process.stdout.read(READ_BYTES):
            pass
        if self._master is not None:
            os.close(self._master)
            self._master = None


async def start_local_process(
    argv: Sequence[str],
    environment: Mapping[str, str],
    home: Path,
    working_directory: str | None,
    tty: tuple[int, int] | None,
) -> LocalProcess:
    """In a session of its own; with a terminal of its own when `tty` gives its size."""
    cookie = f"{COOKIE}={secrets.token_hex(8)}"
    environment = {**environment, COOKIE: cookie.partition("=")[2]}
    enter = f"cd -- {expand_home(working_directory or '~')} || exit 126\n"
    master = None
    try:
        if tty is None:
            process = await _spawn(enter + 'exec "$@" 2>&1', argv, environment, home, asyncio.subprocess.PIPE)
        else:
            master, slave = os.openpty()
            try:
                os.set_blocking(master, False)
                _set_size(master, *tty)
                # The first terminal that a session leader opens becomes its controlling one.
                script = f'{enter}exec "$@" <>{os.ttyname(slave)} >&0 2>&1'
                process = await _spawn(script, argv, environment, home, slave)
            finally:
                os.close(slave)
    except OSError as problem:
        if master is not None:
            os.close(master)
        raise SandboxError(f"cannot start {argv[0]}: {problem}") from problem
    return LocalProcess(process, master, cookie)


async def _spawn(
    script: str, argv: Sequence[str], environment: Mapping[str, str], home: Path, channel: int
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *("sh", "-c", script, "rondo", *argv),
        stdin=channel,
        stdout=channel,
        stderr=asyncio.subprocess.DEVNULL,
        cwd=home,
        env=environment,
        start_new_session=True,
        limit=READ_BYTES,
    )


def _set_size(terminal: int, columns: int, rows: int) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


async def ready(fd: int, *, is_write: bool) -> None:
    """Wait until `fd` can be read or written."""
    loop = asyncio.get_running_loop()
    add, remove = (loop.add_writer, loop.remove_writer) if is_write else (loop.add_reader, loop.remove_reader)
    done = asyncio.Event()
    add(fd, done.set)
    try:
        await done.wait()
    finally:
        remove(fd)


async def write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            await ready(fd, is_write=True)


async def end_job(cookie: str, sessions: Collection[int], grace_s: float) -> None:
    """End all processes that carry `cookie` in their environment or belong to `sessions`, and what these start."""
    await _end(lambda: _with_cookie(cookie.encode()) | _in_sessions(sessions), signal.SIGTERM, grace_s)


async def _end(find: Callable[[], set[int]], first: signal.Signals, grace_s: float) -> None:
    deadline = time.monotonic() + grace_s
    how = first
    while found := await asyncio.to_thread(find):
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, how)
                if how is not signal.SIGKILL:
                    os.kill(pid, signal.SIGCONT)
        await asyncio.sleep(POLL_S)
        if time.monotonic() >= deadline:
            how = signal.SIGKILL
        if time.monotonic() >= deadline + 10:
            raise SandboxError(f"processes {sorted(found)} of the job cannot be ended")


def has_cookie(pid: int, cookie: str) -> bool:
    """Whether a process was started with `NAME=VALUE` in its environment."""
    try:
        return cookie.encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False


def _with_cookie(cookie: bytes) -> set[int]:
    found = set()
    for pid in _processes():
        with contextlib.suppress(OSError):
            if cookie in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                found.add(pid)
    return found - {os.getpid()}


def _in_sessions(sessions: Collection[int]) -> set[int]:
    found = set()
    for pid in _processes():
        state = _state(pid)
        if state is not None and state.session in sessions and not state.is_zombie:
            found.add(pid)
    return found - {os.getpid()}


def _processes() -> Iterator[int]:
    return (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())


@dataclass(frozen=True)
class _State:
    is_zombie: bool
    session: int
    started_at: str


def _state(pid: int) -> _State | None:
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return None
    return _State(is_zombie=words[0] in "ZX", session=int(words[3]), started_at=words[19])


def identity(pid: int) -> str | None:
    """A word that names this process and none after it; None when it has ended."""
    state = _state(pid)
    return None if state is None or state.is_zombie else f"{pid} {state.started_at}"
