"""`kill -9` of the appliance at seeded moments: no byte of log lost or doubled, no step run twice, the right ends."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from appliance.settings import Value
from appliance.store import jobs, projects
from appliance.store.database import Tx
from tests.engine_fixture import Engine
from tests.whole import ON_THIS_HOST, Place, Seen, Served, served, until

SECRET = "correct-horse-battery"

# Each step notes in a file that it ran; the last one shows the notes. The secret is cut into pieces on its way.
NOTES = ["beside\n", "count\n", "silent\n", "much\n", "fails\n"]
CONFIG = """
version: 2.1
jobs:
  talk:
    EXECUTOR
    parallelism: 2
    steps:
      - checkout
      - run:
          name: beside
          background: true
          command: |
            echo beside >> ~/notes
            while true; do sleep 0.2; done
      - run:
          name: count
          command: |
            echo count >> ~/notes
            i=0
            while [ $i -lt 60 ]; do
              i=$((i + 1)); echo "line $i of node $CIRCLE_NODE_INDEX"
              [ $((i % 20)) != 0 ] || { printf 'correct-'; sleep 0.15; echo 'horse-battery'; }
            done
      - run: {name: silent, command: "echo silent >> ~/notes; sleep 0.4"}
      - run: {name: much, command: "echo much >> ~/notes; seq 1 20000"}
      - run: {name: fails, command: "echo fails >> ~/notes; sleep 0.2; exit 7"}
      - run: {name: notes, when: always, command: "cat ~/notes"}
  after:
    EXECUTOR
    steps:
      - run: echo cleaned
workflows:
  w:
    jobs:
      - talk
      - after: {requires: [{talk: failed}]}
