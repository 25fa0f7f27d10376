"""git processes that serve a client, and how the receive hook below them talks with us.

The post-receive hook runs below git, which runs below us. It hands us what was pushed through one FIFO and prints
what we answer on another; git passes its output on to the pusher. The FIFOs live in a folder of that push alone, whose
name comes in the environment, so a hook can only ever speak for its own push.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
from asyncio.subprocess import Process
from collections.abc import Iterator
from pathlib import Path

from appliance.errors import VcsError
from appliance.vcs.base import Pushed, RefUpdate
from appliance.vcs.names import NO_REVISION
from appliance.vcs.process import CHUNK_BYTES

PUSH_VARIABLE = "RONDO_PUSH"
_MESSAGE_LIMIT_BYTES = 64 << 20

# The hook opens the answers before it speaks: so whoever has heard it knows that the answers will be read.
POST_RECEIVE = """\
#!/bin/sh
# Hands what was pushed to the appliance, and prints what it answers.
[ -n "$RONDO_PUSH" ] || exit 0
exec 3<"$RONDO_PUSH/answers"
# git's own client sends no option of several lines; from another one it could pass for what was pushed.
nl='
'
{
    i=0
    while [ "$i" -lt "${GIT_PUSH_OPTION_COUNT:-0}" ]; do
        eval "option=\\$GIT_PUSH_OPTION_$i"
        case $option in
            *"$nl"*) ;;
            *) printf 'option %s\\n' "$option" ;;
        esac
        i=$((i + 1))
    done
    echo updates
    cat
} >"$RONDO_PUSH/pushed"
exec cat <&3
"""


class Service:
    """See `base.GitService`. git's stderr goes to `errors`, a file that is read afterwards."""

    def __init__(self, process: Process, errors: Path) -> None:
        assert process.stdin is not None and process.stdout is not None
        self._process = process
        self._stdin = process.stdin
        self._stdout = process.stdout
        self._errors = errors

    async def read(self) -> bytes:
        return await self._stdout.read(CHUNK_BYTES)

    async def write(self, data: bytes) -> None:
        with contextlib.suppress(ConnectionError):
            self._stdin.write(data)
            await self._stdin.drain()

    def write_eof(self) -> None:
        self._stdin.close()

    async def wait(self) -> int:
        return await self._process.wait()

    async def error(self) -> bytes:
        return self._errors.read_bytes()[-4096:]


class Receiving(Service):
    """See `base.PushService`."""

    def __init__(self, process: Process, errors: Path, hook: Hook) -> None:
        super().__init__(process, errors)
        self._hook = hook

    async def pushed(self) -> Pushed:
        return await self._hook.heard()

    async def tell(self, line: str) -> None:
        await self._hook.answer(line.encode("utf-8", "replace") + b"\n")

    def let_go(self) -> None:
        self._hook.hang_up()


class Hook:
    """Our ends of the two FIFOs in `folder`."""

    def __init__(self, folder: Path) -> None:
        os.mkfifo(folder / "pushed", 0o600)
        os.mkfifo(folder / "answers", 0o600)
        self._pushed: int | None = os.open(folder / "pushed", os.O_RDONLY | os.O_NONBLOCK)
        # A FIFO can only be opened for writing while somebody reads it: we do, until the hook does.
        self._guard: int | None = os.open(folder / "answers", os.O_RDONLY | os.O_NONBLOCK)
        self._answers: int | None = os.open(folder / "answers", os.O_WRONLY | os.O_NONBLOCK)

    async def heard(self) -> Pushed:
        """What the hook says; waits until it has said all. Once."""
        assert self._pushed is not None
        descriptor, self._pushed = self._pushed, None
        message = await _read_all(descriptor)
        _close(self._guard)
        self._guard = None
        return parse(message)

    async def answer(self, data: bytes) -> None:
        """Hand `data` to the hook; waits while the pusher does not read. Nothing when the hook is gone."""
        loop = asyncio.get_running_loop()
        while data and self._answers is not None:
            try:
                data = data[os.write(self._answers, data) :]
            except BlockingIOError:
                await _writable(loop, self._answers)
            except BrokenPipeError:
                self.hang_up()

    def hang_up(self) -> None:
        _close(self._answers)
        self._answers = None

    def close(self) -> None:
        self.hang_up()
        _close(self._guard)
        self._guard = None
        _close(self._pushed)
        self._pushed = None


def _close(descriptor: int | None) -> None:
    if descriptor is not None:
        os.close(descriptor)


async def _read_all(descriptor: int) -> bytes:
    """A FIFO's content up to its end. epoll says nothing of a FIFO that had no writer yet, so this waits for one."""
    reader = asyncio.StreamReader(limit=CHUNK_BYTES)
    pipe = os.fdopen(descriptor, "rb", buffering=0)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
    try:
        found = bytearray()
        while chunk := await reader.read(CHUNK_BYTES):
            found += chunk
            if len(found) > _MESSAGE_LIMIT_BYTES:
                raise VcsError("the push updates more refs than can be taken at once")
        return bytes(found)
    finally:
        transport.close()


async def _writable(loop: asyncio.AbstractEventLoop, descriptor: int) -> None:
    ready = asyncio.Event()
    loop.add_writer(descriptor, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_writer(descriptor)


def parse(message: bytes) -> Pushed:
    """The hook's words: `option TEXT` lines, `updates`, then git's `OLD NEW REF` lines."""
    lines = message.decode("utf-8", "replace").split("\n")
    if "updates" not in lines:
        raise VcsError("the receive hook ended in the middle of its message")
    at = lines.index("updates")
    options = tuple(line.removeprefix("option ") for line in lines[:at])
    return Pushed(tuple(_update(line) for line in lines[at + 1 :] if line), options)


def _update(line: str) -> RefUpdate:
    old, new, ref = line.split(" ", 2)
    return RefUpdate(ref, None if old == NO_REVISION else old, None if new == NO_REVISION else new)


@contextlib.contextmanager
def folder_for_a_push(parent: Path) -> Iterator[Path]:
    """A private folder that is gone after the block."""
    parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder = Path(tempfile.mkdtemp(prefix="push-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
