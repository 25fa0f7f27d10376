"""A TCP proxy on the loopback that breaks connections as networks do: at once, on one side only, or by silence."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Proxy:
    """To `target`, a port; one that nobody listens on breaks connections too. Counts in `cuts` those that it has broken."""

    def __init__(self, port: int) -> None:
        self.port = 0
        self.cuts = 0
        self.carried_bytes = 0
        self.target = port
        self._flows = asyncio.Event()
        self._flows.set()
        self._clients: set[asyncio.StreamWriter] = set()
        self._half_cut: set[asyncio.StreamWriter] = set()
        self._half_open: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there_reader, there = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        self._clients.add(writer)
        ways = [
            asyncio.create_task(self._copy(reader, there)),
            asyncio.create_task(self._copy(there_reader, writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            self._clients.discard(writer)
            writer.transport.abort()
            if writer in self._half_cut:
                self._half_open.append(there)
            else:
                there.transport.abort()

    async def _copy(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                await self._flows.wait()
                sink.write(data)
                await sink.drain()
                self.carried_bytes += len(data)

    def cut(self, *, half: bool = False) -> None:
        """Reset all connections; `half`: the server's ends stay open, and it goes on believing in them."""
        for writer in list(self._clients):
            self.cuts += 1
            if half:
                self._half_cut.add(writer)
            sock = writer.get_extra_info("socket")
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    def freeze(self) -> None:
        """Nothing comes through any more, and nobody is told."""
        self._flows.clear()

    def thaw(self) -> None:
        self._flows.set()

    def end(self) -> None:
        self.thaw()
        self.cut()
        for writer in self._half_open:
            writer.transport.abort()


@asynccontextmanager
async def proxy_to(port: int) -> AsyncIterator[Proxy]:
    proxy = Proxy(port)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.end()
        await server.wait_closed()
