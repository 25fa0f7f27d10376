"""Artifacts with limits, secrets in their names, and the coverage that is found among them."""

from __future__ import annotations

import json
import secrets
from pathlib import Path

from appliance.store import artifacts, coverage
from tests.whole import ON_THIS_HOST, Place, house


def config(*steps: str, parallelism: int = 1) -> str:
    lines = "\n".join(f"      - {step}" for step in steps)
    return f"""
version: 2.1
jobs:
  build:
    machine: true
    parallelism: {parallelism}
    steps:
{lines}
"""


async def pushed(place: Place, text: str, number: int = 1, branch: str = "main") -> str:
    await place.commit({".circleci/config.yml": text})
    await place.push(f"main:refs/heads/{branch}")
    seen = await place.ended(number)
    assert seen.statuses == {"build": "success"}, seen.logs
    return seen.logs["build"]


def stored(place: Place, number: int = 1) -> list[artifacts.Artifact]:
    seen = place.seen(number)
    assert seen is not None
    return place.read(lambda tx: artifacts.of_job(tx, seen.jobs["build"].id))


async def test_what_is_over_a_limit_is_left_out_and_said(tmp_path: Path) -> None:
    limits = {"artifacts.files": 5, "artifacts.job": 3000, "artifacts.largest": 1000}
    async with house(tmp_path, {**ON_THIS_HOST, **limits}) as (place, _):
        make = (
            'run: mkdir many && for i in 1 2 3 4; do echo "$i" >many/$i; done; head -c 1001 /dev/zero >large; echo x >five'
        )
        big = "run: for i in 1 2 3 4; do head -c 990 /dev/zero >many/$i; done; echo six >six"
        store = [f"store_artifacts: {{path: {path}}}" for path in ("many", "large", "five", "six")]
        log = await pushed(place, config(make, *store[:3], big, store[0], store[3]))
        assert "large was left out: larger than" in log
        # The later files take the place of the earlier ones, as far as the bytes reach; a sixth name has no place.
        assert "Warning: 1 file left out: the artifacts of one job may be 5 files and" in log
        sizes = {artifact.path: artifact.size_bytes for artifact in stored(place)}
        assert set(sizes) == {"many/1", "many/2", "many/3", "many/4", "five"}
        assert sorted(sizes.values()) == [2, 2, 990, 990, 990]
        kept = {artifact.id for artifact in stored(place)}
        assert {path.name for path in (place.data / "blobs/artifacts").glob("??/*")} == kept


async def test_an_empty_folder_is_no_trouble_for_the_first_job_there_is(tmp_path: Path) -> None:
    async with house(tmp_path, ON_THIS_HOST) as (place, _):
        assert "Uploaded 0 files" in await pushed(place, config("run: mkdir out", "store_artifacts: {path: out}"))


async def test_a_secret_in_a_name_is_kept_nowhere(tmp_path: Path) -> None:
    secret = secrets.token_urlsafe(24)
    async with house(tmp_path, ON_THIS_HOST, {"TOKEN": secret}) as (place, _):
        await pushed(
            place,
            config(
                'run: mkdir out && echo x >"out/$TOKEN.txt"',
                "store_artifacts: {path: out}",
                'save_cache: {key: "v1-{{ .Environment.TOKEN }}", paths: [out]}',
            ),
        )
        assert [artifact.path for artifact in stored(place)] == ["out/****.txt"]
        row = place.read(lambda tx: tx.execute("SELECT shown FROM caches").fetchone())
        assert row["shown"] == "v1-****"


async def test_a_layer_over_the_limit_fails_its_step(tmp_path: Path) -> None:
    async with house(tmp_path, {**ON_THIS_HOST, "workspaces.layer": 2000}) as (place, _):
        steps = ("run: head -c 9000 /dev/urandom >noise", "persist_to_workspace: {root: ., paths: [noise]}")
        await place.commit({".circleci/config.yml": config(*steps)})
        await place.push()
        seen = await place.ended()
        assert seen.statuses == {"build": "failed"}
        assert "too much for the workspace: one step may persist 2e-06 GB compressed" in seen.logs["build"]
        assert not list((place.data / "blobs/layers").glob("??/*"))


async def test_nodes_and_reports_are_one_coverage_and_runs_a_trend(tmp_path: Path) -> None:
    def job(hits: str) -> str:
        """Both nodes run line 1 of a.js, in full or relative to the repository; and each has a file of its own."""
        lines = (
            f"echo SF:$PWD/src/a.js; echo DA:1,1; echo DA:2,{hits}; echo DA:3,0; echo end_of_record",
            "echo SF:src/only$CIRCLE_NODE_INDEX.js; echo DA:1,1; echo end_of_record; echo SF:src/a.js; echo DA:1,0",
        )
        write = f"run: mkdir out && {{ {'; '.join(lines)}; }} >out/lcov.info && echo '<coverage line-rate=' >out/b.xml"
        return config(f"{{{json.dumps('run')}: {json.dumps(write[5:])}}}", "store_artifacts: {path: out}", parallelism=2)

    async with house(tmp_path, ON_THIS_HOST) as (place, _):
        log = await pushed(place, job("0"))
        assert "Warning: out/b.xml is no coverage report that can be read" in log
        first = place.seen(1)
        assert first is not None
        found = place.read(lambda tx: coverage.of_job(tx, first.jobs["build"].id))
        assert found is not None and (found.files, found.lines, found.lines_ran) == (3, 5, 3)
        assert "Coverage of this job: 60.0 % of 5 lines" in log
        await pushed(place, job("$CIRCLE_NODE_INDEX"), 2)  # line 2 runs on one node only
        second = place.seen(2)
        assert second is not None
        job_id, project_id = second.jobs["build"].id, second.pipeline.project_id
        worst = place.read(lambda tx: coverage.worst_files(tx, job_id, 1))
        assert [(file.path, file.lines, file.lines_ran) for file in worst] == [("src/a.js", 3, 2)]
        trend = place.read(lambda tx: coverage.trend(tx, project_id, "build", "main", 1 << 60, 9))
        assert [round(run.percent) for run in trend] == [60, 80]
        reports = place.read(lambda tx: coverage.reports_of(tx, job_id, 9))
        assert [(report.index, report.path, report.format) for report in reports] == [
            (0, "out/lcov.info", "lcov"),
            (1, "out/lcov.info", "lcov"),
        ]
