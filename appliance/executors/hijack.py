"""A raw two-way stream to the Docker engine: attach and exec, with half-close and bounded buffers.

aiodocker's own stream cannot close its writing side alone (a `tar x` would wait for ever) and hides its socket.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import struct
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from appliance.errors import SandboxError

READ_BYTES = 256 * 1024
CONNECT_TIMEOUT_S = 30.0
STDERR = 2

_FRAME = struct.Struct(">BxxxL")


class Hijack:
    """One upgraded connection. `tty` says whether the bytes come bare or in Docker's frames."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, tty: bool) -> None:
        self._reader = reader
        self._writer = writer
        self._tty = tty
        self._header = b""
        self._stream = 0
        self.on_close: Callable[[Hijack], None] = _nothing
        self._left = 0  # bytes of the frame whose header was read last

    @property
    def has_ended(self) -> bool:
        """The other side has closed it, and all it said has been read."""
        return self._reader.at_eof()

    async def read(self) -> tuple[bytes, bytes]:
        """The next (stdout, stderr), not both empty; both empty at the end. May be cancelled without loss."""
        while True:
            try:
                data = await self._reader.read(READ_BYTES)
            except OSError:
                return b"", b""
            if not data or self._tty:
                return data, b""
            stdout, stderr = self._unframe(data)
            if stdout or stderr:
                return stdout, stderr

    def _unframe(self, data: bytes) -> tuple[bytes, bytes]:
        parts: tuple[list[bytes], list[bytes]] = ([], [])
        view, at = memoryview(data), 0
        while at < len(data):
            if self._left == 0:
                need = _FRAME.size - len(self._header)
                self._header += data[at : at + need]
                at += need
                if len(self._header) == _FRAME.size:
                    self._stream, self._left = _FRAME.unpack(self._header)
                    self._header = b""
                continue
            piece = view[at : at + self._left]
            parts[self._stream == STDERR].append(piece)  # type: ignore[arg-type]
            self._left -= len(piece)
            at += len(piece)
        return b"".join(parts[0]), b"".join(parts[1])

    async def write(self, data: bytes) -> None:
        """Raises OSError when the other side has gone."""
        self._writer.write(data)
        await self._writer.drain()

    def write_eof(self) -> None:
        if not self._writer.is_closing() and self._writer.can_write_eof():
            self._writer.write_eof()

    def close(self) -> None:
        self._writer.close()
        self.on_close(self)


def _nothing(_: Hijack) -> None:
    """Nobody keeps a list."""


async def open_hijack(
    url: str, version: str, path: str, body: Any = None, *, tty: bool = False, tls: ssl.SSLContext | None = None
) -> Hijack:
    """POST `path` (below the API version) and keep the connection. Raises SandboxError with the engine's words."""
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            reader, writer = await _connect(url, tls)
            try:
                content = json.dumps(body).encode() if body is not None else b""
                writer.write(_request(f"/{version}/{path}", content))
                await _read_answer(reader, path)
            except BaseException:
                writer.close()
                raise
    except (OSError, TimeoutError, asyncio.IncompleteReadError) as problem:
        raise SandboxError(f"cannot talk to the Docker engine at {url}: {problem or 'timeout'}") from problem
    return Hijack(reader, writer, tty)


async def _connect(url: str, tls: ssl.SSLContext | None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return await asyncio.open_unix_connection(parts.path, limit=READ_BYTES)
    return await asyncio.open_connection(parts.hostname, parts.port or 2375, limit=READ_BYTES, ssl=tls)


def _request(target: str, content: bytes) -> bytes:
    head = (
        f"POST {target} HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


async def _read_answer(reader: asyncio.StreamReader, path: str) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    status = head.split(b" ", 2)[1]
    if status in (b"101", b"200"):
        return
    text = (await reader.read(2000)).decode(errors="replace").strip()
    raise SandboxError(f"the Docker engine answers {status.decode()} to {path.split('?')[0]}: {text}")
