"""The page of machines, and the runner API beside it: what each is, what runs there, and who may drain one."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from appliance import ssh_keys
from appliance.model import Project, User
from appliance.store import machines
from appliance.store.database import Tx
from appliance.store.machines import Definition
from tests.web.chrome import DESK, PHONE, Complaints, chromium, logged_in
from tests.web.world import World, job, serving_world, workflow


def shown(page: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", page.split("<main", 1)[1]).split())


async def add(world: World, name: str = "m1", **more: object) -> None:
    """A machine that has been looked at."""
    key = ssh_keys.generate(name).public
    wanted = Definition(name=name, dials_in=True, runner_key=key, slots=2, **more)  # type: ignore[arg-type]
    facts = {"os": "linux", "arch": "amd64", "cpus": 8, "memory_bytes": 16 << 30, "system": "Debian", "git": "2.39"}

    def write(tx: Tx) -> None:
        machines.add(tx, world.parts.box, wanted, world.clock.now_ms())
        machines.measured(tx, name, facts)
        machines.mark_well(tx, name, world.clock.now_ms())

    await world.db.write(write)


async def busy(world: World, project: Project, executor: str = "machine:m1") -> int:
    """A job that runs there; its number."""
    pipeline = await world.pipeline(project, workflow("build", job("unit", "make")))
    found = await world.job_of(pipeline, "unit")
    await world.start(found.id, cpus=4, executor=executor)
    assert found.number is not None
    return found.number


async def runner_api(world: World, user: User, path: str) -> tuple[int, Any]:
    status, body = await world.ask(user, "GET", f"/api/v3/runner{path}")
    return status, json.loads(body)


async def test_a_machine_is_shown_with_its_labels_room_and_work(world: World) -> None:
    ada = await world.user("ada", sees_all=True)
    await add(world, classes=("acme/big",))
    number = await busy(world, await world.project("acme/app"))
    status, page = await world.ask(ada, "GET", "/machines")
    text = shown(page)
    assert status == 200
    assert "ready m1 dials in linux amd64 acme/big Debian, git 2.39 1 of 2 jobs 4 of 8 CPUs" in text
    assert f"acme/app #{number} unit" in text and f'href="/jobs/{number}"' in page
    assert "this machine" in text and "0 of 4 CPUs" in text


async def test_work_of_projects_that_one_may_not_see_has_no_name(world: World) -> None:
    bob = await world.user("bob")
    await add(world)
    number = await busy(world, await world.project("acme/secret"))
    _, page = await world.ask(bob, "GET", "/machines")
    assert "a job of another project" in page and "secret" not in page and str(number) not in shown(page).split("#")[-1][:9]


async def test_only_administrators_drain_and_the_word_says_it(world: World) -> None:
    ada, root = await world.user("ada", sees_all=True), await world.user("root", is_admin=True)
    await add(world)
    assert (await world.post_form(ada, "/machines/m1/drain"))[0] == 403
    assert "Drain" not in (await world.ask(ada, "GET", "/machines"))[1]
    with world.bell.listen("machines", "work") as heard:
        assert (await world.post_form(root, "/machines/m1/drain"))[0] == 303
        assert await heard.wait(1)
    assert "drained m1" in shown((await world.ask(ada, "GET", "/machines"))[1])
    assert (await world.post_form(root, "/machines/m1/undrain"))[0] == 303
    assert "ready m1" in shown((await world.ask(ada, "GET", "/machines"))[1])
    assert (await world.post_form(root, "/machines/m9/drain"))[0] == 404


async def test_only_administrators_see_where_a_machine_is(world: World) -> None:
    ada, root = await world.user("ada", sees_all=True), await world.user("root", is_admin=True)
    wanted = Definition(name="m1", address="10.9.8.7", user_name="builder", private_key="k", classes=("acme/big",))
    await world.db.write(lambda tx: machines.add(tx, world.parts.box, wanted, 1))
    for user, is_shown in ((ada, False), (root, True)):
        page = (await world.ask(user, "GET", "/machines"))[1]
        assert "m1" in page and ("builder@10.9.8.7" in page) is is_shown
    assert "10.9.8.7" not in str(await runner_api(world, ada, "?resource-class=acme/big"))


async def test_the_runner_api_counts_by_class(world: World) -> None:
    ada = await world.user("ada", sees_all=True)
    await add(world, classes=("acme/big", "other/one"))
    status, found = await runner_api(world, ada, "?resource-class=acme/big")
    assert status == 200, found
    assert [(one["name"], one["resource_class"]) for one in found["items"]] == [("m1", "acme/big")]
    _, found = await runner_api(world, ada, "?namespace=other")
    assert [one["resource_class"] for one in found["items"]] == ["other/one"]
    assert (await runner_api(world, ada, ""))[0] == 400
    project = await world.project("acme/app")
    asked = dataclasses.replace(job("unit", "make"), resource_class="acme/big")
    pipeline = await world.pipeline(project, workflow("build", asked))
    counts = "/tasks?resource-class=acme/big", "/tasks/running?resource-class=acme/big"
    assert (await runner_api(world, ada, counts[0]))[1] == {"unclaimed_task_count": 1}
    await world.start((await world.job_of(pipeline, "unit")).id, executor="machine:m1")
    assert (await runner_api(world, ada, counts[0]))[1] == {"unclaimed_task_count": 0}
    assert (await runner_api(world, ada, counts[1]))[1] == {"running_runner_tasks": 1}


async def test_strangers_learn_nothing_of_machines(world: World) -> None:
    async with aiohttp.ClientSession(world.url) as stranger:
        async with stranger.get("/machines", allow_redirects=False) as response:
            assert response.status in (302, 303, 401)
        async with stranger.get("/live?topics=machines") as response:
            assert response.status in (401, 404)


@pytest.mark.browser
async def test_machines_fit_their_window_and_follow_what_happens(tmp_path: Path) -> None:
    async with serving_world(tmp_path) as world, chromium() as chrome:
        root: User = await world.user("root", is_admin=True)
        await add(world, classes=("acme/big", "large"))
        await add(world, "mac-mini-of-the-office-behind-the-printer", os="macos", arch="arm64")
        trouble = "cannot connect to 10.0.0.7:22: No route to host; looked for the last time a while ago"
        await world.db.write(lambda tx: machines.mark_broken(tx, "mac-mini-of-the-office-behind-the-printer", trouble, 1))
        number = await busy(world, await world.project("acme/app"))
        complaints = Complaints()
        for size in (DESK, PHONE):
            async with await logged_in(chrome, world, await world.token(root, "session", 60_000), size) as window:
                page = await window.new_page()
                complaints.watch(page)
                await page.goto(world.url + "/")
                await page.get_by_role("link", name="Machines").click()
                await page.get_by_role("link", name=f"#{number}").wait_for()
                width = await page.evaluate("document.documentElement.scrollWidth")
                await page.screenshot(path=tmp_path / f"machines-{size[0]}.png", full_page=True)
                assert width <= size[0]
                card = page.locator("#machine-m1")
                await card.get_by_role("button", name="Drain").click()
                await card.get_by_text("draining").wait_for()
                await world.db.write(lambda tx: machines.undrain(tx, "m1"))
                world.bell.ring("machines")
                await card.get_by_text("ready", exact=True).wait_for()
        assert complaints.heard == []
