"""At boot, before the doors open: what runs is gone on with, what nobody knows is removed. Also every minute after that."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from appliance.clock import Clock
from appliance.errors import RondoError
from appliance.executors.base import Executor
from appliance.store import jobs, people
from appliance.store.database import Database

log = logging.getLogger(__name__)

_EVERY_S = 60.0


async def recover(db: Database, executors: Mapping[str, Executor]) -> list[jobs.Node]:
    """The nodes that were running, for the scheduler to go on with; sandboxes that none of them owns are removed.

    A node that died while its sandbox was being opened has no ref in its row: whatever was made for it goes, and it
    opens a new one. An engine that does not answer now is swept later by the janitor.
    """
    running = await db.read(jobs.running_nodes)
    owned = {node.sandbox for node in running if node.sandbox}
    for executor in executors.values():
        await sweep(executor, owned)
    return [node for node in running if node.executor in executors]


async def sweep(executor: Executor, owned: set[str]) -> None:
    """Remove the sandboxes of ours that are not `owned`."""
    try:
        for ref in await executor.list():
            if ref not in owned:
                log.info("removing a sandbox that no job owns", extra={"sandbox": ref})
                await executor.remove(ref)
    except RondoError as error:
        log.warning("could not look for left-over sandboxes", extra={"executor": executor.name, "error": str(error)})


class Janitor:
    """Sweeps what runners could not: sandboxes whose removal failed, expired logins."""

    def __init__(self, db: Database, clock: Clock, executors: Mapping[str, Executor]) -> None:
        self._db = db
        self._clock = clock
        self._executors = executors

    async def run(self) -> None:
        """Ends only by being cancelled."""
        while True:
            await asyncio.sleep(_EVERY_S)
            await self.sweep_once()

    async def sweep_once(self) -> None:
        now_ms = self._clock.now_ms()
        await self._db.write(lambda tx: people.drop_expired(tx, now_ms))
        for executor in self._executors.values():
            await self._sweep(executor)

    async def _sweep(self, executor: Executor) -> None:
        """Listed first, owners read second: a sandbox opened between the two looks has a running row by then."""
        try:
            refs = await executor.list()
        except RondoError as error:
            log.warning("could not look for left-over sandboxes", extra={"error": str(error)})
            return
        running = await self._db.read(jobs.running_nodes)
        if any(node.sandbox is None for node in running):
            return  # one is being opened: its sandbox may be among the refs
        owned = {node.sandbox for node in running}
        for ref in refs:
            if ref not in owned:  # also one that its runner is closing right now: both may remove it
                await executor.remove(ref)
