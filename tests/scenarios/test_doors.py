"""A pipeline is started by each of the three doors: git push, webhook, API. The forge is a small local server here."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from appliance.app import Appliance
from appliance.crypto import SecretBox, github_signature, load_or_make_key
from appliance.model import Project, Vcs
from appliance.store import people, projects
from appliance.store.database import Tx
from tests.whole import ON_THIS_HOST, Place, house, until

SECRET = "the webhook's secret"
HELLO = "version: 2.1\njobs:\n  build:\n    machine: true\n    steps: [checkout, {run: cat here}]\n"


class Forge:
    """GitHub's API as far as we call it: it takes commit statuses, and can be told to fail first."""

    def __init__(self) -> None:
        self.url = ""
        self.statuses: list[dict[str, Any]] = []
        self.failures_left = 0

    async def take(self, request: web.Request) -> web.Response:
        if self.failures_left:
            self.failures_left -= 1
            return web.json_response({"message": "try later"}, status=503)
        assert request.headers["Authorization"].endswith("forge-token")
        self.statuses.append({"path": request.path, **await request.json()})
        return web.json_response({}, status=201)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        app = web.Application()
        app.router.add_post("/repos/{org}/{repo}/statuses/{sha}", self.take)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield
        finally:
            await runner.cleanup()


def add_github_project(place: Place, git_url: str) -> Project:
    box = SecretBox(load_or_make_key(place.data / "secret_key"))

    def add(tx: Tx) -> Project:
        project = projects.add(
            tx, org="acme", repo="forged", vcs=Vcs.GITHUB, git_url=git_url, default_branch="main", now_ms=1
        )
        projects.set_webhook_secret(tx, box, project.id, SECRET)
        return project

    return place.read(add)


def delivery(after: str, ref: str = "refs/heads/main", repo: str = "acme/forged", pushed_at_s: int | None = None) -> bytes:
    commit = {"id": after, "message": "Change things", "author": {"name": "A Person", "email": "p@example.org"}}
    body: dict[str, Any] = {
        "ref": ref,
        "before": "0" * 40,
        "after": after,
        "deleted": False,
        "created": True,
        "forced": False,
        "repository": {"full_name": repo, "name": repo.split("/")[1], "owner": {"login": repo.split("/")[0]}},
        "head_commit": {**commit, "url": f"https://forge/{after}", "timestamp": "2026-01-01T00:00:00Z"},
        "sender": {"login": "a-person"},
    }
    if pushed_at_s is not None:
        body["repository"] |= {"pushed_at": pushed_at_s}
    return json.dumps(body).encode()


async def post(appliance: Appliance, body: bytes, **headers: str) -> tuple[int, str]:
    plain = {"X-GitHub-Event": "push", "X-GitHub-Delivery": "one", "Content-Type": "application/json"}
    signed = {"X-Hub-Signature-256": github_signature(SECRET, body)}
    given = {**plain, **signed, **{name.replace("_", "-"): value for name, value in headers.items()}}
    async with (
        aiohttp.ClientSession() as client,
        client.post(f"{appliance.web_url}/hooks/github", data=body, headers=given) as answer,
    ):
        return answer.status, await answer.text()


@asynccontextmanager
async def forged(tmp_path: Path) -> AsyncIterator[tuple[Place, Appliance, Forge, str]]:
    """An appliance, a forge, and a repository elsewhere with one commit; the commit's id."""
    forge = Forge()
    async with forge.serving():
        changes = {
            **ON_THIS_HOST,
            "github.api": forge.url,
            "github.token": "forge-token",
            "git.patience": 0.0,
            "web.webhook_limit": 100_000,
        }
        async with house(tmp_path, changes) as (place, appliance):
            await place.commit({".circleci/config.yml": HELLO, "here": "from elsewhere\n"})
            add_github_project(place, f"file://{place.work}")
            yield place, appliance, forge, (await place.git("rev-parse", "HEAD")).strip()


async def test_a_signed_webhook_builds_the_commit_and_the_forge_hears_of_it(tmp_path: Path) -> None:
    async with forged(tmp_path) as (place, appliance, forge, revision):
        forge.failures_left = 1
        began = time.monotonic()
        status, text = await post(appliance, delivery(revision))
        assert status == 202, text
        assert time.monotonic() - began < 5
        seen = await place.ended()
        assert seen.statuses == {"build": "success"}, seen.logs
        assert "from elsewhere" in seen.logs["build"]
        assert seen.pipeline.trigger.actor == "a-person"

        async def is_told() -> bool | None:
            return True if forge.statuses and forge.statuses[-1]["state"] == "success" else None

        await until(is_told)
        last = forge.statuses[-1]
        assert last["path"] == f"/repos/acme/forged/statuses/{revision}"
        assert last["context"] == "ci/circleci: build"
        assert last["target_url"] == f"{appliance.web_url}/jobs/{seen.jobs['build'].number}"


