"""Sandboxes of processes of this host, in a scratch folder: for `make demo` and single-user machines. No isolation.

The supervisor is started detached, its stdin, stdout and stderr are FIFOs that it holds open itself in both directions.
So it never sees an end of file or a broken pipe when the appliance dies, and the next one opens the FIFOs again.

A folder of a sandbox (`ref` is its name, the node):  home/  the jobs' HOME    state/  the supervisor's
in, out, aside  the FIFOs    pid  the supervisor's pid and start time    cookie  in the environment of all that it started
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import re
import secrets
import shutil
import signal
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from appliance import shim
from appliance.errors import SandboxError, SandboxLost, Unavailable
from appliance.executors import process_tree
from appliance.executors.base import PrivateDocker, Process, Progress, SandboxSpec, Usage
from appliance.executors.local_process import (
    LocalProcess,
    end_job,
    has_cookie,
    identity,
    readable,
    start_local_process,
    write_all,
)
from appliance.executors.payload import quote
from appliance.executors.supervised import CHUNK_BYTES, Pace, SupervisedSandbox, opening

COOKIE = "RONDO_SANDBOX"
PIPE_BYTES = 1 << 20
ASIDE_BYTES = 16 << 10

# What jobs get of the appliance's own environment: enough to find programs, nothing that could be a secret.
_INHERITED = ("PATH", "LANG", "LC_ALL", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR", "TERM")
_RESET_SIGNALS = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM)
_SAFE_NODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")


@dataclass(frozen=True)
class LocalOptions:
    """How sandboxes of this host are made."""

    environment: Mapping[str, str] | None = None  # for every job; None takes PATH, locale and time zone from ours
    end_grace_s: float = 1.0  # between SIGTERM and SIGKILL when a sandbox closes


class LocalExecutor:
    """See `base.Executor`. Everything stands below `folder`, which belongs to this instance alone."""

    name = "local"

    def __init__(
        self, instance: str, folder: Path, *, options: LocalOptions | None = None, pace: Pace | None = None
    ) -> None:
        self._instance = instance
        self._folder = folder
        self._options = options or LocalOptions()
        self._pace = pace or Pace()
        self._transports: set[FifoTransport] = set()

    async def open(self, spec: SandboxSpec, progress: Progress) -> LocalSandbox:
        if not _SAFE_NODE.match(spec.node):
            raise SandboxError(f"{spec.node!r} cannot be the name of a folder")
        await self.remove(spec.node)  # of before a crash
        folder = self._folder / spec.node
        try:
            cookie = f"{self._instance}.{spec.node}.{secrets.token_hex(8)}"
            await asyncio.to_thread(_make_folder, folder, cookie)
            self._start_supervisor(folder, cookie)
            await progress(b"Running on this host, without a container\n")
            return await self.reattach(spec.node)
        except OSError as problem:
            await self._undo(spec.node)
            raise SandboxError(f"cannot make a sandbox in {folder}: {problem}") from problem
        except BaseException:
            await self._undo(spec.node)
            raise

    def _start_supervisor(self, folder: Path, cookie: str) -> None:
        """Detached: a session of its own. Not by asyncio, whose child would be ours; this one outlives us."""
        text = f"cd -- {quote(str(folder / 'home'))} || exit 1\n{shim.supervisor()}"
        descriptors = [os.open(folder / name, os.O_RDWR | os.O_CLOEXEC) for name in ("in", "out", "aside")]
        try:
            pid = os.posix_spawn(
                "/bin/sh",
                ["sh", "-c", text, "rondo", str(folder / "state")],
                self._environment(folder, cookie),
                file_actions=[(os.POSIX_SPAWN_DUP2, fd, target) for target, fd in enumerate(descriptors)],
                setsid=True,
                setsigmask=(),
                setsigdef=_RESET_SIGNALS,
            )
        finally:
            for fd in descriptors:
                os.close(fd)
        (folder / "pid").write_text(identity(pid) or "")

    def _environment(self, folder: Path, cookie: str) -> dict[str, str]:
        given = self._options.environment
        if given is None:
            given = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        return {**given, "HOME": str(folder / "home"), "TMPDIR": str(folder / "tmp"), COOKIE: cookie}

    async def _undo(self, node: str) -> None:
        with contextlib.suppress(SandboxError):
            await self.remove(node)

    async def reattach(self, ref: str) -> LocalSandbox:
        folder = self._folder / ref
        if not _SAFE_NODE.match(ref) or not _is_supervised(folder):
            raise SandboxLost(f"the supervisor of node {ref} does not run any more")
        return LocalSandbox(self, folder, self.connect(folder), self._pace)

    def connect(self, folder: Path) -> FifoTransport:
        try:
            transport = FifoTransport(folder, self._transports.discard)
        except OSError as problem:
            raise SandboxLost(f"the supervisor of node {folder.name} cannot be reached: {problem}") from problem
        self._transports.add(transport)
        return transport

    async def list(self) -> list[str]:
        if not self._folder.is_dir():
            return []
        return sorted(entry.name for entry in self._folder.iterdir() if entry.is_dir())

    async def remove(self, ref: str) -> None:
        folder = self._folder / ref
        if not _SAFE_NODE.match(ref) or not folder.exists():
            return
        try:
            cookie = (folder / "cookie").read_text()
        except FileNotFoundError:
            pass
        else:
            await end_job(f"{COOKIE}={cookie}", _sessions(folder, f"{COOKIE}={cookie}"), self._options.end_grace_s)
            _reap(folder)
        await asyncio.to_thread(_remove_tree, folder)

    async def kept_layers(self) -> Sequence[str]:
        return []

    async def remove_layers(self, name: str) -> None:
        """There are none."""

    async def check(self) -> str | None:
        if shutil.which("sh") is None or shutil.which("tail") is None:
            return "the local executor needs sh and tail on the PATH"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            return f"the local executor cannot write to {self._folder}: {problem}"
        return None

    async def close(self) -> None:
        for transport in list(self._transports):
            await transport.close()


class LocalSandbox(SupervisedSandbox):
    """See `base.Sandbox`."""

    def __init__(self, executor: LocalExecutor, folder: Path, transport: FifoTransport, pace: Pace) -> None:
        super().__init__(transport, pace)
        self._executor = executor
        self._folder = folder
        self._most = Usage(cpu_s=0, memory_bytes=0, written_bytes=0, processes=0)

    @property
    def ref(self) -> str:
        return self._folder.name

    @property
    def _find_state(self) -> str:
        return f"r_dir={quote(str(self._folder / 'state'))}"

    async def _reconnect(self) -> FifoTransport:
        """A FIFO that we hold open has no end: it was the supervisor that went, unless we detached ourselves."""
        if not _is_supervised(self._folder):
            raise SandboxLost(f"the supervisor of node {self.ref} has ended; was it killed?")
        return self._executor.connect(self._folder)

    async def process(
        self,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        working_directory: str | None = None,
        tty: tuple[int, int] | None = None,
        user: str | None = None,
    ) -> Process:
        if not _is_supervised(self._folder):
            raise SandboxLost(f"the supervisor of node {self.ref} does not run any more")
        cookie = (self._folder / "cookie").read_text()
        base = self._executor._environment(self._folder, cookie)
        process: LocalProcess = await start_local_process(
            argv, {**base, **(environment or {})}, self._folder / "home", working_directory, tty
        )
        return process

    async def start_docker(self, want: PrivateDocker) -> str:
        raise Unavailable("jobs that run as processes of this host have no private Docker engine")

    async def usage(self) -> tuple[Usage, ...]:
        """What a daemon took is forgotten when it leaves the tree; the sums never shrink all the same."""
        try:
            pid = int((self._folder / "pid").read_text().split()[0])
        except (OSError, ValueError, IndexError):
            return ()
        usage = await asyncio.to_thread(process_tree.usage_of, pid)
        if usage is None or not _is_supervised(self._folder):
            return ()
        self._most = Usage(
            cpu_s=max(usage.cpu_s, self._most.cpu_s),
            memory_bytes=usage.memory_bytes,
            written_bytes=max(usage.written_bytes, self._most.written_bytes),
            processes=usage.processes,
        )
        return (self._most,)

    async def close(self) -> None:
        await self.detach()
        await self._executor.remove(self.ref)


class FifoTransport:
    """See `supervised.Transport`. The supervisor holds both FIFOs in both directions; we see its end as theirs."""

    def __init__(self, folder: Path, on_close: Callable[[FifoTransport], None]) -> None:
        self._on_close = on_close
        self._in = os.open(folder / "in", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self._out = os.open(folder / "out", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self._aside = _open_aside(folder / "aside")
        self.hear: Callable[[bytes], None] = lambda aside: None
        with contextlib.suppress(OSError):
            fcntl.fcntl(self._out, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self._is_open = True
        self._is_cut_off = True  # by a predecessor of ours, or by a send of ours that was cancelled
        self._send_lock = asyncio.Lock()

    async def send(self, data: bytes) -> None:
        async with self._send_lock:
            if self._is_cut_off:
                data = opening() + data
            self._is_cut_off = True
            await write_all(self._in, data)
            self._is_cut_off = False

    async def receive(self) -> bytes:
        while self._is_open:
            with contextlib.suppress(BlockingIOError):
                self.hear(os.read(self._aside, ASIDE_BYTES))
            try:
                return os.read(self._out, CHUNK_BYTES)
            except BlockingIOError:
                await readable(self._out, self._aside)
        return b""

    async def close(self) -> None:
        if self._is_open:
            self._is_open = False
            os.close(self._in)
            os.close(self._out)
            os.close(self._aside)
            self._on_close(self)


def _open_aside(path: Path) -> int:
    """To read what a supervisor says aside. One of before there was such a channel has no FIFO for it: it gets one.

    Held open in both directions, as the supervisor does: a FIFO that nobody writes to would be at its end all the time.
    """
    with contextlib.suppress(FileExistsError):
        os.mkfifo(path, 0o600)
    return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)


def _make_folder(folder: Path, cookie: str) -> None:
    folder.mkdir(parents=True, mode=0o700)
    (folder / "cookie").write_text(cookie)
    (folder / "home").mkdir()
    (folder / "tmp").mkdir()  # what jobs leave there goes with the sandbox
    for name in ("in", "out", "aside"):
        os.mkfifo(folder / name, 0o600)


def _is_supervised(folder: Path) -> bool:
    try:
        noted = (folder / "pid").read_text()
        return bool(noted) and identity(int(noted.split()[0])) == noted
    except (FileNotFoundError, ValueError):
        return False


def _sessions(folder: Path, cookie: str) -> set[int]:
    """The supervisor's session while it lives, and those of its steps. A bare number may have been reused since.

    The notes of the steps lie where jobs can write: one that does not lead to a process with our cookie is nobody's word.
    """
    if not _is_supervised(folder):
        return set()
    own = {int((folder / "pid").read_text().split()[0])}
    noted = (_noted_pid(file) for file in (folder / "state").glob("*.pid"))
    return own | {pid for pid in noted if pid is not None and has_cookie(pid, cookie)}


def _noted_pid(file: Path) -> int | None:
    """The number in a small plain file; never follows a link, waits for a pipe or reads much."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        words = os.read(descriptor, 64).split()
        return int(words[0]) if words and words[0].isdigit() and len(words[0]) < 10 else None
    except OSError:
        return None
    finally:
        os.close(descriptor)


def _reap(folder: Path) -> None:
    """The supervisor is our child if this process started it."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        os.waitpid(int((folder / "pid").read_text().split()[0]), os.WNOHANG)


def _remove_tree(folder: Path) -> None:
    """Jobs leave folders that even their owner may not enter (Go's module cache)."""
    try:
        shutil.rmtree(folder)
    except PermissionError:
        for here, folders, _ in os.walk(folder):
            for name in folders:
                path = Path(here, name)
                if not path.is_symlink():
                    path.chmod(stat.S_IRWXU)
        shutil.rmtree(folder)
    except FileNotFoundError:
        pass
