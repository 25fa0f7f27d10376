"""Schedules in a whole appliance: a pushed config, a clock that comes to the time, a job that runs."""

from __future__ import annotations

from pathlib import Path

import aiohttp

from appliance.app import running
from appliance.clock import SystemClock
from appliance.store import people, schedules
from appliance.store.database import Tx
from tests.whole import ON_THIS_HOST, Place, house, until

CONFIG = """
version: 2.1
jobs:
  build:
    machine: true
    steps: [{run: "echo << pipeline.trigger_source >> and '<< pipeline.schedule.name >>' on $CIRCLE_BRANCH"}]
workflows:
  pushed: {jobs: [build]}
  nightly:
    triggers: [{schedule: {cron: "0 3 * * *", filters: {branches: {only: main}}}}]
    jobs: [build]
"""
_DAY_MS = 86_400_000


class MovedClock(SystemClock):
    """The real clock, put ahead by the test: it goes on as clocks do."""

    ahead_ms = 0

    def now_ms(self) -> int:
        return super().now_ms() + self.ahead_ms

    def move_to(self, at_ms: int) -> None:
        self.ahead_ms += at_ms - self.now_ms()


def all_schedules(place: Place) -> list[schedules.Schedule]:
    def read(tx: Tx) -> list[schedules.Schedule]:
        row = tx.execute("SELECT id FROM projects").fetchone()
        return schedules.of_project(tx, row["id"], 10)

    return place.read(read)


async def test_a_workflow_of_the_config_runs_at_its_time_and_on_no_push(tmp_path: Path) -> None:
    clock = MovedClock()
    async with house(tmp_path, ON_THIS_HOST, clock=clock) as (place, _):
        await place.commit({".circleci/config.yml": CONFIG})
        await place.push()
        pushed = await place.ended(1)
        assert pushed.workflows == {"pushed": "success"} and "webhook and  on main" in pushed.logs["build"]
        (schedule,) = all_schedules(place)
        assert schedule.slot_ms is not None
        clock.move_to(schedule.slot_ms - 500)
        fired = await place.ended(2)
        assert fired.workflows == {"nightly": "success"}
        assert "schedule and  on main" in fired.logs["build"]
        assert (
            fired.pipeline.trigger.kind == "schedule" and fired.pipeline.trigger.revision == pushed.pipeline.trigger.revision
        )
        assert fired.pipeline.problems == ()
        (after,) = all_schedules(place)
        assert after.slot_ms == schedule.slot_ms + _DAY_MS


async def test_a_branch_has_the_schedules_of_its_own_config_until_it_is_deleted(tmp_path: Path) -> None:
    async with house(tmp_path, ON_THIS_HOST) as (place, _):
        await place.commit({".circleci/config.yml": CONFIG.replace("only: main", "ignore: quiet")})
        for number, branch in enumerate(("main", "quiet", "extra"), 1):
            await place.push(f"main:{branch}")
            await place.ended(number)
        assert {one.branch for one in all_schedules(place)} == {"main", "extra"}
        await place.push(":extra")

        async def forgotten() -> bool | None:
            return True if [one.branch for one in all_schedules(place)] == ["main"] else None

        await until(forgotten, 20)


async def test_a_schedule_of_the_api_starts_the_workflows_of_its_branch_with_its_parameters(tmp_path: Path) -> None:
    clock = MovedClock()
    config = CONFIG.replace("jobs:", "parameters: {level: {type: integer, default: 1}}\njobs:", 1)
    config = config.replace("on $CIRCLE_BRANCH", "at << pipeline.parameters.level >>")
    async with house(tmp_path, ON_THIS_HOST, clock=clock) as (place, appliance):
        await place.commit({".circleci/config.yml": config})
        await place.push()
        await place.ended(1)
        body = {
            "name": "often",
            "timetable": {"per-hour": 60, "hours-of-day": list(range(24)), "days-of-month": list(range(1, 32))},
            "attribution-actor": "current",
            "parameters": {"branch": "main", "level": 3},
        }
        token = place.read(lambda tx: people.make_token(tx, people.by_name(tx, "tester").id, "api", clock.now_ms()))
        async with aiohttp.ClientSession(appliance.web_url, headers={"Circle-Token": token}) as client:
            async with client.post("/api/v2/project/circleci/acme/app/schedule", json=body) as answer:
                assert answer.status == 201, await answer.text()
                made = await answer.json()
            (schedule,) = (one for one in all_schedules(place) if one.id == made["id"])
            assert schedule.due_at_ms is not None
            clock.move_to(schedule.due_at_ms - 500)
            fired = await place.ended(2)
            async with client.delete(f"/api/v2/schedule/{made['id']}") as answer:
                assert answer.status == 200
    assert fired.workflows == {"pushed": "success"}, "those with triggers of their own have no part in it"
    assert "scheduled_pipeline and often at 3" in fired.logs["build"]
    assert fired.pipeline.trigger.kind == "scheduled_pipeline" and fired.pipeline.trigger.actor == "tester"
    assert fired.pipeline.values["pipeline.schedule.id"] == made["id"]


async def test_what_a_downtime_has_missed_runs_once_after_it_and_the_pipeline_says_so(tmp_path: Path) -> None:
    clock = MovedClock()
    async with house(tmp_path, ON_THIS_HOST, clock=clock) as (place, _):
        await place.commit({".circleci/config.yml": CONFIG})
        await place.push()
        await place.ended(1)
        (schedule,) = all_schedules(place)
    assert schedule.slot_ms is not None
    clock.move_to(schedule.slot_ms + 3 * _DAY_MS + 4 * 3_600_000)
    async with running(place.settings, clock):
        late = await place.ended(2)
        assert late.workflows == {"nightly": "success"}
        (problem,) = late.pipeline.problems
        assert problem.kind == "warning" and "03:00 UTC, started at" in problem.message
        assert "stands for all the times that were missed" in problem.message
        (after,) = all_schedules(place)
        assert after.slot_ms == schedule.slot_ms + 4 * _DAY_MS
    assert place.seen(3) is None