"""


def on_docker(engine: Engine) -> dict[str, Value]:
    return {"docker.enabled": True, "docker.url": engine.url, "jobs.cpus": 16.0}


def expected(index: int) -> dict[str, str]:
    lines = []
    for i in range(1, 61):
        lines.append(f"line {i} of node {index}\n")
        lines += ["****\n"] if i % 20 == 0 else []
    return {
        "count": "".join(lines),
        "silent": "",
        "much": "".join(f"{i}\n" for i in range(1, 20001)),
        "fails": "\nexited with code 7\n",
        "notes": "beside\ncount\nsilent\nmuch\nfails\n",
    }


def check(place: Place, seen: Seen) -> None:
    assert seen.statuses == {"talk": "failed", "after": "success"}, (seen.statuses, seen.jobs["talk"].message)
    assert seen.workflows == {"w": "failed"}
    for step in seen.steps["talk"]:
        if step.name in expected(step.index):
            found = place.log_path(step).read_text()
            if step.name == "notes":  # who notes first, the background step or the one after it, is a race of theirs
                found = "".join(sorted(found.splitlines(keepends=True), key=NOTES.index))
            assert found == expected(step.index)[step.name], (step.name, step.index)
    names = [(step.name, str(step.status), step.exit_code) for step in seen.steps["talk"] if step.name == "fails"]
    assert names == [("fails", "failed", 7)] * 2


async def rounds(place: Place, process: Served, config: str, seed: int, kills: int) -> int:
    """Push, kill and start `kills` times while the pipeline runs, look at what came out; again until `kills` are done."""
    chance, done, number = random.Random(seed), 0, 0
    while done < kills:
        number += 1
        await place.commit({".circleci/config.yml": config}, f"round {number}")
        await place.push()
        while done < kills and not is_over(place, number):
            await asyncio.sleep(chance.uniform(0.0, 0.6))  # the seeded moment
            await process.kill()
            await process.start()
            done += 1
        check(place, await place.ended(number))
    return done


def is_over(place: Place, number: int) -> bool:
    seen = place.seen(number)
    return seen is not None and all(job.status.is_done for job in seen.jobs.values()) and bool(seen.jobs)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_kill_at_12_moments_on_this_host(tmp_path: Path) -> None:
    async with served(tmp_path, ON_THIS_HOST, {"SECRET": SECRET}) as (place, process):
        config = CONFIG.replace("EXECUTOR", "machine: true")
        assert await rounds(place, process, config, seed=1, kills=12) == 12


@pytest.mark.docker
@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_kill_at_12_moments_on_docker(tmp_path: Path, docker_engine: Engine) -> None:
    async with served(tmp_path, on_docker(docker_engine), {"SECRET": SECRET}) as (place, process):
        config = CONFIG.replace("EXECUTOR", "docker: [{image: rondo-test/debian}]")
        assert await rounds(place, process, config, seed=2, kills=12) == 12


@pytest.mark.docker
async def test_orphans_of_a_killed_appliance_are_removed_at_the_next_start(tmp_path: Path, docker_engine: Engine) -> None:
    async with served(tmp_path, on_docker(docker_engine)) as (place, process):
        job = "docker: [{image: rondo-test/busybox}]\n    steps: [{run: echo up; sleep 600}]"
        config = f"version: 2.1\njobs:\n  build:\n    {job}\n"
        await place.commit({".circleci/config.yml": config})
        await place.push()

        await place.said("up")
        instance = place.read(lambda tx: tx.execute("SELECT value FROM facts WHERE name = 'instance'").fetchone()[0])
        assert await containers(docker_engine, instance) == 1
        await process.kill()
        place.read(lambda tx: tx.execute("UPDATE nodes SET status = 'canceled'") and None)
        place.read(lambda tx: tx.execute("UPDATE jobs SET status = 'canceled'") and None)
        await process.start()
        assert await containers(docker_engine, instance) == 0, "gone before the doors open, not a minute later"


@pytest.mark.docker
async def test_a_start_makes_containers_ahead_of_what_was_used_before_it(tmp_path: Path, docker_engine: Engine) -> None:
    settings = {**on_docker(docker_engine), "docker.warm": 1}
    async with served(tmp_path, settings) as (place, process):
        image = "[{image: rondo-test/debian}, {image: rondo-test/busybox, name: db, command: sleep 60}]"
        config = f"version: 2.1\njobs:\n  build:\n    docker: {image}\n    steps: [{{run: echo hello}}]\n"
        await place.commit({".circleci/config.yml": config})
        await place.push()
        assert (await place.ended()).statuses == {"build": "success"}
        instance = place.read(lambda tx: tx.execute("SELECT value FROM facts WHERE name = 'instance'").fetchone()[0])
        await process.terminate()
        assert await containers(docker_engine, instance, "rondo.warm") == 0

        async def is_warm() -> bool | None:
            return True if await containers(docker_engine, instance, "rondo.warm") == 1 else None

        await process.start()
        await until(is_warm)
        waiting = await ids(docker_engine, instance, "rondo.warm")
        for number in (2, 3):  # it is there a moment before it is ready, and the first one may come just then
            await place.push(f"main:branch{number}")
            assert (await place.ended(number)).statuses == {"build": "success"}

        async def is_gone() -> bool | None:  # with the job that found it to be just its own
            return None if waiting & await ids(docker_engine, instance, "rondo.warm") else True

        await until(is_gone, 30)


async def containers(engine: Engine, instance: str, *labels: str) -> int:
    return len(await ids(engine, instance, *labels))


async def ids(engine: Engine, instance: str, *labels: str) -> set[str]:
    wanted = (f"rondo.instance={instance}", *labels)
    words = ("-H", engine.url, "ps", "-aq", *(word for label in wanted for word in ("--filter", f"label={label}")))
    process = await asyncio.create_subprocess_exec("docker", *words, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    assert process.returncode == 0
    return set(output.decode().split())


async def test_a_terminated_appliance_leaves_jobs_running_and_finds_them_again(tmp_path: Path) -> None:
    async with served(tmp_path, ON_THIS_HOST) as (place, process):
        script = 'echo begin; until [ -e "$GO" ]; do sleep 0.05; done; echo end'
        go = tmp_path / "go"
        job = f"machine: true\n    environment: {{GO: {go}}}\n    steps: [{{run: '{script}'}}]"
        config = f"version: 2.1\njobs:\n  build:\n    {job}\n"
        await place.commit({".circleci/config.yml": config})
        await place.push()

        await place.said("begin")
        assert await process.terminate() == 0
        go.touch()
        await process.start()
        seen = await place.ended()
        assert seen.statuses == {"build": "success"}
        assert seen.logs["build"].endswith("begin\nend\n")


async def test_a_waiting_pusher_is_told_that_the_server_stops_and_leaves_in_peace(tmp_path: Path) -> None:
    async with served(tmp_path, ON_THIS_HOST) as (place, process):
        go = tmp_path / "go"
        script = 'echo begin; until [ -e "$GO" ]; do sleep 0.05; done'
        job = f"machine: true\n    environment: {{GO: {go}}}\n    steps: [{{run: '{script}'}}]"
        await place.commit({".circleci/config.yml": f"version: 2.1\njobs:\n  build:\n    {job}\n"})
        async with asyncio.TaskGroup() as group:
            pushing = group.create_task(place.push("-o", "wait", "main"))

            await place.said("begin")
            assert await process.terminate() == 0
        assert "jobs go on and are found again" in pushing.result()
        go.touch()
        await process.start()
        assert (await place.ended()).statuses == {"build": "success"}


async def test_a_start_goes_on_masking_what_an_older_version_kept_in_a_file(tmp_path: Path) -> None:
    config = """
version: 2.1
jobs:
  build:
    machine: true
    steps:
      - run: |
          echo "early $SECRET"
          until [ -e "$HOME/go" ]; do sleep 0.1; done
          echo "late $SECRET"
"""
    async with served(tmp_path, ON_THIS_HOST, {"SECRET": SECRET}) as (place, process):
        await place.commit({".circleci/config.yml": config})
        await place.push()

        await place.said("early ****")
        await process.kill()
        node = place.read(jobs.running_nodes)[0]
        kept = place.read(lambda tx: jobs.secrets_of(tx, node.job_id, node.index))
        assert kept is not None
        file = next(place.data.glob(f"blobs/logs/*/{node.job_id}/0")) / "secrets"
        file.write_bytes(kept)
        project = place.read(lambda tx: projects.find(tx, "acme/app"))

        def forget(tx: Tx) -> None:
            jobs.keep_secrets(tx, node.job_id, node.index, None)
            projects.remove_secret(tx, project.id, "SECRET")

        place.read(forget)
        await process.start()
        assert not file.exists()
        next((place.data / "sandboxes").glob("*/home")).joinpath("go").touch()
        assert "late ****" in (await place.ended()).logs["build"]
