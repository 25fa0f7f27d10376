"""Asks executors whether jobs can be run there now; one that is slow to answer holds up nobody who waits for another."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping

from appliance.bell import Bell
from appliance.clock import Clock
from appliance.executors.base import Executor

LONGEST_S = 5.0  # an engine that hangs is in trouble after so long
_PROMPT_S = 0.25  # so long all others wait for an answer
_TRUST_S = 1.0  # an engine that answered well is not asked again for so long


class Checks:
    """What executors answered, and the questions under way; those are `runners`' tasks and end with them."""

    def __init__(self, executors: Mapping[str, Executor], bell: Bell, clock: Clock) -> None:
        self._executors = executors
        self._bell = bell
        self._clock = clock
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._troubles: dict[str, str] = {}  # as said last
        self._well_s: dict[str, float] = {}  # when it answered well

    async def troubles(
        self, runners: asyncio.TaskGroup, names: Collection[str], doubted: Collection[str] = ()
    ) -> Mapping[str, str]:
        """Why nothing can start now on those of `names` that are in trouble. Doubted ones are asked anew."""
        for name in doubted:
            self._well_s.pop(name, None)
        new = [name for name in names if name not in self._asking and not self._is_trusted(name)]
        for name in new:
            self._asking[name] = runners.create_task(self._ask(name))
        if new:
            await asyncio.wait([self._asking[name] for name in new if name in self._asking], timeout=_PROMPT_S)
        return {name: self._trouble(name) for name in names if not self._is_trusted(name)}

    def _is_trusted(self, name: str) -> bool:
        return self._clock.monotonic_s() - self._well_s.get(name, -_TRUST_S) < _TRUST_S

    def _trouble(self, name: str) -> str:
        return self._troubles.get(name) or f"the {name} executor is being asked whether it can run jobs"

    async def _ask(self, name: str) -> None:
        executor = self._executors.get(name)  # a machine may be removed while we ask about it
        try:
            async with asyncio.timeout(LONGEST_S):
                trouble = await executor.check() if executor is not None else f"there is no {name} any more"
        except TimeoutError:
            trouble = f"the {name} executor has not answered for {LONGEST_S:g} seconds"
        finally:
            del self._asking[name]
        if trouble:
            self._troubles[name] = trouble
        else:
            self._troubles.pop(name, None)
            self._well_s[name] = self._clock.monotonic_s()
        self._bell.ring("work")
