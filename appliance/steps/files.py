"""Single files out of a sandbox: a tar is streamed and read here member by member, and nothing is unpacked by name.

The names in it are a job's words: they are only handed on as text. Links, devices and pipes are left out, so whoever
takes the files gets plain bytes and never follows anything.
"""

from __future__ import annotations

import asyncio
import io
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import IO

from appliance.errors import ImageError
from appliance.executors.base import Sandbox
from appliance.steps import tar
from appliance.steps.inside import PRELUDE

_LONGEST_NAME = 4096
_LONGEST_HEAD = 256 << 10
_NOTHING_THERE, _NO_TAR = 96, 97  # the script's exit codes

# A file gives itself under its name; a folder gives what it holds. What is too large is named first, and not sent: a
# file of a terabyte with nothing in it costs its maker one command, and us an hour. Then an empty line, then the tar.
_TAKE = r"""
file=$(full "$1"); blocks=$2
exec 2>/dev/null
command -v tar >/dev/null || exit 97
if [ -d "$file" ]; then folder=$file name=.
elif [ -f "$file" ]; then folder=${file%/*} name=./${file##*/}
else exit 96; fi
cd "${folder:-/}" || exit 96
large=${TMPDIR:-/tmp}/rondo-large.$$
trap 'rm -f "$large"' EXIT
find "$name" -type f -size "+$blocks" | head -n 1000 >"$large"
head -n 50 "$large"; echo
if ! [ -s "$large" ]; then tar -cf - "$name"
elif [ "$name" = . ]; then
    sed 's/[][*?\\]/\\&/g' "$large" >"$large.x"
    tar -X "$large.x" -cf - .
    code=$?; rm -f "$large.x"
    exit $((code > 1 ? code : 0))
fi
code=$?
[ "$code" -le 1 ] || exit "$code"
"""

Take = Callable[[str, int, IO[bytes]], None]
"""Takes a file: its name below the path, its size, its bytes. Called on a thread, one after the other."""


class NothingThere(Exception):
    """There is no file or folder at the path."""


async def each_file(sandbox: Sandbox, working_directory: str, path: str, take: Take, largest_bytes: int) -> list[str]:
    """Give every plain file at or below `path` to `take`; the names of the first few that are too large for that.

    Raises NothingThere, ImageError when there is no good tar, SandboxError when that was killed, and whatever `take`
    raises.
    """
    blocks = str(-(-largest_bytes // 512))
    process = await sandbox.process(["sh", "-c", PRELUDE + _TAKE, "rondo", working_directory, path, blocks])
    read_end, write_end = os.pipe()
    is_done = threading.Event()
    large: list[str] = []

    def read() -> Exception | None:
        """A trouble is given back, not raised: the TaskGroup would wrap it."""
        try:
            with io.BufferedReader(io.FileIO(read_end, "rb"), 1 << 16) as stream:
                large.extend(_head(stream))
                if not stream.peek(1):
                    return None  # nothing but what was too large
                for member in tar.members(stream):
                    if len(member.name) <= _LONGEST_NAME:
                        take(member.name.removeprefix("./"), member.size, io.BufferedReader(member))
        except (OSError, tar.BrokenTar) as error:
            return error
        finally:
            is_done.set()
        return None

    # Threads of our own: a tar that says nothing holds its reader for as long as the job lives, and a handful of such
    # jobs would take all the threads that the pages are drawn on.
    loop, reading, writing = asyncio.get_running_loop(), ThreadPoolExecutor(1, "reader"), ThreadPoolExecutor(1, "writer")
    try:
        await process.write_eof()
        async with asyncio.TaskGroup() as group:
            reader = group.create_task(_ended(loop.run_in_executor(reading, read)))
            try:
                while (chunk := await process.read()) and not is_done.is_set():
                    await loop.run_in_executor(writing, _write_all, write_end, chunk)
            finally:
                # By the writer itself, after what it is at: else it could write to whoever gets this number next.
                writing.submit(os.close, write_end)
        code = await process.wait()
    finally:
        for pool in (reading, writing):
            pool.shutdown(wait=False)
        await process.kill()
    _check(code, reader.result(), path)
    return large


def _head(stream: io.BufferedReader[io.FileIO]) -> list[str]:
    """The lines before the empty one. Raises BrokenTar when there are too many to be ours."""
    lines: list[str] = []
    left = _LONGEST_HEAD
    while (line := stream.readline(left)) != b"\n":
        left -= len(line)
        if left <= 0 or not line:
            raise tar.BrokenTar("it does not begin as it should")
        lines.append(line.decode("utf-8", "replace").rstrip("\n").removeprefix("./"))
    return lines


async def _ended(future: asyncio.Future[Exception | None]) -> Exception | None:
    return await future


def _check(code: int, trouble: Exception | None, path: str) -> None:
    if code == _NOTHING_THERE:
        raise NothingThere(path)
    if code == _NO_TAR:
        raise ImageError("there is no tar in this image, and files cannot be taken out of it without")
    if isinstance(trouble, OSError):
        raise trouble
    if trouble is not None and code == 0:
        raise ImageError(f"the tar of this image sent no tar: {trouble}")
    if code or trouble is not None:
        raise tar.failure(code, "" if trouble is None else f": {trouble}")


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BrokenPipeError:
            return  # the reader has given up and says why itself


def safe_path(text: str) -> str | None:
    """A relative path without tricks, for names that people and pages will see; None when nothing is left of it.

    No `..`, no empty parts, no control or direction-changing characters, no invalid Unicode.
    """
    plain = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace").replace("\\", "/")
    clean = "".join("_" if not char.isprintable() else char for char in plain)
    parts = [part for part in clean.split("/") if part not in ("", ".", "..")]
    return "/".join(parts) or None
