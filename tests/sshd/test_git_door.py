"""git push, fetch and clone over the door, with the real git and the real ssh."""

from __future__ import annotations

from pathlib import Path

from tests.sshd.world import world
from tests.vcs.repos import WorkTree


async def test_a_push_becomes_a_trigger_and_a_clone_gets_it_back(tmp_path: Path) -> None:
    tree = WorkTree(tmp_path / "tree")
    revision = tree.commit("Begin", README="hello")
    async with world(tmp_path) as here:
        ada = await here.user("ada")
        await here.project(ada)
        said = await here.push(ada, tree, "main")
        assert said.code == 0, said.error
        print(said.error)
        clone = await here.git(ada, tree, "clone", "--quiet", here.url(), str(tmp_path / "clone"))
        assert clone.code == 0, clone.error
    assert revision
