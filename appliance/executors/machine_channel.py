"""One channel of an SSH connection: bytes both ways with back-pressure both ways, and how the command ended."""

from __future__ import annotations

import asyncio
import contextlib
import signal as signals
from collections import deque
from collections.abc import Callable

import asyncssh

from appliance.errors import ConnectionBroke, printable

MOST_HELD_BYTES = 1 << 20  # read by nobody yet; then the server may fill the rest of its window, and no more
_COMPLAINT_BYTES = 4096


class Channel(asyncssh.SSHClientSession[bytes]):
    """The output of one command as it comes. `hear` gets what it says on stderr, at once."""

    def __init__(self, on_end: Callable[[], None]) -> None:
        self.hear: Callable[[bytes], None] = self._keep_complaint
        self.complaint = b""  # the end of what it said on stderr, while nobody else hears that
        self.problem: Exception | None = None  # the connection broke, and this is why
        self._complained_bytes = 0
        self._on_end = on_end
        self._channel: asyncssh.SSHClientChannel[bytes] | None = None
        self._held: deque[bytes] = deque()
        self._held_bytes = 0
        self._code: int | None = None
        self._has_news = asyncio.Event()
        self._can_write = asyncio.Event()
        self._can_write.set()
        self._ended = asyncio.Event()
        self._is_at_eof = False

    @property
    def has_ended(self) -> bool:
        return self._ended.is_set()

    @property
    def has_broken(self) -> bool:
        """It has ended, and nobody said how the command did: that may live on."""
        return self.has_ended and self._code is None

    @property
    def was_begun(self) -> bool:
        return self._channel is not None

    # --- what the connection says

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        self._channel = chan

    def data_received(self, data: bytes, datatype: int | None) -> None:
        if datatype == asyncssh.EXTENDED_DATA_STDERR:
            self.hear(data)
            return
        self._held.append(data)
        self._held_bytes += len(data)
        self._has_news.set()
        if self._held_bytes > MOST_HELD_BYTES and self._channel is not None:
            self._channel.pause_reading()

    def _keep_complaint(self, data: bytes) -> None:
        self.complaint = (self.complaint + data)[-_COMPLAINT_BYTES:]
        self._complained_bytes += len(data)
        if self._complained_bytes > MOST_HELD_BYTES:
            self.abort()

    def eof_received(self) -> bool:
        self._is_at_eof = True
        self._has_news.set()
        return True  # it may still take input

    def exit_status_received(self, status: int) -> None:
        self._code = status

    def exit_signal_received(self, signal: str, core_dumped: bool, msg: str, lang: str) -> None:
        self._code = 128 + getattr(signals, f"SIG{signal}", 0)

    def pause_writing(self) -> None:
        self._can_write.clear()

    def resume_writing(self) -> None:
        self._can_write.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.problem = exc
        self._ended.set()
        self._is_at_eof = True
        self._has_news.set()
        self._can_write.set()
        self._on_end()

    # --- what the executor asks

    async def read(self, most_bytes: int) -> bytes:
        """The next bytes, b"" at the end or when the connection broke. May be cancelled without loss."""
        while not self._held:
            if self._is_at_eof:
                return b""
            self._has_news.clear()
            await self._has_news.wait()
        taken = [self._held.popleft()]
        size = len(taken[0])
        while self._held and size + len(self._held[0]) <= most_bytes:
            size += len(self._held[0])
            taken.append(self._held.popleft())
        self._held_bytes -= size
        if self._held_bytes <= MOST_HELD_BYTES and self._channel is not None:
            self._channel.resume_reading()
        return taken[0] if len(taken) == 1 else b"".join(taken)

    async def write(self, data: bytes) -> None:
        """Returns when there is room for more. Raises OSError when it has ended or broken."""
        if self._channel is None or self.has_ended or self._channel.is_closing():
            raise BrokenPipeError("the command has ended")
        try:
            self._channel.write(data)
        except (OSError, asyncssh.Error) as problem:
            raise BrokenPipeError("the command has ended") from problem
        await self._can_write.wait()
        if self.has_ended:
            raise BrokenPipeError("the command has ended")

    def write_eof(self) -> None:
        if self._channel is not None and not self.has_ended:
            with contextlib.suppress(OSError, asyncssh.Error):
                self._channel.write_eof()

    def resize(self, columns: int, rows: int) -> None:
        if self._channel is not None and not self.has_ended:
            with contextlib.suppress(OSError, asyncssh.Error):
                self._channel.change_terminal_size(columns, rows)

    async def wait(self) -> int:
        """The exit code, 128 + signal. Somebody has to read meanwhile. Raises ConnectionBroke."""
        await self._ended.wait()
        if self._code is None:
            why = printable(str(self.problem or "its channel was closed"))
            raise ConnectionBroke(f"the connection to the machine broke amid a command ({why})")
        return self._code

    def abort(self) -> None:
        """Let go of it at once, also of what was not sent yet. What it started is not ended by this."""
        if self._channel is not None:
            self._channel.abort()
        self._held.clear()
        self._held_bytes = 0
        self._is_at_eof = True
        self._has_news.set()
