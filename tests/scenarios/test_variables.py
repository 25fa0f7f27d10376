"""The built-in variables that depend on what ran before (spec 3.1)."""

from __future__ import annotations

from pathlib import Path

import aiohttp

from appliance.model import ProjectFlags
from appliance.store import projects
from tests.whole import ON_THIS_HOST, house

CONFIG = """
version: 2.1
jobs:
  build:
    machine: true
    steps: [{run: 'echo "previous ${CIRCLE_PREVIOUS_BUILD_NUM-is absent}"'}]
"""


async def test_the_previous_job_is_the_last_one_on_the_same_branch(tmp_path: Path) -> None:
    async with house(tmp_path, ON_THIS_HOST) as (place, _):
        said = []
        for number, branch in enumerate(("main", "other", "main"), 1):
            await place.commit({".circleci/config.yml": CONFIG}, f"Change {number}")
            await place.push(f"main:{branch}" if branch == "main" else f"main:refs/heads/{branch}")
            seen = await place.ended(number)
            said.append((seen.jobs["build"].number, seen.logs["build"].split("previous ")[1].split("\n")[0]))
        assert said == [(1, "is absent"), (2, "is absent"), (3, "1")]


async def test_the_url_of_a_job_names_its_project_and_leads_to_its_page(tmp_path: Path) -> None:
    config = CONFIG.replace("previous ${CIRCLE_PREVIOUS_BUILD_NUM-is absent}", "at $CIRCLE_BUILD_URL")
    async with house(tmp_path, ON_THIS_HOST) as (place, appliance), aiohttp.ClientSession() as stranger:
        await place.commit({".circleci/config.yml": config})
        await place.push()
        url = f"{appliance.web_url}/circleci/acme/app/1"
        assert f"at {url}\n" in (await place.ended()).logs["build"]
        place.read(lambda tx: projects.set_flags(tx, projects.find(tx, "acme/app").id, ProjectFlags(oss=True)))
        async with stranger.get(url) as answer:
            assert (answer.status, answer.url.path) == (200, "/jobs/1")
        async with stranger.get(f"{appliance.web_url}/circleci/acme/other/1", allow_redirects=False) as answer:
            assert answer.headers.get("Location") != "/jobs/1"
