"""Commit statuses to GitHub's API: what is sent, and what its answers become."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from appliance.errors import Refused, VcsError
from appliance.model import Vcs
from appliance.vcs.base import CommitStatus
from appliance.vcs.client import Git
from appliance.vcs.github import GitHub
from appliance.vcs.mirror import Mirrors
from appliance.vcs.plain import PlainGit
from tests.vcs.repos import project

REVISION = "ab" * 20
OF = project(Vcs.GITHUB, "https://github.example/acme/app.git")
STATUS = CommitStatus("ci/circleci: build", "success", "Your tests passed", "https://ci.example/jobs/1")


@dataclass
class Forge:
    """GitHub's API as far as we use it: it remembers what came and answers as told."""

    url: str = ""
    status: int = 201
    answer: bytes = b'{"id": 1}'
    location: str = ""
    is_silent: bool = False
    seen: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.seen.append((request.path, dict(request.headers), await request.json()))
        if self.is_silent and request.transport is not None:
            request.transport.abort()
        headers = {"Location": self.location} if self.location else {}
        return web.Response(status=self.status, body=self.answer, headers=headers)


@contextlib.asynccontextmanager
async def forge(**how: Any) -> AsyncIterator[Forge]:
    fake = Forge(**how)
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", fake.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield fake
    finally:
        await runner.cleanup()


def github(folder: Path, api: str, token: str = "t0ken", timeout_s: float = 10.0) -> GitHub:
    return GitHub(Mirrors(Git(), folder), api=api, token=token, timeout_s=timeout_s)


async def test_a_status_is_posted_with_the_token(tmp_path: Path) -> None:
    async with forge() as fake:
        await github(tmp_path, f"{fake.url}/api/v3/").say(OF, REVISION, STATUS)
    ((path, headers, body),) = fake.seen
    assert path == f"/api/v3/repos/acme/app/statuses/{REVISION}"
    assert headers["Authorization"] == "Bearer t0ken"
    assert body == {
        "state": "success",
        "context": "ci/circleci: build",
        "description": "Your tests passed",
        "target_url": "https://ci.example/jobs/1",
    }


async def test_a_long_description_is_cut_at_what_github_takes(tmp_path: Path) -> None:
    async with forge() as fake:
        status = CommitStatus("c", "failure", "ä" * 141, "")
        await github(tmp_path, fake.url).say(OF, REVISION, status)
    assert fake.seen[0][2]["description"] == "ä" * 139 + "…"


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (404, "is the token allowed on the repository"),
        (401, "is the token still valid"),
        (403, "may the token write commit statuses"),
        (422, "fewer than 1,000 statuses"),
        (502, "it may go away by itself"),
    ],
)
async def test_a_refusal_becomes_a_sentence(tmp_path: Path, status: int, sentence: str) -> None:
    async with forge(status=status, answer=b'{"message": "No\x1b[31m such"}') as fake:
        with pytest.raises(VcsError, match=f"GitHub said {status} .*{sentence}") as caught:
            await github(tmp_path, fake.url).say(OF, REVISION, STATUS)
    assert "t0ken" not in str(caught.value) and "\x1b" not in str(caught.value)


async def test_the_token_follows_no_redirect(tmp_path: Path) -> None:
    async with forge() as elsewhere, forge(status=307, location=f"{elsewhere.url}/x") as fake:
        with pytest.raises(VcsError, match="was the repository renamed"):
            await github(tmp_path, fake.url).say(OF, REVISION, STATUS)
    assert elsewhere.seen == []


async def test_a_forge_that_hangs_up_or_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    async with forge(is_silent=True) as fake:
        with pytest.raises(VcsError, match="cannot reach GitHub"):
            await github(tmp_path, fake.url).say(OF, REVISION, STATUS)
    with pytest.raises(VcsError, match="cannot reach GitHub"):
        await github(tmp_path, "http://127.0.0.1:1").say(OF, REVISION, STATUS)


async def test_without_a_token_nothing_is_said(tmp_path: Path) -> None:
    async with forge() as fake:
        await github(tmp_path, fake.url, token="").say(OF, REVISION, STATUS)
    assert fake.seen == []


async def test_a_plain_repository_has_nobody_to_tell_or_to_hear(tmp_path: Path) -> None:
    plain = PlainGit(Mirrors(Git(), tmp_path))
    await plain.say(OF, REVISION, STATUS)
    with pytest.raises(Refused, match="start its pipelines over the API"):
        plain.receive(OF, "secret", {}, b"")
