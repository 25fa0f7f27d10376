"""Every `cases/NAME.yml` is pushed as a config into a whole appliance; `cases/NAME.json` says what has to come out.

Keys of the JSON, all optional: `docker` (true: needs an engine), `branch`, `message`, `files`, `secrets`, `contexts`,
`settings`, and of the outcome `state`, `problems` (each a part of one), `workflows`, `jobs` (name to status), `steps`
(job to a list of [name, status]), `has` and `lacks` (job to texts in its log), `messages` (job to a part of its message).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.engine_fixture import Engine
from tests.whole import Seen, house

CASES = Path(__file__).parent / "cases"


def load(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.with_suffix(".json").read_text("utf-8"))
    return found


def cases(*, docker: bool) -> list[Any]:
    found = [path for path in sorted(CASES.glob("*.yml")) if load(path).get("docker", False) is docker]
    return [pytest.param(path, id=path.stem) for path in found]


@pytest.mark.parametrize("path", cases(docker=False))
async def test_local(path: Path, tmp_path: Path) -> None:
    await push_and_compare(path, tmp_path, {"local.enabled": True, "local.takes": "all"})


@pytest.mark.docker
@pytest.mark.parametrize("path", cases(docker=True))
async def test_docker(path: Path, tmp_path: Path, docker_engine: Engine) -> None:
    images = {"test/debian": "rondo-test/debian", "test/busybox": "rondo-test/busybox", "test/none": "rondo-test/noshell"}
    await push_and_compare(path, tmp_path, {"docker.enabled": True, "docker.url": docker_engine.url, "images": images})


async def push_and_compare(path: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    wanted = load(path)
    changes = {**settings, **wanted.get("settings", {})}
    async with house(tmp_path, changes, wanted.get("secrets", {}), wanted.get("contexts", {})) as (place, _):
        files = {".circleci/config.yml": path.read_text("utf-8"), **wanted.get("files", {})}
        await place.commit(files, wanted.get("message", "Change things"))
        branch = wanted.get("branch", "main")
        if branch.startswith("refs/tags/"):
            await place.git("tag", branch.removeprefix("refs/tags/"))
            await place.push(branch)
        else:
            await place.push(f"main:refs/heads/{branch}")
        compare(wanted, await place.ended())


def compare(wanted: dict[str, Any], seen: Seen) -> None:
    everything = f"\n{seen.statuses}\n{[problem.text for problem in seen.pipeline.problems]}\n{seen.logs}"
    assert seen.pipeline.state == wanted.get("state", "created"), everything
    problems = "\n".join(problem.text for problem in seen.pipeline.problems)
    for part in wanted.get("problems", []):
        assert part in problems, everything
    for name, found in (("workflows", seen.workflows), ("jobs", seen.statuses)):
        if name in wanted:
            assert dict(found) == wanted[name], everything
    for job, texts in wanted.get("has", {}).items():
        assert [text for text in texts if text not in seen.logs[job]] == [], everything
    for job, texts in wanted.get("lacks", {}).items():
        assert [text for text in texts if text in seen.logs[job]] == [], everything
    for job, part in wanted.get("messages", {}).items():
        assert part in seen.jobs[job].message, everything
    for job, steps in wanted.get("steps", {}).items():
        assert [[step.name, str(step.status)] for step in seen.steps[job]][1:] == steps, everything
