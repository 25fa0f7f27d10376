"""Schedules by a clock that the test moves: what fires, when, how often, and what is said when it cannot."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from appliance.bell import Bell
from appliance.clock import FakeClock
from appliance.engine import flags, moves_schedules, rules
from appliance.engine.moves_schedules import Wish
from appliance.engine.registrations import recounted, register
from appliance.engine.schedules import TOPIC, Schedules
from appliance.errors import BadRequest, Refused, VcsError
from appliance.language import plan as plans
from appliance.model import Commit, Project, Trigger, TriggerKind, User, Vcs
from appliance.store import people, pipelines, projects, schedules
from appliance.store.database import Database, Tx, open_database
from appliance.store.schedules import Schedule
from appliance.vcs.base import RefNotFound, Resolved
from tests.whole import until


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1000


START = ms("2026-11-22 02:00")


@dataclass
class Forge:
    """Stands for a repository: a branch `main`, unless the test says that it is away."""

    trouble: VcsError | None = None
    asked: list[str | None] = field(default_factory=list)

    async def resolve(self, project: Project, *, branch: str | None, tag: str | None) -> Resolved:
        self.asked.append(branch or tag)
        if self.trouble is not None:
            raise self.trouble
        return Resolved("1" * 40, branch, tag)

    async def commit(self, project: Project, revision: str) -> Commit:
        return Commit(subject="Change things [skip ci]")


@dataclass
class Night:
    """A project, a clock at two at night, and the loop when it runs."""

    db: Database
    clock: FakeClock
    bell: Bell
    forge: Forge
    project: Project
    ann: User

    @asynccontextmanager
    async def up(self) -> AsyncIterator[None]:
        """The appliance runs."""
        providers = dict.fromkeys(Vcs, self.forge)
        loop = Schedules(
            db=self.db,
            bell=self.bell,
            clock=self.clock,
            providers=providers,  # type: ignore[arg-type]
            patience_s=100,
        )
        async with asyncio.TaskGroup() as group:
            task = group.create_task(loop.run())
            yield
            task.cancel()

    async def to(self, text: str) -> None:
        """Put the clock, and have the loop look."""
        self.clock.advance((ms(text) - self.clock.now_ms()) / 1000)
        self.bell.ring(TOPIC)

    async def events(self) -> list[Trigger]:
        def read(tx: Tx) -> list[Trigger]:
            return [pipelines.load_trigger(row["event"]) for row in tx.execute("SELECT event FROM triggers ORDER BY id")]

        return await self.db.read(read)

    async def fired(self, count: int) -> list[Trigger]:
        """The triggers, once there are as many."""

        async def look() -> list[Trigger] | None:
            self.bell.ring(TOPIC)
            found = await self.events()
            return found if len(found) >= count else None

        found = await until(look, 10)
        assert len(found) == count
        return found

    async def settled(self, wanted: Callable[[Schedule], bool]) -> Schedule:
        """The only schedule, once it is as wanted."""

        async def look() -> Schedule | None:
            self.bell.ring(TOPIC)
            found = await self.all()
            return found[0] if found and wanted(found[0]) else None

        return await until(look, 10)

    async def all(self) -> list[Schedule]:
        return await self.db.read(lambda tx: schedules.of_project(tx, self.project.id, 100))

    async def configure(self, *crons: str, branch: str = "main", workflow: str = "nightly", **more: object) -> None:
        """A push whose config schedules one workflow."""
        lines = tuple(plans.Schedule(cron=line, branches_only=("main",), branches_ignore=None) for line in crons)
        scheduled = [plans.Workflow(name=workflow, jobs=(), schedules=lines)] if lines else []
        now_ms = self.clock.now_ms()
        trigger = Trigger(
            project_id=self.project.id,
            kind=TriggerKind.WEBHOOK,
            semantic_key="x",
            branch=branch,
            revision="1" * 40,
            **more,  # type: ignore[arg-type]
        )
        await self.db.write(lambda tx: register(tx, trigger, scheduled, now_ms))

    async def ask(self, timetable: dict[str, object], offset_s: int = 0, is_system: bool = True) -> Schedule:
        """A schedule of the API with the offset that a test wants."""
        wish = Wish(
            name="hourly", timetable=timetable, branch="main", parameters={"deep": True, "branch": "x"}, is_system=is_system
        )
        now_ms = self.clock.now_ms()

        def write(tx: Tx) -> Schedule:
            made = moves_schedules.create(tx, self.project.id, wish, self.ann, now_ms)
            changed = recounted(replace(made, offset_ms=offset_s * 1000), now_ms)
            schedules.write(tx, changed)
            return changed

        return await self.db.write(write)


EVERY_HOUR: dict[str, object] = {
    "per-hour": 1,
    "hours-of-day": list(range(24)),
    "days-of-week": ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"],
}


@pytest.fixture
async def night(tmp_path: Path) -> AsyncIterator[Night]:
    async with open_database(tmp_path / "rondo.db") as db:

        def furnish(tx: Tx) -> tuple[Project, User]:
            project = projects.add(
                tx, org="acme", repo="app", vcs=Vcs.HOSTED, git_url=None, default_branch="main", now_ms=START
            )
            ann = people.add(tx, name="ann", is_admin=False, sees_all_projects=False, now_ms=START)
            people.let_into(tx, ann.id, project.id)
            return project, ann

        project, ann = await db.write(furnish)
        yield Night(db, FakeClock(START), Bell(), Forge(), project, ann)


async def test_a_workflow_of_a_config_fires_at_each_of_its_times(night: Night) -> None:
    await night.configure("0 3 * * *", "0 5 * * *")
    async with night.up():
        await night.to("2026-11-22 02:59")
        await night.to("2026-11-22 03:00")
        (first,) = await night.fired(1)
        await night.to("2026-11-22 05:00")
        _, second = await night.fired(2)
    assert first.kind is second.kind is TriggerKind.SCHEDULE
    assert first.occasion is not None and first.occasion.workflow == "nightly" and first.occasion.lateness == ""
    assert first.branch == "main" and first.actor == "system-actor" and first.actor_id is None


async def test_before_its_time_nothing_is_asked_of_the_repository(night: Night) -> None:
    await night.configure("0 3 * * *")
    async with night.up():
        await night.to("2026-11-22 02:59:59")
        await night.settled(lambda one: one.slot_ms == ms("2026-11-22 03:00"))
    assert night.forge.asked == []


async def test_times_missed_in_a_downtime_are_one_late_run_that_says_so(night: Night) -> None:
    await night.ask(EVERY_HOUR)
    await night.to("2026-11-22 07:12")
    async with night.up():
        (event,) = await night.fired(1)
        after = await night.settled(lambda one: one.slot_ms == ms("2026-11-22 08:00"))
    assert event.occasion is not None
    assert event.occasion.lateness.startswith(
        "scheduled for 2026-11-22 03:00 UTC, started at 2026-11-22 07:12 UTC: Rondo was"
    )
    assert "this one run stands for all the times that were missed" in event.occasion.lateness
    assert len(await night.events()) == 1
    assert after.trigger_id is not None and after.result == ""


async def test_one_time_missed_is_late_and_stands_for_itself(night: Night) -> None:
    await night.configure("0 3 * * *")
    await night.to("2026-11-22 07:12")
    async with night.up():
        (event,) = await night.fired(1)
    assert event.occasion is not None and "started at 2026-11-22 07:12" in event.occasion.lateness
    assert "all the times" not in event.occasion.lateness


async def test_a_clock_that_goes_back_fires_no_time_twice(night: Night) -> None:
    await night.ask(EVERY_HOUR)
    async with night.up():
        await night.to("2026-11-22 03:00")
        await night.fired(1)
        await night.settled(lambda one: one.slot_ms == ms("2026-11-22 04:00"))
        await night.to("2026-11-22 02:30")
        await night.settled(lambda one: one.slot_ms == ms("2026-11-22 03:00"))
        await night.to("2026-11-22 03:00")
        again = await night.settled(lambda one: one.slot_ms == ms("2026-11-22 04:00"))
        assert len(await night.events()) == 1
        await night.to("2026-11-22 04:00")
        await night.fired(2)
    assert again.trigger_id is not None, "what the last run was is not forgotten"


async def test_a_clock_that_was_years_ahead_does_not_park_a_schedule(night: Night) -> None:
    await night.to("2056-01-01 00:00")
    await night.configure("0 3 * * *")
    async with night.up():
        await night.to("2026-11-22 02:00")
        await night.settled(lambda one: one.slot_ms == ms("2026-11-22 03:00"))
        await night.to("2026-11-22 03:00")
        await night.fired(1)


async def test_a_slot_is_fired_once_whoever_is_killed_between_reading_and_writing(night: Night) -> None:
    made = await night.ask(EVERY_HOUR)
    trigger = Trigger(
        project_id=night.project.id, kind=TriggerKind.SCHEDULED_PIPELINE, semantic_key="k", branch="main", revision="1"
    )
    now_ms = ms("2026-11-22 03:00")
    first = await night.db.write(lambda tx: moves_schedules.fire(tx, made, trigger, now_ms))
    second = await night.db.write(lambda tx: moves_schedules.fire(tx, made, trigger, now_ms))
    assert first is not None and first.trigger_id is not None and second is None
    assert len(await night.events()) == 1


async def test_the_offset_comes_after_each_time_and_stays(night: Night) -> None:
    made = await night.ask(EVERY_HOUR, offset_s=400)
    async with night.up():
        await night.to("2026-11-22 02:06:39")
        await night.settled(lambda one: one.due_at_ms == ms("2026-11-22 02:06:40"))
        assert await night.events() == []
        await night.to("2026-11-22 02:06:40")
        await night.fired(1)
        after = await night.settled(lambda one: one.due_at_ms == ms("2026-11-22 03:06:40"))
    assert after.offset_ms == made.offset_ms == 400_000


async def test_a_push_that_leaves_the_cron_lines_leaves_the_next_time(night: Night) -> None:
    await night.configure("0 3 * * *")
    (before,) = await night.all()
    await night.to("2026-11-22 03:30")  # missed, and the push comes before the loop has looked
    await night.configure("0 3 * * *")
    assert await night.all() == [before]


async def test_the_config_of_a_branch_decides_on_its_schedules(night: Night) -> None:
    await night.configure("0 3 * * *")
    await night.configure("0 4 * * *", branch="other")
    assert [one.branch for one in await night.all()] == ["main"], "the filter names main alone"
    await night.configure("0 5 * * *")
    assert [(one.timing, one.slot_ms) for one in await night.all()] == [(["0 5 * * *"], ms("2026-11-22 05:00"))]
    await night.configure()
    assert await night.all() == []


@pytest.mark.parametrize("stranger", [{"is_fork": True}, {"branch": "pull/7"}])
async def test_strangers_register_nothing(night: Night, stranger: dict[str, object]) -> None:
    def write(tx: Tx) -> None:
        lines = (plans.Schedule(cron="* * * * *", branches_only=None, branches_ignore=()),)
        values: dict[str, object] = {"branch": "main", **stranger}
        trigger = Trigger(
            project_id=night.project.id,
            kind=TriggerKind.WEBHOOK,
            semantic_key="x",
            revision="1" * 40,
            **values,  # type: ignore[arg-type]
        )
        register(tx, trigger, [plans.Workflow(name="evil", jobs=(), schedules=lines)], START)

    await night.db.write(write)
    assert await night.all() == []


async def test_a_branch_that_is_gone_takes_its_config_s_schedules_with_it(night: Night) -> None:
    await night.configure("0 3 * * *")
    night.forge.trouble = RefNotFound("there is no branch main in acme/app")
    async with night.up():
        await night.to("2026-11-22 03:00")

        async def gone() -> bool | None:
            return True if not await night.all() else None

        await until(gone, 10)
    assert await night.events() == []


async def test_a_schedule_of_the_api_stays_and_says_that_its_branch_is_gone(night: Night) -> None:
    await night.ask(EVERY_HOUR)
    night.forge.trouble = RefNotFound("there is no branch main in acme/app")
    async with night.up():
        await night.to("2026-11-22 03:00")
        found = await night.settled(lambda one: one.result != "")
    assert found.result == "there is no branch main in acme/app" and found.slot_ms == ms("2026-11-22 04:00")


async def test_a_repository_that_comes_back_is_built_late(night: Night) -> None:
    await night.ask(EVERY_HOUR)
    night.forge.trouble = VcsError("no answer")
    async with night.up():
        await night.to("2026-11-22 03:00")

        async def asked() -> bool | None:
            return True if night.forge.asked else None

        await until(asked, 10)
        night.forge.trouble = None
        await night.to("2026-11-22 03:05")
        (event,) = await night.fired(1)
    assert event.occasion is not None and event.occasion.lateness.endswith("the repository could not be reached earlier")


async def test_a_repository_that_stays_away_costs_one_time_and_says_so(night: Night) -> None:
    await night.ask(EVERY_HOUR)
    night.forge.trouble = VcsError("no answer")
    async with night.up():
        await night.to("2026-11-22 03:00")
        await until(lambda: _truth(len(night.forge.asked) == 1), 10)
        await night.to("2026-11-22 03:04")
        found = await night.settled(lambda one: one.result != "")
    assert found.result == "no answer" and found.slot_ms == ms("2026-11-22 04:00") and found.trigger_id is None


async def _truth(is_so: bool) -> bool | None:
    return True if is_so else None


async def test_blocked_projects_start_nothing_and_say_so(night: Night) -> None:
    await night.ask(EVERY_HOUR)
    await night.db.write(lambda tx: flags.change(tx, night.project.id, {"blocks_new_work": True}, "ann"))
    async with night.up():
        await night.to("2026-11-22 03:00")
        found = await night.settled(lambda one: one.result != "")
    assert found.result == "new work is blocked for this project" and await night.events() == []


async def test_skip_ci_does_not_hold_a_schedule(night: Night) -> None:
    await night.configure("0 3 * * *")
    async with night.up():
        await night.to("2026-11-22 03:00")
        await night.fired(1)
    assert await night.db.read(pipelines.oldest_open_trigger) is not None


async def test_who_acts_in_a_person_s_name_has_their_rights_while_they_are_there(night: Night) -> None:
    await night.ask(EVERY_HOUR, is_system=False)
    async with night.up():
        await night.to("2026-11-22 03:00")
        (event,) = await night.fired(1)
        assert (event.actor, event.actor_id) == ("ann", night.ann.id)
        assert event.parameters == {"deep": True, "branch": "x"}
        await night.db.write(lambda tx: tx.execute("DELETE FROM members"))
        await night.to("2026-11-22 04:00")
        found = await night.settled(lambda one: one.result != "")
        assert found.result == "ann, in whose name it acts, may not enter the project any more"
        await night.db.write(lambda tx: people.remove(tx, night.ann.id))
        await night.to("2026-11-22 05:00")
        await night.settled(lambda one: one.result == "the user in whose name it acts is gone")
    assert len(await night.events()) == 1


async def test_nobody_changes_what_acts_in_another_s_name(night: Night) -> None:
    made = await night.ask(EVERY_HOUR, is_system=False)
    bob = await night.db.write(lambda tx: people.add(tx, name="bob", is_admin=True, sees_all_projects=True, now_ms=START))
    with pytest.raises(Refused, match="attribution-actor"):
        await night.db.write(lambda tx: moves_schedules.change(tx, made.id, Wish(name="mine"), bob, START))
    changed = await night.db.write(
        lambda tx: moves_schedules.change(tx, made.id, Wish(name="mine", is_system=False), bob, START)
    )
    assert changed.actor_id == bob.id


async def test_a_project_has_a_bounded_number_of_schedules(night: Night) -> None:
    wish = Wish(name="x", timetable=EVERY_HOUR, branch="main", parameters={}, is_system=True)

    def fill(tx: Tx) -> None:
        for _ in range(201):
            moves_schedules.create(tx, night.project.id, wish, night.ann, START)

    with pytest.raises(BadRequest, match="200"):
        await night.db.write(fill)


async def test_what_the_loop_asks_uses_its_indexes(night: Night) -> None:
    def read(tx: Tx) -> str:
        values = {"now": 1, "but": "[]", "limit": 1}
        asked = (schedules.DUE, schedules.NEXT_DUE, schedules.AHEAD)
        return " ".join(row["detail"] for sql in asked for row in tx.execute(f"EXPLAIN QUERY PLAN {sql}", values))

    plan = await night.db.read(read)
    assert "SCAN schedules" not in plan and plan.count("schedules_due") == 2 and "schedules_counted" in plan


def test_scheduled_pipelines_neither_cancel_nor_are_canceled() -> None:
    for kind in (TriggerKind.SCHEDULE, TriggerKind.SCHEDULED_PIPELINE):
        assert not rules.may_be_redundant(kind, is_default_branch=False, autocancel=True)
