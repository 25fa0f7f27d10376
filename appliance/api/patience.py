"""Connections that say nothing, and too many of them: a bound on both, before any request is read.

The web library waits for ever for the first request of a connection. Half of the process's file descriptors is the most
that visitors may hold: the database, the sandboxes and git need theirs.
"""

from __future__ import annotations

import asyncio
import resource
import socket
from collections.abc import Callable

from aiohttp import web

_SLOWEST_HEAD_S = 20.0
_END_OF_HEAD = b"\r\n\r\n"


def most_connections() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 10_000 if soft == resource.RLIM_INFINITY else max(64, soft // 2)


class PatientSite(web.BaseSite):
    """A bound socket whose connections are watched."""

    def __init__(
        self,
        runner: web.AppRunner,
        listener: socket.socket,
        *,
        most: int | None = None,
        slowest_head_s: float = _SLOWEST_HEAD_S,
    ) -> None:
        super().__init__(runner, backlog=512)
        self._listener = listener
        self._most = most_connections() if most is None else most
        self._slowest_head_s = slowest_head_s
        self._count = 0

    @property
    def name(self) -> str:
        host, port, *_ = self._listener.getsockname()
        return f"http://{host}:{port}"

    async def start(self) -> None:
        await super().start()
        server = self._runner.server
        assert server is not None
        self._server = await asyncio.get_running_loop().create_server(
            lambda: _Watched(server(), self._slowest_head_s, self._enter, self._leave),
            sock=self._listener,
            backlog=self._backlog,
        )

    def _enter(self) -> bool:
        self._count += 1
        return self._count <= self._most

    def _leave(self) -> None:
        self._count -= 1


class _Watched(asyncio.Protocol):
    """Hands everything to the web library's own protocol, and ends what never becomes a request."""

    def __init__(
        self, inner: asyncio.Protocol, slowest_head_s: float, enter: Callable[[], bool], leave: Callable[[], None]
    ) -> None:
        self._inner = inner
        self._slowest_head_s = slowest_head_s
        self._enter = enter
        self._leave = leave
        self._head = b""
        self._alarm: asyncio.TimerHandle | None = None
        self._is_refused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        if not self._enter():
            self._is_refused = True
            transport.abort()
            return
        self._alarm = asyncio.get_running_loop().call_later(self._slowest_head_s, transport.abort)
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self._alarm is not None:
            if _END_OF_HEAD in self._head + data:
                self._calm()
            self._head = (self._head + data)[-len(_END_OF_HEAD) + 1 :]
        if not self._is_refused:
            self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return None if self._is_refused else self._inner.eof_received()

    def connection_lost(self, error: Exception | None) -> None:
        self._calm()
        self._leave()
        if not self._is_refused:
            self._inner.connection_lost(error)

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()

    def _calm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
