"""git push, fetch and clone over the door, with the real git and the real ssh."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import subprocess
from pathlib import Path

import pytest

from appliance.model import JobStatus, PipelineState, StepStatus, TriggerKind, Vcs, WorkflowStatus
from appliance.store import jobs, pipelines, projects
from appliance.store.database import Tx
from tests.sshd.pipelines import intake, triggers
from tests.sshd.world import PAGES, line_of, run, started, until, world
from tests.vcs.repos import WorkTree


def remote_lines(error: str) -> list[str]:
    """What git shows of the other side, without its padding."""
    return [line.removeprefix("remote: ").rstrip() for line in error.splitlines() if line.startswith("remote: ")]


def was_run(folder: Path) -> bool:
    """Whether a name was taken for a program: those here would make a file."""
    return any("pwned" in files for _, _, files in os.walk(folder))


def bad_tree(tree: WorkTree) -> str:
    """A tree with an entry that would land inside .git."""
    entry = b"100644 .git\0" + bytes.fromhex(tree.git("rev-parse", "HEAD:README"))
    argv = ["git", "hash-object", "-t", "tree", "-w", "--stdin", "--literally"]
    return subprocess.run(argv, input=entry, cwd=tree.folder, capture_output=True, check=True).stdout.decode().strip()


@pytest.fixture
def tree(tmp_path: Path) -> WorkTree:
    made = WorkTree(tmp_path / "tree")
    made.commit("Begin\n\nWith a body.", README="hello")
    return made


async def test_a_push_becomes_a_pipeline_and_the_pusher_sees_where(tmp_path: Path, tree: WorkTree) -> None:
    async with world(tmp_path) as here, intake(here):
        ada = await here.user("ada")
        project = await here.project(ada)
        said = await here.push(ada, tree, "main")
        assert said.code == 0
        assert remote_lines(said.error) == [f"rondo: pipeline 1 {PAGES}/pipelines/circleci/acme/app/1"]
        (trigger,) = await triggers(here)
        assert (trigger.project_id, trigger.kind, trigger.actor) == (project.id, TriggerKind.WEBHOOK, "ada")
        assert (trigger.branch, trigger.tag, trigger.revision) == ("main", None, tree.head())
        assert trigger.base_revision is None and trigger.is_fork is False
        assert (trigger.commit.subject, trigger.commit.body) == ("Begin", "With a body.")
        known = await here.db.read(lambda tx: projects.hosted_refs(tx, project.id))
        assert known == {"refs/heads/main": tree.head()}


async def test_what_was_pushed_can_be_cloned_and_pulled(tmp_path: Path, tree: WorkTree) -> None:
    large = os.urandom(8 << 20)
    tree.commit("Large", large=large)
    async with world(tmp_path) as here, intake(here):
        ada, grace = await here.user("ada"), await here.user("grace")
        await here.project(ada, grace)
        await here.push(ada, tree, "main")
        clone = await here.git(grace, tree, "clone", "--quiet", here.url("acme/app"), str(tmp_path / "clone"))
        assert clone.code == 0, clone.error
        found = (tmp_path / "clone" / "large").read_bytes()
        assert hashlib.sha256(found).digest() == hashlib.sha256(large).digest()
        revision = tree.commit("More")
        await here.push(ada, tree, "main")
        pull = await run("git", "pull", "--quiet", env=here.git_environment(grace), cwd=tmp_path / "clone")
        assert pull.code == 0, pull.error
        head = await run("git", "rev-parse", "HEAD", cwd=tmp_path / "clone")
        assert head.out.strip() == revision
        shallow = await here.git(ada, tree, "clone", "--quiet", "--depth=1", "--filter=blob:none", "--no-checkout",
                                 here.url(), str(tmp_path / "shallow"))  # fmt: skip
        assert shallow.code == 0, shallow.error


async def test_skip_ci_says_why_nothing_starts(tmp_path: Path, tree: WorkTree) -> None:
    tree.commit("Typo [skip ci]")
    async with world(tmp_path) as here, intake(here) as made:
        ada = await here.user("ada")
        await here.project(ada)
        said = await here.push(ada, tree, "main")
        assert remote_lines(said.error) == ["rondo: skipped: main: the commit message says to skip"]
        assert made.pipelines == []


async def test_problems_of_the_config_come_line_by_line_and_clean(tmp_path: Path, tree: WorkTree) -> None:
    text = 'error: line 3: unknown key "stesp"\n    stesp:\n    ^ did you mean "steps"?\x1b]0;pwned\x07'
    problem = pipelines.Problem(type="config", kind="error", message="unknown key", text=text)
    async with world(tmp_path) as here, intake(here, state=PipelineState.ERRORED, problems=[problem]):
        ada = await here.user("ada")
        await here.project(ada)
        lines = remote_lines((await here.push(ada, tree, "main", options=("-o", "wait"))).error)
    assert lines[1:] == [
        'rondo:   error: line 3: unknown key "stesp"',
        "rondo:       stesp:",
        'rondo:       ^ did you mean "steps"?�]0;pwned�',
    ]


async def test_waiting_follows_the_jobs_to_the_end(tmp_path: Path, tree: WorkTree) -> None:
    async with world(tmp_path) as here, intake(here, job_names=["test", "deploy"]) as made:
        ada = await here.user("ada")
        await here.project(ada)
        argv = ["git", "push", "-o", "wait", here.url(), "main"]
        async with started(*argv, env=here.git_environment(ada), cwd=tree.folder) as push:
            lines = [re.sub(" +$", "", await line_of(push.stderr)).removeprefix("remote: ") for _ in range(3)]
            assert lines[1:] == ["rondo: job test: waiting", "rondo: job deploy: waiting"]
            await made.job(0, JobStatus.RUNNING)
            assert await line_of(push.stderr) == "remote: rondo: job test: running"
            await made.job(0, JobStatus.SUCCESS, ring=False)  # a lost ring only costs some seconds
            assert await line_of(push.stderr) == "remote: rondo: job test: success"
            await made.job(1, JobStatus.FAILED)
            await made.workflow(0, WorkflowStatus.FAILED)
            rest = (await push.communicate())[1].decode()
            assert push.returncode == 0
        assert remote_lines(rest)[-1] == "rondo: workflow build: failed"
        assert "rondo: job deploy: failed" in remote_lines(rest)


async def test_waiting_tells_why_a_job_waits_and_what_failed_in_a_line_each(tmp_path: Path, tree: WorkTree) -> None:
    async with world(tmp_path) as here, intake(here, job_names=["test"]) as made:
        ada = await here.user("ada")
        await here.project(ada)
        argv = ["git", "push", "-o", "wait", here.url(), "main"]

        def fail(tx: Tx) -> None:
            (job_id,) = made.jobs
            jobs.add_steps(tx, job_id, 0, [jobs.NewStep(0, "run", "set -e\nmake test\n", is_background=False)])
            jobs.end_step(tx, job_id, 0, 0, StepStatus.FAILED, 2, message="exit code 2")

        async with started(*argv, env=here.git_environment(ada), cwd=tree.folder) as push:
            assert "pipeline 1" in await line_of(push.stderr)
            assert (await line_of(push.stderr)).strip() == "remote: rondo: job test: waiting"
            for reason in ("no machine has the class gpu", "all machines of the class gpu are busy"):
                await here.db.write(lambda tx: jobs.set_message(tx, made.jobs[0], reason))  # noqa: B023
                assert (await line_of(push.stderr)).strip() == f"remote: rondo: job test: waiting ({reason})"
            await here.db.write(fail)
            await made.job(0, JobStatus.INFRASTRUCTURE_FAIL)
            line = (await line_of(push.stderr)).strip()
            assert line == "remote: rondo: job test: infrastructure failure (set -e…: exit code 2)"


async def test_waiting_for_a_pipeline_without_workflows_says_so(tmp_path: Path, tree: WorkTree) -> None:
    async with world(tmp_path) as here, intake(here):
        ada = await here.user("ada")
        await here.project(ada)
        said = await here.push(ada, tree, "main", options=("-o", "wait"))
        assert remote_lines(said.error)[1:] == ["rondo: no workflow has anything to do for this push"]


async def test_without_the_option_nobody_waits(tmp_path: Path, tree: WorkTree) -> None:
    async with world(tmp_path) as here, intake(here, job_names=["test"]):
        ada = await here.user("ada")
        await here.project(ada)
        said = await here.push(ada, tree, "main")
        assert len(remote_lines(said.error)) == 1


async def test_a_pusher_who_leaves_takes_nothing_away(tmp_path: Path, tree: WorkTree) -> None:
    async with world(tmp_path) as here, intake(here, job_names=["test"]) as made:
        ada = await here.user("ada")
        project = await here.project(ada)
        argv = ["git", "push", "-o", "wait", here.url(), "main"]
        async with started(*argv, env=here.git_environment(ada), cwd=tree.folder) as push:
            assert "rondo: pipeline 1" in await line_of(push.stderr)
        # The client is killed; the door lets git and its hook end.
        await until(lambda: not any((tmp_path / "pushes").iterdir()))
        assert len(made.pipelines) == 1
        known = await here.db.read(lambda tx: projects.hosted_refs(tx, project.id))
        assert known == {"refs/heads/main": tree.head()}
        assert (await here.push(ada, tree, "main")).code == 0


async def test_going_back_and_forth_is_an_event_each_time(tmp_path: Path, tree: WorkTree) -> None:
    first = tree.head()
    second = tree.commit("Second")
    async with world(tmp_path) as here, intake(here) as made:
        ada = await here.user("ada")
        await here.project(ada)
        for revision in (first, second, first, second):
            said = await here.push(ada, tree, f"+{revision}:refs/heads/main")
            assert said.code == 0, said.error
        assert [trigger.revision for trigger in await triggers(here)] == [first, second, first, second]
        assert len(made.pipelines) == 4
        await here.push(ada, tree, "main")  # nothing new
        assert len(made.pipelines) == 4


async def test_tags_start_pipelines_at_their_commit_and_deletions_start_none(tmp_path: Path, tree: WorkTree) -> None:
    tree.git("tag", "light")
    tree.git("tag", "--annotate", "--message", "one", "v1")
    tree.git("tag", "readme", "HEAD:README")
    async with world(tmp_path) as here, intake(here):
        ada = await here.user("ada")
        project = await here.project(ada)
        said = await here.push(ada, tree, "light", "v1", "readme")
        assert said.code == 0, said.error
        assert "rondo: skipped: tag readme: it does not lead to a commit" in remote_lines(said.error)
        found = {(trigger.tag, trigger.branch, trigger.revision) for trigger in await triggers(here)}
        assert found == {("light", None, tree.head()), ("v1", None, tree.head())}
        said = await here.push(ada, tree, ":refs/tags/v1")
        assert said.code == 0 and remote_lines(said.error) == []
        assert len(await triggers(here)) == 2
        known = await here.db.read(lambda tx: projects.hosted_refs(tx, project.id))
        assert set(known) == {"refs/tags/light", "refs/tags/readme"}


@pytest.mark.parametrize("name", ["$(touch${IFS}pwned)", "`touch${IFS}pwned`", "-f", "--exec=x", "ünï/✓;&|"])
async def test_branches_with_hostile_names_are_only_names(tmp_path: Path, tree: WorkTree, name: str) -> None:
    async with world(tmp_path) as here, intake(here):
        ada = await here.user("ada")
        await here.project(ada)
        said = await here.push(ada, tree, f"HEAD:refs/heads/{name}")
        assert said.code == 0, said.error
        (trigger,) = await triggers(here)
        assert trigger.branch == name
    assert not was_run(tmp_path)


async def test_hostile_push_options_are_only_text(tmp_path: Path, tree: WorkTree) -> None:
    async with world(tmp_path) as here, intake(here) as made:
        ada = await here.user("ada")
        await here.project(ada)
        options = ["$(touch pwned)", "`touch pwned`", "'; touch pwned; '", "updates", "option wait", "-n", "%s%n"]
        said = await here.push(ada, tree, "main", options=tuple(f"--push-option={option}" for option in options))
        assert said.code == 0, said.error
        assert len(made.pipelines) == 1
    assert not was_run(tmp_path)


async def test_a_missing_and_a_forbidden_repository_look_alike(tmp_path: Path, tree: WorkTree) -> None:
    async with world(tmp_path) as here:
        ada, mallory = await here.user("ada"), await here.user("mallory")
        await here.project(ada)
        answers = {
            re.sub("acme/[a-z]+", "X", (await here.git(mallory, tree, *verb, here.url(path), *rest)).error)
            for path in ("acme/app.git", "acme/nothing.git")
            for verb, rest in ((("push",), ("main",)), (("clone", "--quiet"), (str(tmp_path / "c"),)), (("ls-remote",), ()))
        }
        assert all("rondo: repository not found" in answer for answer in answers)
        assert len({answer.split("\n")[0] for answer in answers}) == 1
        assert await triggers(here) == []


async def test_a_repository_of_github_is_not_pushed_here(tmp_path: Path, tree: WorkTree) -> None:
    async with world(tmp_path) as here:
        ada = await here.user("ada")
        await here.project(ada, vcs=Vcs.GITHUB)
        assert "rondo: acme/app is not hosted here" in (await here.push(ada, tree, "main")).error


@pytest.mark.parametrize(
    "path", ["../../etc", "acme/../app", "~root/app", "acme/app/x", "'acme/app", "acme", "a b/c", "acme/.."]
)
async def test_paths_lead_nowhere_else(tmp_path: Path, path: str) -> None:
    async with world(tmp_path) as here:
        ada = await here.user("ada", is_admin=True)
        await here.project(ada)
        said = await here.ssh(ada, "git", f'git-upload-pack "{path}"')
        assert said.code == 1 and said.error.startswith("rondo: ")
        assert set((tmp_path / "repos").rglob("*.git")) == set()


@pytest.mark.parametrize(
    "command",
    ["git-upload-archive 'acme/app.git'", "git-shell", "id", "git-upload-pack", "git-upload-pack a b c", "scp -f x"],
)
async def test_other_commands_are_refused(tmp_path: Path, command: str) -> None:
    async with world(tmp_path) as here:
        ada = await here.user("ada", is_admin=True)
        await here.project(ada)
        said = await here.ssh(ada, "git", command)
        assert (said.code, said.out) == (1, "")
        assert said.error.startswith("rondo: only git commands here")


async def test_options_are_not_paths(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        ada = await here.user("ada", is_admin=True)
        said = await here.ssh(ada, "git", "git-upload-pack --help")
        assert said.code == 1 and "repository not found" in said.error


async def test_our_own_refs_cannot_be_pushed_or_seen(tmp_path: Path, tree: WorkTree) -> None:
    async with world(tmp_path) as here, intake(here):
        ada = await here.user("ada")
        await here.project(ada)
        said = await here.push(ada, tree, "main:refs/rondo/checkout")
        assert said.code != 0 and "hidden" in said.error
        assert await triggers(here) == []


async def test_objects_that_attack_a_checkout_are_refused(tmp_path: Path, tree: WorkTree) -> None:
    tree.git("update-ref", "refs/heads/evil", tree.git("commit-tree", "-m", "evil", bad_tree(tree)))
    async with world(tmp_path) as here:
        ada = await here.user("ada")
        await here.project(ada)
        said = await here.push(ada, tree, "evil")
        assert said.code != 0 and "hasDotgit" in said.error
        assert await triggers(here) == []


async def test_of_very_many_branches_only_the_default_one_is_built_and_that_is_told_briefly(
    tmp_path: Path, tree: WorkTree
) -> None:
    for number in range(60):
        tree.git("branch", f"b{number:02}")
    async with world(tmp_path) as here, intake(here) as made:
        ada = await here.user("ada")
        await here.project(ada)
        said = await here.push(ada, tree, "refs/heads/*:refs/heads/*")
        assert said.code == 0, said.error
        await until(lambda: len(made.pipelines) == 1)
        lines = remote_lines(said.error)
        assert len(lines) == 51 and lines[-1] == f"rondo: and 11 more: {PAGES}/pipelines"
        assert sum("too many at once" in line for line in lines) == 49


async def test_pushes_at_once_all_become_pipelines(tmp_path: Path, tree: WorkTree) -> None:
    async with world(tmp_path) as here, intake(here) as made:
        ada = await here.user("ada")
        await here.project(ada)
        await here.push(ada, tree, "main")
        async with asyncio.TaskGroup() as group:
            pushes = [group.create_task(here.push(ada, tree, f"HEAD:refs/heads/b{number}")) for number in range(6)]
        assert {push.result().code for push in pushes} == {0}
        assert len(made.pipelines) == 7
