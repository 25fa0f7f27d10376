"""Test results outlive their job: the next run is split by them, and they are stored without secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.settings import Value
from appliance.store import results
from tests.engine_fixture import Engine
from tests.whole import ON_THIS_HOST, Place, Seen, house

CONFIG = """
version: 2.1
jobs:
  test:
    EXECUTOR
    parallelism: 2
    steps:
      - checkout
      - run: cat names | circleci tests split --split-by=timings --show-counts > mine; sed "s/^/mine=/" mine
      - run: |
          mkdir out; { echo '<testsuite name="s">'
          while read -r name seconds; do
            grep -qx "$name" mine && echo "<testcase name='t of $name' file='$name' time='$seconds'/>"
          done < seconds; echo '</testsuite>'; } > out/junit.xml
      - store_test_results: {path: out}
workflows:
  w: {jobs: [test]}
"""
SECONDS = {"a.js": 1, "b.js": 1, "c.js": 2, "d.js": 9}


def shares(seen: Seen) -> list[list[str]]:
    """What each node said was its own."""
    found: list[list[str]] = [[], []]
    node = -1
    for line in seen.logs["test"].splitlines():
        if line.startswith("Read 4 tests"):
            node += 1
        elif line.startswith("mine="):
            found[node].append(line.removeprefix("mine="))
    return found


async def push(place: Place, number: int, executor: str) -> Seen:
    files = {
        ".circleci/config.yml": CONFIG.replace("EXECUTOR", executor),
        "names": "\n".join(SECONDS),
        "seconds": "".join(f"{name} {seconds}\n" for name, seconds in SECONDS.items()),
    }
    await place.commit(files, f"round {number}")
    await place.push()
    seen = await place.ended(number)
    assert seen.statuses == {"test": "success"}, seen.logs
    return seen


async def two_runs(place: Place, executor: str) -> None:
    first = await push(place, 1, executor)
    assert "falling back to weighting by name" in first.logs["test"]
    assert shares(first) == [["a.js", "c.js"], ["b.js", "d.js"]]
    assert "2 tests\n" in first.logs["test"]
    second = await push(place, 2, executor)
    assert shares(second) == [["d.js"], ["c.js", "a.js", "b.js"]]
    assert "falling back" not in second.logs["test"]
    # Both nodes split by the same run, chosen when the first of them asked.
    chosen = place.read(lambda tx: tx.execute("SELECT job_id, from_job_id FROM test_timings").fetchall())
    assert {row["job_id"]: row["from_job_id"] for row in chosen} == {
        first.jobs["test"].id: None,
        second.jobs["test"].id: first.jobs["test"].id,
    }


async def test_the_second_run_is_split_by_the_first(tmp_path: Path) -> None:
    async with house(tmp_path, ON_THIS_HOST) as (place, _):
        await two_runs(place, "machine: true")


@pytest.mark.docker
async def test_the_second_run_is_split_by_the_first_on_docker(tmp_path: Path, docker_engine: Engine) -> None:
    changes: dict[str, Value] = {"docker.enabled": True, "docker.url": docker_engine.url, "jobs.cpus": 16.0}
    async with house(tmp_path, changes) as (place, _):
        await two_runs(place, "docker: [{image: 'rondo-test/busybox'}]")


HOSTILE = """
version: 2.1
jobs:
  test:
    machine: true
    steps:
      - run: |
          echo "<testsuite name='$SECRET'><testcase name='$SECRET' classname='$SECRET' file='$SECRET'><failure
          message='$SECRET'>$(printf %s "$SECRET" | base64)</failure></testcase></testsuite>" > a.xml
      - store_test_results: {path: a.xml}
workflows:
  w: {jobs: [test]}
"""


async def test_no_secret_is_stored_with_a_test(tmp_path: Path) -> None:
    async with house(tmp_path, ON_THIS_HOST, {"SECRET": "correct-horse-battery"}) as (place, _):
        await place.commit({".circleci/config.yml": HOSTILE})
        await place.push()
        seen = await place.ended()
        stored, _ = place.read(lambda tx: results.page(tx, seen.jobs["test"].id, 0, 10))
        assert [one.name for one in stored] == ["****"]
        assert "horse" not in repr(stored)
        assert "Y29ycmVj" not in repr(stored)
