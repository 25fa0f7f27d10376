"""A job that has halted stays halted over `kill -9` of the appliance: nothing after the halt runs, and it succeeds."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from tests.whole import ON_THIS_HOST, served

CONFIG = """
version: 2.1
jobs:
  halts:
    machine: true
    steps:
      - run: {name: halt, command: "circleci step halt; sleep 0.3; echo halted"}
      - run: {name: never, when: always, command: "echo ne''ver"}
workflows:
  w: {jobs: [halts]}
"""


@pytest.mark.slow
async def test_kill_around_a_halt(tmp_path: Path) -> None:
    chance = random.Random(4)
    async with served(tmp_path, ON_THIS_HOST) as (place, process):
        for number in range(1, 6):
            await place.commit({".circleci/config.yml": CONFIG}, f"round {number}")
            await place.push()
            await asyncio.sleep(chance.uniform(0.1, 0.7))  # the seeded moment
            await process.kill()
            await process.start()
            seen = await place.ended(number)
            assert seen.statuses == {"halts": "success"}, seen.logs
            assert [str(step.status) for step in seen.steps["halts"]] == ["success", "success", "skipped"]
            assert seen.logs["halts"].count("halted\n") == 1
            assert "never" not in seen.logs["halts"]
