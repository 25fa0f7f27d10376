"""Mirrors of repositories at any URL: fetched when something is missing, whatever branches are called."""

from __future__ import annotations

import asyncio
import os
import tarfile
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path

import pytest

from appliance.errors import NotFound, VcsError
from appliance.model import Project
from appliance.vcs.base import Resolved
from appliance.vcs.client import Git
from appliance.vcs.mirror import Mirrors
from tests.vcs.repos import WorkTree, project

LIMIT = 1 << 20


def mirrors(folder: Path) -> Mirrors:
    return Mirrors(Git(timeout_s=60), folder / "mirrors")


def tree_and_project(folder: Path) -> tuple[WorkTree, Project]:
    tree = WorkTree(folder / "origin")
    tree.commit("Begin", README="hello")
    return tree, project(git_url=str(tree.folder))


def was_run(folder: Path) -> bool:
    """Whether a name was taken for a program: those here would make a file."""
    return any("pwned" in files for _, _, files in os.walk(folder)) or Path("/pwned").exists()


async def collect(chunks: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in chunks])


async def test_a_missing_revision_is_fetched_and_a_known_one_needs_no_remote(tmp_path: Path) -> None:
    tree, of = tree_and_project(tmp_path)
    mirror = mirrors(tmp_path)
    first = tree.head()
    await mirror.fetch(of, first)
    second = tree.commit("More", README="more")
    await mirror.fetch(of, second)
    assert await mirror.read_file(of, first, "README", LIMIT) == "hello"
    assert await mirror.read_file(of, second, "README", LIMIT) == "more"
    tree.folder.rename(tmp_path / "elsewhere")
    await mirror.fetch(of, second)
    with pytest.raises(VcsError, match="cannot fetch acme/app"):
        await mirror.fetch(of, None)


async def test_many_who_ask_at_once_share_one_fetch(tmp_path: Path) -> None:
    tree, of = tree_and_project(tmp_path)
    mirror = mirrors(tmp_path)
    revision = tree.head()
    async with asyncio.TaskGroup() as group:
        for _ in range(5):
            group.create_task(mirror.fetch(of, revision))
    assert (await mirror.commit(of, revision)).subject == "Begin"


async def test_a_revision_that_is_nowhere_is_said_to_be_gone(tmp_path: Path) -> None:
    _, of = tree_and_project(tmp_path)
    with pytest.raises(VcsError, match="it may have been pushed over"):
        await mirrors(tmp_path).fetch(of, "ab" * 20)


async def test_what_was_pushed_over_stays_readable_and_the_branch_follows(tmp_path: Path) -> None:
    tree, of = tree_and_project(tmp_path)
    mirror = mirrors(tmp_path)
    lost = tree.commit("Lost", README="lost")
    await mirror.fetch(of, lost)
    tree.git("reset", "--quiet", "--hard", "HEAD~1")
    kept = tree.commit("Kept", README="kept")
    assert await mirror.resolve(of, branch="main", tag=None) == Resolved(kept, "main", None)
    assert await mirror.read_file(of, lost, "README", LIMIT) == "lost"


async def test_a_commit_that_no_branch_holds_is_asked_for_by_name(tmp_path: Path) -> None:
    tree, of = tree_and_project(tmp_path)
    tree.git("config", "uploadpack.allowAnySHA1InWant", "true")
    tree.git("checkout", "--quiet", "--detach")
    hidden = tree.commit("Of a pull request", README="hidden")
    tree.git("checkout", "--quiet", "main")
    mirror = mirrors(tmp_path)
    await mirror.fetch(of, hidden)
    assert await mirror.read_file(of, hidden, "README", LIMIT) == "hidden"


async def test_branches_come_and_go_in_each_others_way(tmp_path: Path) -> None:
    tree, of = tree_and_project(tmp_path)
    mirror = mirrors(tmp_path)
    tree.git("branch", "a")
    await mirror.resolve(of, branch="a", tag=None)
    tree.git("branch", "--delete", "a")
    tree.git("branch", "a/b")
    assert (await mirror.resolve(of, branch="a/b", tag=None)).revision == tree.head()
    with pytest.raises(NotFound, match="there is no branch a in acme/app"):
        await mirror.resolve(of, branch="a", tag=None)


