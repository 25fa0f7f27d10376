"""A process beside the supervised commands, by the engine's exec: data streams and debug shells."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import secrets
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import aiodocker

from appliance.errors import SandboxError, SandboxLost
from appliance.executors.hijack import Hijack
from appliance.executors.payload import expand_home

if TYPE_CHECKING:
    from aiodocker.containers import DockerContainer

log = logging.getLogger(__name__)

COOKIE = "RONDO_PROCESS"
INSPECT_EVERY_S = 0.02
_LONGEST_HEAD_BYTES = 65536
_PID_LINE = re.compile(rb"\x01pid ([0-9]+)\r?\n")
_KILL_S = 30.0  # its shell is the image's, which a job may have changed

# Says its pid first: the engine tells only the pid on its own host. stderr joins stdout before anything else can
# speak, so order is certain: the engine carries the two apart, and says nothing of which came first.
_WRAPPER = """\
if [ -r /proc/self/stat ]; then read -r r_pid r_rest </proc/self/stat; else r_pid=$$; fi
printf '\\001pid %s\\n' "$r_pid"
exec 2>&1
{enter}exec "$@"
"""

# All of its session (a shell with job control has many process groups), and what left the session but still
# carries the cookie. Only builtins: the image may have no ps, no grep.
_KILL = """\
r_all() {
    for r_stat in /proc/[0-9]*/stat; do
        r_line=; read -r r_line <"$r_stat" || continue
        r_each=${r_stat#/proc/}; r_each=${r_each%/stat}
        [ "$r_each" != 1 ] && [ "$r_each" != "$$" ] || continue
        set -- ${r_line##*) }
        if [ "$4" != "$r_pid" ]; then
            r_env=; read -r r_env <"/proc/$r_each/environ"
            case $r_env in *"$r_cookie"*) ;; *) continue ;; esac
        fi
        [ "$1" = Z ] || echo "$r_each"
    done
} 2>/dev/null
r_pid=$1; r_cookie=$2
for r_each in $(r_all); do kill -HUP "$r_each" 2>/dev/null; kill -CONT "$r_each" 2>/dev/null; done
for r_turn in 1 2 3 4 5; do
    [ -n "$(r_all)" ] || exit 0
    sleep 0.1 2>/dev/null || { sleep 1; break; }
