"""The pages of settings and contexts: what forms do, who may, and that no value is ever shown."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from appliance import ssh_keys
from appliance.model import Project, ProjectFlags, User, Vcs
from appliance.store import contexts, keys, projects, restrictions
from tests.web.chrome import DESK, PHONE, Complaints, chromium, logged_in
from tests.web.world import World, serving_world

SECRET = "-----BEGIN KEY-----\r\nopensesame\r\n-----END"


@pytest.fixture
async def ada(world: World) -> User:
    return await world.user("ada", sees_all=True)


@pytest.fixture
async def boss(world: World) -> User:
    return await world.user("boss", is_admin=True)


@pytest.fixture
async def project(world: World) -> Project:
    return await world.project("acme/app", Vcs.GITHUB)


@pytest.fixture
async def browser(world: World, ada: User) -> AsyncIterator[aiohttp.ClientSession]:
    session = await world.token(ada, "session", 60_000)
    async with aiohttp.ClientSession(world.url, cookies={"rondo": session}) as client:
        yield client


async def text_of(client: aiohttp.ClientSession, path: str) -> str:
    async with client.get(path) as response:
        assert response.status == 200
        return await response.text()


async def test_a_variable_goes_in_and_never_comes_out(
    world: World, ada: User, project: Project, browser: aiohttp.ClientSession
) -> None:
    path = "/projects/gh/acme/app"
    status, _ = await world.post_form(ada, f"{path}/variables", name=" KEY ", value=SECRET)
    assert status == 303
    page = await text_of(browser, f"{path}/settings")
    assert "KEY" in page and "xxxx-END" in page and "opensesame" not in page
    kept = await world.db.read(lambda tx: projects.secrets(tx, world.box, project.id))
    assert kept == {"KEY": SECRET.replace("\r\n", "\n")}, "line ends as they were typed"
    status, page = await world.post_form(ada, f"{path}/variables", name="NO-NAME", value=SECRET)
    assert status == 400 and "no name for a variable" in page and "opensesame" not in page
    assert (await world.post_form(ada, f"{path}/variables/KEY/remove"))[0] == 303
    assert (await world.post_form(ada, f"{path}/variables/KEY/remove"))[0] == 404


async def test_a_box_that_is_not_ticked_is_switched_off_and_one_not_shown_stays(
    world: World, ada: User, project: Project
) -> None:
    await world.db.write(lambda tx: projects.set_flags(tx, project.id, ProjectFlags(oss=True, disable_ssh=True)))
    path = "/projects/gh/acme/app/settings"
    named = "set_github_status,disable_ssh,build_fork_prs,nonsense"
    status, _ = await world.post_form(
        ada, path, named=named, build_fork_prs="on", pr_only_branch_overrides="main\r\nrelease/.*", autocancel_builds="on"
    )
    assert status == 303
    assert await world.db.read(lambda tx: projects.flags(tx, project.id)) == ProjectFlags(
        oss=True, set_github_status=False, build_fork_prs=True, pr_only_branch_overrides=("main", "release/.*")
    )
    status, page = await world.post_form(ada, path, named=named, pr_only_branch_overrides="(")
    assert status == 400 and "not a regular expression" in page


async def test_what_is_for_administrators_is_refused_to_others(
    world: World, ada: User, boss: User, project: Project
) -> None:
    path = "/projects/gh/acme/app"
    assert (await world.post_form(ada, f"{path}/settings", named="oss", oss="on"))[0] == 403
    locked = "write_settings_requires_admin"
    ticked: Any = {locked: "on"}
    assert (await world.post_form(ada, f"{path}/settings", named=locked, **ticked))[0] == 303
    assert (await world.post_form(ada, f"{path}/settings", named=locked))[0] == 403
    assert (await world.post_form(ada, f"{path}/variables", name="A", value="b"))[0] == 403
    assert (await world.post_form(boss, f"{path}/settings", named=f"oss,{locked}", oss="on"))[0] == 303


async def test_a_context_is_filled_restricted_and_deleted(
    world: World, ada: User, boss: User, project: Project, browser: aiohttp.ClientSession
) -> None:
    assert (await world.post_form(ada, "/contexts", name="deploy"))[0] == 303
    status, page = await world.post_form(ada, "/contexts", name="deploy")
    assert status == 400 and "already" in page
    context = (await world.db.read(lambda tx: contexts.find(tx, "deploy"))).id
    path = f"/contexts/{context}"
    assert (await world.post_form(ada, f"{path}/variables", name="KEY", value="opensesame"))[0] == 303
    page = await text_of(browser, path)
    assert "KEY" in page and "opensesame" not in page and "same" not in page
    assert (await world.post_form(ada, f"{path}/restrictions", to=f"project {project.id}"))[0] == 403
    assert (await world.post_form(boss, f"{path}/restrictions", project="acme/nothing"))[0] == 400
    assert (await world.post_form(boss, f"{path}/restrictions", project=project.name))[0] == 303
    assert (await world.post_form(boss, f"{path}/restrictions", expression="pipeline.git.branch =="))[0] == 400
    assert (await world.post_form(boss, f"{path}/restrictions", expression='pipeline.git.branch == "a  b"'))[0] == 303
    found = await world.db.read(lambda tx: restrictions.of_context(tx, context))
    assert [one.value for one in found] == [project.id, 'pipeline.git.branch == "a  b"']
    for refused in ("variables", "variables/KEY/remove", "remove"):
        assert (await world.post_form(ada, f"{path}/{refused}", name="KEY", value="mine"))[0] == 403
    for one in found:
        assert (await world.post_form(boss, f"{path}/restrictions/{one.id}/lift"))[0] == 303
    assert (await world.post_form(ada, f"{path}/variables/KEY/remove"))[0] == 303
    assert (await world.post_form(ada, f"{path}/remove"))[0] == 303
    assert "deploy" not in await text_of(browser, "/contexts")


async def test_keys_are_made_added_and_removed_and_private_halves_never_shown(
    world: World, ada: User, project: Project, browser: aiohttp.ClientSession
) -> None:
    path, pair = "/projects/gh/acme/app", ssh_keys.generate("x")
    assert (await world.post_form(ada, f"{path}/checkout-keys"))[0] == 303
    assert (await world.post_form(ada, f"{path}/checkout-keys", type="user-key"))[0] == 303
    made = await world.db.read(lambda tx: keys.checkout_keys(tx, project.id))
    assert [key.user_id for key in made] == [ada.id, None]
    typed = pair.private.replace("\n", "\r\n")
    assert (await world.post_form(ada, f"{path}/ssh-keys", hostname=" git.example ", value=typed))[0] == 303
    status, page = await world.post_form(ada, f"{path}/ssh-keys", value=pair.public)
    assert status == 400 and "this is a public key" in page
    page = await text_of(browser, f"{path}/settings")
    assert all(key.public in page and key.md5 in page for key in made) and page.count("in use") == 1
    assert pair.md5 in page and "git.example" in page and "PRIVATE KEY" not in page
    status, _ = await world.post_form(ada, f"{path}/ssh-keys/remove", fingerprint=pair.sha256, hostname="git.example")
    assert status == 303
    assert (await world.post_form(ada, f"{path}/checkout-keys/remove", fingerprint=made[0].fingerprint))[0] == 303
    assert (await world.post_form(ada, f"{path}/checkout-keys/remove", fingerprint=made[0].fingerprint))[0] == 404
    page = await text_of(browser, f"{path}/settings")
    assert pair.md5 not in page and made[0].md5 not in page and made[1].md5 in page


@pytest.mark.browser
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
async def test_settings_fit_their_window_and_break_no_policy(tmp_path: Path, size: tuple[int, int]) -> None:
    async with serving_world(tmp_path) as world, chromium() as chrome:
        boss = await world.user("boss", is_admin=True)
        project = await world.project("acme/a-project-with-a-rather-long-name", Vcs.GITHUB)
        long = "AN_EXTREMELY_LONG_VARIABLE_NAME_THAT_SOMEBODY_HAS_COME_UP_WITH_" * 2
        context = await world.db.write(lambda tx: contexts.add(tx, "deploy to production and elsewhere", 1))
        kind = restrictions.Type.EXPRESSION
        text = 'pipeline.git.branch == "main" and not job.ssh.enabled and pipeline.project.slug starts-with "gh/acme/"'
        await world.db.write(lambda tx: restrictions.add(tx, context.id, kind, text, 1))
        await world.db.write(lambda tx: restrictions.add(tx, context.id, restrictions.Type.PROJECT, project.id, 1))
        for name in ("KEY", long):
            await world.db.write(lambda tx, n=name: projects.set_secret(tx, world.box, project.id, n, "opensesame", 1))  # type: ignore[misc]
            await world.db.write(lambda tx, n=name: contexts.set_variable(tx, world.box, context.id, n, "x", 1))  # type: ignore[misc]
        pair = ssh_keys.generate("x")
        await world.db.write(lambda tx: keys.add_checkout_key(tx, world.box, project.id, pair, 1))
        await world.db.write(lambda tx: keys.add_additional_key(tx, world.box, project.id, pair, "git." + "x" * 60, 1))
        complaints = Complaints()
        async with await logged_in(chrome, world, await world.token(boss, "session", 60_000), size) as window:
            page = await window.new_page()
            complaints.watch(page)
            slug = "gh/acme/a-project-with-a-rather-long-name"
            for name, path in (
                ("settings", f"/projects/{slug}/settings"),
                ("contexts", "/contexts"),
                ("context", f"/contexts/{context.id}"),
            ):
                await page.goto(world.url + path)
                width = await page.evaluate("document.documentElement.scrollWidth")
                await page.screenshot(path=tmp_path / f"{name}-{size[0]}.png", full_page=True)
                assert width <= size[0], f"{path} is {width} wide"
            await page.goto(f"{world.url}/projects/{slug}/settings")
            await page.get_by_label("Disable SSH").check()
            await page.get_by_role("button", name="Save").click()
            assert await page.get_by_label("Disable SSH").is_checked()
        assert complaints.heard == []
        assert await world.db.read(lambda tx: projects.flags(tx, project.id)) == ProjectFlags(disable_ssh=True)
