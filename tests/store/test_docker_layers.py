"""Layers kept for private Docker engines: one job at a time, the last used first, bounded, forgotten on demand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from appliance.model import JobId, Project, Vcs
from appliance.store import docker_layers, projects
from appliance.store.database import Tx, open_plain

KEPT = 2


@pytest.fixture
def tx(tmp_path: Path) -> Iterator[Tx]:
    with closing(open_plain(tmp_path / "rondo.db")) as connection:
        connection.execute("PRAGMA foreign_keys = OFF")  # jobs without the workflows that they need
        yield connection


@pytest.fixture
def project(tx: Tx) -> Project:
    return add(tx, "app")


def add(tx: Tx, repo: str) -> Project:
    return projects.add(tx, org="a", repo=repo, vcs=Vcs.HOSTED, git_url=None, default_branch="main", now_ms=1)


def claim(tx: Tx, project: Project, job: str, now_ms: int) -> str:
    return docker_layers.claim(tx, project.id, JobId(job), 0, now_ms)[0]


def release(tx: Tx, job: str, now_ms: int) -> None:
    docker_layers.release(tx, JobId(job), 0, KEPT, now_ms)


def test_jobs_at_once_have_their_own_and_the_last_to_end_is_taken_next(tx: Tx, project: Project) -> None:
    first, second = claim(tx, project, "1", 1), claim(tx, project, "2", 2)
    assert first != second
    release(tx, "2", 3)
    release(tx, "1", 4)
    assert docker_layers.claim(tx, project.id, JobId("3"), 0, 5) == (first, True)
    assert docker_layers.claim(tx, project.id, JobId("4"), 0, 5) == (second, True)
    assert docker_layers.claim(tx, project.id, JobId("5"), 0, 5)[1] is False


def test_a_step_done_again_after_a_restart_gets_the_same(tx: Tx, project: Project) -> None:
    assert claim(tx, project, "1", 1) == claim(tx, project, "1", 2)


def test_another_project_never_gets_them(tx: Tx, project: Project) -> None:
    first = claim(tx, project, "1", 1)
    release(tx, "1", 2)
    assert claim(tx, add(tx, "other"), "2", 3) != first


def test_so_many_are_kept_those_used_last(tx: Tx, project: Project) -> None:
    names = [claim(tx, project, job, 1) for job in "123"]
    for now_ms, job in enumerate("123", start=2):
        release(tx, job, now_ms)
    assert docker_layers.all_names(tx) == set(names[1:])


def test_old_ones_go_but_not_from_under_a_job(tx: Tx, project: Project) -> None:
    used, free = claim(tx, project, "1", 1), claim(tx, project, "2", 1)
    release(tx, "2", 2)
    docker_layers.forget_older(tx, 2)
    assert docker_layers.all_names(tx) == {used, free}
    docker_layers.forget_older(tx, 3)
    assert docker_layers.all_names(tx) == {used}


def test_a_purge_forgets_all_of_one_project_and_a_job_that_ends_later_brings_none_back(tx: Tx, project: Project) -> None:
    other = claim(tx, add(tx, "other"), "9", 1)
    claim(tx, project, "1", 1)
    claim(tx, project, "2", 1)
    release(tx, "2", 2)
    assert docker_layers.purge(tx, project.id) == 2
    release(tx, "1", 3)
    assert docker_layers.all_names(tx) == {other}


def test_what_a_killed_appliance_could_not_free_is_freed(tx: Tx, project: Project) -> None:
    name = claim(tx, project, "1", 1)
    tx.execute("INSERT INTO nodes (job_id, idx, status) VALUES ('1', 0, 'running'), ('2', 0, 'running')")
    docker_layers.release_ended(tx)
    assert claim(tx, project, "2", 2) != name, "its node still runs"
    tx.execute("UPDATE nodes SET status = 'failed' WHERE job_id = '1'")
    docker_layers.release_ended(tx)
    assert claim(tx, project, "3", 2) == name