done
for r_each in $(r_all); do kill -KILL "$r_each" 2>/dev/null; done
exit 0
"""


class OpenStream(Protocol):
    """How a raw stream to the engine is made."""

    async def __call__(self, path: str, container_id: str, body: Any, *, tty: bool) -> Hijack: ...


class DockerProcess:
    """See `base.Process`."""

    def __init__(
        self,
        docker: aiodocker.Docker,
        open_stream: OpenStream,
        container: DockerContainer,
        exec_id: str,
        cookie: str,
        tty: bool,
    ) -> None:
        self._docker = docker
        self._open_stream = open_stream
        self._container = container
        self._exec_id = exec_id
        self._cookie = cookie
        self._tty = tty
        self._pid: int | None = None
        self._rest = b""
        self._stream: Hijack | None = None
        self._ended = asyncio.Event()

    async def start(self, tty: tuple[int, int] | None) -> None:
        body = {"Detach": False, "Tty": self._tty}
        self._stream = await self._open_stream(f"exec/{self._exec_id}/start", self._container.id, body, tty=self._tty)
        await self._read_pid()
        if tty is not None:
            await self.resize(*tty)

    async def _read_pid(self) -> None:
        """Its own line in stdout. Without one it never became a process; what came instead is the reason.

        What the image's shell says for itself (a bash without the locale that it is told to use) is dropped: it
        would stand in the middle of a tar.
        """
        assert self._stream is not None
        stdout = stderr = b""
        while (found := _PID_LINE.search(stdout)) is None:
            more = await self._stream.read()
            if not any(more) or len(stdout) + len(stderr) > _LONGEST_HEAD_BYTES:
                reason = (stderr + stdout)[:1000].decode(errors="replace").strip()
                raise SandboxError(f"cannot start a process in the container: {reason}")
            stdout, stderr = stdout + more[0], stderr + more[1]
        self._pid = int(found[1])
        self._rest = stdout[found.end() :]

    async def read(self) -> bytes:
        if self._rest:
            data, self._rest = self._rest, b""
            return data
        assert self._stream is not None
        while any(more := await self._stream.read()):
            if more[0]:  # the rest is the wrapper's own stderr
                return more[0]
        self._ended.set()
        return b""

    async def write(self, data: bytes) -> None:
        assert self._stream is not None
        with contextlib.suppress(OSError):
            await self._stream.write(data)

    async def write_eof(self) -> None:
        assert self._stream is not None
        with contextlib.suppress(OSError):
            self._stream.write_eof()

    async def resize(self, columns: int, rows: int) -> None:
        if self._tty:
            with contextlib.suppress(aiodocker.DockerError):  # it has ended
                await self._docker.containers.exec(self._exec_id).resize(h=rows, w=columns)

    async def wait(self) -> int:
        await self._ended.wait()
        while True:
            state = await self._inspect()
            if not state["Running"]:
                return int(state["ExitCode"] or 0)
            await asyncio.sleep(INSPECT_EVERY_S)

    async def _inspect(self) -> dict[str, Any]:
        try:
            state: dict[str, Any] = await self._docker.containers.exec(self._exec_id).inspect()
        except aiodocker.DockerError as problem:
            raise SandboxLost(f"the process has gone with its container: {problem.message}") from problem
        return state

    async def kill(self) -> None:
        if self._stream is not None:
            # First of all: while nobody reads what an endless writer says, its death would not be seen.
            self._stream.close()
        if self._pid is not None and (self._tty or not self._ended.is_set()):
            pid, self._pid = self._pid, None
            await _run_to_end(self._open_stream, self._container, [str(pid), f"{COOKIE}={self._cookie}"])
        self._ended.set()


async def start_process(
    docker: aiodocker.Docker,
    open_stream: OpenStream,
    container: DockerContainer,
    argv: Sequence[str],
    *,
    environment: Mapping[str, str] | None,
    working_directory: str | None,
    tty: tuple[int, int] | None,
    user: str | None,
) -> DockerProcess:
    """Raises SandboxLost when the container does not run, SandboxError when the engine cannot."""
    enter = f"cd -- {expand_home(working_directory)} || exit 126\n" if working_directory else ""
    cookie = secrets.token_hex(8)
    try:
        created = await container.exec(
            ["sh", "-c", _WRAPPER.replace("{enter}", enter), "rondo", *argv],
            stdin=True,
            tty=tty is not None,
            user=user or "",
            environment={**(environment or {}), COOKIE: cookie},
        )
    except aiodocker.DockerError as problem:
        if problem.status in (404, 409):
            raise SandboxLost(f"the container is not running: {problem.message}") from problem
        raise SandboxError(f"the engine cannot start a process: {problem.message}") from problem
    process = DockerProcess(docker, open_stream, container, created.id, cookie, tty is not None)
    try:
        await process.start(tty)
    except BaseException:
        await process.kill()
        raise
    return process


async def _run_to_end(open_stream: OpenStream, container: DockerContainer, words: list[str]) -> None:
    """Run the kill script as root; nothing to do when the container has gone."""
    try:
        created = await container.exec(["sh", "-c", _KILL, "rondo", *words], user="0")
        stream = await open_stream(f"exec/{created.id}/start", container.id, {"Detach": False, "Tty": False}, tty=False)
    except (aiodocker.DockerError, SandboxError):
        return
    try:
        async with asyncio.timeout(_KILL_S):
            while any(await stream.read()):
                pass
    except TimeoutError:
        log.warning("a process in a container could not be ended", extra={"container": container.id})
    finally:
        stream.close()
