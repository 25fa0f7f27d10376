"""Hosted repositories without a door: folders, names, the hook's words."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from appliance.errors import NotFound, Refused, VcsError
from appliance.model import Vcs
from appliance.vcs.base import CommitStatus, Pushed, PushMark, RefUpdate
from appliance.vcs.client import Git
from appliance.vcs.hosted import Hosted, parse_mark
from appliance.vcs.serving import parse
from tests.vcs.repos import WorkTree, project

OF = project(Vcs.HOSTED)


def hosted(folder: Path) -> Hosted:
    made = Hosted(Git(timeout_s=60), folder)
    made.prepare()
    return made


async def test_a_repository_is_made_once(tmp_path: Path) -> None:
    here = hosted(tmp_path)
    await here.create(OF)
    head = tmp_path / "repos" / "acme" / "app.git" / "HEAD"
    assert head.read_text() == "ref: refs/heads/main\n"
    before = head.stat().st_ino
    await here.create(OF)
    assert head.stat().st_ino == before
    assert [path.name for path in (tmp_path / "repos" / "acme").iterdir()] == ["app.git"]


@pytest.mark.parametrize(("org", "repo"), [("..", "app"), ("acme", ".."), ("acme", "a/b"), ("-x", "app"), ("", "app")])
async def test_names_that_climb_are_refused(tmp_path: Path, org: str, repo: str) -> None:
    with pytest.raises(VcsError, match="cannot be the name of a hosted repository"):
        await hosted(tmp_path).create(project(Vcs.HOSTED, org=org, repo=repo))


def test_a_start_writes_the_hook_only_when_it_is_another(tmp_path: Path) -> None:
    """A disk that is full at a start does not matter: nothing is written again."""
    hosted(tmp_path)
    hook = tmp_path / "hooks" / "post-receive"
    before = hook.stat().st_ino
    hosted(tmp_path)
    assert hook.stat().st_ino == before
    wanted = hook.read_text()
    hook.write_text("that of another version")
    hosted(tmp_path)
    assert hook.read_text() == wanted


async def test_the_hook_can_be_run_and_does_nothing_for_others(tmp_path: Path) -> None:
    here = hosted(tmp_path)
    hook = tmp_path / "hooks" / "post-receive"
    assert stat.S_IMODE(hook.stat().st_mode) == 0o755
    tree = WorkTree(tmp_path / "tree")
    tree.commit("One")
    await here.create(OF)
    pushed = tree.git("-c", f"core.hooksPath={hook.parent}", "push", str(tmp_path / "repos/acme/app.git"), "main")
    assert pushed == ""


async def test_it_is_read_like_any_repository(tmp_path: Path) -> None:
    here = hosted(tmp_path)
    assert await here.refs(OF) == {}
    await here.create(OF)
    tree = WorkTree(tmp_path / "tree")
    revision = tree.commit("One", **{".circleci/config.yml": "version: 2.1"})
    tree.git("push", "--quiet", str(here.folder_of(OF)), "main")
    assert await here.refs(OF) == {"refs/heads/main": revision}
    await here.fetch(OF, revision)
    await here.fetch(OF, None)
    assert (await here.resolve(OF, branch=None, tag=None)).branch == "main"
    assert await here.read_file(OF, revision, ".circleci/config.yml", 100) == "version: 2.1"
    assert (await here.commit(OF, revision)).subject == "One"
    assert [chunk async for chunk in here.bundle(OF, revision, "main", None)]
    assert [chunk async for chunk in here.archive(OF, revision)]
    assert await here.last_push(OF, "refs/heads/main") is None  # nobody pushed it to us
    with pytest.raises(VcsError, match="there is no commit"):
        await here.fetch(OF, "ab" * 20)
    with pytest.raises(NotFound, match="there is no tag v9 in acme/app"):
        await here.resolve(OF, branch=None, tag="v9")
    with pytest.raises(VcsError, match="is not the name of a ref"):
        await here.last_push(OF, "../../HEAD")


async def test_it_has_no_forge_around_it(tmp_path: Path) -> None:
    here = hosted(tmp_path)
    await here.say(OF, "ab" * 20, CommitStatus("c", "success", "", ""))
    with pytest.raises(Refused, match="push to it"):
        here.receive(OF, "secret", {}, b"")


OLD, NEW, NONE = "a1" * 20, "b2" * 20, "0" * 40


def test_what_the_hook_says_is_understood() -> None:
    options = "option wait\noption updates\noption option x\n"
    refs = f"{OLD} {NEW} refs/heads/updates\n{NONE} {NEW} refs/tags/x\n{OLD} {NONE} refs/heads/y\n"
    said = f"{options}updates\n{refs}"
    assert parse(said.encode()) == Pushed(
        (
            RefUpdate("refs/heads/updates", OLD, NEW),
            RefUpdate("refs/tags/x", None, NEW),
            RefUpdate("refs/heads/y", OLD, None),
        ),
        ("wait", "updates", "option x"),
    )


@pytest.mark.parametrize("said", [b"", b"option wait\n", b"option wait\nupdat"])
def test_a_hook_that_is_cut_off_has_said_nothing(said: bytes) -> None:
    with pytest.raises(VcsError, match="ended in the middle"):
        parse(said)


@pytest.mark.parametrize(
    ("line", "mark"),
    [
        (f"{OLD} {NEW} Ada Löwe <f00d@push.rondo.invalid> 1760000000 +0000\tpush", PushMark("f00d", "Ada Löwe")),
        (f"{OLD} {NEW} a b c <f00d@push.rondo.invalid> 1 +0000", PushMark("f00d", "a b c")),
        (f"{OLD} {NEW} Ada <ada@example.org> 1760000000 +0000\tpush <f00d@push.rondo.invalid> 1", None),
        (f"{OLD} {NEW} Ada <@push.rondo.invalid> 1 +0000\t", None),
        ("", None),
        ("garbage", None),
    ],
)
def test_a_mark_is_read_from_a_refs_log(line: str, mark: PushMark | None) -> None:
    assert parse_mark(line) == mark
