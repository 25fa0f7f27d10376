"""The service containers of a node: what they say, on which ports they listen, how they end.

The engine's log is followed with its timestamps, and they are how a reader goes on after another one: it asks for what
was said from a time on, and leaves out what stands before the very piece that was the last one taken.
"""

from __future__ import annotations

import asyncio
import re
import struct
from collections.abc import AsyncGenerator
from datetime import datetime
from pathlib import Path
from typing import Any

import aiodocker
import aiohttp

from appliance.errors import SandboxError, SandboxLost
from appliance.executors import cgroups
from appliance.executors.base import Exit, LogMark, Readiness
from appliance.executors.docker_errors import speaking_plainly

_FRAME = struct.Struct(">BxxxL")
_LONGEST_FRAME = 4 << 20  # the engine cuts lines at 16 KiB
_STAMP = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)\Z")
SLACK_NS = 10**9  # two pieces' times are out of order by less
_MOST_NEWER = 20_000  # pieces kept while the mark is looked for
_LISTEN = "0A"
_MOST_PROCESSES = 200  # of a service, looked at for who listens


def _forever() -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=None)


class DockerService:
    """See `base.Service`. `name` is the container's."""

    def __init__(self, docker: aiodocker.Docker, name: str) -> None:
        self._docker = docker
        self._name = name
        self._facts: dict[str, Any] | None = None

    async def output(self, after: LogMark, *, is_followed: bool = True) -> AsyncGenerator[tuple[bytes, LogMark], None]:
        params = {"stdout": "1", "stderr": "1", "timestamps": "1", "follow": str(int(is_followed))}
        reading = _Reading(after)
        if reading.since is not None:
            params["since"] = reading.since
        async with (
            speaking_plainly("read a service's log"),
            self._docker._query(f"containers/{self._name}/logs", params=params, timeout=_forever()) as response,
            response,  # the client leaves it to us to let go of it
        ):
            while data := await response.content.readany():
                if chunk := reading.feed(data):
                    yield chunk, reading.mark
            if chunk := reading.end():
                yield chunk, reading.mark

    async def exit(self) -> Exit:
        async with speaking_plainly("wait for a service"):
            path = f"containers/{self._name}/wait"
            async with self._docker._query(path, method="POST", timeout=_forever()) as response, response:
                await response.read()
            state = (await self._inspect())["State"]
        if state["Running"]:
            raise SandboxError("the engine said too early that a service has ended")
        return Exit(int(state["ExitCode"]), out_of_memory=bool(state.get("OOMKilled")))

    async def readiness(self) -> Readiness:
        async with speaking_plainly("look at a service"):
            if self._facts is None:
                self._facts = await self._inspect()
            has_check = bool((self._facts["State"].get("Health") or {}).get("Status"))
            health = (await self._inspect())["State"]["Health"]["Status"] if has_check else ""
        ports = await asyncio.to_thread(_listening, self._facts)
        return Readiness(ports=ports, is_healthy=health == "healthy" if has_check else None)

    async def _inspect(self) -> dict[str, Any]:
        try:
            facts: dict[str, Any] = await self._docker.containers.container(self._name).show()
        except aiodocker.DockerError as problem:
            if problem.status == 404:
                raise SandboxLost("the service's container has gone") from problem
            raise
        return facts


