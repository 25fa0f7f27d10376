"""What a job leaves, on its pages: coverage with its trend, artifacts as a tree, and HTML that cannot do us any harm."""

from __future__ import annotations

import io
import uuid

import aiohttp
import pytest
from playwright.async_api import expect

from appliance.blobs import Blobs
from appliance.model import JobId, Project, ProjectFlags, User
from appliance.store import artifacts, coverage, jobs, people, projects
from appliance.store.coverage import Part, Report
from appliance.store.database import Tx
from appliance.store.jobs import Job
from tests.web.conftest import Visitor
from tests.web.world import World, job, workflow

pytestmark = pytest.mark.browser


async def keep(world: World, job_id: JobId, path: str, text: str, index: int = 0) -> None:
    artifact_id, data = uuid.uuid4().hex, text.encode()
    world.blobs.store_file(Blobs.ARTIFACTS, artifact_id, io.BytesIO(data))
    kept = artifacts.Artifact(id=artifact_id, job_id=job_id, index=index, path=path, size_bytes=len(data), created_at_ms=1)
    await world.db.write(lambda tx: artifacts.put_all(tx, [kept], 1 << 20, 1 << 40))


async def ran(world: World, project: Project, covered: int, of: int, branch: str = "main") -> Job:
    """A job whose source file has `of` lines, the first `covered` of which ran."""
    found = await world.run(await world.pipeline(project, workflow("ci", job("test", "make")), branch=branch), "test")
    now_ms = world.clock.now_ms()

    def add(tx: Tx) -> None:
        mask = (1 << of) - 1
        coverage.begin(tx, found.id, "trusted", now_ms)
        part = Part(path="src/<b>.py", found=mask << 1, ran=((1 << covered) - 1) << 1, branches=4, branches_ran=3)
        coverage.add(tx, found.id, [part])
        report = Report(
            index=0, path="c.xml", format="lcov", files=1, lines=of, lines_ran=covered, branches=4, branches_ran=3
        )
        coverage.finish(tx, found.id, [report])

    await world.db.write(add)
    return found


async def test_coverage_has_a_trend_and_a_difference_to_the_default_branch(visitor: Visitor) -> None:
    world = visitor.world
    project = await world.project("acme/app")
    for covered in (50, 60):
        await ran(world, project, covered, 100)
    found = await ran(world, project, 75, 100, branch="feature")
    page = await visitor.go(f"/jobs/{found.number}")
    panel = page.locator("#coverage")
    await expect(panel.locator("summary")).to_contain_text("75.0 % of 100 lines")
    await expect(panel.locator("summary")).to_contain_text("+15.0 since main")
    await expect(panel.locator("svg polyline")).to_have_attribute("points", "0.0,30.0 80.0,18.8 160.0,2.0")
    await panel.locator("summary").click()
    await expect(panel.locator("tbody tr")).to_have_text("src/<b>.py1002575.0 %")
    page = await visitor.go("/pipelines/circleci/acme/app/3")
    await expect(page.locator(".card-fact")).to_contain_text("75.0 % covered")
    badge = await page.request.get(f"{world.url}/gh/acme/app.svg?of=coverage&style=shield")
    assert "coverage: 60 %" in await badge.text()


async def test_coverage_over_the_api(world: World) -> None:
    ada, project = await world.user("ada", sees_all=True), await world.project("acme/app")
    await ran(world, project, 1, 3)
    found = await ran(world, project, 2, 3)
    status, said = await world.json(ada, "GET", f"/project/{project.slug}/{found.number}/coverage")
    assert status == 200 and said["lines"] == {"total": 3, "covered": 2, "percent": 66.67}
    assert said["branches"] == {"total": 4, "covered": 3, "percent": 75.0}
    assert said["change_since_default_branch"] == 33.33 and said["worst_files"][0]["path"] == "src/<b>.py"
    without = await world.run(await world.pipeline(project, workflow("ci", job("test", "make"))), "test")
    assert (await world.json(ada, "GET", f"/project/{project.slug}/{without.number}/coverage"))[0] == 404


