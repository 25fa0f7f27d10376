"""Pushes around a crash: whatever moment the appliance dies at, each moved ref becomes one trigger."""

from __future__ import annotations

import asyncio
import os
import random
import sys
import uuid
from pathlib import Path

import pytest

from appliance.model import Project
from appliance.store import projects
from appliance.vcs.orphans import end_orphans
from tests.sshd.pipelines import intake, triggers
from tests.sshd.world import World, line_of, owned, started, until, world
from tests.vcs.repos import WorkTree, environment


@pytest.fixture
def tree(tmp_path: Path) -> WorkTree:
    made = WorkTree(tmp_path / "tree")
    made.commit("Begin", README="hello")
    return made


async def put(here: World, project: Project, tree: WorkTree, *refs: str, actor: str = "ada") -> None:
    """Refs that git has updated for `actor`, of which nobody was told: we died before the hook spoke."""
    await here.hosted.create(project)
    note(here, project)
    mark = {"GIT_COMMITTER_NAME": actor, "GIT_COMMITTER_EMAIL": f"id-{'-'.join(refs)}@push.rondo.invalid"}
    for ref in refs:
        argv = ["fetch", "--quiet", str(tree.folder / ".git"), f"+{ref}:{ref}"]
        folder = here.hosted.folder_of(project)
        tree.git(f"--git-dir={folder}", "-c", "core.logAllRefUpdates=always", *argv, more=mark)


def note(here: World, project: Project) -> None:
    """A push to the project has begun, and its end nobody saw."""
    (here.folder / "unsettled" / uuid.uuid4().hex).write_text(project.name)


async def forget(here: World, project: Project, ref: str) -> None:
    await here.db.write(lambda tx: projects.set_hosted_ref(tx, project.id, ref, None))


async def test_a_push_without_its_trigger_is_taken_up_once(tmp_path: Path, tree: WorkTree) -> None:
    async with world(tmp_path) as here:
        ada = await here.user("ada")
        project = await here.project(ada)
        await put(here, project, tree, "refs/heads/main")
        for _ in range(2):
            await here.door.reconcile()
            (trigger,) = await triggers(here)
            assert (trigger.branch, trigger.revision, trigger.actor) == ("main", tree.head(), "ada")


async def test_a_push_between_its_trigger_and_our_note_of_it_is_no_second_event(tmp_path: Path, tree: WorkTree) -> None:
    async with world(tmp_path) as here, intake(here):
        ada = await here.user("ada")
        project = await here.project(ada)
        assert (await here.push(ada, tree, "main")).code == 0
        await forget(here, project, "refs/heads/main")
        note(here, project)
        await here.door.reconcile()
        assert len(await triggers(here)) == 1
        assert await here.db.read(lambda tx: projects.hosted_refs(tx, project.id)) == {"refs/heads/main": tree.head()}


async def test_an_update_after_a_known_one_is_taken_up(tmp_path: Path, tree: WorkTree) -> None:
    async with world(tmp_path) as here, intake(here):
        ada = await here.user("ada")
        project = await here.project(ada)
        first = tree.head()
        assert (await here.push(ada, tree, "main")).code == 0
        second = tree.commit("Second")
        await put(here, project, tree, "refs/heads/main", actor="grace")
        await here.door.reconcile()
        found = (await triggers(here))[1:]
        assert [(trigger.revision, trigger.base_revision, trigger.actor) for trigger in found] == [(second, first, "grace")]


async def test_a_deleted_ref_is_forgotten(tmp_path: Path, tree: WorkTree) -> None:
    async with world(tmp_path) as here, intake(here):
        ada = await here.user("ada")
        project = await here.project(ada)
        assert (await here.push(ada, tree, "main:refs/heads/gone")).code == 0
        tree.git(f"--git-dir={here.hosted.folder_of(project)}", "update-ref", "-d", "refs/heads/gone")
        note(here, project)
        await here.door.reconcile()
        assert await here.db.read(lambda tx: projects.hosted_refs(tx, project.id)) == {}
        assert len(await triggers(here)) == 1


