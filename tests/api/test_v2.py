"""API v2: the shapes that clients read, and what they may ask for."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import pytest

from appliance.engine import moves
from appliance.model import Commit, JobStatus, NodeStatus, PipelineId, Project, User, Vcs
from appliance.store import pipelines
from appliance.store.database import Tx
from appliance.store.pipelines import Problem
from appliance.vcs.client import Git
from appliance.vcs.mirror import Mirrors
from appliance.vcs.plain import PlainGit
from tests.vcs.repos import WorkTree
from tests.web.world import World, approval, job, serving_world, workflow

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


@pytest.fixture
async def ada(world: World) -> User:
    return await world.user("ada")


@pytest.fixture
async def project(world: World, ada: User) -> Project:
    return await world.project("acme/app", members=[ada])


async def test_me(world: World, ada: User) -> None:
    assert await world.json(ada, "GET", "/me") == (200, {"id": ada.id, "login": "ada", "name": "ada", "avatar_url": None})


@pytest.mark.parametrize("slug", ["circleci/acme/app", "gh/acme/app", "github%2Facme%2Fapp", "gh%2facme/App"])
async def test_a_project_by_every_spelling_of_its_slug(world: World, ada: User, project: Project, slug: str) -> None:
    async with aiohttp.ClientSession(world.url, headers={"Circle-Token": await world.token(ada)}) as client:
        from yarl import URL

        url = URL(f"{world.url}/api/v2/project/{slug}", encoded=True)
        async with client.get(url) as response:
            assert response.status == 200, await response.text()
            data = await response.json()
    assert data["slug"] == "circleci/acme/app" and data["id"] == project.id and data["organization_name"] == "acme"
    assert data["vcs_info"] == {
        "vcs_url": "ssh://git@127.0.0.1:2222/acme/app.git",
        "provider": "CircleCI",
        "default_branch": "main",
    }
    UUID(data["organization_id"])


async def test_unknown_things_are_404_with_a_message(world: World, ada: User) -> None:
    for path in ("/project/gh/no/no", "/pipeline/x", "/workflow/x", "/workflow/x/job", "/nothing", "/pipeline/x/config"):
        status, said = await world.json(ada, "GET", path)
        assert status == 404 and list(said) == ["message"]
    status, said = await world.json(ada, "DELETE", "/me")
    assert status == 405 and list(said) == ["message"]


async def test_a_pipeline_with_its_workflows_and_jobs(world: World, ada: User, project: Project) -> None:
    pipeline_id = await world.pipeline(
        project,
        workflow("ci", job("build", "make"), approval("hold", requires=["build"]), job("ship", requires=["hold"])),
        commit=Commit(subject="S", body="B"),
        actor="ada",
    )
    await world.run(pipeline_id, "build")
    _, pipeline = await world.json(ada, "GET", f"/pipeline/{pipeline_id}")
    assert pipeline["state"] == "created" and pipeline["number"] == 1 and pipeline["errors"] == []
    assert pipeline["trigger"]["type"] == "webhook" and pipeline["trigger"]["actor"]["login"] == "ada"
    assert pipeline["vcs"]["branch"] == "main" and pipeline["vcs"]["commit"] == {"subject": "S", "body": "B"}
    assert TIME.fullmatch(pipeline["created_at"]) and "tag" not in pipeline["vcs"]
    assert (await world.json(ada, "GET", "/project/circleci/acme/app/pipeline/1"))[1] == pipeline

    _, flows = await world.json(ada, "GET", f"/pipeline/{pipeline_id}/workflow")
    assert flows["next_page_token"] is None
    flow = flows["items"][0]
    assert flow["name"] == "ci" and flow["status"] == "on_hold" and flow["pipeline_number"] == 1
    assert flow["started_by"] == ada.id and flow["stopped_at"] is None
    assert (await world.json(ada, "GET", f"/workflow/{flow['id']}"))[1] == flow

    _, members = await world.json(ada, "GET", f"/workflow/{flow['id']}/job")
    build, hold, ship = members["items"]
    assert (build["status"], hold["status"], ship["status"]) == ("success", "on_hold", "blocked")
    assert hold["type"] == "approval" and hold["approval_request_id"] == hold["id"] and "job_number" not in hold
    assert hold["dependencies"] == [build["id"]] and ship["requires"] == {hold["id"]: ["success"]}

    _, detail = await world.json(ada, "GET", f"/project/gh/acme/app/job/{build['job_number']}")
    assert detail["executor"] == {"type": "docker", "resource_class": "medium"}
    assert detail["parallel_runs"] == [{"index": 0, "status": "success"}] and detail["duration"] >= 0
    assert detail["web_url"] == f"{world.url}/jobs/{build['job_number']}" and detail["pipeline"] == {"id": pipeline_id}
    assert detail["latest_workflow"] == {"id": flow["id"], "name": "ci"}


async def test_an_errored_pipeline_tells_its_errors(world: World, ada: User, project: Project) -> None:
    wrong = Problem(type="config", kind="error", message="wrong", text="wrong\n ^")
    hint = Problem(type="config", kind="warning", message="odd")
    pipeline_id = await world.pipeline(project, problems=[wrong, hint])
    _, data = await world.json(ada, "GET", f"/pipeline/{pipeline_id}")
    assert data["state"] == "errored" and data["errors"] == [{"type": "config", "message": "wrong\n ^"}]


async def test_config_gives_source_and_compiled(world: World, ada: User, project: Project) -> None:
    pipeline_id = await world.pipeline(project, source="version: 2.1 # é\n")
    assert (await world.json(ada, "GET", f"/pipeline/{pipeline_id}/config"))[1] == {
        "source": "version: 2.1 # é\n",
        "compiled": "version: 2.1 # é\n",
    }


async def test_lists_page_through_everything_exactly_once(world: World, ada: User, project: Project) -> None:
    other = await world.project("acme/other", members=[ada])
    hidden = await world.project("acme/hidden")
    for number in range(45):
        branch = "main" if number % 2 else "dev"
        await world.pipeline(project if number % 3 else other, branch=branch, actor="ada")
    await world.pipeline(hidden)

    async def all_of(path: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        token = ""
        while True:
            _, page = await world.json(ada, "GET", path, params={"page-token": token})
            found += page["items"]
            token = page["next_page_token"]
            if token is None:
                return found

    everything = await all_of("/pipeline")
    assert len({item["id"] for item in everything}) == len(everything) == 45
    assert [item["created_at"] for item in everything] == sorted((i["created_at"] for i in everything), reverse=True)
    assert len(await all_of("/project/gh/acme/app/pipeline")) == 30
    of_dev = await all_of("/project/gh/acme/app/pipeline?branch=dev")
    assert of_dev and {item["vcs"]["branch"] for item in of_dev} == {"dev"}
    assert await all_of("/project/gh/acme/app/pipeline/mine") == await all_of("/project/gh/acme/app/pipeline")
    assert await all_of("/pipeline?mine=true&org-slug=gh/acme") == everything
    assert await all_of("/pipeline?org-slug=gh/nobody") == []
    for forged in ("x", "!!", "LTEuLTE=", "OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5LjE=", "é"):
        assert (await world.json(ada, "GET", "/pipeline", params={"page-token": forged}))[0] == 400


async def test_cancel_and_approve(world: World, ada: User, project: Project) -> None:
    pipeline_id = await world.pipeline(project, workflow("ci", approval("hold"), job("ship", requires=["hold"]), job("b")))
    hold, ship, other = [await world.job_of(pipeline_id, name) for name in ("hold", "ship", "b")]
    path = f"/workflow/{hold.workflow_id}"
    assert (await world.json(ada, "POST", f"{path}/approve/{ship.id}"))[0] == 409
    assert (await world.json(ada, "POST", f"{path}/approve/{hold.id}")) == (202, {"message": "Accepted."})
    assert (await world.job_of(pipeline_id, "hold")).approved_by == "ada"
    assert (await world.json(ada, "POST", f"/project/gh/acme/app/job/{ship.number}/cancel"))[0] == 200
    assert (await world.job_of(pipeline_id, "ship")).status is JobStatus.CANCELED
    assert (await world.json(ada, "POST", f"/jobs/{other.id}/cancel"))[0] == 200
    assert (await world.json(ada, "POST", f"{path}/cancel"))[0] == 202


async def test_a_pipeline_is_canceled_as_a_whole(world: World, ada: User, project: Project) -> None:
    pipeline_id = await world.pipeline(project, workflow("ci", job("a")), workflow("ship", approval("hold"), job("b")))
    assert await world.json(ada, "POST", f"/pipeline/{pipeline_id}/cancel") == (202, {"message": "Accepted."})
    for name in ("a", "hold", "b"):
        assert (await world.job_of(pipeline_id, name)).status is JobStatus.CANCELED
    assert (await world.json(ada, "POST", f"/pipeline/{pipeline_id}/cancel"))[0] == 202
    others = await world.pipeline(await world.project("other/app"), workflow("ci", job("c")))
    assert (await world.json(ada, "POST", f"/pipeline/{others}/cancel"))[0] == 404
    assert (await world.job_of(others, "c")).status is JobStatus.NOT_RUNNING


async def test_a_job_is_not_approved_through_another_workflow(world: World, ada: User, project: Project) -> None:
    mine = await world.pipeline(project, workflow("ci", job("b")))
    others = await world.pipeline(await world.project("other/app"), workflow("ci", approval("hold")))
    workflow_id = (await world.job_of(mine, "b")).workflow_id
    hold = await world.job_of(others, "hold")
    assert (await world.json(ada, "POST", f"/workflow/{workflow_id}/approve/{hold.id}"))[0] == 404
    assert (await world.job_of(others, "hold")).status is JobStatus.ON_HOLD
    number = (await world.job_of(await world.pipeline(await world.project("o/x"), workflow("w", job("j"))), "j")).number
    assert (await world.json(ada, "GET", f"/project/gh/acme/app/job/{number}"))[0] == 404


async def test_secrets_go_in_and_do_not_come_out(world: World, ada: User, project: Project) -> None:
    path = "/project/gh/acme/app/envvar"
    status, said = await world.json(ada, "POST", path, json={"name": "TOKEN", "value": "s3cret-value-1234"})
    assert status == 201 and said["value"] == "xxxx1234"
    await world.json(ada, "POST", path, json={"name": "SHORT", "value": "abc"})
    _, said = await world.json(ada, "GET", path)
    assert [(item["name"], item["value"]) for item in said["items"]] == [("SHORT", "xxxx"), ("TOKEN", "xxxx1234")]
    assert (await world.json(ada, "GET", path + "/TOKEN"))[1]["value"] == "xxxx1234"
    assert (await world.json(ada, "DELETE", path + "/TOKEN"))[0] == 200
    assert (await world.json(ada, "GET", path + "/TOKEN"))[0] == 404
    assert (await world.json(ada, "DELETE", path + "/TOKEN"))[0] == 404
    assert b"s3cret" not in str(await world.everything()).encode()


@pytest.mark.parametrize(
    "body",
    [
        b"[1]",
        b"{",
        b"\xff",
        b'{"name": "A"}',
        b'{"name": "1A", "value": "x"}',
        b'{"name": "A", "value": 7}',
        b'{"name": "A", "value": "\\u0000"}',
        b'{"name": "A", "value": "\\ud800"}',
        b'{"name": "A", "value": "x", "other": 1}',
        b'{"name": "A", "value": ' + b"9" * 10_000 + b"}",
        b"[" * 100_000,
    ],
)
async def test_wrong_bodies_are_refused_with_a_sentence(world: World, ada: User, project: Project, body: bytes) -> None:
    status, said = await world.json(ada, "POST", "/project/gh/acme/app/envvar", data=body)
    assert status == 400 and said["message"]


class Starting:
    """A world with a repository behind a project; pipelines come of triggers as intake makes them, without a config."""

    def __init__(self, world: World, ada: User, project: Project, tree: WorkTree) -> None:
        self.world = world
        self.ada = ada
        self.project = project
        self.tree = tree

    async def start(self, **body: Any) -> tuple[int, Any]:
        return await self.world.json(self.ada, "POST", f"/project/{self.project.slug}/pipeline", json=body)

    async def run(self, **body: Any) -> tuple[int, Any]:
        return await self.world.json(self.ada, "POST", f"/project/{self.project.slug}/pipeline/run", json=body)

    async def intake(self) -> None:
        with self.world.bell.listen("triggers") as listener:
            while True:
                await listener.wait(0.5)
                while (found := await self.world.db.read(pipelines.oldest_open_trigger)) is not None:
                    await self.world.db.write(lambda tx, found=found: self._make(tx, found))  # type: ignore[misc]
                    self.world.bell.ring("pipelines")

    def _make(self, tx: Tx, found: pipelines.OpenTrigger) -> None:
        number = pipelines.next_number(tx, found.trigger.project_id)
        draft = moves.Draft(
            pipeline_id=PipelineId(f"00000000-0000-4000-8000-{number:012d}"),
            number=number,
            source="",
            compiled="",
            values={},
            problems=(),
            plan=None,
        )
        moves.create_pipeline(tx, found.id, found.trigger, draft, 1)


@pytest.fixture
async def starting(tmp_path: Path) -> AsyncIterator[Starting]:
    tree = WorkTree(tmp_path / "tree")
    tree.commit("First\n\nwith a body", README="x")
    tree.git("tag", "v1")
    provider = PlainGit(Mirrors(Git(), tmp_path))
    async with serving_world(tmp_path, providers={Vcs.GIT: provider}) as world:
        ada = await world.user("ada")
        project = await world.project("acme/app", Vcs.GIT, members=[ada], git_url=str(tree.folder))
        made = Starting(world, ada, project, tree)
        async with asyncio.TaskGroup() as group:
            loop = group.create_task(made.intake())
            yield made
            loop.cancel()


async def test_start_a_pipeline_on_a_branch_a_tag_or_the_default(starting: Starting) -> None:
    for body, branch, tag in (({}, "main", None), ({"branch": "main"}, "main", None), ({"tag": "v1"}, None, "v1")):
        status, said = await starting.start(**body, parameters={"deploy": True, "n": 3, "s": "x"})
        assert status == 201 and set(said) == {"id", "state", "number", "created_at"}
        _, pipeline = await starting.world.json(starting.ada, "GET", f"/pipeline/{said['id']}")
        assert pipeline["vcs"]["revision"] == starting.tree.head()
        assert pipeline["vcs"].get("branch") == branch and pipeline["vcs"].get("tag") == tag
        assert pipeline["trigger"]["type"] == "api" and pipeline["trigger"]["actor"]["login"] == "ada"
        assert pipeline["trigger_parameters"] == {"deploy": True, "n": 3, "s": "x"}
        assert pipeline["vcs"]["commit"]["subject"] == "First"


@pytest.mark.parametrize(
    "body",
    [
        {"branch": "main", "tag": "v1"},
        {"branch": "no-such"},
        {"branch": "-x"},
        {"branch": "$(touch x)\n"},
        {"branch": ""},
        {"branch": 7},
        {"colour": "red"},
        {"parameters": []},
        {"parameters": {"a": None}},
        {"parameters": {"a": 1.5}},
        {"parameters": {"a": [1]}},
        {"parameters": {f"p{n}": 1 for n in range(101)}},
        {"parameters": {"n" * 129: 1}},
        {"parameters": {"a": "v" * 513}},
    ],
)
async def test_wrong_starts_are_refused(starting: Starting, body: dict[str, Any]) -> None:
    status, said = await starting.start(**body)
    assert status == 400 and said["message"]
    assert not (await starting.world.everything())["triggers"]


async def test_run_takes_the_places_of_config_and_code_when_they_are_one(starting: Starting) -> None:
    tag = {"tag": "v1"}
    for body in ({}, {"config": tag, "checkout": tag}, {"checkout": tag}, {"definition_id": starting.project.id}):
        status, said = await starting.run(**body, parameters={"deploy": True})
        assert status == 201 and set(said) == {"id", "state", "number", "created_at"}
        _, pipeline = await starting.world.json(starting.ada, "GET", f"/pipeline/{said['id']}")
        assert pipeline["vcs"].get("tag") == ("v1" if "checkout" in body else None)
        assert pipeline["trigger_parameters"] == {"deploy": True}


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ({"config": {"branch": "main"}, "checkout": {"tag": "v1"}}, 400),
        ({"config": {"branch": "main", "tag": "v1"}}, 400),
        ({"config": "main"}, 400),
        ({"checkout": {"commit": "1"}}, 400),
        ({"branch": "main"}, 400),
        ({"definition_id": "another"}, 404),
    ],
)
async def test_wrong_runs_are_refused(starting: Starting, body: dict[str, Any], wanted: int) -> None:
    status, said = await starting.run(**body)
    assert status == wanted and said["message"]
    assert not (await starting.world.everything())["triggers"]


async def test_a_finished_job_stays_as_it_is(world: World, ada: User, project: Project) -> None:
    pipeline_id = await world.pipeline(project, workflow("ci", job("build")))
    done = await world.run(pipeline_id, "build", NodeStatus.FAILED)
    assert (await world.json(ada, "POST", f"/jobs/{done.id}/cancel"))[0] == 200
    assert (await world.job_of(pipeline_id, "build")).status is JobStatus.FAILED