async def test_artifacts_are_a_tree_that_can_be_walked(visitor: Visitor) -> None:
    world = visitor.world
    found = await world.run(await world.pipeline(await world.project("acme/app"), workflow("ci", job("test"))), "test")
    for path in ("out/a/one.txt", "out/a/two & <b>.txt", "out/top.txt", "readme.txt", "out0/x.txt"):
        await keep(world, found.id, path, "x" * 1000)
    page = await visitor.go(f"/jobs/{found.number}")
    await page.locator("#artifacts > summary").click(position={"x": 5, "y": 5})
    tree = page.locator("#artifacts .tree").first
    await expect(tree.locator("> li")).to_have_count(3)
    await expect(tree.locator("> li").first.locator("summary").first).to_contain_text("3 files, 2.93 KiB")
    await page.get_by_role("link", name="Browse").click()
    await expect(page.locator(".file-row")).to_have_count(3)
    await page.get_by_role("link", name="out", exact=True).click()
    await expect(page.locator(".file-row")).to_have_count(2)  # not out0
    await page.get_by_role("link", name="a", exact=True).click()
    await page.get_by_role("link", name="two & <b>.txt").click()
    await expect(page.locator("body")).to_have_text("x" * 1000)


REPORT = """<!doctype html><link rel="stylesheet" href="css/style.css"><body><p>report</p><img src="../dot.svg">
<a href="page/two.html">two</a><script src="main.js"></script></body>"""


async def test_a_report_is_shown_with_what_lies_beside_it(visitor: Visitor) -> None:
    world = visitor.world
    found = await world.run(await world.pipeline(await world.project("acme/app"), workflow("ci", job("test"))), "test")
    files = {
        "html/index.html": REPORT,
        "html/css/style.css": "p { color: rgb(1, 2, 3) }",
        "html/main.js": "fetch('data.json').then(r => r.json()).then(d => document.title = d.title)",
        "html/data.json": '{"title": "alive"}',
        "html/page/two.html": "<p>second</p>",
        "dot.svg": "<svg xmlns='http://www.w3.org/2000/svg' width='7' height='7'/>",
    }
    for path, text in files.items():
        await keep(world, found.id, path, text)
    page = await visitor.go(f"/output/job/{found.id}/artifacts/0/html/index.html")
    await expect(page).to_have_title("alive")
    assert await page.evaluate("getComputedStyle(document.querySelector('p')).color") == "rgb(1, 2, 3)"
    assert await page.evaluate("document.querySelector('img').naturalWidth") == 7
    await page.get_by_role("link", name="two").click()
    await expect(page.locator("p")).to_have_text("second")


ATTACK = """<!doctype html><body><form method="post" action="/jobs/%(number)s/cancel"></form><script>
const said = {};
const tried = async (name, fn) => { try { said[name] = String(await fn()).slice(0, 60) } catch (e) { said[name] = "no" } };
(async () => {
  await tried("cookie", () => document.cookie || "no");
  await tried("storage", () => localStorage.length);
  const get = path => fetch(path, {credentials: "include"}).then(r => r.text());
  await tried("page", () => get("/jobs/%(number)s"));
  await tried("api", () => get("/api/v2/me"));
  await tried("other job", () => get("/output/job/%(other)s/artifacts/0/secret.txt"));
  await tried("frame", () => new Promise(done => {
    const frame = document.createElement("iframe");
    const read = () => { try { done(frame.contentDocument.body.innerText || "no") } catch (e) { done("no") } };
    frame.onload = read; frame.onerror = read; setTimeout(read, 2000);
    frame.src = "/"; document.body.append(frame);
  }));
  await tried("open", () => window.open("/") ? "opened" : "no");
  await tried("worker", () => navigator.serviceWorker.register("sw.js").then(() => "registered"));
  await tried("form", () => { document.forms[0].submit(); return "no" });
  document.title = JSON.stringify(said);
})();
</script></body>"""