async def test_replays_under_any_delivery_id_start_nothing(tmp_path: Path) -> None:
    async with forged(tmp_path) as (place, appliance, _, revision):
        for name in ("one", "one", "two"):
            assert (await post(appliance, delivery(revision), X_GitHub_Delivery=name))[0] == 202
        await place.ended()
        assert place.read(lambda tx: tx.execute("SELECT count(*) FROM pipelines").fetchone()[0]) == 1


@pytest.mark.parametrize(
    ("what", "headers"),
    [
        ("unsigned", {"X_Hub_Signature_256": ""}),
        ("forged", {"X_Hub_Signature_256": "sha256=" + "0" * 64}),
        ("sha1", {"X_Hub_Signature_256": "sha1=" + "0" * 40}),
    ],
)
async def test_a_forged_webhook_is_refused(tmp_path: Path, what: str, headers: Mapping[str, str]) -> None:
    async with forged(tmp_path) as (place, appliance, _, revision):
        status, _ = await post(appliance, delivery(revision), **headers)
        assert status in (401, 403), what
        assert place.read(lambda tx: tx.execute("SELECT count(*) FROM triggers").fetchone()[0]) == 0


async def test_an_oversized_webhook_is_refused_and_the_next_one_taken(tmp_path: Path) -> None:
    async with forged(tmp_path) as (place, appliance, _, revision):
        limit = place.settings.integer("web.webhook_limit")
        assert (await post(appliance, b"x" * (limit + 1)))[0] == 413
        assert (await post(appliance, delivery(revision)))[0] == 202
        assert (await place.ended()).statuses == {"build": "success"}


async def test_a_repository_that_cannot_be_reached_gives_an_errored_pipeline_with_a_reason(tmp_path: Path) -> None:
    async with forged(tmp_path) as (place, appliance, forge, _):
        assert (await post(appliance, delivery("1" * 40)))[0] == 202
        seen = await place.ended()
        assert seen.pipeline.state == "errored"
        assert seen.pipeline.problems[0].type == "config-fetch"

        async def is_told() -> bool | None:
            return True if forge.statuses else None

        await until(is_told)
        assert (forge.statuses[0]["context"], forge.statuses[0]["state"]) == ("ci/circleci: config", "error")


async def test_the_api_starts_a_pipeline_with_parameters(tmp_path: Path) -> None:
    config = (
        "version: 2.1\nparameters:\n  who: {type: string, default: nobody}\n"
        "jobs:\n  build:\n    machine: true\n    steps: [{run: 'echo hello << pipeline.parameters.who >>'}]\n"
    )
    async with house(tmp_path, ON_THIS_HOST) as (place, appliance):
        await place.commit({".circleci/config.yml": config}, "One [skip ci]")
        assert "skip" in await place.push()
        token = place.read(lambda tx: people.make_token(tx, people.by_name(tx, "tester").id, "api", 1))
        url = f"{appliance.web_url}/api/v2/project/circleci/acme/app/pipeline"
        body = {"branch": "main", "parameters": {"who": "world"}}
        async with (
            aiohttp.ClientSession(headers={"Circle-Token": token}) as client,
            client.post(url, json=body) as answer,
        ):
            assert answer.status == 201, await answer.text()
            made = await answer.json()
        assert made["number"] == 1
        assert set(made) == {"id", "state", "number", "created_at"}
        seen = await place.ended()
        assert "hello world" in seen.logs["build"]


async def test_a_pusher_can_wait_for_the_end(tmp_path: Path) -> None:
    async with house(tmp_path, ON_THIS_HOST) as (place, appliance):
        await place.commit({".circleci/config.yml": HELLO, "here": "hi\n"})
        said = await place.push("-o", "wait", "main")
        assert f"remote: rondo: pipeline 1 {appliance.web_url}/pipelines/circleci/acme/app/1" in said
        assert "workflow workflow: success" in said.replace("  ", " ")
        await place.commit({".circleci/config.yml": HELLO.replace("cat here", "exit 1")})
        assert "failed" in await place.push("-o", "wait", "main")


async def test_many_pushes_at_once_lose_none(tmp_path: Path) -> None:
    async with house(tmp_path, ON_THIS_HOST) as (place, _):
        await place.commit({".circleci/config.yml": HELLO, "here": "hi\n"})
        for number in range(8):
            await place.git("branch", f"b{number}")
        await asyncio.gather(*(place.push(f"b{number}") for number in range(8)))
        for number in range(1, 9):
            assert (await place.ended(number)).statuses == {"build": "success"}
        found = place.read(lambda tx: [row["branch"] for row in tx.execute("SELECT branch FROM pipelines")])
        assert sorted(found) == [f"b{number}" for number in range(8)]
