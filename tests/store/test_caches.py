"""Caches: immutable, by prefix, newest first, thrown out by age, quota and need (spec 2.1)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from appliance.blobs import Blobs
from appliance.clock import FakeClock
from appliance.engine.janitor import Janitor
from appliance.model import Project, Vcs
from appliance.store import caches, projects
from appliance.store.database import Tx, open_database, open_plain


@pytest.fixture
def tx(tmp_path: Path) -> Iterator[Tx]:
    with closing(open_plain(tmp_path / "rondo.db")) as connection:
        yield connection


@pytest.fixture
def project(tx: Tx) -> Project:
    return projects.add(tx, org="a", repo="b", vcs=Vcs.HOSTED, git_url=None, default_branch="main", now_ms=1)


def cache(project: Project, key: str, at_ms: int, **changes: object) -> caches.Cache:
    values: dict[str, object] = {"scope": "trusted", "root": "/", "size_bytes": 10, "used_at_ms": at_ms}
    values |= {"created_at_ms": at_ms, "expires_at_ms": at_ms + 1000, **changes}
    return caches.Cache(id=f"{abs(hash((key, at_ms))):032x}"[:32], project_id=project.id, key=key, **values)  # type: ignore[arg-type]


def test_the_newest_with_the_prefix_is_found_even_before_an_exact_one(tx: Tx, project: Project) -> None:
    caches.add(tx, cache(project, "deps-", 100))
    caches.add(tx, cache(project, "deps-new", 200))
    caches.add(tx, cache(project, "other", 300))
    found = caches.newest(tx, project.id, "trusted", "deps-", 400)
    assert found is not None and found.key == "deps-new"
    assert caches.newest(tx, project.id, "trusted", "DEPS", 400) is None
    assert caches.newest(tx, project.id, "trusted", "deps-%", 400) is None


def test_the_first_saver_wins_and_expiry_makes_way(tx: Tx, project: Project) -> None:
    assert caches.add(tx, cache(project, "k", 100))
    assert not caches.add(tx, cache(project, "k", 200))
    assert caches.exists(tx, project.id, "trusted", "k", 300)
    assert not caches.exists(tx, project.id, "trusted", "k", 1100)
    assert caches.add(tx, cache(project, "k", 1100))


def test_a_fork_sees_only_its_own(tx: Tx, project: Project) -> None:
    caches.add(tx, cache(project, "k", 100))
    assert caches.newest(tx, project.id, "fork of x", "k", 200) is None
    assert caches.add(tx, cache(project, "k", 150, scope="fork of x"))
    found = caches.newest(tx, project.id, "trusted", "k", 200)
    assert found is not None and found.created_at_ms == 100


def test_over_the_quota_the_least_recently_used_go(tx: Tx, project: Project) -> None:
    for key, used in (("a", 100), ("b", 300), ("c", 200)):
        caches.add(tx, cache(project, key, 50, used_at_ms=used))
    assert len(caches.forget(tx, caches.over(tx, 20, 9))) == 1
    assert [one.key for one in caches.of_project(tx, project.id)] == ["b", "c"]
    caches.forget_least_used(tx)
    assert [one.key for one in caches.of_project(tx, project.id)] == ["b"]


async def chunks(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def test_the_janitor_removes_blobs_without_a_row_but_not_one_that_is_being_saved(tmp_path: Path) -> None:
    blobs, clock = Blobs(tmp_path / "blobs"), FakeClock(10_000)
    async with open_database(tmp_path / "rondo.db") as db:
        one = await db.write(
            lambda tx: projects.add(tx, org="a", repo="b", vcs=Vcs.HOSTED, git_url=None, default_branch="m", now_ms=1)
        )
        kept, old, orphan = (cache(one, name, 9_500 if name != "old" else 1) for name in ("kept", "old", "orphan"))
        for item in (kept, old, orphan):
            await blobs.store(Blobs.CACHES, item.id, chunks(b"x" * 10))
        for item in (kept, old):
            await db.write(lambda tx, item=item: caches.add(tx, item))  # type: ignore[misc]
        janitor = Janitor(db=db, clock=clock, blobs=blobs, executors={}, cache_quota=100, disk_floor=1, free=lambda: 2)
        await janitor.sweep_once()
        assert set(blobs.ids(Blobs.CACHES)) == {kept.id, orphan.id}, "the old one expired"
        await janitor.sweep_once()
        assert set(blobs.ids(Blobs.CACHES)) == {kept.id}
        await Janitor(
            db=db, clock=clock, blobs=blobs, executors={}, cache_quota=100, disk_floor=9, free=lambda: 2
        ).sweep_once()
        assert set(blobs.ids(Blobs.CACHES)) == set(), "below the floor every cache may go"
