"""Ends what waits for ever: workflows that do not end, approvals that nobody gives, queues that do not move."""

from __future__ import annotations

import asyncio
import logging

from appliance.bell import Bell
from appliance.clock import Clock, Unhurried
from appliance.engine import cancels
from appliance.errors import DiskFull
from appliance.store.database import Database

log = logging.getLogger(__name__)

_EVERY_S = 60.0


class Expiry:
    def __init__(self, *, db: Database, bell: Bell, clock: Clock, patience: cancels.Patience) -> None:
        self._db = db
        self._bell = bell
        self._clock = Unhurried(clock)
        self._patience = patience

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
        found = await self._db.write(lambda tx: cancels.expire(tx, self._patience, now_ms))
        for changed in found:
            self._bell.ring("work", "outbox", *changed.topics())
        if found:
            log.info("what waited for too long was canceled", extra={"count": len(found)})
        return bool(found)
