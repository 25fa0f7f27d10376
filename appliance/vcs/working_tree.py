"""A working tree as it is now: uncommitted and untracked files included, as a commit that the user's repository never sees.

The index is a copy, and new objects go into a bare repository of ours that reads the user's objects as alternates. So the
user's git (its filters, its ignore files, its sparse checkout) decides what is in the tree, and nothing of theirs changes.
The same files on the same commit give the same id: `{{ .Revision }}` and caches by it hold from run to run.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from appliance.errors import VcsError
from appliance.model import Commit
from appliance.vcs.own_git import git

_OF_ORIGIN = "refs/remotes/origin/"
_FIRST = "1577836800 +0000"  # the date of a tree that has no commit below it
_FIELDS = "%H%x00%T%x00%cd%x00%an%x00%ae%x00%aI%x00%s%x00%b"
_UNTOUCHED = ("-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "core.splitIndex=false")
_NO_ADVICE = ("-c", "advice.addEmbeddedRepo=false", "-c", "core.safecrlf=false", "-c", "gc.auto=0")


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A working tree as a commit. `notes` are sentences on what the jobs will not see as it is."""

    revision: str
    branch: str | None  # None: a detached HEAD
    default_branch: str
    origin_url: str | None
    commit: Commit  # what is checked out, and where there is none, nothing
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Head:
    """The commit that is checked out."""

    revision: str
    tree: str
    date: str
    commit: Commit


class _Ref(NamedTuple):
    """`leads_to` is the ref that a symbolic one stands for, else ""."""

    value: str
    name: str
    leads_to: str


def take(root: Path, store: Path, own: str) -> Snapshot:
    """Photograph the tree at `root` into the bare repository `store`, which is ours alone; `own` is our folder in it.

    Blocks. Raises VcsError with git's words, also when `own` is part of what git keeps.
    """
    _prepare(store)
    if not (root / ".git").exists():
        return _without_git(root, store)
    with ThreadPoolExecutor(4) as pool:
        places = pool.submit(git, root, "rev-parse", *_paths("index", "objects", "shallow"))
        head = pool.submit(_head, root)
        refs = pool.submit(git, root, "for-each-ref", "--format=%(objectname) %(refname) %(symref)")
        facts = pool.submit(_facts, root, own)
        index, objects, shallow = (root / line for line in places.result().splitlines())
        tree, notes = _tree(root, store, index, objects)
        branch, origin, is_kept = facts.result()
    if is_kept:
        raise VcsError(f"git keeps files below {own}, which is for runs on this machine: git rm -r --cached {own}")
    found, all_refs = head.result(), _refs(refs.result())
    is_cut = shallow.exists() or any((objects / "pack").glob("*.promisor"))
    if is_cut and found is not None:
        notes.append("this clone has not the whole history: jobs see the tree as a single commit")
    if found is not None and tree == found.tree and not is_cut:
        revision = found.revision
    else:
        revision = _commit(root, store, objects, tree, found, has_parent=not is_cut)
    _note_refs(store, [] if is_cut else all_refs)
    return Snapshot(
        revision=revision,
        branch=branch,
        default_branch=_default_branch(all_refs, branch),
        origin_url=origin,
        commit=found.commit if found is not None else Commit(),
        notes=tuple(notes),
    )


def _paths(*names: str) -> list[str]:
    return [word for name in names for word in ("--git-path", name)]


def _without_git(root: Path, store: Path) -> Snapshot:
    """A folder without a repository: everything that its .gitignore files do not name."""
    tree, notes = _tree(root, store, store / "no-index", None)
    revision = _commit(root, store, None, tree, None, has_parent=False)
    return Snapshot(
        revision=revision,
        branch="main",
        default_branch="main",
        origin_url=None,
        commit=Commit(),
        notes=("this folder is in no git repository: jobs see its files as a single commit", *notes),
    )


def _prepare(store: Path) -> None:
    """Empty but for what a bare repository needs: what earlier runs photographed is of no use any more."""
    shutil.rmtree(store / "objects", ignore_errors=True)
    for folder in ("objects/info", "objects/pack", "refs"):
        (store / folder).mkdir(parents=True, exist_ok=True)
    (store / "HEAD").write_text("ref: refs/heads/none\n")
    (store / "config").write_text("[core]\n\trepositoryformatversion = 0\n\tbare = true\n")
    (store / "packed-refs").unlink(missing_ok=True)


def _tree(root: Path, store: Path, index: Path, objects: Path | None) -> tuple[str, list[str]]:
    """The id of the tree as it is now, its objects in `store`, and what is to be said about it."""
    copy = store / "index"
    for left in (copy, copy.with_suffix(".lock")):
        left.unlink(missing_ok=True)
    if index.exists():
        shutil.copyfile(index, copy)  # what git knows of unchanged files spares it to read them
    environment = {"GIT_INDEX_FILE": str(copy), **_objects(store, objects)}
    if objects is None:
        environment |= {"GIT_DIR": str(store), "GIT_WORK_TREE": str(root)}
    else:
        (store / "objects" / "info" / "alternates").write_text(f"{objects.resolve()}\n")
    git(root, *_UNTOUCHED, *_NO_ADVICE, "add", "--all", "--", ".", environment=environment)
    tree = git(root, *_UNTOUCHED, "write-tree", environment=environment).strip()
    return tree, _about_modules(root, environment)


