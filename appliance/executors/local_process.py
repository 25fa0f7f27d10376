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
PIPE_BYTES = 1 << 20  # trees of data go through: each time that one is full costs a change of processes
POLL_S = 0.02
HANGUP_GRACE_S = 0.5
COOKIE = "RONDO_PROCESS"


class LocalProcess:
    """See `base.Process`. `source` and `sink` are our ends of its output and input; of a terminal they are one."""

    def __init__(self, process: asyncio.subprocess.Process, source: int, sink: int, cookie: str) -> None:
        self._process = process
        self._cookie = cookie.encode()
        self._source: int | None = source
        self._sink: int | None = sink
        self._has_terminal = source == sink

    async def read(self) -> bytes:
        while self._source is not None:
            try:
                data = os.read(self._source, READ_BYTES)
            except BlockingIOError:
                await ready(self._source, is_write=False)
            except OSError:  # EIO: the last process has closed the terminal
                return b""
            else:
                await asyncio.sleep(0)  # who always has something to say must not keep the others waiting
                return data
        return b""

    async def write(self, data: bytes) -> None:
        if self._sink is not None:
            with contextlib.suppress(OSError):
                await write_all(self._sink, data)

    async def write_file(self, descriptor: int) -> None:
        """Without a copy: the kernel moves the pages. Little at a time, since what is not in memory yet is waited for."""
        at, size = 0, os.fstat(descriptor).st_size
        with contextlib.suppress(OSError):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_WILLNEED)
            while at < size and self._sink is not None:
                try:
                    at += os.sendfile(self._sink, descriptor, at, READ_BYTES)
                    await asyncio.sleep(0)
                except BlockingIOError:
                    await ready(self._sink, is_write=True)

    async def write_eof(self) -> None:
        if self._has_terminal:
            await self.write(b"\x04")
        else:
            self._close_sink()

    async def resize(self, columns: int, rows: int) -> None:
        if self._has_terminal and self._sink is not None:
            _set_size(self._sink, columns, rows)

    async def wait(self) -> int:
        code = await self._process.wait()
        return 128 - code if code < 0 else code

    async def kill(self) -> None:
        sessions = {self._process.pid}
        await _end(lambda: _with_cookie(self._cookie) | _in_sessions(sessions), signal.SIGHUP, HANGUP_GRACE_S)
        await self._process.wait()
        await asyncio.sleep(0)  # the loop looks at the pipe once more: who waits for output hears that there is none
        source, self._source = self._source, None
        self._close_sink()
        if source is not None:
            os.close(source)

    def _close_sink(self) -> None:
        sink, self._sink = self._sink, None
        if sink is not None and not self._has_terminal:
            os.close(sink)


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
    try:
        source, sink, theirs = _pipes() if tty is None else _terminal(tty)
    except OSError as problem:
        raise SandboxError(f"cannot start {argv[0]}: {problem}") from problem
    try:
        # The first terminal that a session leader opens becomes its controlling one.
        join = "exec 2>&1" if tty is None else f"exec <>{os.ttyname(theirs[0])} >&0 2>&1"
        process = await _spawn(f'{join}\n{enter}exec "$@"', argv, environment, home, *theirs)
    except BaseException as problem:
        for end in {source, sink}:
            os.close(end)
        if isinstance(problem, OSError):
            raise SandboxError(f"cannot start {argv[0]}: {problem}") from problem
        raise
    finally:
        for end in set(theirs):
            os.close(end)
    return LocalProcess(process, source, sink, cookie)


def _pipes() -> tuple[int, int, tuple[int, int]]:
    """Our end of the output, our end of the input, and theirs of both (input first)."""
    their_input, sink = os.pipe()
    try:
        source, their_output = os.pipe()
    except OSError:
        os.close(their_input)
        os.close(sink)
        raise
    for ours in (source, sink):
        os.set_blocking(ours, False)
        with contextlib.suppress(OSError):  # more than this user may have: it is only a matter of speed
            fcntl.fcntl(ours, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    return source, sink, (their_input, their_output)


def _terminal(size: tuple[int, int]) -> tuple[int, int, tuple[int, int]]:
    master, slave = os.openpty()
    os.set_blocking(master, False)
    _set_size(master, *size)
    return master, master, (slave, slave)


async def _spawn(
    script: str, argv: Sequence[str], environment: Mapping[str, str], home: Path, stdin: int, stdout: int
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *("sh", "-c", script, "rondo", *argv),
        stdin=stdin,
        stdout=stdout,
        stderr=asyncio.subprocess.DEVNULL,
        cwd=home,
        env=environment,
        start_new_session=True,
    )


def _set_size(terminal: int, columns: int, rows: int) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


async def ready(fd: int, *, is_write: bool) -> None:
    """Wait until `fd` can be read or written."""
    if not is_write:
        await readable(fd)
        return
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    loop.add_writer(fd, done.set)
    try:
        await done.wait()
    finally:
        loop.remove_writer(fd)


async def readable(*fds: int) -> None:
    """Wait until one of `fds` can be read."""
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    for fd in fds:
        loop.add_reader(fd, done.set)
    try:
        await done.wait()
    finally:
        for fd in fds:
            loop.remove_reader(fd)


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
