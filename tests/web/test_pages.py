"""Pages as a browser without JavaScript gets them."""

from __future__ import annotations

import html
import re
from collections.abc import AsyncIterator

import aiohttp
import pytest

from appliance.language import plan as plans
from appliance.model import NodeStatus, User
from appliance.store import jobs
from tests.web.world import World, approval, job, workflow


@pytest.fixture
async def ada(world: World) -> User:
    return await world.user("ada", sees_all=True)


@pytest.fixture
async def browser(world: World, ada: User) -> AsyncIterator[aiohttp.ClientSession]:
    """A client with a session of ada."""
    session = await world.token(ada, "session", 60_000)
    async with aiohttp.ClientSession(world.url, cookies={"rondo": session}) as client:
        yield client


async def text_of(client: aiohttp.ClientSession, path: str, status: int = 200) -> str:
    async with client.get(path, allow_redirects=False) as response:
        body = await response.text()
        assert response.status == status, body
        return body


async def test_empty_front_page_tells_the_next_command(browser: aiohttp.ClientSession) -> None:
    assert "rondo project create" in await text_of(browser, "/")


async def test_a_project_without_pipelines_tells_how_to_push(world: World, browser: aiohttp.ClientSession) -> None:
    await world.project("acme/app")
    assert "git push rondo HEAD:main" in await text_of(browser, "/")
    page = await text_of(browser, "/projects/circleci/acme/app")
    assert "ssh://git@127.0.0.1:2222/acme/app.git" in page


async def test_a_script_is_called_by_its_first_line_and_shown_whole(world: World, browser: aiohttp.ClientSession) -> None:
    script = "grep -c x y || true\necho built > out.txt\n"
    pipeline = await world.pipeline(await world.project("acme/app"), workflow("ci", job("build", script, "make")))
    built = await world.run(pipeline, "build")
    page = html.unescape(await text_of(browser, f"/jobs/{built.number}"))
    assert "<bdi>grep -c x y || true …</bdi>" in page and "true echo built" not in page
    assert f'title="{script}"' in page and f">{script}</pre>" in page
    assert 'class="command" tabindex="0">make' not in page  # its name says it


async def test_a_waiting_job_gives_one_reason(world: World, browser: aiohttp.ClientSession) -> None:
    pipeline = await world.pipeline(await world.project("acme/app"), workflow("ci", job("build", "make")))
    found = await world.job_of(pipeline, "build")
    assert "waits for room" in await text_of(browser, f"/jobs/{found.number}")
    await world.db.write(lambda tx: jobs.set_message(tx, found.id, "waits: machine m9 is out: no route to it"))
    page = await text_of(browser, f"/jobs/{found.number}")
    assert "machine m9 is out" in page and "waits for room" not in page and page.count('class="note') == 1


async def test_pipelines_pipeline_and_job_show_what_is_there(world: World, browser: aiohttp.ClientSession) -> None:
    project = await world.project("acme/app")
    pipeline = await world.pipeline(
        project, workflow("ci", job("build", "make"), approval("ok", requires=["build"]), job("ship", requires=["ok"]))
    )
    built = await world.run(pipeline, "build")
    front = await text_of(browser, "/")
    assert "needs approval" in front and "acme/app" in front and "Change number 1" in front
    page = await text_of(browser, "/pipelines/circleci/acme/app/1")
    assert page.count('class="card ') == 3 and page.count("<path") == 2 and "Approve" in page
    page = await text_of(browser, f"/jobs/{built.number}")
    assert "Spin up environment" in page and ">make<" in page and "Checkout code" in page
    assert "/pipelines/circleci/acme/app/1#workflow-" in page


async def test_a_failed_step_is_open_and_a_good_one_closed(world: World, browser: aiohttp.ClientSession) -> None:
    pipeline = await world.pipeline(await world.project("acme/app"), workflow("ci", job("build", "true", "false")))
    failed = await world.run(pipeline, "build", NodeStatus.FAILED)
    page = await text_of(browser, f"/jobs/{failed.number}")
    assert re.search(r'id="step-3" open', page) and not re.search(r'id="step-2" open', page)
    assert "exit 2" in page


async def test_a_fragment_is_the_page_without_frame_and_config(world: World, browser: aiohttp.ClientSession) -> None:
    await world.pipeline(await world.project("acme/app"), workflow("ci", job("build")), source="# the source\n" * 1000)
    path = "/pipelines/circleci/acme/app/1"
    whole = await text_of(browser, path)
    async with browser.get(path, headers={"X-Fragment": "1"}) as response:
        fragment = await response.text()
    assert whole.count("# the source") == 2000 and "# the source" not in fragment
    assert "<html" in whole and "<html" not in fragment and '<main id="main"' in fragment
    assert "workflow-head" in fragment and len(fragment) < 8000