def _objects(store: Path, objects: Path | None) -> dict[str, str]:
    found = {"GIT_OBJECT_DIRECTORY": str(store / "objects")}
    if objects is not None:
        found["GIT_ALTERNATE_OBJECT_DIRECTORIES"] = str(objects.resolve())
    return found


def _about_modules(root: Path, environment: Mapping[str, str]) -> list[str]:
    """Repositories inside this one come as commits, not as files: what is not committed in them stays behind."""
    if not (root / ".gitmodules").exists() and not _has_links(root, environment):
        return []
    listed = git(root, *_UNTOUCHED, "ls-files", "--stage", "-z", environment=environment)
    links = [entry.partition("\t")[2] for entry in listed.split("\0") if entry.startswith("160000 ")]
    modules = (root / ".gitmodules").read_text("utf-8", "replace") if (root / ".gitmodules").exists() else ""
    notes = []
    for link in links:
        if f"path = {link}\n" not in modules:
            notes.append(f"{link} is a git repository of its own: jobs find an empty folder there")
        elif (root / link / ".git").exists() and git(root / link, "status", "--porcelain").strip():
            notes.append(f"submodule {link} has changes that are not committed: jobs see its commit without them")
    return notes


def _has_links(root: Path, environment: Mapping[str, str]) -> bool:
    """Whether `add` met a repository that is no submodule: seen in what changed against the commit, which is cheap."""
    try:
        changed = git(root, *_UNTOUCHED, "diff-index", "--cached", "--raw", "HEAD", environment=environment)
    except VcsError:  # no commit yet
        changed = git(root, *_UNTOUCHED, "ls-files", "--stage", environment=environment)
        return any(line.startswith("160000 ") for line in changed.splitlines())
    return any(line.split(" ")[1] == "160000" for line in changed.splitlines())


def _head(root: Path) -> _Head | None:
    try:
        said = git(root, "log", "-1", "--no-show-signature", "--date=raw", f"--format={_FIELDS}", "HEAD", "--")
    except VcsError:  # no commit yet
        return None
    revision, tree, date, name, email, at, subject, body = said.rstrip("\n").split("\0")
    commit = Commit(subject=subject, body=body.strip("\n"), author_name=name, author_email=email, authored_at=at)
    return _Head(revision=revision, tree=tree, date=date, commit=commit)


def _facts(root: Path, own: str) -> tuple[str | None, str | None, bool]:
    """The branch, the URL of origin, and whether git keeps files in our folder."""
    branch = _output(root, "symbolic-ref", "--quiet", "--short", "HEAD")
    url = _output(root, "config", "--get", "remote.origin.url")
    return branch, url, _output(root, "ls-files", "--cached", "--", own) is not None


def _output(root: Path, *arguments: str) -> str | None:
    """None for none, and where git fails: what was asked for is not set."""
    try:
        return git(root, *arguments).strip() or None
    except VcsError:
        return None


def _commit(root: Path, store: Path, objects: Path | None, tree: str, head: _Head | None, *, has_parent: bool) -> str:
    """The tree as a commit, as if the last one had been followed by one with the same words at the same moment."""
    said = head.commit if head is not None else Commit(subject="Working tree", author_name="-", author_email="-")
    date = head.date if head is not None else _FIRST
    environment = _objects(store, objects) | {"GIT_DIR": str(store)}
    for who in ("AUTHOR", "COMMITTER"):
        environment |= {
            f"GIT_{who}_NAME": said.author_name or "-",
            f"GIT_{who}_EMAIL": said.author_email or "-",
            f"GIT_{who}_DATE": date,
        }
    parents = ["-p", head.revision] if has_parent and head is not None else []
    message = f"{said.subject}\n\n{said.body}\n" if said.body else f"{said.subject}\n"
    arguments = ("-c", "commit.gpgSign=false", "commit-tree", "--no-gpg-sign", *parents, tree)
    return git(root, *arguments, environment=environment, stdin=message).strip()


def _refs(listed: str) -> list[_Ref]:
    return [_Ref(*line.split(" ", 2)) for line in listed.splitlines()]


def _note_refs(store: Path, refs: Sequence[_Ref]) -> None:
    """The branches of origin and the tags under the names that a push would have given them."""
    found: dict[str, str] = {}
    for ref in refs:
        if ref.leads_to:
            continue
        if ref.name.startswith(_OF_ORIGIN):
            found.setdefault(f"refs/heads/{ref.name.removeprefix(_OF_ORIGIN)}", ref.value)
        elif ref.name.startswith("refs/tags/"):
            found[ref.name] = ref.value
        elif ref.name.startswith("refs/heads/"):
            found[ref.name] = ref.value  # where origin has one of this name too, the one here is what is worked on
    lines = [f"{value} {name}\n" for name, value in sorted(found.items())]
    (store / "packed-refs").write_text("# pack-refs with: sorted \n" + "".join(lines), "utf-8")


def _default_branch(refs: Sequence[_Ref], branch: str | None) -> str:
    """That of origin when the clone knows it, else the usual ones, else the one that is checked out."""
    head = next((ref.leads_to for ref in refs if ref.name == f"{_OF_ORIGIN}HEAD"), "")
    if head:
        return head.removeprefix(_OF_ORIGIN)
    names = {ref.name for ref in refs}
    for name in ("main", "master"):
        if f"{_OF_ORIGIN}{name}" in names or f"refs/heads/{name}" in names:
            return name
    return branch or "main"
