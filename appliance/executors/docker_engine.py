"""A connection to a Docker engine, and the channel to the supervisor that is the main process of a container on it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import aiodocker
import aiohttp

from appliance.executors.hijack import Hijack, open_hijack
from appliance.executors.late import Late
from appliance.executors.supervised import opening

if TYPE_CHECKING:
    from aiodocker.containers import DockerContainer

STDERR_KEPT_BYTES = 2000


class AttachTransport:
    """See `supervised.Transport`: the main process's stdin and stdout. What it says on stderr is kept for a reason."""

    def __init__(self, stream: Hijack) -> None:
        self._stream = stream
        self._stderr = b""
        self.hear: Callable[[bytes], None] = lambda aside: None

    @property
    def last_words(self) -> str:
        return self._stderr.decode(errors="replace").strip()

    @property
    def has_ended(self) -> bool:
        return self._stream.has_ended

    async def send(self, data: bytes) -> None:
        await self._stream.write(data)

    async def receive(self) -> bytes:
        while True:
            stdout, stderr = await self._stream.read()
            if stderr:
                self._stderr = (self._stderr + stderr)[-STDERR_KEPT_BYTES:]
                self.hear(stderr)
            if stdout or not stderr:
                return stdout

    async def close(self) -> None:
        self._stream.close()


async def attach(engine: Engine, container_id: str) -> AttachTransport:
    """A new client of a running supervisor."""
    transport = AttachTransport(await engine.attach(container_id))
    await transport.send(opening())
    return transport


class Engine:
    """The two ways to the engine: its JSON API by aiodocker, raw streams by `hijack`."""

    def __init__(self, url: str, tls: ssl.SSLContext | None, version: str | None = None) -> None:
        """`version` of the API, where it is known already ("v1.41")."""
        self.url = url
        self._tls = tls
        self._version = version
        self._streams: dict[Hijack, str] = {}  # to the container each belongs to
        self._late = Late(self._client)
        self.docker = cast("aiodocker.Docker", self._late)

    def _client(self) -> aiodocker.Docker:
        parts = urlsplit(self.url)
        # The default connector has 100 connections; long-lived streams use them up and then everything hangs.
        if parts.scheme == "unix":
            connector: aiohttp.BaseConnector = aiohttp.UnixConnector(parts.path, limit=0)
            base = "unix://localhost"
        else:
            connector = aiohttp.TCPConnector(limit=0, ssl=self._tls or True)
            base = f"{'https' if self._tls else 'http'}://{parts.hostname}:{parts.port or 2375}"
        return aiodocker.Docker(url=base, connector=connector)

    async def load(self) -> None:
        """Load the HTTP client, where that is still to be done, without holding up who prints what a job says."""
        if not self._late.is_made:
            await asyncio.to_thread(lambda: (aiohttp.UnixConnector, aiodocker.Docker))

    def container(self, container_id: str) -> DockerContainer:
        """One whose id is known. The engine is not asked."""
        return cast("DockerContainer", Late(lambda: self.docker.containers.container(container_id), id=container_id))

    async def attach(self, container_id: str) -> Hijack:
        if self._version is None and self.docker.api_version == "auto":
            await self.docker.version()
        return await self.stream(f"containers/{container_id}/attach?stream=1&stdin=1&stdout=1&stderr=1", container_id)

    async def stream(self, path: str, container_id: str, body: Any = None, *, tty: bool = False) -> Hijack:
        stream = await open_hijack(self.url, self._version or self.docker.api_version, path, body, tty=tty, tls=self._tls)
        self._streams[stream] = container_id
        stream.on_close = self._forget
        return stream

    def _forget(self, stream: Hijack) -> None:
        self._streams.pop(stream, None)

    def let_go(self, container_id: str) -> None:
        """Close our streams to a container: the engine waits for their readers before it lets a container go."""
        for stream in [each for each, owner in self._streams.items() if owner == container_id]:
            stream.close()

    async def close(self) -> None:
        for container_id in set(self._streams.values()):
            self.let_go(container_id)
        if self._late.is_made:
            connector = self.docker.connector
            await self.docker.close()
            await connector.close()