async def test_html_of_a_job_reads_nothing_of_ours_and_does_nothing(visitor: Visitor) -> None:
    world = visitor.world
    project = await world.project("acme/app")
    other = await world.run(await world.pipeline(project, workflow("ci", job("test"))), "test")
    await keep(world, other.id, "secret.txt", "of another job")
    found = await world.job_of(await world.pipeline(project, workflow("ci", job("test", "make"))), "test")
    await world.start(found.id)
    await keep(world, found.id, "evil.html", ATTACK % {"number": found.number, "other": other.id})
    await keep(world, found.id, "sw.js", "self.onfetch = () => {}")
    page = await visitor.go(f"/output/job/{found.id}/artifacts/0/evil.html")
    await page.wait_for_function("document.title.startsWith('{')")
    said = await page.evaluate("JSON.parse(document.title)")
    assert len(said) == 9 and set(said.values()) == {"no"}, said
    assert await page.evaluate("self.origin") == "null"
    assert (await world.db.read(lambda tx: jobs.by_id(tx, found.id))).status == "running"
    visitor.complaints.heard.clear()  # the browser's own, about every one of these


async def test_a_ticket_is_for_its_job_and_time_and_nothing_else(world: World) -> None:
    ada, project = await world.user("ada", sees_all=True), await world.project("acme/app")
    mine, other = [await world.run(await world.pipeline(project, workflow("ci", job("test"))), "test") for _ in range(2)]
    await keep(world, mine.id, "a.html", "mine")
    await keep(world, other.id, "b.html", "other")
    path = await led_to(world, ada, mine.id, "a.html")
    _, _, _, ticket, index, _ = path.split("/")
    assert await got(world, path) == (200, "mine")
    for wrong in (
        f"/output/view/{ticket}/{index}/b.html",
        f"/output/view/{ticket[:-6]}AAAAAA/{index}/a.html",
        f"/output/view/x/{index}/a.html",
        f"/output/view/{'A' * 5000}/{index}/a.html",
    ):
        assert (await got(world, wrong))[0] == 404, wrong


async def test_a_ticket_lasts_no_longer_than_the_right_of_who_was_given_it(world: World) -> None:
    ada, bea = await world.user("ada"), await world.user("bea", sees_all=True)
    project = await world.project("acme/app", members=(ada,))
    found = await world.run(await world.pipeline(project, workflow("ci", job("test"))), "test")
    await keep(world, found.id, "a.html", "mine")
    of_ada, of_bea = [await led_to(world, one, found.id, "a.html") for one in (ada, bea)]
    await world.db.write(lambda tx: tx.execute("DELETE FROM members WHERE user_id = :id", {"id": ada.id}))
    assert [(await got(world, path))[0] for path in (of_ada, of_bea)] == [404, 200]
    await world.db.write(lambda tx: people.remove(tx, bea.id))
    assert (await got(world, of_bea))[0] == 404
    await world.db.write(lambda tx: projects.set_flags(tx, project.id, ProjectFlags(oss=True)))
    of_nobody = await led_to(world, None, found.id, "a.html")
    assert (await got(world, of_nobody))[0] == 200
    await world.db.write(lambda tx: projects.set_flags(tx, project.id, ProjectFlags()))
    assert (await got(world, of_nobody))[0] == 404


async def got(world: World, path: str) -> tuple[int, str]:
    """What somebody without a login gets."""
    async with aiohttp.ClientSession(world.url) as client, client.get(path) as response:
        return response.status, await response.text()


async def led_to(world: World, user: User | None, job_id: JobId, name: str) -> str:
    session = "of nobody" if user is None else await world.token(user, "session")
    headers = {"Cookie": f"rondo={session}"}
    async with (
        aiohttp.ClientSession(world.url, headers=headers) as client,
        client.get(f"/output/job/{job_id}/artifacts/0/{name}", allow_redirects=False) as response,
    ):
        assert response.status == 302
        return response.headers["Location"]
