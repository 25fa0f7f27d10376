"""What the containers of a node take: read from their cgroups where the engine is on this host, else asked of the engine."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import aiodocker
import aiohttp

from appliance.executors import cgroups
from appliance.executors.base import Usage
from appliance.executors.docker_plan import INDEX_LABEL
from appliance.executors.docker_private import is_engine

if TYPE_CHECKING:
    from aiodocker.containers import DockerContainer

_ANSWER_S = 10.0
_NOTHING = Usage(cpu_s=0, memory_bytes=0, written_bytes=0, processes=0)


class Gauge:
    """For one node. `find` gives its containers, in any order."""

    def __init__(self, docker: aiodocker.Docker, find: Callable[[], Awaitable[Sequence[DockerContainer]]]) -> None:
        self._docker = docker
        self._find = find
        self._places: list[tuple[DockerContainer, cgroups.Cgroup | None]] = []
        self._last: list[Usage] = []

    async def read(self) -> tuple[Usage, ...]:
        """See `base.Sandbox.usage`."""
        try:
            async with asyncio.timeout(_ANSWER_S):
                if not self._places:
                    await self._locate()
                return await self._look()
        except (aiodocker.DockerError, aiohttp.ClientError, OSError, TimeoutError):
            return ()
        except (KeyError, TypeError, ValueError):  # an engine that answers in a way of its own
            return ()

    async def _locate(self) -> None:
        # Not the private engine that a job may have asked for: it has a machine's limits of its own.
        own = [each for each in await self._find() if not is_engine(each)]
        places: list[tuple[DockerContainer, cgroups.Cgroup | None]] = []
        for container in sorted(own, key=lambda each: int(each["Labels"][INDEX_LABEL])):
            pid = int((await container.show())["State"].get("Pid") or 0)
            places.append((container, cgroups.find(pid, container.id) if pid else None))
        self._places, self._last = places, [_NOTHING] * len(places)  # all of them: an engine may break off in between

    async def _look(self) -> tuple[Usage, ...]:
        here = [place for _, place in self._places]
        found = await asyncio.to_thread(lambda: [place and place.read() for place in here])
        for index, (container, place) in enumerate(self._places):
            usage = found[index] if place else await self._ask(container)
            if usage is None and index == 0:
                return ()
            # One that has ended has taken what it took, and holds nothing.
            self._last[index] = usage or Usage(
                cpu_s=self._last[index].cpu_s,
                memory_bytes=0,
                written_bytes=self._last[index].written_bytes,
                processes=0,
            )
        return tuple(self._last)

    async def _ask(self, container: DockerContainer) -> Usage | None:
        """`one-shot`: the engine would else watch for a second or two, to tell a rate that we work out ourselves."""
        path, params = f"containers/{container.id}/stats", {"stream": "0", "one-shot": "1"}
        async with self._docker._query(path, params=params) as response, response:
            return usage_of(await response.json())


def usage_of(stats: Mapping[str, Any]) -> Usage | None:
    """The engine's answer; None for a container that does not run."""
    memory = stats.get("memory_stats") or {}
    if "usage" not in memory:
        return None
    facts = memory.get("stats") or {}
    disk = (stats.get("blkio_stats") or {}).get("io_service_bytes_recursive") or ()
    return Usage(
        cpu_s=stats["cpu_stats"]["cpu_usage"]["total_usage"] / 1e9,
        memory_bytes=max(0, memory["usage"] - facts.get("total_inactive_file", facts.get("inactive_file", 0))),
        written_bytes=sum(entry["value"] for entry in disk if str(entry["op"]).lower() == "write"),
        processes=(stats.get("pids_stats") or {}).get("current") or 0,
    )
