"""A machine behind NAT, whole: `rondo serve`, `rondo machine add`, `rondo runner`, a push; both killed under its job."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest

from tests.dialling import ROOT, dialler
from tests.whole import Place, served, until

# The first step waits for a file, so that the kills come while it runs; each notes that it ran.
CONFIG = """
version: 2.1
jobs:
  there:
    machine: true
    resource_class: acme/box
    parallelism: 2
    steps:
      - checkout
      - run:
          name: long
          command: |
            echo long >> ~/notes
            i=0
            until [ -e GO ]; do i=$((i + 1)); echo line $i; sleep 0.05; done
            seq 1 20000
      - run: {name: notes, command: "echo notes >> ~/notes; cat ~/notes; cat README; exit 3"}
      - run: {name: where, when: always, command: "pwd; echo $CIRCLE_NODE_INDEX of $CIRCLE_NODE_TOTAL"}
workflows:
  w:
    jobs: [there]
"""


async def rondo(place: Place, *words: str) -> str:
    """A command of the admin, beside the running server."""
    environment = {"PATH": os.environ["PATH"], "RONDO_DATA": str(place.data)}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "appliance", *words), cwd=ROOT, env=environment, stdout=-1, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_job_of_a_machine_that_dials_in_goes_on_over_kills_of_both(tmp_path: Path) -> None:
    async with served(tmp_path, {}) as (place, server):
        port = int((place.data / "ssh_address").read_text().rpartition(":")[2])
        place.settings = place.settings.replaced(ssh__port=port)
        async with dialler(tmp_path / "box", port) as box:
            await box.start()

            async def command() -> str | None:
                return next((line for line in box.said.splitlines() if "rondo machine add" in line), None)

            words = (await until(command)).partition("rondo ")[2].partition(" --key ")
            key = words[2].strip("'")
            await rondo(place, *words[0].split(), "--key", key, "--class", "acme/box", "--slots", "2")
            files = {".circleci/config.yml": CONFIG.replace("GO", str(tmp_path / "go")), "README": "read me\n"}
            await place.commit(files)
            await place.push()
            for _ in range(2):
                await has_grown(place)
                await server.kill()
                await box.kill()
                await server.start()
                await box.start()
            await has_grown(place)
            await box.kill()
            await box.start()
            await has_grown(place)
            (tmp_path / "go").touch()
            seen = await place.ended()
            await until(lambda: nothing_is_left(tmp_path / "box/home/.rondo"))
        assert seen.statuses == {"there": "failed"}
        for step in seen.steps["there"]:
            log = place.log_path(step).read_text()
            if step.name == "long":
                assert log.count("machine box answers again\n") >= 2
                lines = [line for line in log.splitlines() if line and not line.startswith("machine box ")]
                first = len(lines) - 20000
                assert lines == [f"line {i + 1}" for i in range(first)] + [str(i + 1) for i in range(20000)]
            elif step.name == "notes":
                assert log == "long\nnotes\nread me\n\nexited with code 3\n"
            elif step.name == "where":
                assert f"{tmp_path}/box/home/.rondo/" in log and f"{step.index} of 2\n" in log


@pytest.mark.slow
async def test_a_runner_that_leaves_waits_until_its_jobs_are_cleared_away(tmp_path: Path) -> None:
    go = tmp_path / "go"
    command = f"(trap '' TERM; exec sleep 1000) & echo on; until [ -e {go} ]; do sleep 0.05; done"
    job = {"machine": True, "resource_class": "acme/box", "steps": [{"run": command}]}
    config = {"version": 2.1, "jobs": {"there": job}, "workflows": {"w": {"jobs": ["there"]}}}
    async with served(tmp_path, {}) as (place, _):
        port = int((place.data / "ssh_address").read_text().rpartition(":")[2])
        async with dialler(tmp_path / "box", port) as box:
            await rondo(place, *("machine", "add", "box", "--dials-in", "--key", box.public_key, "--class", "acme/box"))
            await box.start()
            await place.commit({".circleci/config.yml": json.dumps(config)})
            await place.push()

            async def is_on() -> bool | None:
                seen = place.seen()
                return (seen is not None and "on\n" in seen.logs.get("there", "")) or None

            await until(is_on)
            box.signal(signal.SIGTERM)
            go.touch()
            assert await box.ended() == 0
            assert await nothing_is_left(tmp_path / "box/home/.rondo")
        assert (await place.ended()).statuses == {"there": "success"}


async def nothing_is_left(folder: Path) -> bool | None:
    return True if not list(folder.glob("*/*.*")) else None


async def has_grown(place: Place) -> None:
    """Wait until both nodes have said more in their long step."""

    def lines() -> list[int]:
        seen = place.seen()
        steps = [step for step in seen.steps.get("there", ()) if step.name == "long"] if seen is not None else []
        logs = [place.log_path(step) for step in steps]
        return [log.read_text().count("\nline ") if log.exists() else 0 for log in logs]

    before = lines() or [0, 0]

    async def more() -> bool | None:
        now = lines()
        return True if len(now) == 2 and all(each > was for each, was in zip(now, before, strict=True)) else None

    await until(more)
