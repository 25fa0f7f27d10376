"""An appliance of long ago: the code of an earlier commit, in a work tree of its own, with data that it makes itself."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import asyncssh

from tests.whole import ON_THIS_HOST, Place, Served, settings_for

ROOT = Path(__file__).resolve().parents[3]
FIRST = "85d626b"  # with 6 migrations
KEY = bytes(range(32))  # of the data folder that the dump is of

CONFIG = """\
version: 2.1
jobs:
  make:
    machine: true
    parallelism: 2
    steps:
      - checkout
      - restore_cache: {key: deps-}
      - run: |
          mkdir -p deps out && echo dep > deps/a
          echo "made on $CIRCLE_NODE_INDEX with ${API_KEY:+a key} and ${DEPLOY:+a context}" | tee out/made-$CIRCLE_NODE_INDEX
          echo '<testsuite><testcase classname="words" name="counts" time="0.1"/></testsuite>' > out/junit.xml
      - save_cache: {key: deps-1, paths: [deps]}
      - persist_to_workspace: {root: out, paths: ["made-*"]}
      - store_artifacts: {path: out}
      - store_test_results: {path: out/junit.xml}
  broken:
    machine: true
    steps:
      - run: exit 3
  mend:
    machine: true
    steps:
      - attach_workspace: {at: in}
      - run: cat in/made-0 in/made-1
workflows:
  all:
    jobs:
      - make: {context: deploy}
      - broken
      - mend: {requires: [make, {broken: failed}]}
  held:
    jobs:
      - ask: {type: approval}
      - mend: {requires: [ask]}
"""

LONG = """\
version: 2.1
jobs:
  long:
    machine: true
    steps:
      - run:
          name: talk
          command: |
            echo talk >> ~/notes
            i=0
            until [ -e GO ]; do i=$((i + 1)); echo "line $i"; sleep 0.05; done
            echo "$i lines"
      - run: {name: notes, command: cat ~/notes}
workflows:
  w: {jobs: [long]}
"""


class NoHistory(Exception):
    """The commit is not here: this is a shallow clone, or no clone at all."""


@contextmanager
def source_of(commit: str, folder: Path) -> Iterator[Path]:
    """The code of a commit. Raises NoHistory."""
    add = ["git", "-C", str(ROOT), "worktree", "add", "-q", "--detach", str(folder), commit]
    done = subprocess.run(add, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NoHistory(f"no work tree of {commit}: {done.stderr.strip()[-200:]}")
    try:
        yield folder
    finally:
        subprocess.run(["git", "-C", str(ROOT), "worktree", "remove", "--force", str(folder)], check=True)


class Old:
    """An old appliance and its command line, working on `data`."""

    def __init__(self, source: Path, folder: Path) -> None:
        self.source = source
        data = folder / "data"
        data.mkdir(mode=0o700)
        (data / "secret_key").write_bytes(base64.b64encode(KEY))
        (data / "secret_key").chmod(0o600)
        self.place = Place(data, folder / "work", settings_for(data, ON_THIS_HOST))
        self.process = Served(self.place, source=source, knows=self._settings())
        self.token = ""

    def _settings(self) -> list[str]:
        text = "import json; from appliance.settings import OPTIONS; print(json.dumps([one.name for one in OPTIONS]))"
        done = subprocess.run([sys.executable, "-c", text], cwd=self.source, check=True, capture_output=True)
        names: list[str] = json.loads(done.stdout)
        return names

    def rondo(self, *words: str, said: str = "") -> str:
        """Its own command line: ours would bring the database up to date."""
        argv = [sys.executable, "-m", "appliance", *words, "--data", str(self.place.data)]
        done = subprocess.run(argv, cwd=self.source, input=said, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def furnish(self) -> None:
        key = asyncssh.generate_private_key("ssh-ed25519")
        key.write_private_key(self.place.key)
        self.place.key.chmod(0o600)
        public = self.place.key.with_suffix(".pub")
        public.write_bytes(key.export_public_key())
        self.rondo("user", "add", "tester", "--ssh-key", str(public))
        self.rondo("project", "create", "acme/app")
        self.rondo("project", "env", "acme/app", "API_KEY", said="open-sesame")
        self.rondo("context", "create", "deploy")
        self.rondo("context", "env", "deploy", "DEPLOY", said="hocus-pocus")
        self.token = self.rondo("user", "token", "tester").split()[-1]

    async def get(self, path: str) -> Any:
        url = (self.place.data / "web_url").read_text()
        headers = {"Circle-Token": self.token}
        async with aiohttp.ClientSession() as session, session.get(f"{url}/api/v2/{path}", headers=headers) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def statuses(self, number: int) -> dict[str, str]:
        """Of the jobs of a pipeline, asked over the API, which both versions have."""
        pipelines = (await self.get("project/gh/acme/app/pipeline"))["items"]
        found = {}
        for pipeline in pipelines:
            if pipeline["number"] != number:
                continue
            for workflow in (await self.get(f"pipeline/{pipeline['id']}/workflow"))["items"]:
                for job in (await self.get(f"workflow/{workflow['id']}/job"))["items"]:
                    found[f"{workflow['name']}/{job['name']}"] = job["status"]
        return found

    async def push(self, config: str, subject: str, *words: str) -> None:
        await self.place.commit({".circleci/config.yml": config}, subject)
        await self.place.push(*words)

    async def until(self, number: int, wanted: dict[str, str]) -> None:
        async with asyncio.timeout(90):
            while await self.statuses(number) != wanted:  # noqa: ASYNC110 - of another process
                await asyncio.sleep(0.1)


ENDED = {"all/make": "success", "all/broken": "failed", "all/mend": "success", "held/ask": "on_hold", "held/mend": "blocked"}
