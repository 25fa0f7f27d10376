"""The way to a supervisor on a machine: one channel, whose far end is tied to the supervisor's FIFOs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from appliance.errors import SandboxError, SandboxLost
from appliance.executors.machine_channel import Channel
from appliance.executors.machine_link import Link
from appliance.executors.machine_script import Answered, Script
from appliance.executors.supervised import CHUNK_BYTES, opening

ATTACH_S = 20.0


class Bridge:
    """See `supervised.Transport`."""

    def __init__(self, channel: Channel, rest: bytes, on_close: Callable[[Bridge], None]) -> None:
        self._channel = channel
        self._rest = rest
        self._on_close = on_close
        self._is_cut_off = True  # by a predecessor of ours

    @property
    def hear(self) -> Callable[[bytes], None]:
        return self._channel.hear

    @hear.setter
    def hear(self, hear: Callable[[bytes], None]) -> None:
        self._channel.hear = hear

    @property
    def problem(self) -> Exception | None:
        """What broke the connection, if that was it."""
        return self._channel.problem

    async def send(self, data: bytes) -> None:
        if self._is_cut_off:
            data = opening() + data
            self._is_cut_off = False
        await self._channel.write(data)

    async def receive(self) -> bytes:
        if self._rest:
            data, self._rest = self._rest, b""
            return data
        return await self._channel.read(CHUNK_BYTES)

    async def close(self) -> None:
        self._channel.abort()
        self._on_close(self)


async def attach(link: Link, where: Mapping[str, str], node: str, on_close: Callable[[Bridge], None]) -> Bridge:
    """Tie a channel to the supervisor. Raises SandboxLost when it has ended, Unavailable and SandboxError."""
    script = Script("machine.sh", "machine_attach.sh", words=where)
    channel = await link.channel(link.shell)
    try:
        async with asyncio.timeout(ATTACH_S):
            await channel.write(script.encode())
            word, _, rest = await script.first_answer(channel)
    except (TimeoutError, OSError, Answered) as problem:
        channel.abort()
        raise SandboxError(f"no way to the job: {problem or f'nothing was said in {ATTACH_S:g} s'}") from problem
    except BaseException:
        channel.abort()
        raise
    if word != "ok":
        channel.abort()
        raise SandboxLost(f"the supervisor of node {node} has ended; was it killed, or the machine restarted?")
    return Bridge(channel, rest, on_close)
