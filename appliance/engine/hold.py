"""A job that was rerun with SSH stays open after its steps (spec 5): until nobody came, or whoever came is gone again.

Two rows tell of it, "Enable SSH" and "Wait for SSH". The second one's start is written down, so that a restart of the
appliance does not begin the wait anew. A cancel ends it like everything else.
"""

from __future__ import annotations

from appliance.engine import rules
from appliance.engine.record import Record
from appliance.engine.workshop import Facts, Workshop
from appliance.steps.base import SUCCESS
from appliance.store import jobs, visits

_LOOK_S = 5.0  # a lost ring for somebody who has left costs at most this


class Hold:
    def __init__(self, shop: Workshop, facts: Facts, record: Record) -> None:
        self._shop = shop
        self._facts = facts
        self._record = record
        self._rows = {row.place: row for row in facts.steps if row.kind == jobs.SSH}

    async def enable(self) -> None:
        """Say how to come in, before the first step."""
        if jobs.FIRST_SSH in self._rows and not self._rows[jobs.FIRST_SSH].status.is_done:
            await self._say(jobs.FIRST_SSH)

    async def wait(self) -> None:
        """After the last step: as long as somebody is inside or may still come."""
        if jobs.LAST_SSH not in self._rows:
            return
        since_ms = self._rows[jobs.LAST_SSH].started_at_ms or self._shop.clock.now_ms()
        with self._shop.bell.listen(f"job:{self._facts.job.id}") as listener:
            await self._say(jobs.LAST_SSH, is_over=False)
            while (left_s := await self._left_s(since_ms)) > 0:
                await listener.wait(min(left_s, _LOOK_S))
        self._record.end_step(self._rows[jobs.LAST_SSH].position, SUCCESS)

    async def _left_s(self, since_ms: int) -> float:
        job_id, index = self._facts.job.id, self._facts.node.index
        found = await self._shop.db.read(lambda tx: visits.of_job(tx, job_id))
        left_at = [visit.left_at_ms for visit in found if visit.index == index]
        limits = self._shop.limits
        until_ms = rules.held_until(since_ms, left_at, int(limits.hold_s * 1000), int(limits.longest_hold_s * 1000))
        return (until_ms - self._shop.clock.now_ms()) / 1000

    async def _say(self, which: int, *, is_over: bool = True) -> None:
        position = self._rows[which].position
        await self._record.start_step(position)
        number = self._facts.job.number
        assert number is not None
        with self._record.log(position) as step_log:
            await step_log.say(f"{self._shop.ssh_command(number, self._facts.node.index)}\n")
        if is_over:
            self._record.end_step(position, SUCCESS)
