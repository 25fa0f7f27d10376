"""Which refs of one push may start something."""

from __future__ import annotations

from appliance.model import Project, ProjectId, Vcs
from appliance.sshd.pushes import sift
from appliance.vcs.base import RefUpdate

PROJECT = Project(
    id=ProjectId("p"),
    slug="circleci/acme/app",
    vcs=Vcs.HOSTED,
    org="acme",
    repo="app",
    git_url=None,
    default_branch="main",
    created_at_ms=1,
)


def updates(kind: str, count: int) -> list[RefUpdate]:
    return [RefUpdate(f"refs/{kind}/{number}", None, "1" * 40) for number in range(count)]


def test_a_few_refs_start_pipelines_each() -> None:
    wanted = [*updates("heads", 20), *updates("tags", 3)]
    assert sift(PROJECT, wanted) == (wanted, [])


def test_an_imported_repository_is_not_built_whole() -> None:
    main = RefUpdate("refs/heads/main", None, "1" * 40)
    branches, tags = updates("heads", 30), updates("tags", 100)
    kept, skipped = sift(PROJECT, [*branches, main, *tags])
    assert kept == [main]
    assert len(skipped) == 130


def test_deletions_do_not_count() -> None:
    gone = [RefUpdate(f"refs/tags/{number}", "1" * 40, None) for number in range(9)]
    assert sift(PROJECT, gone) == (gone, [])
