"""One git process: in a process group of its own, with bounded output, gone when its block ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from appliance.errors import VcsError

CHUNK_BYTES = 65536
_STDERR_BYTES = 16384
_END_TIMEOUT_S = 10.0


@contextlib.asynccontextmanager
async def running(
    argv: Sequence[str], environment: Mapping[str, str], *, has_input: bool = False, stderr: int = PIPE
) -> AsyncIterator[Process]:
    """A process with pipes. Whatever ends the block (error, timeout, cancel), it and its children are ended."""
    process = await _start(argv, environment, DEVNULL if not has_input else PIPE, stderr)
    try:
        yield process
    finally:
        await _end(process)


async def _start(argv: Sequence[str], environment: Mapping[str, str], stdin: int, stderr: int) -> Process:
    """Start it; a cancel waits until it has been started, and then ends it.

    asyncio, cancelled between the fork and the last pipe, kills only the leader of the group and may wait for ever.
    """
    starting = asyncio.gather(
        asyncio.create_subprocess_exec(
            *argv,
            stdin=stdin,
            stdout=PIPE,
            stderr=stderr,
            env=environment,
            start_new_session=True,
            cwd="/",
            limit=CHUNK_BYTES,
        )
    )
    try:
        (process,) = await asyncio.shield(starting)
    except OSError as error:
        raise VcsError(f"cannot start {Path(argv[0]).name}: {error.strerror}; is git installed?") from error
    except asyncio.CancelledError:
        with contextlib.suppress(OSError):
            await _end((await starting)[0])
        raise
    return process


def kill(process: Process) -> None:
    """SIGKILL to the whole group. Only while the leader has not been reaped: its number may be another's afterwards."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)


async def _end(process: Process) -> None:
    kill(process)
    if process.stdin is not None:
        process.stdin.close()
    # A pipe that nobody reads to its end keeps the transport open; and an open transport is a leak.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_END_TIMEOUT_S):
            for stream in (process.stdout, process.stderr):
                while stream is not None and await stream.read(CHUNK_BYTES):
                    pass
            await process.wait()


async def read_limited(process: Process, limit_bytes: int) -> bytes | None:
    """All of stdout; None, and the process killed, when it is more than `limit_bytes`.

    Read to its end then too: asyncio does not see a process as ended while a pipe of it has something to read.
    """
    assert process.stdout is not None
    found, is_too_much = bytearray(), False
    while chunk := await process.stdout.read(CHUNK_BYTES):
        if is_too_much:
            continue
        found += chunk
        if len(found) > limit_bytes:
            is_too_much = True
            kill(process)
    return None if is_too_much else bytes(found)


async def read_tail(stream: asyncio.StreamReader | None) -> bytes:
    """The last few KiB of a stream that may be endless."""
    tail = b""
    while stream is not None and (chunk := await stream.read(CHUNK_BYTES)):
        tail = (tail + chunk)[-_STDERR_BYTES:]
    return tail


async def feed(process: Process, data: bytes) -> None:
    """Write all input and end it; a process that does not want it is no trouble."""
    if process.stdin is None:
        return
    with contextlib.suppress(ConnectionError):
        process.stdin.write(data)
        await process.stdin.drain()
    process.stdin.close()
