"""`rondo run` and a server come to the same: real configs, on one working tree, job by job and step by step.

RONDO_TEST_ALL_TREES=1 tries all the trees, in two minutes; without it two of them.
"""

from __future__ import annotations

import asyncio
import difflib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from appliance.app import Appliance
from appliance.settings import Value
from appliance.store import artifacts, jobs, people, results
from appliance.store.database import Tx
from tests import real_orbs
from tests.cli.tree import Tree as CommandLine
from tests.engine_fixture import DEBIAN, Engine, add_packages
from tests.language.material import ORBS
from tests.scenarios import real_trees
from tests.whole import Place, Seen, house, settings_for, until

pytestmark = [pytest.mark.docker, pytest.mark.slow]

TREES = real_trees.ALL if os.environ.get("RONDO_TEST_ALL_TREES") else real_trees.FEW
# What a server says of its doors, which a run has not.
_OF_DOORS = re.compile("A shell in this job while it runs|git cannot fetch or push in later steps|set ssh.host and ssh.name")
_OWN = re.compile(
    "|".join(
        (
            r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",  # ids
            r"\b[0-9a-f]{32}\b",
            r"(?:ssh|http|https|file)://[^\s'\"]*",
            r"\d+(?:\.\d+)? ?(?:ms|s|seconds)\b",
            r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d\S*",
        )
    )
)


def told(place: Place, seen: Seen) -> list[str]:
    """What people see of a pipeline, in lines, without times, ids and addresses."""
    lines = [f"pipeline {seen.pipeline.state}"]
    lines += [f"workflow {name}: {status}" for name, status in sorted(seen.workflows.items())]
    for name, job in sorted(seen.jobs.items()):
        lines.append(f"job {name}: {job.status}")
        for step in seen.steps[name]:
            lines.append(f"{name}.{step.index} {step.kind} {step.name}: {step.status}, {step.exit_code}")
            lines += [f"{name}.{step.index}   {line}" for line in _output(place, step)]
        lines += sorted(_kept(place, job))
    return lines


def _kept(place: Place, job: jobs.Job) -> list[str]:
    return place.read(lambda tx: _kept_in(tx, place, job))


def _kept_in(tx: Tx, place: Place, job: jobs.Job) -> list[str]:
    files = [f"{job.name}.{one.index} has {one.path}: {_digest(place, one.id)}" for one in artifacts.of_job(tx, job.id)]
    return files + [f"{job.name} has test {one.classname} {one.name}: {one.verdict}" for one in results.all_of(tx, job.id)]


def _digest(place: Place, artifact: str) -> str:
    path = next((place.data / "blobs/artifacts").rglob(artifact))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _output(place: Place, step: jobs.Step) -> list[str]:
    log = place.log_path(step)
    if not log.exists() or (step.kind == "restore_cache" and step.index):  # nodes of one job race for its cache
        return []
    lines = log.read_text("utf-8", "replace").splitlines()
    return [_OWN.sub("~", line) for line in lines if not _OF_DOORS.search(line)]


def changes(tree: real_trees.Tree, engine: Engine, folder: Path) -> dict[str, Value]:
    real_orbs.changes(engine)  # makes an image like CircleCI's
    add_packages(engine.socket, "rondo-test/orbs:latest", DEBIAN, "jq", "libjq1", "libonig5")
    for source, name in tree.orbs.items():
        if not (ORBS / "circleci" / source).is_file():
            pytest.skip("the packed public orbs are not here")
        target = folder / "orbs/circleci" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ORBS / "circleci" / source, target)
    return {
        "docker.enabled": True,
        "docker.url": engine.url,
        "images": dict(tree.images),
        "jobs.mounts": tree.mounts(folder / "tools"),
        "jobs.cpus": 16.0,
        "orbs.mirror": str(folder / "orbs"),
        "orbs.public": False,
    }


async def on_a_server(place: Place, appliance: Appliance, tree: real_trees.Tree) -> Seen:
    await place.push(tree.branch)
    if tree.approved:

        async def held() -> jobs.Job | None:
            seen = place.seen()
            return seen.jobs.get(tree.approved) if seen is not None and seen.jobs else None

        waiting = await until(held)
        await appliance.commands.approve(waiting.id, place.read(lambda tx: people.by_name(tx, "tester")))
    return await place.ended()


async def on_this_computer(place: Place, tree: real_trees.Tree, settings: Mapping[str, Value]) -> tuple[Seen, Place]:
    """The run's own folder is laid out as a server's."""
    file = place.work.parent / "run.toml"
    own = {name: value for name, value in settings.items() if name != "docker.enabled"}
    file.write_text("".join(f"{_key(name)} = {_toml(value)}\n" for name, value in own.items()))
    words = ["--settings", str(file), *(["--approve", tree.approved] if tree.approved else [])]
    ended = await asyncio.to_thread(CommandLine(place.work).run, *words)
    here = Place(place.work / ".rondo/state", place.work, settings_for(place.work, {}))
    seen = here.seen()
    assert seen is not None, ended.out + ended.err
    statuses = set(seen.workflows.values())
    assert ended.code == (0 if statuses <= {"success", "not_run"} else 1), ended.out + ended.err
    return seen, here


def _key(name: str) -> str:
    return ".".join(json.dumps(part) for part in name.split(".", 1))


def _toml(value: Value) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(name)} = {json.dumps(text)}" for name, text in value.items()) + "}"
    return json.dumps(value)


@pytest.mark.parametrize("tree", TREES, ids=lambda tree: tree.config)
async def test_a_run_of_a_tree_ends_as_its_push(tmp_path: Path, docker_engine: Engine, tree: real_trees.Tree) -> None:
    if not tree.folder.is_dir():
        pytest.skip("the real configs are not here")
    settings = changes(tree, docker_engine, tmp_path)
    async with house(tmp_path, settings) as (place, appliance):
        await place.commit({})
        tree.write(place.work)
        await place.commit({}, "As it is" if tree.branch == "main" else "As it is [skip ci]")
        if tree.branch != "main":
            await place.push()
            await place.git("checkout", "-q", "-b", tree.branch)
            await place.commit({"docs/more.md": "more\n"})
        await place.git("remote", "add", "origin", "ssh://git@127.0.0.1/acme/app.git")
        pushed = await on_a_server(place, appliance, tree)
        run, here = await on_this_computer(place, tree, settings)
        differences = list(difflib.unified_diff(told(place, pushed), told(here, run), "server", "run", n=0, lineterm=""))
        ran = [job for job in run.jobs.values() if job.started_at_ms is not None and job.type == "build"]
    assert not differences, "\n".join(differences)
    assert len(ran) == tree.jobs, run.statuses
    assert {job.name for job in ran if job.status != "success"} == tree.failing, (run.statuses, run.logs)
