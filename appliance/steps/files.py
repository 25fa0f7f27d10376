"""Single files out of a sandbox: a tar is streamed and read here member by member, and nothing is unpacked by name.

The names in it are a job's words: they are only handed on as text. Links, devices and pipes are left out, so whoever
takes the files gets plain bytes and never follows anything.
"""

from __future__ import annotations

import asyncio
import os
import tarfile
import threading
from collections.abc import Callable
from typing import IO

from appliance.errors import SandboxError
from appliance.executors.base import Sandbox
from appliance.steps.inside import PRELUDE

_LONGEST_NAME = 4096
_NOTHING_THERE = 96  # the script's exit code

# A file gives itself under its name; a folder gives what it holds.
_TAKE = r"""
file=$(full "$1")
exec 2>/dev/null
if [ -d "$file" ]; then tar -C "$file" -cf - .
elif [ -f "$file" ]; then folder=${file%/*}; tar -C "${folder:-/}" -cf - "./${file##*/}"
else exit 96; fi
code=$?
[ "$code" -le 1 ] || exit "$code"
"""

Take = Callable[[str, int, IO[bytes]], None]
"""Takes a file: its name below the path, its size, its bytes. Called on a thread, one after the other."""


class NothingThere(Exception):
    """There is no file or folder at the path."""


async def each_file(sandbox: Sandbox, working_directory: str, path: str, take: Take) -> None:
    """Give every plain file at or below `path` to `take`.

    Raises NothingThere, SandboxError when tar failed, and whatever `take` raises.
    """
    process = await sandbox.process(["sh", "-c", PRELUDE + _TAKE, "rondo", working_directory, path])
    read_end, write_end = os.pipe()
    is_done = threading.Event()

    def read() -> OSError | tarfile.TarError | None:
        """A trouble is given back, not raised: the TaskGroup would wrap it."""
        try:
            with open(read_end, "rb", buffering=1 << 16) as stream:  # noqa: PTH123 - a descriptor, not a path
                _read_members(stream, take)
        except (OSError, tarfile.TarError) as error:
            return error
        finally:
            is_done.set()
        return None

    try:
        await process.write_eof()
        async with asyncio.TaskGroup() as group:
            reader = group.create_task(asyncio.to_thread(read))
            try:
                while (chunk := await process.read()) and not is_done.is_set():
                    await asyncio.to_thread(_write_all, write_end, chunk)
            finally:
                os.close(write_end)
        code = await process.wait()
    finally:
        await process.kill()
    _check(code, reader.result(), path)


def _check(code: int, trouble: OSError | tarfile.TarError | None, path: str) -> None:
    if code == _NOTHING_THERE:
        raise NothingThere(path)
    if isinstance(trouble, OSError) and not isinstance(trouble, tarfile.TarError):
        raise trouble
    if code or trouble is not None:
        raise SandboxError(f"tar in the sandbox ended with code {code}, or sent no tar: {trouble}")


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BrokenPipeError:
            return  # the reader has given up and says why itself


def _read_members(stream: IO[bytes], take: Take) -> None:
    with tarfile.open(fileobj=stream, mode="r|", encoding="utf-8", errors="surrogateescape") as tar:
        for member in tar:
            if member.isfile() and len(member.name) <= _LONGEST_NAME:
                content = tar.extractfile(member)
                assert content is not None
                take(member.name.removeprefix("./"), member.size, content)


def safe_path(text: str) -> str | None:
    """A relative path without tricks, for names that people and pages will see; None when nothing is left of it.

    No `..`, no empty parts, no control or direction-changing characters, no invalid Unicode.
    """
    plain = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace").replace("\\", "/")
    clean = "".join("_" if not char.isprintable() else char for char in plain)
    parts = [part for part in clean.split("/") if part not in ("", ".", "..")]
    return "/".join(parts) or None
