"""Webhooks: what is genuine is written down once and answered at once; what is not tells nobody anything."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest

from appliance.crypto import github_signature
from appliance.model import Project, Vcs
from appliance.store import projects
from appliance.vcs.client import Git
from appliance.vcs.github import GitHub
from appliance.vcs.mirror import Mirrors
from tests.web.world import World, serving_world

SECRET = "the secret of acme"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    github = GitHub(Mirrors(Git(), tmp_path), api="http://127.0.0.1:9", token="")
    async with serving_world(tmp_path, providers={Vcs.GITHUB: github}, web__webhook_limit=100_000) as made:
        yield made


@pytest.fixture
async def project(world: World) -> Project:
    made = await world.project("acme/app", Vcs.GITHUB)
    await world.db.write(lambda tx: projects.set_webhook_secret(tx, world.box, made.id, SECRET))
    return made


def push(repository: str = "acme/app", ref: str = "refs/heads/main", after: str = "b" * 40, **more: Any) -> bytes:
    return json.dumps(
        {
            "ref": ref,
            "before": "a" * 40,
            "after": after,
            "repository": {"full_name": repository},
            "sender": {"login": "ada"},
            "head_commit": {"id": after, "message": "A change", "author": {"name": "Ada"}},
            **more,
        }
    ).encode()


async def send(
    world: World,
    body: Any,
    *,
    secret: str = SECRET,
    path: str = "/hooks/github",
    signed: bytes | None = None,
    delivery: str = "d-1",
    **headers: str | None,
) -> tuple[int, str]:
    sent: dict[str, str | None] = {
        "X-GitHub-Event": "push",
        "X-GitHub-Delivery": delivery,
        "Content-Type": "application/json",
        "X-Hub-Signature-256": github_signature(secret, body if signed is None else signed),
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    given = {name: value for name, value in sent.items() if value is not None}
    async with aiohttp.ClientSession(world.url) as client, client.post(path, data=body, headers=given) as response:
        return response.status, (await response.json())["message"]


async def triggers(world: World) -> int:
    return len((await world.everything())["triggers"])


@pytest.mark.parametrize("path", ["/hooks/github", "/hooks/github/acme/app", "/hooks/github/ACME/App"])
async def test_a_signed_push_is_written_down_once(world: World, project: Project, path: str) -> None:
    status, said = await send(world, push(), path=path)
    assert (status, said) == (202, "accepted") and await triggers(world) == 1
    for delivery in ("d-1", "d-2"):  # GitHub redelivers under the same id; another hook sends under another
        status, said = await send(world, push(), path=path, delivery=delivery)
        assert status == 202 and "received before" in said
    assert await triggers(world) == 1


async def test_githubs_form_bodies_are_understood(world: World, project: Project) -> None:
    body = b"payload=" + quote(push().decode()).encode()
    status, said = await send(world, body, Content_Type="application/x-www-form-urlencoded")
    assert (status, said) == (202, "accepted")


async def test_forged_deliveries_and_unknown_projects_are_answered_alike(world: World, project: Project) -> None:
    hosted = await world.project("acme/hosted")
    body = push()
    answers = {
        await send(world, body, secret="wrong"),
        await send(world, body, signed=body + b" "),
        await send(world, body, X_Hub_Signature_256=None),
        await send(world, body, X_Hub_Signature_256="sha256="),
        await send(world, body, X_Hub_Signature_256=github_signature(SECRET, body).upper()),
        await send(world, body, X_Hub_Signature_256=github_signature(SECRET, body).replace("sha256", "sha1")),
        await send(world, push("acme/other")),
        await send(world, push("acme/other"), path="/hooks/github/acme/app"),
        await send(world, push(hosted.name)),
        await send(world, push("a/b/c")),
        await send(world, b"not json"),
        await send(world, b"[" * 50_000),
        await send(world, b"\xff\xfe"),
        await send(world, push(), path="/hooks/github/nobody/nothing"),
    }
    assert len(answers) == 1 and answers.pop()[0] == 401
    assert await triggers(world) == 0


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"[" * 50_000, 400),
        (b"{}", 401),  # speaks of no repository
        (b"\xff", 400),
        (push(ref="refs/heads/../../x"), 400),
        (push(after="c" * 39), 400),
        (push(ref=7), 400),  # type: ignore[arg-type]
    ],
)
async def test_signed_nonsense_is_refused_and_the_server_goes_on(
    world: World, project: Project, body: bytes, status: int
) -> None:
    assert (await send(world, body, path="/hooks/github/acme/app"))[0] == status
    assert await triggers(world) == 0
    assert (await send(world, push()))[0] == 202


async def test_other_events_and_deletions_are_ignored_with_a_reason(world: World, project: Project) -> None:
    status, said = await send(world, push(), X_GitHub_Event="ping")
    assert status == 202 and said == "ignored: the webhook works"
    status, said = await send(world, push(deleted=True))
    assert status == 202 and "deleted" in said
    assert await triggers(world) == 0


async def test_large_bodies_are_refused_however_they_come(world: World, project: Project) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(50):
            yield b"x" * 10_000

    assert (await send(world, b"x" * 100_001))[0] == 413
    assert (await send(world, chunks(), signed=b""))[0] == 413


async def test_a_chunked_body_is_as_good_as_another(world: World, project: Project) -> None:
    body = push()

    async def chunks() -> AsyncIterator[bytes]:
        for at in range(0, len(body), 7):
            yield body[at : at + 7]

    assert (await send(world, chunks(), signed=body))[0] == 202


async def test_a_packed_body_is_refused(world: World, project: Project) -> None:
    assert (await send(world, push(), Content_Encoding="gzip"))[0] == 415


async def test_two_signatures_are_refused(world: World, project: Project) -> None:
    body = push()
    headers = [
        ("X-GitHub-Event", "push"),
        ("X-GitHub-Delivery", "d"),
        ("X-Hub-Signature-256", github_signature(SECRET, body)),
        ("X-Hub-Signature-256", github_signature("x", body)),
    ]
    async with (
        aiohttp.ClientSession(world.url) as client,
        client.post("/hooks/github", data=body, headers=headers) as response,
    ):
        assert response.status == 400
