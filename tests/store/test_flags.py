"""A project's settings as they are kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import fields, replace
from pathlib import Path

import pytest

from appliance.model import PipelineState, Project, ProjectFlags, Trigger, TriggerKind, Vcs
from appliance.store import pipelines, projects
from appliance.store.database import Tx, open_plain

SWITCHES = [field.name for field in fields(ProjectFlags) if field.type == "bool"]


@pytest.fixture
def tx(tmp_path: Path) -> Iterator[Tx]:
    with closing(open_plain(tmp_path / "rondo.db")) as connection:
        yield connection


@pytest.fixture
def project(tx: Tx) -> Project:
    return projects.add(tx, org="acme", repo="app", vcs=Vcs.HOSTED, git_url=None, default_branch="main", now_ms=1)


@pytest.mark.parametrize("name", SWITCHES)
def test_each_flag_is_kept_by_itself(tx: Tx, project: Project, name: str) -> None:
    assert projects.flags(tx, project.id) == ProjectFlags()
    changed = replace(ProjectFlags(), **{name: not getattr(ProjectFlags(), name)})  # type: ignore[arg-type]
    projects.set_flags(tx, project.id, changed)
    assert projects.flags(tx, project.id) == changed
    projects.set_flags(tx, project.id, replace(changed, pr_only_branch_overrides=("main", "release/.*")))
    assert projects.flags(tx, project.id).pr_only_branch_overrides == ("main", "release/.*")


@pytest.mark.parametrize(("is_fork", "is_allowed", "may"), [(False, False, True), (True, False, False), (True, True, True)])
def test_what_a_fork_gets_is_settled_when_its_pipeline_begins(
    tx: Tx, project: Project, is_fork: bool, is_allowed: bool, may: bool
) -> None:
    projects.set_flags(tx, project.id, ProjectFlags(forks_receive_secret_env_vars=is_allowed))
    trigger = Trigger(
        project_id=project.id,
        kind=TriggerKind.WEBHOOK,
        semantic_key="k",
        revision="1" * 40,
        branch="pull/1",
        is_fork=is_fork,
    )
    made = pipelines.add_pipeline(
        tx, trigger, state=PipelineState.CREATED, source="", compiled="", values={}, problems=(), now_ms=1
    )
    projects.set_flags(tx, project.id, ProjectFlags(forks_receive_secret_env_vars=not is_allowed))
    kept = pipelines.pipeline(tx, made.id)
    assert (kept.is_trusted, kept.may_have_secrets) == (not is_fork, may)
