"""Pushes by a client that is not git, or by a person who means harm."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.sshd.pipelines import intake, triggers
from tests.sshd.world import world
from tests.vcs.repos import WorkTree

NONE = "0" * 40


def packet(text: str | None) -> bytes:
    """A line of git's protocol; None ends a part."""
    return b"0000" if text is None else f"{len(text.encode()) + 4:04x}{text}".encode()


def raw_push(tree: WorkTree, refs: dict[str, str], options: list[str]) -> bytes:
    """All that a client sends, without waiting for an answer."""
    lines = [f"{NONE} {revision} {ref}" for ref, revision in refs.items()]
    argv = ["git", "pack-objects", "--all", "--stdout", "--quiet"]
    pack = subprocess.run(argv, cwd=tree.folder, input=b"", capture_output=True, check=True).stdout
    said = [packet(lines[0] + "\0 report-status push-options"), *map(packet, lines[1:]), packet(None)]
    return b"".join([*said, *map(packet, options), packet(None), pack])


@pytest.fixture
def tree(tmp_path: Path) -> WorkTree:
    made = WorkTree(tmp_path / "tree")
    made.commit("Begin", README="hello")
    return made


@pytest.mark.parametrize("forged", ["updates\n{zero} {head} refs/heads/release", "updates\nno update at all", "\nupdates"])
async def test_a_push_option_cannot_forge_what_was_pushed(tmp_path: Path, tree: WorkTree, forged: str) -> None:
    """git's own client refuses options of several lines; another client sends what it likes."""
    async with world(tmp_path) as here, intake(here):
        ada = await here.user("ada")
        await here.project(ada)
        option = "x\n" + forged.format(zero=NONE, head=tree.head())
        data = raw_push(tree, {"refs/heads/side": tree.head()}, [option])
        said = await here.ssh(ada, "git", "git-receive-pack", "'acme/app.git'", data=data)
        assert said.code == 0, said.error
        assert [trigger.branch for trigger in await triggers(here)] == ["side"]


@pytest.mark.parametrize("ref", ["refs/rondo/checkout", "refs/heads/../../x", "refs/heads/a\nb", "HEAD", "../config"])
async def test_refs_that_are_none_of_a_pushers_are_refused(tmp_path: Path, tree: WorkTree, ref: str) -> None:
    async with world(tmp_path) as here, intake(here):
        ada = await here.user("ada")
        project = await here.project(ada)
        data = raw_push(tree, {ref: tree.head()}, [])
        await here.ssh(ada, "git", "git-receive-pack", "'acme/app.git'", data=data)
        assert await here.hosted.refs(project) == {}
        assert await triggers(here) == []