class _Reading:
    """Takes the engine's frames apart, each one piece of a line with its time, and leaves out what was taken before.

    Pieces of stdout and of stderr stand in the engine's log in a certain order, but their times may be a little out of
    it. So we ask from some time before the mark, and go on behind the very piece of the mark. When that has been dropped
    (the engine keeps the newest megabytes), with what is newer.
    """

    def __init__(self, after: LogMark) -> None:
        self.mark = after
        self._after = after
        self._missing = after.count  # pieces of the mark's time, up to the mark
        self._newer: list[bytes] = []  # while the mark has not been found
        self._newest = after
        self._rest = b""
        self._second = b""
        self._second_ns = 0

    @property
    def since(self) -> str | None:
        """What to ask the engine for."""
        at_ns = self._after.at_ns - SLACK_NS
        return f"{at_ns // 10**9}.{at_ns % 10**9:09d}" if self._after.at_ns else None

    def feed(self, data: bytes) -> bytes:
        """The text of the pieces that are whole now and new."""
        data, at, texts = self._rest + data, 0, []
        while len(data) - at >= _FRAME.size:
            _, size = _FRAME.unpack_from(data, at)
            if size > _LONGEST_FRAME:
                raise SandboxError("the engine sent a log that nobody can read")
            if len(data) - at < _FRAME.size + size:
                break
            at_ns, text = self._piece(data[at + _FRAME.size : at + _FRAME.size + size])
            at += _FRAME.size + size
            if self._missing:
                self._search(at_ns, text)
                continue
            self.mark = LogMark(at_ns, self.mark.count + 1 if at_ns == self.mark.at_ns else 1)
            texts.append(text)
        self._rest = data[at:]
        if not self._missing and self._newer:
            texts, self._newer = [*self._newer, *texts], []
        return b"".join(texts)

    def end(self) -> bytes:
        """The log has ended. What is newer than a mark that never came."""
        self._give_up()
        newer, self._newer = b"".join(self._newer), []
        return newer

    def _search(self, at_ns: int, text: bytes) -> None:
        if at_ns == self._after.at_ns:
            self._missing -= 1
            if not self._missing:
                self._newer = []
        elif at_ns > self._after.at_ns:
            self._newer.append(text)
            self._newest = LogMark(at_ns, self._newest.count + 1 if at_ns == self._newest.at_ns else 1)
            if at_ns > self._after.at_ns + SLACK_NS or len(self._newer) > _MOST_NEWER:
                self._give_up()

    def _give_up(self) -> None:
        if self._missing and self._newer:
            self._missing = 0
            self.mark = self._newest

    def _piece(self, text: bytes) -> tuple[int, bytes]:
        """`2026-11-22T03:22:13.123456789Z words`. Most lines share their second with the one before."""
        stamp, _, words = text.partition(b" ")
        found = _STAMP.match(stamp)
        if found is None:  # some engine's own idea of a line: as old as the one before
            return max(self.mark.at_ns, 1), text
        second = found[1] + found[3].replace(b"Z", b"+00:00")
        if second != self._second:
            self._second = second
            self._second_ns = int(datetime.fromisoformat(second.decode()).timestamp()) * 10**9
        return self._second_ns + int((found[2] or b"").ljust(9, b"0")[:9]), words


def _listening(facts: dict[str, Any]) -> frozenset[int]:
    """The TCP ports on which the service's own processes listen.

    All containers of a node share one network namespace: whose socket it is, the processes' open files tell where we
    may see them, else the ports that the image exposes.
    """
    pid = int(facts["State"].get("Pid") or 0)
    group = cgroups.find(pid, facts["Id"]) if pid else None
    if group is None:
        return frozenset()
    sockets = _sockets(pid)
    owned = _own_sockets(group)
    if owned is not None:
        return frozenset(port for port, inode in sockets if inode in owned)
    exposed = {int(name.partition("/")[0]) for name in facts["Config"].get("ExposedPorts") or ()}
    return frozenset(port for port, _ in sockets if port in exposed)


def _sockets(pid: int) -> list[tuple[int, str]]:
    """(port, inode) of what is listened on in the network namespace of `pid`."""
    found = []
    for name in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:]
        except OSError:
            continue
        words = [line.split() for line in lines]
        found += [(int(each[1].rpartition(":")[2], 16), each[9]) for each in words if each[3] == _LISTEN]
    return found


def _own_sockets(group: cgroups.Cgroup) -> set[str] | None:
    """The inodes of all sockets that the cgroup's processes have open; None when we may not see that."""
    found: set[str] = set()
    try:
        for pid in group.processes()[:_MOST_PROCESSES]:
            for link in Path(f"/proc/{pid}/fd").iterdir():
                target = str(link.readlink())
                if target.startswith("socket:["):
                    found.add(target[8:-1])
    except PermissionError:
        return None
    except OSError:  # one of them has just ended
        return found
    return found
