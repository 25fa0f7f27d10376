"""Pages in a real Chromium: alive without reload, safe whatever names say, usable by keyboard, finger and no script."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import expect

from appliance.model import Commit, JobStatus, NodeStatus, Vcs
from appliance.store.pipelines import Problem
from tests.web.chrome import DESK, PHONE, Complaints, chromium, logged_in
from tests.web.conftest import Visitor
from tests.web.world import World, approval, job, workflow

pytestmark = pytest.mark.browser

EVIL = "<img src=x onerror=alert(1)>{{7*7}}\"'><svg/onload=alert(2)>\x1b]8;;javascript:alert(3)\x07x\x1b]8;;\x07"


BEHIND_THE_MARGIN = """() => {
    const main = document.querySelector('main'), style = getComputedStyle(main);
    const margin = main.getBoundingClientRect().right - parseFloat(style.paddingRight);
    const out = document.querySelector('.who').lastElementChild.lastElementChild;  // the button
    const cut = [...document.querySelectorAll('.problem')].map(box => box.scrollWidth - box.clientWidth);
    return Math.max(Math.floor(out.getBoundingClientRect().right - margin), ...cut);
}"""  # by how many pixels the header, or a problem of the config, goes too far to the right


async def test_the_front_page_comes_alive(visitor: Visitor) -> None:
    world = visitor.world
    project = await world.project("acme/app")
    page = await visitor.go("/")
    await expect(page.get_by_text("No pipeline yet")).to_be_visible()
    await page.evaluate("window.isSame = true")
    await visitor.settled()
    pipeline = await world.pipeline(project, workflow("ci", job("build")))
    await expect(page.get_by_text("Change number 1")).to_be_visible()
    await world.run(pipeline, "build")
    await expect(page.locator(".row .pill.tone-good")).to_be_visible()
    assert await page.evaluate("window.isSame")


async def test_a_job_is_followed_from_waiting_to_its_end(visitor: Visitor) -> None:
    world = visitor.world
    pipeline = await world.pipeline(await world.project("acme/app"), workflow("ci", job("build", "one", "two")))
    build = await world.job_of(pipeline, "build")
    page = await visitor.go(f"/jobs/{build.number}")
    await visitor.settled()
    await page.evaluate("window.isSame = true")
    await expect(page.get_by_text("waits for room")).to_be_visible()
    await world.start(build.id)
    await expect(page.locator("#ssh")).to_contain_text(f"ssh -p 2222 {build.number}@127.0.0.1")
    for position in range(4):
        step = page.locator(f"#step-{position}")
        await expect(step).to_have_attribute("open", "")
        for number in range(3):
            world.write_log(build.id, position, f"step {position} line {number}\n".encode())
            await expect(step.locator(".line").nth(number)).to_have_text(f"step {position} line {number}")
        await world.step(build.id, position, start_next=position < 3)
    await world.finish(build.id)
    await expect(page.locator(".head .pill")).to_have_text("success")
    await expect(page.locator("#ssh")).to_have_count(0)
    for position in range(4):
        await expect(page.locator(f"#step-{position}")).not_to_have_attribute("open", "")
        await expect(page.locator(f"#step-{position} .line")).to_have_count(3)
    assert await page.evaluate("window.isSame")


async def test_what_the_visitor_opened_or_closed_stays_so(visitor: Visitor) -> None:
    world = visitor.world
    pipeline = await world.pipeline(await world.project("acme/app"), workflow("ci", job("build", "one", "two")))
    build = await world.job_of(pipeline, "build")
    await world.start(build.id)
    await world.step(build.id, 0)
    page = await visitor.go(f"/jobs/{build.number}")
    await visitor.settled()
    await page.locator("#step-1 > summary").click()  # closes what runs
    await page.locator("#step-0 > summary").click()  # opens what has ended
    await expect(page.locator("#step-0 .log")).to_have_class(re.compile("is-blank"))
    await world.step(build.id, 1)
    await expect(page.locator("#step-2")).to_have_attribute("open", "")
    await expect(page.locator("#step-1")).not_to_have_attribute("open", "")
    await expect(page.locator("#step-0")).to_have_attribute("open", "")


async def test_the_config_stays_open_while_jobs_go_on(visitor: Visitor) -> None:
    world = visitor.world
    pipeline = await world.pipeline(
        await world.project("acme/app"), workflow("ci", job("build")), source="version: 2.1 # mine\n"
    )
    page = await visitor.go("/pipelines/circleci/acme/app/1")
    await visitor.settled()
    await page.get_by_text("Config as pushed").click()
    await world.run(pipeline, "build")
    await expect(page.locator(".head .pill")).to_have_text("success")
    await expect(page.locator("#config-source pre")).to_have_text("version: 2.1 # mine\n")


async def test_approving_and_cancelling_by_button(visitor: Visitor) -> None:
    world = visitor.world
    flow = workflow("ci", approval("hold"), job("ship", requires=["hold"]), job("other"))
    pipeline = await world.pipeline(await world.project("acme/app"), flow)
    page = await visitor.go("/pipelines/circleci/acme/app/1")
    await page.get_by_role("button", name="Approve", exact=True).click()
    await expect(page.locator(".card", has_text="hold")).to_contain_text("approved by ada")
    assert (await world.job_of(pipeline, "hold")).approved_by == "ada"
    await page.get_by_role("link", name="ship").click()
    await page.get_by_role("button", name="Cancel job").click()
    await expect(page.locator(".head .pill")).to_have_text("canceled")
    await page.get_by_role("link", name="#1", exact=True).click()
    await page.get_by_role("button", name="Cancel workflow").click()
    await expect(page.get_by_role("button")).to_have_text(["Log out", "Rerun from failed", "Rerun all"])
    assert (await world.job_of(pipeline, "other")).status is JobStatus.CANCELED


async def test_on_a_phone_an_approval_is_in_sight_and_the_graph_fades_where_it_goes_on(visitor: Visitor) -> None:
    world = visitor.world
    flow = workflow("ci", job("build"), approval("hold", requires=["build"]), job("ship", requires=["hold"]))
    pipeline = await world.pipeline(await world.project("acme/app"), flow)
    await visitor.page.set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
    page = await visitor.go("/pipelines/circleci/acme/app/1")
    button = page.get_by_role("button", name="Approve hold")
    await expect(button).to_have_count(0)
    await visitor.settled()
    await world.run(pipeline, "build")
    await expect(button).to_be_in_viewport(ratio=1)
    drawing = page.locator(".drawing")
    width, end = await drawing.evaluate("box => [box.clientWidth, (box.scrollLeft = 9999, box.scrollLeft)]")
    fade = await drawing.evaluate("box => parseFloat(getComputedStyle(box, '::after').width)")
    last, box = await page.locator(".card").last.bounding_box(), await drawing.bounding_box()
    assert last is not None and box is not None and end > width / 2
    assert abs(last["x"] + last["width"] + fade - box["x"] - width) < 2, "the fade hides the end, or is not there"
    await button.click()
    await expect(page.locator(".card", has_text="hold")).to_contain_text("approved by ada")
    await expect(button).to_have_count(0)


async def test_logging_in_by_link_leads_to_where_one_was_going(world: World) -> None:
    await world.project("acme/app")
    link = await world.token(await world.user("ada", sees_all=True), "link")
    async with chromium() as browser:
        page, complaints = await browser.new_page(), Complaints()
        complaints.watch(page)
        await page.goto(f"{world.url}/projects")
        await expect(page).to_have_url(f"{world.url}/login?next=/projects")
        await page.goto(f"{world.url}/login?token={link}&next=/projects")
        await page.get_by_role("button", name="Log in").click()
        await expect(page).to_have_url(f"{world.url}/projects")
        await page.get_by_role("button", name="Log out").click()
        await expect(page).to_have_url(f"{world.url}/login")
        assert not complaints.heard


async def test_names_are_text_whatever_they_say(visitor: Visitor) -> None:
    world = visitor.world
    project = await world.project(f"acme/{EVIL.replace('/', '')}")
    problem = Problem(type="config", kind="error", message=EVIL, text=EVIL)
    hint = Problem(type="config", kind="warning", message=EVIL, text=EVIL)
    evil: dict[str, Any] = {"branch": EVIL, "actor": EVIL, "commit": Commit(subject=EVIL, body=EVIL, author_name=EVIL)}
    await world.pipeline(project, problems=[problem, hint], source=EVIL, **evil)
    pipeline = await world.pipeline(
        project, workflow(EVIL, job(EVIL, EVIL), approval("hold" + EVIL)), source=EVIL, problems=[hint], **evil
    )
    await world.pipeline(project, **{**evil, "branch": None, "tag": EVIL})
    build = await world.job_of(pipeline, EVIL)
    await world.start(build.id)
    world.write_log(build.id, 0, EVIL.encode() + b"\n</div><script>alert(4)</script>\n")
    await world.finish(build.id, NodeStatus.INFRASTRUCTURE_FAIL, message=EVIL)
    page = await visitor.go("/")
    hrefs = await page.eval_on_selector_all("main a", "links => links.map(link => link.href)")
    paths = {"/", "/projects", f"/jobs/{build.number}", *(href.removeprefix(world.url) for href in hrefs)}
    assert len(paths) > 5
    for path in sorted(paths):
        await visitor.go(path)
        found = await page.evaluate(
            "document.querySelectorAll('img:not([alt]), svg[onload], script:not([src]), iframe').length"
        )
        assert found == 0, path
        assert "49" not in re.sub(r"[0-9a-f]{7,}|\d{5}", "", await page.inner_text("main")), path
        links = await page.eval_on_selector_all("a", "links => links.map(link => link.protocol)")
        assert set(links) == {"http:"}
        await expect(page.locator("body")).not_to_contain_text("Something went wrong")
    await visitor.go(f"/jobs/{build.number}")
    await expect(page.locator("#step-0 .line").nth(1)).to_have_text("</div><script>alert(4)</script>")


async def test_pages_fit_phones_and_desks(visitor: Visitor, tmp_path: Path) -> None:
    world = visitor.world
    project = await world.project("acme/" + "a-long-name-of-a-repository-" * 3)
    problem = Problem(type="config", kind="error", message="x", text="a very long line " * 20 + "\n   ^")
    await world.pipeline(project, problems=[problem], branch="feature/" + "long-" * 20)
    pipeline = await world.pipeline(
        project,
        workflow("ci" * 30, job("build", "make " * 60), *(job(f"test-{n}", requires=["build"]) for n in range(8))),
        commit=Commit(subject="A subject without any end " * 10),
        branch="feature/" + "long-" * 20,
    )
    build = await world.run(pipeline, "build", NodeStatus.FAILED)
    world.write_log(build.id, 2, b"x" * 500 + b"\n" + b"word " * 200 + b"\n")
    paths = ["/", f"/pipelines/{project.slug}", f"/pipelines/{project.slug}/1", f"/pipelines/{project.slug}/2"]
    paths += [f"/jobs/{build.number}", "/projects", f"/projects/{project.slug}"]
    for width, height in ((360, 740), PHONE, DESK):
        await visitor.page.set_viewport_size({"width": width, "height": height})
        for number, path in enumerate(paths):
            page = await visitor.go(path)
            assert await page.evaluate("document.documentElement.scrollWidth") <= width, (path, width)
            assert await page.evaluate(BEHIND_THE_MARGIN) <= 0, (path, width)
            await page.screenshot(path=tmp_path / f"{number}-{width}.png")


async def test_without_scripts_everything_is_there_but_the_logs_are_links(visitor: Visitor) -> None:
    world = visitor.world
    pipeline = await world.pipeline(await world.project("acme/app"), workflow("ci", job("build", "make")))
    build = await world.run(pipeline, "build", NodeStatus.FAILED)
    world.write_log(build.id, 2, b"plain text\n")
    browser = visitor.context.browser
    assert browser is not None
    session = await world.token(visitor.ada, "session", 60_000)
    context = await logged_in(browser, world, session, java_script_enabled=False)
    page = await context.new_page()
    await page.goto(world.url)
    await page.get_by_role("link", name="acme/app").click()
    await page.get_by_role("link", name="build", exact=True).click()
    await page.locator("#step-2").get_by_role("link", name="Raw log").click()
    await expect(page.locator("pre")).to_have_text("plain text\n")
    await context.close()


async def test_the_keyboard_reaches_and_opens_steps(visitor: Visitor) -> None:
    world = visitor.world
    pipeline = await world.pipeline(await world.project("acme/app", Vcs.GITHUB), workflow("ci", job("build")))
    build = await world.run(pipeline, "build")
    world.write_log(build.id, 1, b"checked out\n")
    page = await visitor.go(f"/jobs/{build.number}")
    summary = page.locator("#step-1 > summary")
    for _ in range(40):
        await page.keyboard.press("Tab")
        if await summary.evaluate("element => element === document.activeElement"):
            break
    await page.keyboard.press("Enter")
    await expect(page.locator("#step-1 .line")).to_have_text("checked out")
