"""Caches that go while somebody wants them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

from appliance.blobs import Blobs
from appliance.executors.base import SandboxSpec
from appliance.executors.local import LocalExecutor
from appliance.steps import archive
from appliance.store import caches, projects
from tests.whole import ON_THIS_HOST, house

SAVE = """
version: 2.1
jobs:
  build:
    machine: true
    steps:
      - run: mkdir -p ~/one ~/two && echo older >~/one/file && echo newer >~/two/file
      - save_cache: {key: v1-a, paths: [~/one]}
      - save_cache: {key: v1-b, paths: [~/two]}
      - save_cache: {key: v0, paths: [~/two]}
"""
RESTORE = """
version: 2.1
jobs:
  build:
    machine: true
    steps:
      - restore_cache: {keys: [v0, v1-]}
      - run: cat ~/one/file
"""


async def test_a_cache_whose_file_is_gone_is_none_and_the_next_one_is_taken(tmp_path: Path) -> None:
    async with house(tmp_path, ON_THIS_HOST) as (place, _):
        await place.commit({".circleci/config.yml": SAVE})
        await place.push()
        assert (await place.ended(1)).statuses == {"build": "success"}
        project_id = place.read(lambda tx: projects.find(tx, "acme/app")).id
        for cache in place.read(lambda tx: caches.of_project(tx, project_id)):
            if cache.key != "v1-a":
                Blobs(place.data / "blobs").drop(Blobs.CACHES, cache.id)
        await place.commit({".circleci/config.yml": RESTORE})
        await place.push()
        seen = await place.ended(2)
        assert seen.statuses == {"build": "success"}, seen.logs
        assert "No cache is found for key: v0" in seen.logs["build"]
        assert "Found a cache with key: v1-a" in seen.logs["build"] and "older" in seen.logs["build"]
        assert [cache.key for cache in place.read(lambda tx: caches.of_project(tx, project_id))] == ["v1-a"]


async def test_a_blob_that_is_dropped_is_read_to_its_end_by_who_has_it_open(tmp_path: Path) -> None:
    async def quiet(_: bytes) -> None: ...

    blobs, blob_id = Blobs(tmp_path / "blobs"), "0" * 32
    executor = LocalExecutor("test", tmp_path / "sandboxes")
    sandbox = await executor.open(SandboxSpec(node="1.0"), quiet)
    try:
        home = tmp_path / "sandboxes" / sandbox.ref / "home"
        (home / "tree").mkdir()
        (home / "tree/file").write_bytes(bytes(range(256)) * 20_000)
        packed: AsyncIterator[bytes] = archive.pack(sandbox, "~", "~", ["~/tree"])
        await blobs.store(Blobs.CACHES, blob_id, packed)
        (home / "tree/file").unlink()
        with blobs.open(Blobs.CACHES, blob_id) as blob:
            blobs.drop(Blobs.CACHES, blob_id)
            assert await archive.unpack(sandbox, "~", blob, "~") == (0, "")
        assert (home / "tree/file").read_bytes() == bytes(range(256)) * 20_000
    finally:
        await sandbox.close()
        await executor.close()
