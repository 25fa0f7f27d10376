"""A picture of the job page for the README: `PICTURE=docs/job.png pytest tests/web/test_picture.py` writes it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from playwright.async_api import expect

from appliance.clock import FakeClock
from appliance.model import Commit, User
from appliance.store import visits
from tests.web.chrome import chromium, logged_in
from tests.web.world import World, approval, job, serving_world, workflow

pytestmark = pytest.mark.browser

LOG = (
    "\x1b[36m==>\x1b[0m collecting tests\n\x1b[1m============== test session starts ==============\x1b[0m\n"
    "platform linux -- Python 3.12.4\ncollected 214 items\n\n"
    "tests/test_doors.py \x1b[32m............................\x1b[0m [ 13%]\n"
    "tests/test_moves.py \x1b[32m.....\x1b[33ms\x1b[32m.......................\x1b[0m [ 27%]\n"
    "tests/test_rules.py \x1b[32m.................\x1b[31mF\x1b[32m.....\x1b[0m [ 38%]\n"
    "tests/test_shell.py \x1b[32m........."
)


async def test_the_picture_of_a_running_job(tmp_path: Path) -> None:
    clock = FakeClock()
    async with serving_world(tmp_path, clock=clock) as world, chromium() as browser:
        ada = await world.user("ada", sees_all=True)
        number = await running_job(world, clock, ada)
        context = await logged_in(browser, world, await world.token(ada, "session"), (1280, 800))
        page = await context.new_page()
        await page.goto(f"{world.url}/jobs/{number}")
        await expect(page.locator(".log .line")).to_have_count(9)
        picture = Path(os.environ.get("PICTURE") or tmp_path / "job.png")
        await page.screenshot(path=picture)
        await context.close()
    assert picture.stat().st_size > 10_000


async def running_job(world: World, clock: FakeClock, ada: User) -> int:
    flow = workflow(
        "build-and-test", job("build", "make"), job("unit", "pytest -q tests", requires=["build"]), approval("ship")
    )
    project = await world.project("acme/app")
    pipeline = await world.pipeline(project, flow, commit=Commit(subject="Answer webhooks before compiling"))
    await world.run(pipeline, "build")
    unit = await world.job_of(pipeline, "unit")
    await world.start(unit.id)
    for position, took_s in ((0, 1.3), (1, 0.8)):
        clock.advance(took_s)
        await world.step(unit.id, position)
    clock.advance(12)
    now_ms = clock.now_ms()
    await world.db.write(lambda tx: visits.enter(tx, unit.id, 0, ada, "10.1.2.3", "", now_ms))
    clock.advance(61)
    world.write_log(unit.id, 2, LOG.encode())
    assert unit.number is not None
    return unit.number
