"""A push that git took while the database had no room: it starts its pipeline later, and none may overtake it."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.store.database import Tx
from tests.whole import ON_THIS_HOST, house

CONFIG = "version: 2.1\njobs: {one: {machine: true, steps: [{run: 'true'}]}}\nworkflows: {w: {jobs: [one]}}\n"


def little_room(tx: Tx) -> None:
    """From now on the database may hardly grow."""
    count = tx.execute("PRAGMA page_count").fetchone()[0]
    tx.execute(f"PRAGMA max_page_count = {count + 1}")


def room(tx: Tx) -> None:
    tx.execute("PRAGMA max_page_count = 1000000")


@pytest.mark.slow
async def test_a_push_without_room_is_made_up_for_and_not_overtaken(tmp_path: Path) -> None:
    async with house(tmp_path, ON_THIS_HOST) as (place, appliance):
        await place.commit({".circleci/config.yml": CONFIG, "file": "1"})
        await place.push()
        await place.ended(1)

        await appliance.db.write(little_room)
        await place.commit({"file": "2"}, "A long message " + "x" * 60_000)
        said = await place.push()
        assert "no pipeline could be started yet" in said
        await place.commit({"file": "3"})
        assert "free some room" in await place.push(expect=128)
        await appliance.db.write(room)
        second = await place.ended(2)
        assert second.pipeline.trigger.commit.subject.startswith("A long message")
        await place.push()
        assert (await place.ended(3)).pipeline.trigger.base_revision == second.pipeline.trigger.revision
