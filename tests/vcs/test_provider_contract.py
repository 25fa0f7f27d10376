"""What every provider keeps, over all of them (`vcs/base.Provider`)."""

from __future__ import annotations

import tarfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pytest

from appliance.errors import NotFound, Refused, VcsError
from appliance.model import Project, Vcs
from appliance.vcs.base import CommitStatus, Provider, Resolved
from appliance.vcs.client import Git
from appliance.vcs.github import GitHub
from appliance.vcs.hosted import Hosted
from appliance.vcs.mirror import Mirrors
from appliance.vcs.plain import PlainGit
from tests.vcs.repos import WorkTree, project

LIMIT = 1 << 20
_typed: tuple[type[Provider], ...] = (Hosted, GitHub, PlainGit)


@dataclass
class Case:
    """A provider over a repository, and the work tree that its contents came from."""

    provider: Provider
    project: Project
    tree: WorkTree
    origin: Path

    def publish(self) -> None:
        self.tree.git(
            "push", "--quiet", "--force", str(self.origin), "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"
        )


@pytest.fixture(params=list(Vcs))
async def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    vcs: Vcs = request.param
    git = Git(timeout_s=60)
    hosted = Hosted(git, tmp_path / "data")
    hosted.prepare()
    origin = hosted.folder_of(project(Vcs.HOSTED))
    await hosted.create(project(Vcs.HOSTED))
    mirrors = Mirrors(git, tmp_path / "data" / "mirrors")
    providers: dict[Vcs, Provider] = {
        Vcs.HOSTED: hosted,
        Vcs.GITHUB: GitHub(mirrors, api="http://127.0.0.1:1", token=""),
        Vcs.GIT: PlainGit(mirrors),
    }
    of = project(vcs, None if vcs is Vcs.HOSTED else f"file://{origin}")
    made = Case(providers[vcs], of, WorkTree(tmp_path / "tree"), origin)
    made.tree.commit("Begin", **{".circleci/config.yml": "version: 2.1\n"})
    made.tree.git("tag", "--annotate", "--message", "one", "v1")
    made.publish()
    return made


async def collect(chunks: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in chunks])


async def test_a_new_commit_can_be_fetched_and_read(case: Case) -> None:
    for number in range(2):
        revision = case.tree.commit(f"Change {number}", number=str(number))
        case.publish()
        await case.provider.fetch(case.project, revision)
        await case.provider.fetch(case.project, revision)
        assert await case.provider.read_file(case.project, revision, "number", LIMIT) == str(number)
        assert (await case.provider.commit(case.project, revision)).subject == f"Change {number}"
        assert await case.provider.read_file(case.project, revision, "nothing", LIMIT) is None
    with pytest.raises(VcsError):
        await case.provider.read_file(case.project, revision, ".circleci/config.yml", 3)


async def test_a_branch_or_tag_is_what_it_is_now(case: Case) -> None:
    head = case.tree.head()
    assert await case.provider.resolve(case.project, branch=None, tag="v1") == Resolved(head, None, "v1")
    assert await case.provider.resolve(case.project, branch=None, tag=None) == Resolved(head, "main", None)
    head = case.tree.commit("More")
    case.publish()
    assert await case.provider.resolve(case.project, branch="main", tag=None) == Resolved(head, "main", None)
    assert (await case.provider.commit(case.project, head)).subject == "More"
    for branch, tag in (("none", None), (None, "none")):
        with pytest.raises(NotFound) as caught:
            await case.provider.resolve(case.project, branch=branch, tag=tag)
        assert isinstance(caught.value, VcsError)


async def test_a_revision_that_is_nowhere_is_a_sentence(case: Case) -> None:
    with pytest.raises(VcsError, match="there is no commit abab"):
        await case.provider.fetch(case.project, "ab" * 20)


async def test_a_bundle_and_an_archive_hold_the_commit(case: Case, tmp_path: Path) -> None:
    revision = case.tree.head()
    await case.provider.fetch(case.project, revision)
    bundle = tmp_path / "bundle"
    bundle.write_bytes(await collect(case.provider.bundle(case.project, revision, "main", None)))
    heads = case.tree.git("bundle", "list-heads", str(bundle)).splitlines()
    assert {f"{revision} refs/heads/main", f"{revision} refs/rondo/checkout"} <= set(heads)
    bundle.write_bytes(await collect(case.provider.bundle(case.project, revision, None, None)))
    assert f"{revision} refs/rondo/checkout" in case.tree.git("bundle", "list-heads", str(bundle))
    with tarfile.open(fileobj=BytesIO(await collect(case.provider.archive(case.project, revision)))) as archive:
        assert ".circleci/config.yml" in archive.getnames()


async def test_nothing_unsigned_is_taken_and_without_a_forge_nothing_is_said(case: Case) -> None:
    with pytest.raises(Refused):
        case.provider.receive(case.project, "secret", {}, b"{}")
    await case.provider.say(case.project, case.tree.head(), CommitStatus("c", "success", "d", ""))
