"""The page of a project's schedules: both kinds, their next and last times, and making and deleting one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from appliance.engine import flags
from appliance.engine.registrations import register
from appliance.language import plan as plans
from appliance.model import Project, TriggerKind, User
from appliance.store import schedules
from appliance.store.database import Tx
from appliance.store.schedules import Schedule
from tests.web.chrome import DESK, PHONE, Complaints, chromium, logged_in
from tests.web.world import World, serving_world

PATH = "/projects/circleci/acme/app/schedules"


@pytest.fixture
async def ada(world: World) -> User:
    return await world.user("ada", sees_all=True)


@pytest.fixture
async def project(world: World) -> Project:
    return await world.project("acme/app")


async def there(world: World, project: Project) -> list[Schedule]:
    return await world.db.read(lambda tx: schedules.of_project(tx, project.id, 10))


async def configured(world: World, project: Project) -> Schedule:
    """The config of main schedules a workflow."""
    lines = (plans.Schedule(cron="0 3 * * *", branches_only=("main",), branches_ignore=None),)
    found = plans.Workflow(name="nightly", jobs=(), schedules=lines)
    now_ms = world.clock.now_ms()
    await world.db.write(lambda tx: register(tx, world.trigger(project), [found], now_ms))
    return (await there(world, project))[0]


def shown(page: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", page.split("<main", 1)[1]).split())


async def test_both_kinds_are_listed_and_those_of_the_api_can_be_made_and_deleted(
    world: World, ada: User, project: Project
) -> None:
    await configured(world, project)
    status, _ = await world.post_form(
        ada, PATH, name="<b>often</b>", branch="main", hours="3, 15", per_hour="2", FRI="on", current="on"
    )
    assert status == 303
    (made,) = (one for one in await there(world, project) if one.workflow is None)
    assert made.timing == {"per-hour": 2, "hours-of-day": [3, 15], "days-of-week": ["FRI"]}
    assert (made.branch, made.actor_id, made.parameters) == ("main", ada.id, {})
    page = await read(world, ada)
    text = shown(page)
    assert "nightly" in text and "0 3 * * *" in text and "of the config" in text
    assert "&lt;b&gt;often" in page and "2 times an hour, at 3, 15 h, on FRI" in text and "ada" in text
    assert text.count("has not run yet") == 2 and text.count("UTC") >= 2
    assert page.count("/remove") == 1, "what stands in a config is deleted there"
    assert (await world.post_form(ada, f"{PATH}/{made.id}/remove"))[0] == 303
    assert [one.name for one in await there(world, project)] == ["nightly"]


async def read(world: World, user: User) -> str:
    session = await world.token(user, "session", 60_000)
    async with (
        aiohttp.ClientSession(world.url, cookies={"rondo": session}) as client,
        client.get(PATH) as response,
    ):
        assert response.status == 200
        return await response.text()


async def test_the_last_time_leads_to_its_pipeline_or_says_why_there_is_none(
    world: World, ada: User, project: Project
) -> None:
    await world.pipeline(project, kind=TriggerKind.SCHEDULE)
    schedule = await configured(world, project)

    def note(tx: Tx, trigger_id: int | None, result: str) -> None:
        values = {"trigger": trigger_id, "result": result, "id": schedule.id}
        tx.execute("UPDATE schedules SET trigger_id = :trigger, result = :result, fired_at_ms = 1 WHERE id = :id", values)

    await world.db.write(lambda tx: note(tx, 1, ""))
    assert "/pipelines/circleci/acme/app/1" in await read(world, ada)
    await world.db.write(lambda tx: note(tx, None, "there is no branch main"))
    assert "there is no branch main" in shown(await read(world, ada))


@pytest.mark.parametrize("wrong", [{"hours": "25"}, {"hours": "x"}, {"per_hour": "0"}, {"branch": ""}, {"name": ""}])
async def test_a_form_that_is_wrong_says_so_and_makes_nothing(
    world: World, ada: User, project: Project, wrong: dict[str, str]
) -> None:
    fields: dict[str, Any] = {"name": "often", "branch": "main", "hours": "", "per_hour": "1"}
    status, page = await world.post_form(ada, PATH, **fields | wrong)
    assert status == 400 and 'role="alert"' in page and await there(world, project) == []


async def test_only_who_may_change_the_project_is_shown_the_form(world: World, ada: User, project: Project) -> None:
    assert "New schedule" in await read(world, ada)
    await world.db.write(lambda tx: flags.change(tx, project.id, {"write_settings_requires_admin": True}, "root"))
    assert "New schedule" not in await read(world, ada)
    assert (await world.post_form(ada, PATH, name="x", branch="main", per_hour="1"))[0] == 403


@pytest.mark.browser
async def test_schedules_fit_their_window_and_can_be_made_there(tmp_path: Path) -> None:
    async with serving_world(tmp_path) as world, chromium() as chrome:
        ada = await world.user("ada", sees_all=True)
        project = await world.project("acme/app")
        await world.pipeline(project, kind=TriggerKind.SCHEDULE)
        await configured(world, project)
        result = "there is no branch a-branch-with-a-very-long-name-of-many-words-that-somebody-has-deleted in acme/app"

        def note(tx: Tx) -> None:
            tx.execute("UPDATE schedules SET trigger_id = 1, fired_at_ms = 1760000000000 WHERE name = 'nightly'")
            tx.execute("UPDATE schedules SET result = :result, fired_at_ms = 1 WHERE name = 'Weekly'", {"result": result})

        complaints = Complaints()
        for size in (DESK, PHONE):
            async with await logged_in(chrome, world, await world.token(ada, "session", 60_000), size) as window:
                page = await window.new_page()
                complaints.watch(page)
                await page.goto(world.url + "/projects/circleci/acme/app")
                await page.get_by_role("link", name="Schedules").click()
                await page.get_by_label("Name", exact=True).fill("Weekly")
                await page.get_by_label("Hours", exact=True).fill("3")
                await page.get_by_label("Mon").check()
                await page.get_by_role("button", name="Add").click()
                await world.db.write(note)
                await page.goto(world.url + PATH)
                width = await page.evaluate("document.documentElement.scrollWidth")
                await page.screenshot(path=tmp_path / f"schedules-{size[0]}.png", full_page=True)
                assert width <= size[0]
        assert complaints.heard == []
        assert len(await there(world, project)) == 3
