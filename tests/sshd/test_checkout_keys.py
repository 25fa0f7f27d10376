"""What a checkout key opens at the door, and all that it does not, seen from the real git and OpenSSH."""

from __future__ import annotations

from pathlib import Path

import asyncssh
import pytest

from appliance import ssh_keys
from appliance.crypto import SecretBox
from appliance.model import Project, User, UserId
from appliance.store import keys, people, pipelines
from tests.sshd.jobs import running_job
from tests.sshd.world import Said, World, run, started, until, world
from tests.vcs.repos import WorkTree

BOX = SecretBox(b"k" * 32)
NOT_FOUND = "rondo: repository not found: is the name right, and may you see the project?"


async def checkout_key(here: World, name: str, project: Project, user: User | None = None) -> str:
    """A checkout key of a project, as the file that `World.ssh` takes for `name`; its fingerprint."""
    pair = ssh_keys.read(here.key(name).read_text())
    owner = None if user is None else user.id
    await here.db.write(lambda tx: keys.add_checkout_key(tx, BOX, project.id, pair, 1, owner))
    return pair.sha256


async def git(here: World, key: str, folder: Path, *arguments: str) -> Said:
    environment = here.git_environment(User(id=UserId(key), name=key, is_admin=False, sees_all_projects=False))
    return await run("git", *arguments, env=environment, cwd=folder)


async def pushed(here: World, folder: Path) -> tuple[User, Project, Project]:
    """Ada, and two projects of hers with a commit each."""
    ada = await here.user("ada")
    app, other = await here.project(ada), await here.project(ada, repo="other")
    tree = WorkTree(folder / "tree")
    tree.commit("[skip ci] nobody here would make a pipeline of it", README="hello")
    for project in (app, other):
        said = await here.git(ada, tree, "push", here.url(f"{project.name}.git"), "main")
        assert said.code == 0, said.error
    return ada, app, other


async def test_a_deploy_key_reads_its_own_project_and_no_other(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        _, app, _ = await pushed(here, tmp_path)
        await checkout_key(here, "deploy", app)
        said = await git(here, "deploy", tmp_path, "clone", "-q", here.url(), "clone")
        assert (said.code, said.error) == (0, "") and (tmp_path / "clone/README").read_text() == "hello"
        for name in ("acme/other.git", "acme/none.git", "acme/app.git/../other.git"):
            said = await git(here, "deploy", tmp_path, "ls-remote", here.url(name))
            assert said.code != 0 and NOT_FOUND in said.error and said.out == ""


async def test_a_deploy_key_pushes_nothing(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        _, app, _ = await pushed(here, tmp_path)
        await checkout_key(here, "deploy", app)
        for refspec in ("main:refs/heads/new", "+main:main", ":main", "main:refs/tags/v1"):
            said = await git(here, "deploy", tmp_path / "tree", "push", here.url(), refspec)
            assert said.code != 0 and "a deploy key only reads" in said.error
        assert set(await here.hosted.refs(app)) == {"refs/heads/main"}


@pytest.mark.parametrize("owner", ["", "ada"])
async def test_a_checkout_key_opens_no_shell_and_forwards_nothing(tmp_path: Path, owner: str) -> None:
    async with world(tmp_path) as here:
        ada = await here.user("ada", is_admin=True, sees_all=True)
        app = await here.project()
        await checkout_key(here, "jobs", app, ada if owner else None)
        async with running_job(here, app, tmp_path) as job:
            assert (await here.ssh("ada", str(job.number), "echo in")).out == "in\n"
            for to in (str(job.number), f"{job.number}.0"):
                for words in ([], ["echo in"]):
                    said = await here.ssh("jobs", to, *words)
                    assert (said.code, said.out) == (1, "") and "opens no shell" in said.error
        for command in ("sh", "git-upload-archive 'acme/app.git'", "scp -t /tmp", "git-shell"):
            said = await here.ssh("jobs", "git", command)
            assert (said.code, said.out) == (1, "") and "only git commands here" in said.error
        assert "It is for git" in (await here.ssh("jobs", "git")).error
        for options in (("-W", f"127.0.0.1:{here.port}"), ("-N", "-R", "0:127.0.0.1:1", "-o", "ExitOnForwardFailure=yes")):
            assert (await here.ssh("jobs", "git", options=options)).code != 0
        assert (await here.ssh("jobs", "git", "sftp", options=("-s",))).code != 0


async def test_a_removed_key_gets_no_further_on_an_open_connection(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        _, app, _ = await pushed(here, tmp_path)
        fingerprint = await checkout_key(here, "deploy", app)
        master = ("-o", f"ControlPath={tmp_path}/control")
        ask = "git-upload-pack '/acme/app.git'"
        async with started(*here.ssh_argv("deploy", "git", options=(*master, "-M", "-N"))):
            await until(lambda: (tmp_path / "control").exists())
            assert "refs/heads/main" in (await here.ssh("deploy", "git", ask, options=master, data=b"0000")).out
            await here.db.write(lambda tx: keys.remove_checkout_key(tx, app.id, fingerprint))
            said = await here.ssh("deploy", "git", ask, options=master, data=b"0000")
            assert (said.code, said.out, said.error) == (1, "", "rondo: this key is not known any more\n")
        assert "Permission denied" in (await here.ssh("deploy", "git")).error


async def test_a_user_key_does_with_git_what_its_user_may(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        ada, app, _ = await pushed(here, tmp_path)
        secret = await here.project(repo="secret")
        await checkout_key(here, "hers", app, ada)
        said = await git(here, "hers", tmp_path / "tree", "push", here.url("acme/other.git"), "main:new")
        assert said.code == 0, said.error
        row = await here.db.read(lambda tx: tx.execute("SELECT event FROM triggers ORDER BY id DESC LIMIT 1").fetchone())
        trigger = pipelines.load_trigger(row["event"])
        assert (trigger.branch, trigger.actor, trigger.actor_id) == ("new", "ada (by a key of acme/app)", None)
        said = await git(here, "hers", tmp_path, "ls-remote", here.url(f"{secret.name}.git"))
        assert said.code != 0 and NOT_FOUND in said.error
        await here.db.write(lambda tx: people.remove(tx, ada.id))
        assert "Permission denied" in (await git(here, "hers", tmp_path, "ls-remote", here.url())).error


async def test_a_key_that_is_also_a_persons_is_that_persons(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        ada, app, _ = await pushed(here, tmp_path)
        pair = ssh_keys.read(here.key("ada").read_text())
        await here.db.write(lambda tx: keys.add_checkout_key(tx, BOX, app.id, pair, 1))
        assert asyncssh.read_public_key(f"{here.key('ada')}.pub").get_fingerprint() == pair.sha256
        assert "Hello ada" in (await here.ssh(ada, "git")).error
