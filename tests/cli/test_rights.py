"""`rondo project`, `context` and `user`, where they say who may have what."""

from __future__ import annotations

from contextlib import closing

import pytest

from appliance.model import ProjectFlags
from appliance.store import contexts, people, projects, restrictions
from appliance.store.database import open_plain
from tests.cli.line import Line


def test_a_name_that_no_repository_can_have_leaves_no_project_behind(rondo: Line) -> None:
    rondo("project", "create", "a..b/x", says=1)
    assert rondo("project", "list") == ""
    rondo("project", "create", "acme/x")
    assert "acme/x" in rondo("project", "list")


@pytest.mark.parametrize("words", [("--remove", "KEY"), ("KEY", "--remove")])
def test_a_variable_is_removed_in_either_order(rondo: Line, words: tuple[str, ...]) -> None:
    rondo("project", "create", "acme/x")
    rondo("project", "env", "acme/x", "KEY", stdin="value")
    assert rondo("project", "env", "acme/x") == "KEY\n"
    rondo("project", "env", "acme/x", *words)
    assert "has no variable" in rondo("project", "env", "acme/x")
    assert "has no variable KEY" in rondo("project", "env", "acme/x", *words, says=1)
    assert "which variable" in rondo("project", "env", "acme/x", "--remove", says=1)
    assert "is no name" in rondo("project", "env", "acme/x", "K-Y", stdin="value", says=1)


def test_settings_are_set_and_shown(rondo: Line) -> None:
    rondo("project", "create", "acme/x")
    rondo("project", "set", "acme/x", "oss", "on")
    rondo("project", "set", "acme/x", "set_github_status", "off")
    rondo("project", "set", "acme/x", "pr_only_branch_overrides", "main", "release/.*")
    shown = rondo("project", "show", "acme/x").splitlines()
    assert [line.split() for line in shown if "oss" in line] == [["oss", "on"]]
    for wrong in (("oss",), ("oss", "yes"), ("nothing", "on"), ("pr_only_branch_overrides", "(")):
        rondo("project", "set", "acme/x", *wrong, says=1)
    with closing(open_plain(rondo.data / "rondo.db")) as tx:
        kept = projects.flags(tx, projects.find(tx, "acme/x").id)
    assert kept == ProjectFlags(oss=True, set_github_status=False, pr_only_branch_overrides=("main", "release/.*"))


def test_a_setting_that_nobody_knows_is_named_with_those_there_are(rondo: Line) -> None:
    rondo("project", "create", "acme/x")
    for words in (("foo=bar",), ("foo", "bar"), ("foo",)):
        assert "There is no setting foo; there are autocancel_builds, " in rondo("project", "set", "acme/x", *words, says=1)
    said = rondo("project", "set", "acme/x", "pr_only_branch_overrides=main", says=1)
    assert "rondo project set acme/x pr_only_branch_overrides [PATTERN ...]" in said
    assert "rondo project set acme/x oss on|off" in rondo("project", "set", "acme/x", "oss=on", says=1)


@pytest.mark.parametrize("name", ["bad name!", "", ".x", "a" * 65, "a\nb", "acme/ann"])
def test_what_cannot_be_a_user_is_refused(rondo: Line, name: str) -> None:
    assert "is no name for a user" in rondo("user", "add", name, says=1)


def test_a_user_may_be_called_as_elsewhere_and_keeps_an_older_name(rondo: Line) -> None:
    for name in ("ann", "Ann-On-GitHub", "ann@example.org", "jörg", "ann.b_c+d"):
        rondo("user", "add", name)
    with closing(open_plain(rondo.data / "rondo.db")) as tx:
        people.add(tx, name="Ann B", is_admin=False, sees_all_projects=True, now_ms=1)
    assert "changed user Ann B" in rondo("user", "add", "Ann B")


def test_lists_of_nothing_say_so(rondo: Line) -> None:
    rondo("project", "create", "acme/x")
    rondo("context", "create", "deploy")
    assert "acme/x has no variable" in rondo("project", "env", "acme/x")
    assert "deploy has no restriction" in rondo("context", "restrict", "deploy")
    assert "there is no orb" in rondo("orb", "list")


def test_a_context_is_restricted_and_opened_again(rondo: Line) -> None:
    rondo("project", "create", "acme/x")
    rondo("user", "add", "ann")
    rondo("context", "create", "deploy")
    rondo("context", "restrict", "deploy", "--project", "acme/x")
    rondo("context", "restrict", "deploy", "--group", "members")
    rondo("context", "restrict", "deploy", "--user", "ann")
    said = rondo("context", "restrict", "deploy", "--expression", 'pipeline.git.branch == "main"')
    assert [line.split("  ", 1)[1] for line in said.splitlines()] == [
        "project  acme/x",
        "group  All members",
        "group  ann",
        'expression  pipeline.git.branch == "main"',
    ]
    rondo("context", "restrict", "deploy", "--expression", "pipeline.parameters.x", says=1)
    rondo("context", "restrict", "deploy", "--user", "ann", says=1)
    with closing(open_plain(rondo.data / "rondo.db")) as tx:
        found = restrictions.of_context(tx, contexts.find(tx, "deploy").id)
    for one in found:
        rondo("context", "restrict", "deploy", "--remove", one.id)
    assert "deploy has no restriction" in rondo("context", "restrict", "deploy")
    rondo("context", "restrict", "deploy", "--remove", found[0].id, says=1)


def test_a_login_that_changes_hands_is_nobodys(rondo: Line) -> None:
    rondo("user", "add", "ann")
    rondo("user", "add", "bea")
    rondo("user", "link", "ann", "github:Ann-On-GitHub")
    rondo("user", "link", "bea", "github:ann-on-github", says=1)
    assert "github:Ann-On-GitHub" in rondo("user", "list")
    with closing(open_plain(rondo.data / "rondo.db")) as tx:
        ann = people.by_name(tx, "ann").id
        assert people.by_login(tx, "github", "ann-on-github", "") is None, "no id, no trust"
        assert people.by_login(tx, "github", "ann-on-github", "17") == ann
        assert people.by_login(tx, "github", "ann-on-github", "18") is None, "somebody else took the login"
        assert people.by_login(tx, "github", "ann-on-github", "17") == ann
        assert people.by_login(tx, "github", "bea", "19") is None
    rondo("user", "link", "ann", "github:Ann-On-GitHub", "--remove")
    with closing(open_plain(rondo.data / "rondo.db")) as tx:
        assert people.by_login(tx, "github", "ann-on-github", "17") is None


def test_layers_of_a_project_are_purged(rondo: Line) -> None:
    rondo("project", "create", "acme/x")
    assert "forgot 0 sets of layers of acme/x" in rondo("project", "purge-layers", "acme/x")
    rondo("project", "purge-layers", "acme/none", says=1)


@pytest.mark.parametrize(
    "words", [("user", "add", "eve", "--project", "acme/y"), ("project", "show", "acme/y"), ("project", "caches", "acme/y")]
)
def test_a_project_that_is_not_there_is_named(rondo: Line, words: tuple[str, ...]) -> None:
    assert "there is no project acme/y" in rondo(*words, says=1)
    assert "eve" not in rondo("user", "list")
