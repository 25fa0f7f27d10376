"""The public orbs that continue pipelines, run as they are: circleci/path-filtering, with continuation and jq.

Where the packed orbs are (tests/language/material.py says where); skipped elsewhere. What the orbs would download is in
the image: jq, and a stand-in for yq, which merges configs and here gets one.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from appliance.settings import Value
from tests.engine_fixture import DEBIAN, Engine, add_packages
from tests.language.material import ORBS
from tests.whole import house

IMAGE = "rondo-test/orbs:latest"
SETUP = """\
version: 2.1
setup: true
orbs:
  path-filtering: circleci/path-filtering@2.1.0
jobs:
  tools:
    docker: [{ image: test/debian }]
    steps: [{ run: "true" }]
workflows:
  filter:
    jobs:
      - path-filtering/filter:
          base-revision: main
          pre-steps:
            - run: printf '#!/bin/sh\\nshift 2\\ncat "$@"\\n' >/usr/local/bin/yq && chmod +x /usr/local/bin/yq
          mapping: |
            src/.* run-src true
            docs/.* run-docs true
            src/(deep|flat)/.* level "deep"
"""
SECOND = """\
version: 2.1
parameters:
  run-src: { type: boolean, default: false }
  run-docs: { type: boolean, default: false }
  level: { type: string, default: none }
jobs:
  say:
    parameters: { what: { type: string } }
    docker: [{ image: test/debian }]
    steps: [{ run: "echo << parameters.what >> at level << pipeline.parameters.level >>" }]
workflows:
  of-src:
    when: << pipeline.parameters.run-src >>
    jobs: [say: { what: the source }]
  of-docs:
    when: << pipeline.parameters.run-docs >>
    jobs: [say: { what: the docs }]
"""


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    """The three orbs, laid out as a mirror. The newest source of continuation is what path-filtering names 2.0.1."""
    if not (ORBS / "circleci/path-filtering/2.1.0.yml").is_file():
        pytest.skip("the packed public orbs are not here")
    for source, name in (
        ("path-filtering/2.1.0.yml", "path-filtering/2.1.0.yml"),
        ("jq/3.0.2.yml", "jq/3.0.2.yml"),
        ("continuation/HEAD.yml", "continuation/2.0.1.yml"),
    ):
        target = tmp_path / "orbs/circleci" / name
        target.parent.mkdir(parents=True)
        shutil.copy(ORBS / "circleci" / source, target)
    return tmp_path / "orbs"


FINISH = """\
version: 2.1
setup: true
orbs:
  continuation: circleci/continuation@2.0.1
jobs:
  nothing-to-do:
    executor: continuation/default
    steps: [continuation/finish]
workflows:
  look: { jobs: [nothing-to-do] }
"""


@pytest.fixture
def changes(docker_engine: Engine, mirror: Path) -> dict[str, Value]:
    add_packages(docker_engine.socket, IMAGE, DEBIAN, "jq", "libjq1", "libonig5")
    return {
        "docker.enabled": True,
        "docker.url": docker_engine.url,
        "orbs.mirror": str(mirror),
        "images": {"cimg/base:*": "rondo-test/orbs", "test/debian": "rondo-test/debian"},
    }


@pytest.mark.docker
async def test_path_filtering_continues_with_the_parameters_of_what_changed(
    tmp_path: Path, changes: dict[str, Value]
) -> None:
    async with house(tmp_path, changes) as (place, _):
        files = {".circleci/config.yml": SETUP, ".circleci/continue_config.yml": SECOND, "src/a": "1", "docs/a": "1"}
        await place.commit(files)
        await place.push()
        first = await place.ended(1)
        # The orb compares a commit of the base branch with the one before. There is none: all has changed.
        assert first.workflows == {"filter": "success", "of-src": "success", "of-docs": "success"}, first.logs
        await place.git("checkout", "-q", "-b", "feature")
        await place.commit({"src/deep/b": "2"})
        await place.push("feature")
        second = await place.ended(2)
        log = second.logs.get("path-filtering/filter", "")
        assert second.workflows == {"filter": "success", "of-src": "success"}, log
        assert "the source at level deep" in second.logs["say"]
        assert '"continuation-key": "****"' in log and '{"message": "Accepted."}' in log


@pytest.mark.docker
async def test_finish_ends_the_setup_phase_with_nothing_to_do(tmp_path: Path, changes: dict[str, Value]) -> None:
    async with house(tmp_path, changes) as (place, _):
        await place.commit({".circleci/config.yml": FINISH})
        await place.push()
        seen = await place.ended()
        assert (seen.pipeline.state, seen.workflows) == ("created", {"look": "success"}), seen.logs
        assert seen.pipeline.source == "{version: 2, jobs: {}, workflows: {version: 2}}"