@pytest.mark.parametrize("name", ["$(touch${IFS}pwned)", "`id`", ";reboot", "-f", "--upload-pack=touch", "ünï/✓", "a'b\"c"])
async def test_branch_names_are_only_names(tmp_path: Path, name: str) -> None:
    tree, of = tree_and_project(tmp_path)
    tree.git("update-ref", f"refs/heads/{name}", "HEAD")
    tree.git("update-ref", f"refs/tags/{name}", "HEAD")
    mirror = mirrors(tmp_path)
    found = await mirror.resolve(of, branch=name, tag=None)
    assert found == Resolved(tree.head(), name, None)
    assert (await mirror.resolve(of, branch=None, tag=name)).revision == tree.head()
    bundle = tmp_path / "checkout.bundle"
    bundle.write_bytes(await collect(mirror.bundle(of, found.revision, name, None)))
    assert f"{found.revision} refs/heads/{name}" in tree.git("bundle", "list-heads", str(bundle))
    assert not was_run(tmp_path)


@pytest.mark.parametrize(
    "name", ["", "a..b", "a b", "a\nb", "a\0b", "/a", "a/", ".a", "a.lock", "a@{1}", "a~1", "a:b", "x\ud800"]
)
async def test_what_cannot_be_a_branch_never_reaches_git(tmp_path: Path, name: str) -> None:
    _, of = tree_and_project(tmp_path)
    with pytest.raises(VcsError, match="cannot be the name of a branch"):
        await mirrors(tmp_path).resolve(of, branch=name, tag=None)


@pytest.mark.parametrize(
    "revision", ["main", "HEAD", "-x", "--help", "a" * 39, "A" * 40, "0" * 40, "a" * 40 + "\n", "a" * 41]
)
async def test_only_whole_ids_are_revisions(tmp_path: Path, revision: str) -> None:
    _, of = tree_and_project(tmp_path)
    mirror = mirrors(tmp_path)
    await mirror.fetch(of, None)
    for ask in (
        lambda: mirror.fetch(of, revision),
        lambda: mirror.read_file(of, revision, "README", LIMIT),
        lambda: mirror.commit(of, revision),
        lambda: collect(mirror.bundle(of, revision, "main", None)),
        lambda: collect(mirror.archive(of, revision)),
    ):
        with pytest.raises(VcsError, match="is not the full id of a commit"):
            await ask()


@pytest.mark.parametrize(
    "url", ["ext::sh -c touch% pwned", "-oProxyCommand=touch pwned", "--upload-pack=touch pwned", "", "a\nb"]
)
async def test_urls_that_are_programs_or_options_are_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(VcsError, match="is not one that can be cloned"):
        await mirrors(tmp_path).fetch(project(git_url=url), None)


@pytest.mark.parametrize("url", ["ssh://-oProxyCommand=touch${IFS}pwned/x", "fd::17", "file:///nowhere"])
async def test_git_itself_refuses_the_rest(tmp_path: Path, url: str) -> None:
    with pytest.raises(VcsError):
        await mirrors(tmp_path).fetch(project(git_url=url), None)
    assert not was_run(tmp_path)


async def test_an_url_never_shows_its_token(tmp_path: Path) -> None:
    of = project(git_url="http://robot:s3cr3t@127.0.0.1:1/acme/app.git")
    with pytest.raises(VcsError) as caught:
        await mirrors(tmp_path).fetch(of, None)
    assert "http://127.0.0.1:1/acme/app.git" in str(caught.value)
    assert "s3cr3t" not in str(caught.value)


async def test_locks_of_a_killed_fetch_do_not_hold_up_the_next_start(tmp_path: Path) -> None:
    tree, of = tree_and_project(tmp_path)
    await mirrors(tmp_path).fetch(of, None)
    (folder,) = (tmp_path / "mirrors").glob("*.git")
    for lock in ("packed-refs.lock", "refs/heads/main.lock", "HEAD.lock"):
        (folder / lock).write_text("")
    revision = tree.commit("After the crash")
    await mirrors(tmp_path).fetch(of, revision)


