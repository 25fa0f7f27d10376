"""Photographs of real working trees by the real git: what is in them, and that the user's repository stays as it was."""

from __future__ import annotations

import asyncio
import subprocess
import tarfile
from pathlib import Path

import pytest

from appliance.errors import VcsError
from appliance.model import Project, ProjectId, Vcs
from appliance.vcs import working_tree
from appliance.vcs.client import Git
from appliance.vcs.photographed import Photographed
from appliance.vcs.working_tree import Snapshot

PERSON = ("-c", "user.name=A Person", "-c", "user.email=person@example.org", "-c", "commit.gpgsign=false")


def git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", *PERSON, *words], cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    root.mkdir()
    git(root, "init", "-q", "-b", "topic")
    (root / ".gitignore").write_text("ignored\n")
    for name in ("kept", "changed", "removed", "staged"):
        (root / name).write_text(f"{name}\n")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "The first\n\nwith a body")
    return root


def photograph(root: Path) -> Snapshot:
    return working_tree.take(root, root.parent / "store", ".rondo")


def files_in(root: Path, snapshot: Snapshot) -> dict[str, str]:
    """As the provider hands them to an image without git."""
    project = Project(
        id=ProjectId("p"), slug="s", vcs=Vcs.GIT, org="o", repo="r", git_url="u", default_branch="main", created_at_ms=0
    )
    provider = Photographed(Git(), root.parent / "store", root.parent / "scratch")

    async def read() -> bytes:
        return b"".join([chunk async for chunk in provider.archive(project, snapshot.revision)])

    archive = root.parent / "tree.tar"
    archive.write_bytes(asyncio.run(read()))
    with tarfile.open(archive) as tar:
        return {each.name: tar.extractfile(each).read().decode() for each in tar if each.isfile()}  # type: ignore[union-attr]


def state_of(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted((root / ".git").rglob("*")) if path.is_file()}


def test_a_clean_tree_is_its_commit(tree: Path) -> None:
    snapshot = photograph(tree)
    assert snapshot.revision == git(tree, "rev-parse", "HEAD").strip()
    assert (snapshot.branch, snapshot.commit.subject, snapshot.notes) == ("topic", "The first", ())


def test_what_is_changed_staged_new_and_gone_is_seen_and_the_repository_untouched(tree: Path) -> None:
    (tree / "changed").write_text("otherwise\n")
    (tree / "removed").unlink()
    (tree / "staged").write_text("staged otherwise\n")
    git(tree, "add", "staged")
    (tree / "new").write_text("new\n")
    (tree / "ignored").write_text("no\n")
    (tree / "run.sh").write_text("#!/bin/sh\n")
    (tree / "run.sh").chmod(0o755)
    before, status = state_of(tree), git(tree, "status", "--porcelain")
    before = state_of(tree)
    snapshot = photograph(tree)
    assert state_of(tree) == before
    assert git(tree, "status", "--porcelain") == status
    files = files_in(tree, snapshot)
    assert files["changed"] == "otherwise\n" and files["staged"] == "staged otherwise\n" and files["new"] == "new\n"
    assert "removed" not in files and "ignored" not in files
    assert photograph(tree).revision == snapshot.revision, "the same files give the same id"


def test_a_checkout_of_it_has_the_history_and_the_branches_of_origin(tree: Path) -> None:
    clone = tree.parent / "clone"
    git(tree, "tag", "v1")
    git(tree, "branch", "other")
    git(tree.parent, "clone", "-q", str(tree), "clone")
    (clone / "kept").write_text("changed here\n")
    snapshot = working_tree.take(clone, tree.parent / "store", ".rondo")
    assert (snapshot.origin_url, snapshot.default_branch) == (str(tree), "topic")
    refs = git(tree.parent, "--git-dir", "store", "for-each-ref", "--format=%(refname)").split()
    assert refs == ["refs/heads/other", "refs/heads/topic", "refs/tags/v1"]
    assert git(tree.parent, "--git-dir", "store", "log", "--format=%s", snapshot.revision) == "The first\nThe first\n"


def test_a_shallow_clone_is_a_single_commit_and_says_so(tree: Path) -> None:
    git(tree, "commit", "-q", "--allow-empty", "-m", "The second")
    git(tree.parent, "clone", "-q", "--depth", "1", f"file://{tree}", "shallow")
    snapshot = working_tree.take(tree.parent / "shallow", tree.parent / "store", ".rondo")
    assert files_in(tree, snapshot)["kept"] == "kept\n"
    assert "not the whole history" in snapshot.notes[0]


def test_a_folder_without_git_or_without_commits(tree: Path) -> None:
    plain = tree.parent / "plain"
    plain.mkdir()
    (plain / "a").write_text("a\n")
    (plain / ".gitignore").write_text("b\n")
    (plain / "b").write_text("b\n")
    snapshot = photograph(plain)
    assert sorted(files_in(plain, snapshot)) == [".gitignore", "a"] and snapshot.branch == "main"
    assert "no git repository" in snapshot.notes[0]
    git(plain, "init", "-q", "-b", "young")
    snapshot = photograph(plain)
    assert sorted(files_in(plain, snapshot)) == [".gitignore", "a"] and (snapshot.branch, snapshot.notes) == ("young", ())


def test_repositories_inside_it_are_named(tree: Path) -> None:
    inner = tree / "inner"
    inner.mkdir()
    git(inner, "init", "-q")
    (inner / "file").write_text("x")
    git(inner, "add", "-A")
    git(inner, "commit", "-q", "-m", "inner")
    module = tree.parent / "module"
    git(tree.parent, "clone", "-q", str(inner), str(module))
    git(tree, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(module), "module")
    assert photograph(tree).notes == ("inner is a git repository of its own: jobs find an empty folder there",)
    (tree / "module" / "more").write_text("more")
    assert any("submodule module has changes" in note for note in photograph(tree).notes)


def test_in_a_linked_worktree_and_from_a_hook(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    linked = tree.parent / "linked"
    git(tree, "worktree", "add", "-q", str(linked), "-b", "elsewhere")
    (linked / "new").write_text("new\n")
    snapshot = working_tree.take(linked, tree.parent / "store", ".rondo")
    assert snapshot.branch == "elsewhere" and files_in(tree, snapshot)["new"] == "new\n"
    monkeypatch.setenv("GIT_DIR", str(tree / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tree / ".git" / "index"))
    assert photograph(tree).branch == "topic"


def test_files_of_ours_that_git_keeps_are_refused(tree: Path) -> None:
    (tree / ".rondo").mkdir()
    (tree / ".rondo" / "x").write_text("x")
    git(tree, "add", "-A")
    with pytest.raises(VcsError, match=r"git rm -r --cached \.rondo"):
        photograph(tree)
