"""Reading files and commits of a repository that strangers have written."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.errors import VcsError
from appliance.vcs.client import Git
from appliance.vcs.repository import Repository
from tests.vcs.repos import WorkTree

CONFIG = ".circleci/config.yml"


def repository(tree: WorkTree) -> Repository:
    return Repository(Git(timeout_s=60), tree.folder / ".git", tree.folder.parent / "scratch", "acme/app")


@pytest.fixture
def tree(tmp_path: Path) -> WorkTree:
    return WorkTree(tmp_path / "tree")


async def test_a_file_is_read_at_its_revision(tree: WorkTree) -> None:
    old = tree.commit("One", **{CONFIG: "version: 2.1\n"})
    new = tree.commit("Two", **{CONFIG: "version: 2.1 # ünï\n"})
    assert await repository(tree).read_file(old, CONFIG, 100) == "version: 2.1\n"
    assert await repository(tree).read_file(new, CONFIG, 100) == "version: 2.1 # ünï\n"


async def test_what_is_not_a_file_is_none(tree: WorkTree) -> None:
    revision = tree.commit("One", **{CONFIG: "version: 2.1\n", "empty": ""})
    for path in ("nothing", ".circleci", ".circleci/config.yml/x", "a\nb", "a\0b", "../etc/passwd", "/etc/passwd"):
        assert await repository(tree).read_file(revision, path, 100) is None
    assert await repository(tree).read_file(revision, "empty", 100) == ""


async def test_a_link_leads_inside_the_tree_and_no_further(tree: WorkTree) -> None:
    (tree.folder / "inside").symlink_to("real.yml")
    (tree.folder / "outside").symlink_to("/etc/passwd")
    (tree.folder / "above").symlink_to("../../etc/passwd")
    (tree.folder / "loop").symlink_to("loop")
    (tree.folder / "dangling").symlink_to("nowhere")
    revision = tree.commit("Links", **{"real.yml": "real"})
    assert await repository(tree).read_file(revision, "inside", 100) == "real"
    for path in ("outside", "above", "loop", "dangling"):
        assert await repository(tree).read_file(revision, path, 100) is None


async def test_a_large_file_is_refused_without_reading_it(tree: WorkTree) -> None:
    revision = tree.commit("Large", large="x" * 101)
    with pytest.raises(VcsError, match=r"large at [0-9a-f]{12} in acme/app has 101 bytes; the most that is read is 100"):
        await repository(tree).read_file(revision, "large", 100)


async def test_a_binary_file_is_said_to_be_one(tree: WorkTree) -> None:
    revision = tree.commit("Binary", binary=b"abc\xff")
    with pytest.raises(VcsError, match=r"is not UTF-8 text \(byte 3\)"):
        await repository(tree).read_file(revision, "binary", 100)


async def test_a_commit_says_who_and_what(tree: WorkTree) -> None:
    revision = tree.commit("Add things\n\nBecause of `id` and $(id).\n\nSigned-off-by: root")
    commit = await repository(tree).commit(revision)
    assert commit.subject == "Add things"
    assert commit.body == "Because of `id` and $(id).\n\nSigned-off-by: root"
    assert (commit.author_name, commit.author_email) == ("Ada Löwe", "ada@example.org")
    assert commit.authored_at == "2026-03-01T10:00:00+01:00"


async def test_a_commit_message_of_a_megabyte_is_cut(tree: WorkTree) -> None:
    (tree.folder / "message").write_text("s" * 500_000 + "\n\n" + "b" * 400_000)
    tree.git("commit", "--quiet", "--allow-empty", "--file", "message")
    commit = await repository(tree).commit(tree.head())
    assert (len(commit.subject), len(commit.body)) == (20_000, 20_000)


async def test_a_commit_that_is_not_utf8_is_still_a_commit(tree: WorkTree) -> None:
    (tree.folder / "message").write_bytes(b"caf\xe9\n")
    tree.git("commit", "--quiet", "--allow-empty", "--file", "message")
    assert (await repository(tree).commit(tree.head())).subject.startswith("caf")


async def test_an_object_that_is_no_commit_is_not_one(tree: WorkTree) -> None:
    tree.commit("One", README="hello")
    blob, of_tree = tree.git("rev-parse", "HEAD:README"), tree.git("rev-parse", "HEAD^{tree}")
    for object_id in (blob, of_tree):
        assert await repository(tree).peeled(object_id) is None
        assert not await repository(tree).has(object_id)
    assert await repository(tree).has(tree.head())
    assert not await repository(tree).has("ab" * 20)
