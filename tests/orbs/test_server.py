"""A whole appliance uses its registry and a project's lock file."""

from __future__ import annotations

from pathlib import Path

from appliance.orbs.lock import Entry, write
from appliance.settings import Value
from appliance.store import orbs
from appliance.store.database import Tx
from appliance.store.orbs import digest_of
from tests.orbs.world import orb
from tests.whole import house

CONFIG = """\
version: 2.1
orbs: {tools: acme/tools@1, own: %s/tools@1}
jobs: {build: {docker: [{image: a}], steps: [tools/say, own/say]}}
"""
SETTINGS: dict[str, Value] = {"local.enabled": True, "local.takes": "all"}


def publish(tx: Tx) -> None:
    for name, private_to in (("acme", None), ("inside", "Acme"), ("strange", "others")):
        orbs.add_namespace(tx, name, private_to=private_to, now_ms=1)
        orbs.put(tx, f"{name}/tools@1.0.0", given="", source=orb(f"old-{name}"), now_ms=1)
    orbs.put(tx, "acme/tools@1.1.0", given="", source=orb("new-acme"), now_ms=1)


def lock(**changes: str) -> str:
    entries = {
        f"{name}/tools@1": Entry(f"{name}/tools@1.0.0", changes.get(name, digest_of(orb(f"old-{name}"))))
        for name in ("acme", "inside")
    }
    return write(entries)


async def test_a_pipeline_uses_the_registry_of_its_organisation(tmp_path: Path) -> None:
    async with house(tmp_path, SETTINGS, {}) as (place, _):
        place.read(publish)
        await place.commit({".circleci/config.yml": CONFIG % "inside"})
        await place.push()
        seen = await place.ended()
    assert seen.statuses == {"build": "success"}, seen.pipeline.problems
    assert "new-acme" in seen.logs["build"] and "old-inside" in seen.logs["build"]


async def test_a_lock_file_in_the_commit_binds_the_pipeline(tmp_path: Path) -> None:
    async with house(tmp_path, SETTINGS, {}) as (place, _):
        place.read(publish)
        await place.commit({".circleci/config.yml": CONFIG % "inside", ".circleci/orbs.lock": lock()})
        await place.push()
        seen = await place.ended()
    assert seen.statuses == {"build": "success"}, seen.pipeline.problems
    assert "old-acme" in seen.logs["build"]


async def test_a_changed_orb_and_a_strangers_orb_are_errors(tmp_path: Path) -> None:
    async with house(tmp_path, SETTINGS, {}) as (place, _):
        place.read(publish)
        await place.commit({".circleci/config.yml": CONFIG % "strange", ".circleci/orbs.lock": lock(acme="0" * 64)})
        await place.push()
        seen = await place.ended()
        problems = [problem.message for problem in seen.pipeline.problems]
        assert any("acme/tools@1.0.0 is not what .circleci/orbs.lock says" in text for text in problems)
        assert any("strange/tools@1 cannot be resolved: it is not in .circleci/orbs.lock" in text for text in problems)
    assert seen.statuses == {}