async def test_a_repository_put_there_by_hand_starts_nothing(tmp_path: Path, tree: WorkTree) -> None:
    tree.git("tag", "v1")
    async with world(tmp_path) as here:
        project = await here.project()
        folder = here.hosted.folder_of(project)
        folder.parent.mkdir(parents=True)
        tree.git("clone", "--quiet", "--bare", str(tree.folder), str(folder))
        note(here, project)
        await here.door.reconcile()
        assert await triggers(here) == []
        assert set(await here.db.read(lambda tx: projects.hosted_refs(tx, project.id))) == {
            "refs/heads/main",
            "refs/tags/v1",
        }


async def test_projects_without_a_repository_are_no_trouble(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        note(here, await here.project())
        await here.door.reconcile()


async def test_a_start_asks_git_only_where_a_push_was_not_settled(tmp_path: Path, tree: WorkTree) -> None:
    async with world(tmp_path) as here, intake(here):
        ada = await here.user("ada")
        project = await here.project(ada)
        assert (await here.push(ada, tree, "main")).code == 0
        await until(lambda: not list((tmp_path / "unsettled").iterdir()))
        # By hand, and so no push: a start that looks finds it, and writes it down.
        folder = here.hosted.folder_of(project)
        tree.git(f"--git-dir={folder}", "update-ref", "refs/heads/by-hand", "refs/heads/main")

    async def known() -> set[str]:
        return set(await here.db.read(lambda tx: projects.hosted_refs(tx, project.id)))

    async with world(tmp_path) as here:
        assert await known() == {"refs/heads/main"}
        note(here, project)
    async with world(tmp_path) as here:
        assert await known() == {"refs/heads/main", "refs/heads/by-hand"}
        assert not list((tmp_path / "unsettled").iterdir())
        tree.git(f"--git-dir={folder}", "update-ref", "-d", "refs/heads/by-hand")
    (tmp_path / "unsettled").rmdir()  # as an older Rondo leaves it, which wrote nothing down
    async with world(tmp_path) as here:
        assert await known() == {"refs/heads/main"}


async def test_a_repository_that_cannot_be_read_holds_up_no_start(tmp_path: Path, tree: WorkTree) -> None:
    async with world(tmp_path) as here:
        broken, whole = await here.project(repo="broken"), await here.project()
        await put(here, broken, tree, "refs/heads/main")
        await put(here, whole, tree, "refs/heads/main")
        config = here.hosted.folder_of(broken) / "config"
        text = config.read_text()
        config.write_text("[broken")
        await here.door.reconcile()
        assert [trigger.project_id for trigger in await triggers(here)] == [whole.id]
        config.write_text(text)
        async with owned(here.door.catch_up()):
            await until_triggers(here, 2)
            await until(lambda: not list((tmp_path / "unsettled").iterdir()))


async def test_a_hook_that_cannot_speak_loses_nothing(tmp_path: Path, tree: WorkTree) -> None:
    async with world(tmp_path) as here, intake(here):
        ada = await here.user("ada")
        await here.project(ada)
        (tmp_path / "hooks" / "post-receive").unlink()
        said = await here.push(ada, tree, "main")
        assert said.code == 0, said.error
        await until_triggers(here, 1)


async def until_triggers(here: World, count: int) -> None:
    async def are_there() -> bool:
        return len(await triggers(here)) == count

    await until(are_there)


@pytest.mark.parametrize("has_begun", [False, True])
async def test_a_hook_of_a_killed_appliance_ends_when_the_next_one_starts(tmp_path: Path, has_begun: bool) -> None:
    async with world(tmp_path):
        folder = tmp_path / "pushes" / "push-orphan"
        folder.mkdir(parents=True)
        for name in ("pushed", "answers"):
            os.mkfifo(folder / name)
        hook = str(tmp_path / "hooks" / "post-receive")
        async with started(hook, env=environment({"RONDO_PUSH": str(folder)})) as process:
            assert process.stdin is not None
            process.stdin.close()  # git's list of updates ends
            if has_begun:  # it has opened the one FIFO and hangs on the other
                await until(lambda: is_read(folder / "answers"))
            end_orphans(tmp_path / "pushes")
            async with asyncio.timeout(20):
                await process.wait()
        assert list((tmp_path / "pushes").iterdir()) == []


def is_read(fifo: Path) -> bool:
    """Whether somebody reads a FIFO, or waits to; lets them go on."""
    try:
        os.close(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
    except OSError:
        return False
    return True


@pytest.mark.parametrize("seed", range(8))
async def test_killed_at_any_moment_of_a_push_each_moved_ref_is_one_trigger(
    tmp_path: Path, tree: WorkTree, seed: int
) -> None:
    """The appliance dies by SIGKILL while two pushes are on their way; the next one makes good for it."""
    chance = random.Random(seed)
    tree.commit("Some weight", large=os.urandom(500_000))
    async with world(tmp_path) as here:
        ada = await here.user("ada")
        project = await here.project(ada)
        await here.hosted.create(project)
    async with started(sys.executable, str(Path(__file__).with_name("doorman.py")), str(tmp_path)) as doorman:
        here.port = int(await line_of(doorman.stdout))
        async with asyncio.TaskGroup() as group:
            for name in ("one", "two"):
                group.create_task(here.push(ada, tree, f"HEAD:refs/heads/{name}"))
            await asyncio.sleep(chance.uniform(0.05, 0.45))  # the moment is the point, not a wait for something
            doorman.kill()
    async with world(tmp_path) as here:
        moved = set(await here.hosted.refs(project))
        assert {f"refs/heads/{trigger.branch}" for trigger in await triggers(here)} == moved
        assert len(await triggers(here)) == len(moved)
        async with intake(here):
            for name in ("one", "two"):
                assert (await here.push(ada, tree, f"HEAD:refs/heads/{name}")).code == 0
        assert sorted(str(trigger.branch) for trigger in await triggers(here)) == ["one", "two"]
        assert list((tmp_path / "pushes").iterdir()) == []


async def test_killed_when_the_refs_have_moved_and_nobody_was_told(tmp_path: Path, tree: WorkTree) -> None:
    async with world(tmp_path) as here:
        ada = await here.user("ada")
        project = await here.project(ada)
    async with started(sys.executable, str(Path(__file__).with_name("doorman.py")), str(tmp_path)) as doorman:
        here.port = int(await line_of(doorman.stdout))
        moved = tmp_path / "moved"
        (tmp_path / "hooks" / "post-receive").write_text(f"#!/bin/sh\n: >'{moved}'\nexec sleep 60\n")
        async with asyncio.TaskGroup() as group:
            group.create_task(here.push(ada, tree, "main"))
            await until(moved.exists)
            doorman.kill()
    async with world(tmp_path) as here:
        (trigger,) = await triggers(here)
        assert (trigger.project_id, trigger.branch, trigger.revision) == (project.id, "main", tree.head())


@pytest.mark.parametrize("name", ["Zoë O'Hara", 'a "b" <c@d> e', "-", "$(id)"])
async def test_the_repository_itself_knows_who_pushed(tmp_path: Path, tree: WorkTree, name: str) -> None:
    async with world(tmp_path) as here, intake(here):
        user = await here.user("ada", shown_as=name)
        project = await here.project(user)
        said = await here.push(user, tree, "main")
        assert said.code == 0, said.error
        (trigger,) = await triggers(here)
        mark = await here.hosted.last_push(project, "refs/heads/main")
        assert trigger.actor == name and mark is not None
        assert mark.actor == name.replace("<", "").replace(">", "")
        assert trigger.semantic_key == f"push refs/heads/main {tree.head()} {mark.id}"
        assert await here.hosted.last_push(project, "refs/heads/nothing") is None
