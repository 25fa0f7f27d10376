"""The login in a project's git URL: for git at that host, and for nobody else to see."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from appliance.errors import VcsError
from appliance.model import Vcs, public_url
from appliance.store import people, projects
from appliance.store.database import Tx
from appliance.vcs.client import Git
from appliance.vcs.mirror import Mirrors
from appliance.vcs.words import without_credentials
from tests.vcs.repos import WorkTree, project
from tests.whole import ON_THIS_HOST, house

PASSWORD = "s3cr3t-p@ss"
LOGIN = f"robot:{PASSWORD.replace('@', '%40')}"
CONFIG = "version: 2.1\njobs:\n  build:\n    machine: true\n    steps: [checkout, {run: 'env; cat .git/config'}]\n"


@dataclass
class Forge:
    """A repository over plain http, for whoever has the login. Notes the command lines of this host meanwhile."""

    folder: Path
    port: int = 0
    redirect_to: str = ""
    logins: list[str] = field(default_factory=list)
    processes: set[str] = field(default_factory=set)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.processes |= command_lines()
        login = request.headers.get("Authorization", "")
        self.logins.append(login)
        if self.redirect_to:
            raise web.HTTPFound(self.redirect_to + request.path_qs)
        if login != "Basic " + base64.b64encode(f"robot:{PASSWORD}".encode()).decode():
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="forge"'})
        path = self.folder / request.path.removeprefix("/app.git/")
        return web.Response(body=path.read_bytes()) if path.is_file() else web.Response(status=404)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Forge]:
        app = web.Application()
        app.router.add_route("GET", "/{path:.*}", self.answer)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.port = runner.addresses[0][1]
        try:
            yield self
        finally:
            await runner.cleanup()

    @property
    def url(self) -> str:
        return f"http://{LOGIN}@127.0.0.1:{self.port}/app.git"


def command_lines() -> set[str]:
    found = set()
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.add(file.read_bytes().decode("utf-8", "replace"))
        except OSError:
            continue
    return found


def repository(tmp_path: Path) -> Path:
    """What a plain web server needs for git's old protocol."""
    tree = WorkTree(tmp_path / "tree")
    tree.commit(**{".circleci__config.yml": CONFIG})
    tree.git("update-server-info")
    return tree.folder / ".git"


async def test_the_login_is_used_and_shows_in_no_process_list(tmp_path: Path) -> None:
    async with Forge(repository(tmp_path)).serving() as forge:
        await Mirrors(Git(), tmp_path / "mirrors").fetch(project(git_url=forge.url), None)
    assert forge.logins[-1].startswith("Basic ")
    assert any("remote-http" in line for line in forge.processes)
    assert not [line for line in forge.processes if PASSWORD in line or LOGIN in line]


async def test_a_forge_that_leads_elsewhere_does_not_take_the_login_along(tmp_path: Path) -> None:
    async with (
        Forge(tmp_path).serving() as thief,
        Forge(tmp_path, redirect_to=f"http://127.0.0.1:{thief.port}").serving() as forge,
    ):
        with pytest.raises(VcsError) as refused:
            await Mirrors(Git(), tmp_path / "mirrors").fetch(project(git_url=forge.url), None)
    assert thief.logins
    assert not [login for login in thief.logins if login]
    assert "p@ss" not in str(refused.value) and "p%40ss" not in str(refused.value)


async def test_a_job_and_the_api_see_the_url_without_the_login(tmp_path: Path) -> None:
    async with Forge(repository(tmp_path)).serving() as forge, house(tmp_path, ON_THIS_HOST) as (place, appliance):
        token = place.read(lambda tx: furnish(tx, forge.url))
        headers, base = {"Circle-Token": token}, f"{appliance.web_url}/api/v2"
        async with aiohttp.ClientSession(headers=headers) as session:
            async with session.post(f"{base}/project/circleci/acme/far/pipeline", json={"branch": "main"}) as answer:
                made = await answer.json()
                assert answer.status == 201, made
            seen = await place.ended()
            texts = [seen.logs["build"], json.dumps(made)]
            for path in ("project/circleci/acme/far", f"pipeline/{made['id']}", f"pipeline/{made['id']}/values"):
                async with session.get(f"{base}/{path}") as answer:
                    texts.append(await answer.text())
            async with session.get(f"{appliance.web_url}/projects/circleci/acme/far") as answer:
                texts.append(await answer.text())
        assert seen.statuses == {"build": "success"}, seen.logs
        assert f"CIRCLE_REPOSITORY_URL=http://127.0.0.1:{forge.port}/app.git" in seen.logs["build"]
        assert not [text for text in texts if PASSWORD in text or LOGIN in text]
        assert all(f"127.0.0.1:{forge.port}" in text for text in (texts[2], texts[-1]))


def furnish(tx: Tx, url: str) -> str:
    projects.add(tx, org="acme", repo="far", vcs=Vcs.GIT, git_url=url, default_branch="main", now_ms=1)
    return people.make_token(tx, people.by_name(tx, "tester").id, "api", 1)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:pass@host/a.git", "https://host/a.git"),
        ("https://TOKEN@host:8443/a@b/c.git", "https://host:8443/a@b/c.git"),
        ("https://user:p@ss@host/a", "https://host/a"),
        ("ssh://git@host:22/a.git", "ssh://git@host:22/a.git"),
        ("ssh://git:pass@host/a.git", "ssh://git@host/a.git"),
        ("git@host:a/b.git", "git@host:a/b.git"),
        ("/srv/a.git", "/srv/a.git"),
        ("", ""),
    ],
)
def test_urls_as_they_are_shown(url: str, shown: str) -> None:
    assert public_url(url) == shown


def test_a_password_with_an_at_sign_is_cut_out_of_messages_whole() -> None:
    said = without_credentials("fatal: unable to access 'https://user:p@ss@host/a.git/': no")
    assert said == "fatal: unable to access 'https://host/a.git/': no"
