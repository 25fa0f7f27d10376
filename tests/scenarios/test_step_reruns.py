"""A step that is run again inside its job, over a `kill -9` of the appliance and over a cancel."""

from __future__ import annotations

from pathlib import Path

from appliance.model import User, UserId
from appliance.store.jobs import Step
from tests.whole import ON_THIS_HOST, Place, house, served, until

CONFIG = """
version: 2.1
jobs:
  flaky:
    machine: true
    steps:
      - run:
          name: flaky
          max_auto_reruns: 2
          auto_rerun_delay: DELAY
          command: |
            echo x >> tries; n=$(wc -l < tries); echo "try $n begins"
            [ "$n" = 3 ] || exit 1
            until [ -e MARKS/go ]; do sleep 0.05; done
            echo "try $n ends"
      - run: echo "in all $(wc -l < tries)"
workflows:
  w: {jobs: [flaky]}
"""
ADA = User(id=UserId("a"), name="ada", is_admin=False, sees_all_projects=True)


async def attempt(place: Place, number: int) -> Step:
    """The step, once an attempt is written down."""

    async def look() -> Step | None:
        seen = place.seen()
        steps = seen.steps.get("flaky", []) if seen else []
        return next((step for step in steps if step.attempt == number), None)

    return await until(look)


async def says(place: Place, text: str) -> None:
    async def look() -> bool | None:
        seen = place.seen()
        return True if seen and text in seen.logs["flaky"] else None

    await until(look)


async def test_a_kill_in_the_pause_and_in_a_later_attempt_loses_and_doubles_nothing(tmp_path: Path) -> None:
    config = CONFIG.replace("DELAY", "2s").replace("MARKS", str(tmp_path))
    async with served(tmp_path, ON_THIS_HOST) as (place, process):
        await place.commit({".circleci/config.yml": config})
        await place.push()
        await attempt(place, 2)
        await process.kill()
        await process.start()
        await says(place, "try 3 begins")
        await process.kill()
        (tmp_path / "go").touch()
        await process.start()
        seen = await place.ended()
    assert seen.statuses == {"flaky": "success"}, seen.logs
    first, second = "\nexited with code 1\nAttempt 2 of 3, in ", "\nexited with code 1\nAttempt 3 of 3, in "
    log = seen.logs["flaky"]
    assert log.count(first) == log.count(second) == 1, log
    for line in ("try 1 begins", "try 2 begins", "try 3 begins", "try 3 ends", "in all 3"):
        assert log.count(f"{line}\n") == 1, log


async def test_a_cancel_in_the_pause_ends_the_job_at_once(tmp_path: Path) -> None:
    config = CONFIG.replace("DELAY", "10m").replace("MARKS", str(tmp_path))
    async with house(tmp_path, ON_THIS_HOST) as (place, appliance):
        await place.commit({".circleci/config.yml": config})
        await place.push()
        step = await attempt(place, 2)
        await says(place, "Attempt 2 of 3, in 600 seconds")
        await appliance.commands.cancel_job(step.job_id, ADA)
        seen = await place.ended()
        assert seen.statuses == {"flaky": "canceled"}

        async def is_closed() -> bool | None:
            return True if not list((place.data / "sandboxes").glob("*")) else None

        await until(is_closed, 20)
    assert "try 2" not in seen.logs["flaky"]
