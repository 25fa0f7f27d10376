"""Ends what waits for ever: workflows that do not end, approvals that nobody gives (spec 4.2, 1.10.2)."""

from __future__ import annotations

import asyncio
import logging

from appliance.bell import Bell
from appliance.clock import Clock
from appliance.engine import cancels
from appliance.errors import DiskFull
from appliance.store.database import Database

log = logging.getLogger(__name__)

_EVERY_S = 60.0


class Expiry:
    def __init__(self, *, db: Database, bell: Bell, clock: Clock, workflows_last_ms: int, holds_last_ms: int) -> None:
        self._db = db
        self._bell = bell
        self._clock = clock
        self._workflows_last_ms = workflows_last_ms
        self._holds_last_ms = holds_last_ms

    async def run(self) -> None:
        """Ends only by being cancelled."""
        while True:
            try:
                while await self.expire_some():
                    pass
            except DiskFull as error:
                log.error("a full disk holds up the end of old workflows", extra={"error": str(error)})
            await asyncio.sleep(_EVERY_S)

    async def expire_some(self) -> bool:
        """Cancel what is too old by now; whether there was something."""
        now_ms = self._clock.now_ms()
        workflows_before_ms, holds_before_ms = now_ms - self._workflows_last_ms, now_ms - self._holds_last_ms
        found = await self._db.write(lambda tx: cancels.expire(tx, workflows_before_ms, holds_before_ms, now_ms))
        for changed in found:
            self._bell.ring("work", "outbox", *changed.topics())
        if found:
            log.info("old workflows and approvals were canceled", extra={"count": len(found)})
        return bool(found)
