"""A picture of the job page for the README: `PICTURE=docs/job.png pytest tests/web/test_picture.py` writes it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from playwright.async_api import expect

from appliance.model import Commit
from appliance.store import jobs
from tests.web.conftest import Visitor
from tests.web.world import approval, job, workflow

pytestmark = pytest.mark.browser

LOG = (
    "\x1b[36m==>\x1b[0m collecting tests\n\x1b[1m============== test session starts ==============\x1b[0m\n"
    "platform linux -- Python 3.12.4\ncollected 214 items\n\n"
    "tests/test_doors.py \x1b[32m............................\x1b[0m [ 13%]\n"
    "tests/test_moves.py \x1b[32m.....\x1b[33ms\x1b[32m.......................\x1b[0m [ 27%]\n"
    "tests/test_rules.py \x1b[32m.................\x1b[31mF\x1b[32m.....\x1b[0m [ 38%]\n"
    "tests/test_shell.py \x1b[32m........."
)


async def test_the_picture_of_a_running_job(visitor: Visitor, tmp_path: Path) -> None:
    world = visitor.world
    flow = workflow(
        "build-and-test", job("build", "make"), job("unit", "pytest -q tests", requires=["build"]), approval("ship")
    )
    pipeline = await world.pipeline(
        await world.project("acme/app"), flow, commit=Commit(subject="Answer webhooks before compiling")
    )
    await world.run(pipeline, "build")
    unit = await world.job_of(pipeline, "unit")
    await world.start(unit.id)
    await world.step(unit.id, 0)
    await world.step(unit.id, 1)
    world.write_log(unit.id, 2, LOG.encode())
    now_ms = world.clock.now_ms()
    await world.db.write(lambda tx: jobs.enter(tx, unit.id, 0, visitor.ada, "10.1.2.3", "", now_ms))
    await visitor.page.set_viewport_size({"width": 1280, "height": 800})
    page = await visitor.go(f"/jobs/{unit.number}")
    await expect(page.locator(".log .line")).to_have_count(9)
    picture = Path(os.environ.get("PICTURE") or tmp_path / "job.png")
    await page.screenshot(path=picture)
    assert picture.stat().st_size > 10_000
