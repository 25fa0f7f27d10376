"""Asking executors whether jobs can be run there."""

from __future__ import annotations

import asyncio

from appliance.bell import Bell
from appliance.clock import SystemClock
from appliance.engine.checks import Checks


async def test_a_machine_that_is_removed_before_it_is_asked_is_no_more() -> None:
    """The question stands in a task of the scheduler's: whatever it raised would end the appliance."""
    checks = Checks({}, Bell(), SystemClock())
    async with asyncio.TaskGroup() as group:
        troubles = await checks.troubles(group, ["machine:gone"])
    assert troubles == {"machine:gone": "there is no machine:gone any more"}