async def test_buttons_run_a_workflow_and_a_job_again(world: World, browser: aiohttp.ClientSession, ada: User) -> None:
    project = await world.project("acme/app")
    pipeline = await world.pipeline(project, workflow("ci", job("build", "make"), job("ship", requires=["build"])))
    built = await world.run(pipeline, "build", NodeStatus.FAILED)
    page = await text_of(browser, "/pipelines/circleci/acme/app/1")
    assert "Rerun from failed" in page and "Rerun all" in page
    assert f'action="/jobs/{built.number}/rerun"' in await text_of(browser, f"/jobs/{built.number}")
    status, _ = await world.post_form(ada, f"/jobs/{built.number}/rerun")
    assert status == 303
    page = await text_of(browser, "/pipelines/circleci/acme/app/1")
    assert "rerun by <bdi>ada</bdi>" in page and page.count("Rerun all") == 1, "the new one runs"
    status, page = await world.post_form(ada, f"/workflows/{built.workflow_id}/rerun-from-failed")
    assert status == 303
    mallory = await world.user("mallory")
    assert (await world.post_form(mallory, f"/workflows/{built.workflow_id}/rerun"))[0] == 404
    assert (await world.post_form(mallory, f"/jobs/{built.number}/rerun"))[0] == 404


async def test_a_button_cancels_a_pipeline_of_several_workflows(
    world: World, browser: aiohttp.ClientSession, ada: User
) -> None:
    project = await world.project("acme/app")
    pipeline = await world.pipeline(project, workflow("ci", job("a")), workflow("ship", job("b")))
    path = "/pipelines/circleci/acme/app/1"
    assert "Cancel pipeline" in await text_of(browser, path)
    assert (await world.post_form(await world.user("mallory"), f"{path}/cancel"))[0] == 404
    status, _ = await world.post_form(ada, f"{path}/cancel")
    assert status == 303
    assert "Cancel pipeline" not in await text_of(browser, path)
    assert {(await world.job_of(pipeline, name)).canceled_by for name in ("a", "b")} == {"ada"}


async def test_a_carried_over_job_says_so_and_leads_to_who_ran(
    world: World, browser: aiohttp.ClientSession, ada: User
) -> None:
    project = await world.project("acme/app")
    pipeline = await world.pipeline(project, workflow("ci", job("build", "make"), job("ship", requires=["build"])))
    built = await world.run(pipeline, "build")
    await world.run(pipeline, "ship", NodeStatus.FAILED)
    await world.post_form(ada, f"/workflows/{built.workflow_id}/rerun-from-failed")
    page = await text_of(browser, "/pipelines/circleci/acme/app/1")
    assert page.count(f'href="/jobs/{built.number}"') == 2 and page.count("success, earlier") == 1


async def test_only_who_has_a_serial_groups_lock_is_asked_to_release_it(
    world: World, browser: aiohttp.ClientSession
) -> None:
    lock = plans.Job(name="deploy/lock", type=plans.JobType.LOCK, key="g")
    deploy = job("deploy", "make", requires=["deploy/lock"])
    unlock = plans.Job(name="deploy/unlock", type=plans.JobType.UNLOCK, key="g", requires=(plans.Require(job="deploy"),))
    pipeline = await world.pipeline(
        await world.project("acme/app"), workflow("w", lock, deploy, unlock, approval("hold", requires=["deploy"]))
    )
    held = await world.job_of(pipeline, "deploy/lock")
    body = await text_of(browser, "/pipelines/circleci/acme/app/1")
    assert f"/locks/{held.id}/release" in body
    await world.run(pipeline, "deploy")
    body = await text_of(browser, "/pipelines/circleci/acme/app/1")
    assert "Approve" in body and "/release" not in body


async def test_a_card_tells_on_hover_why_its_job_ended_so(world: World, browser: aiohttp.ClientSession) -> None:
    pipeline = await world.pipeline(await world.project("acme/app"), workflow("w", job("build", "make")))
    found = await world.job_of(pipeline, "build")
    await world.start(found.id)
    await world.finish(found.id, NodeStatus.FAILED, message="no <disk> left")
    assert 'title="build: no &lt;disk&gt; left"' in await text_of(browser, "/pipelines/circleci/acme/app/1")


async def test_projects_are_paged_and_found_by_a_part_of_their_names(world: World, browser: aiohttp.ClientSession) -> None:
    for number in range(60):
        await world.project(f"acme/app{number:02}")
    page = await text_of(browser, "/projects")
    assert "acme/app48" in page and "acme/app52" not in page
    (more,) = re.findall(r'href="([?]after=[^"]+)"', page)
    assert "acme/app59" in await text_of(browser, f"/projects{more}")
    page = await text_of(browser, "/projects?q=ME/APP5")
    assert page.count('class="row project-row"') == 10 and "after=" not in page
    assert "No project is named so" in await text_of(browser, "/projects?q=%25")
