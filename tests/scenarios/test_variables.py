"""The built-in variables that depend on what ran before (spec 3.1)."""

from __future__ import annotations

from pathlib import Path

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
