"""Much output, without a line end and with a reader that does not read, costs the appliance bounded memory."""

from __future__ import annotations

import re
from pathlib import Path

import aiohttp
import pytest

from appliance.store import jobs, people
from tests.whole import ON_THIS_HOST, Place, Served, served, until

SIZE = 400_000_000
CONFIG = f"""
version: 2.1
jobs:
  build:
    machine: true
    steps:
      - run: head -c {SIZE} /dev/zero | tr '\\0' x
      - run: echo after
"""


def memory_mb(process: Served) -> float:
    assert process._process is not None
    status = Path(f"/proc/{process._process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found
    return int(found[1]) / 1024


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_log_of_400_mb_without_a_line_end(tmp_path: Path) -> None:
    async with served(tmp_path, ON_THIS_HOST, {"SECRET": "correct-horse-battery"}) as (place, process):
        before = memory_mb(process)
        await place.commit({".circleci/config.yml": CONFIG})
        await place.push()

        async def has_begun() -> int | None:
            rows = place.read(lambda tx: tx.execute("SELECT number FROM jobs WHERE status = 'running'").fetchall())
            return int(rows[0]["number"]) if rows else None

        number = await until(has_begun)
        token = place.read(lambda tx: people.make_token(tx, people.by_name(tx, "tester").id, "api", 1))
        url = f"{(place.data / 'web_url').read_text()}/jobs/{number}/0/1/log?offset=0&follow=1"
        async with (
            aiohttp.ClientSession(headers={"Circle-Token": token}) as client,
            client.get(url) as answer,
        ):
            assert answer.status == 200
            first = await answer.content.readany()
            seen = await ended(place)
            assert first
        assert seen == {"build": "success"}
        job_id = place.read(lambda tx: jobs.by_number(tx, 1).id)
        step = place.read(lambda tx: jobs.steps_of(tx, job_id, 0)[1])
        assert place.log_path(step).stat().st_size == SIZE
        assert memory_mb(process) - before < 60, "megabytes more than before, at the worst moment"


async def ended(place: Place) -> dict[str, str]:
    """Like `Place.ended` without reading the logs."""

    async def look() -> dict[str, str] | None:
        rows = place.read(lambda tx: [jobs.by_number(tx, 1)])
        return {row.name: str(row.status) for row in rows} if all(row.status.is_done for row in rows) else None

    return await until(look, 200)