async def test_a_tag_is_its_commit(tmp_path: Path) -> None:
    tree, of = tree_and_project(tmp_path)
    tree.git("tag", "--annotate", "--message", "one", "v1")
    mirror = mirrors(tmp_path)
    assert await mirror.resolve(of, branch=None, tag="v1") == Resolved(tree.head(), None, "v1")
    bundle = tmp_path / "tag.bundle"
    bundle.write_bytes(await collect(mirror.bundle(of, tree.head(), None, "v1")))
    heads = tree.git("bundle", "list-heads", str(bundle)).splitlines()
    assert {f"{tree.head()} refs/rondo/checkout", f"{tree.git('rev-parse', 'v1')} refs/tags/v1"} <= set(heads)


async def test_a_bundle_brings_every_branch_and_tag(tmp_path: Path) -> None:
    """`git describe` and `git diff origin/main` are what jobs do; they cannot fetch by themselves."""
    tree, of = tree_and_project(tmp_path)
    tree.git("tag", "v0")
    revision = tree.commit("Second", README="two")
    tree.git("branch", "other")
    bundle = tmp_path / "all.bundle"
    mirror = mirrors(tmp_path)
    await mirror.fetch(of, revision)
    bundle.write_bytes(await collect(mirror.bundle(of, revision, "other", None)))
    names = {line.split()[1] for line in tree.git("bundle", "list-heads", str(bundle)).splitlines()}
    assert names == {"refs/heads/main", "refs/heads/other", "refs/tags/v0", "refs/rondo/checkout"}


async def test_a_bundle_is_a_whole_history_for_a_fetch_without_network(tmp_path: Path) -> None:
    tree, of = tree_and_project(tmp_path)
    revision = tree.commit("Second", README="two")
    mirror = mirrors(tmp_path)
    await mirror.fetch(of, revision)
    bundle = tmp_path / "checkout.bundle"
    bundle.write_bytes(await collect(mirror.bundle(of, revision, "main", None)))
    clone = WorkTree(tmp_path / "clone")
    clone.git("fetch", "--quiet", str(bundle), "+refs/rondo/checkout:refs/remotes/origin/main")
    clone.git("checkout", "--quiet", "-B", "main", revision)
    assert clone.git("log", "--format=%s").splitlines() == ["Second", "Begin"]
    assert not list((tmp_path / "mirrors" / "scratch").iterdir())


async def test_bundles_and_fetches_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    tree, of = tree_and_project(tmp_path)
    mirror = mirrors(tmp_path)
    revisions = [tree.commit(f"Change {number}", README=str(number)) for number in range(4)]
    await mirror.fetch(of, None)

    async def check(revision: str) -> None:
        bundle = tmp_path / f"{revision}.bundle"
        bundle.write_bytes(await collect(mirror.bundle(of, revision, "main", None)))
        assert f"{revision} refs/heads/main" in tree.git("bundle", "list-heads", str(bundle))

    async with asyncio.TaskGroup() as group:
        for revision in revisions:
            group.create_task(check(revision))
        group.create_task(mirror.fetch(of, None))


async def test_breaking_off_a_bundle_leaves_nothing(tmp_path: Path) -> None:
    tree, of = tree_and_project(tmp_path)
    revision = tree.commit("Large", blob=bytes(range(256)) * 4096)
    mirror = mirrors(tmp_path)
    await mirror.fetch(of, revision)
    chunks = mirror.bundle(of, revision, "main", None)
    assert await anext(chunks)
    await chunks.aclose()  # type: ignore[attr-defined]
    assert not list((tmp_path / "mirrors" / "scratch").iterdir())


async def test_an_archive_is_the_whole_tree_whatever_its_attributes_say(tmp_path: Path) -> None:
    tree, of = tree_and_project(tmp_path)
    attributes = "secret.txt export-ignore\nversion.txt export-subst\n"
    revision = tree.commit(
        "Files", **{".gitattributes": attributes, "secret.txt": "s", "version.txt": "$Format:%H$", "a__b": "c"}
    )
    mirror = mirrors(tmp_path)
    await mirror.fetch(of, revision)
    with tarfile.open(fileobj=BytesIO(await collect(mirror.archive(of, revision)))) as archive:
        names = {member.name for member in archive if member.isfile()}
        version = archive.extractfile("version.txt")
        assert version is not None and version.read() == b"$Format:%H$"
    assert names == {".gitattributes", "README", "secret.txt", "version.txt", "a/b"}
