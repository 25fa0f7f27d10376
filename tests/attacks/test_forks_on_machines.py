"""What strangers wrote runs without isolation only where somebody has allowed just that."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from appliance.engine.placement import Placement, place
from appliance.language import plan as plans
from appliance.model import JobStatus
from appliance.store import machines
from appliance.store.database import open_database
from tests.engine.shop import PLACES
from tests.engine.test_pool import Fleet


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    async with open_database(tmp_path / "rondo.db") as db:
        yield Fleet(db, tmp_path)


async def test_a_fork_gets_only_a_machine_that_takes_forks(fleet: Fleet) -> None:
    await fleet.add("own", slots=2)
    async with fleet.at_work():
        (fork,) = await fleet.push(1, is_fork=True)
        (ours,) = await fleet.push(1)
        assert await fleet.on(ours, "own") == "own"
        assert await fleet.ended(fork) is JobStatus.FAILED
        message = (await fleet.job(fork)).message
        assert (
            message.startswith("a fork's job does not run on a machine without isolation")
            and "machines.own.forks" in message
        )
        assert (await fleet.node(fork)).executor == ""
        await fleet.add("open", forks=True)
        await fleet.when(lambda: fleet.machine("open"), lambda found: found.seen_at_ms)
        (again,) = await fleet.push(1, is_fork=True)
        assert await fleet.on(again, "own", "open") == "open"
        for job in (ours, again):
            await fleet.release(job)
            assert await fleet.ended(job) is JobStatus.SUCCESS


async def test_a_machine_that_is_closed_to_forks_takes_none_that_was_placed_before(fleet: Fleet) -> None:
    """Asked once more in the transaction that starts it."""
    await fleet.add("m", forks=True)
    assert await fleet.db.read(lambda tx: machines.takes_jobs(tx, "m", is_trusted=False))
    await fleet.db.write(lambda tx: tx.execute("UPDATE machines SET forks = 0"))
    assert not await fleet.db.read(lambda tx: machines.takes_jobs(tx, "m", is_trusted=False))
    assert await fleet.db.read(lambda tx: machines.takes_jobs(tx, "m", is_trusted=True))


@pytest.mark.parametrize("takes_all", [False, True])
def test_a_fork_is_no_process_of_this_host(takes_all: bool) -> None:
    job = plans.Job(name="j", executor=plans.Machine(), steps=())
    places = replace(PLACES, has_docker=False, has_local=True, local_takes_all=takes_all, machine_image="")
    assert isinstance(place(job, places, is_trusted=True), Placement)
    said = place(job, places, is_trusted=False)
    assert isinstance(said, str) and "local.forks = true" in said
    assert isinstance(place(job, replace(places, local_takes_forks=True), is_trusted=False), Placement)


def test_a_fork_is_given_a_container_that_stands_in_for_a_machine() -> None:
    job = plans.Job(name="j", executor=plans.Machine(), steps=())
    places = replace(PLACES, has_docker=True, has_local=True, machine_image="cimg/base")
    placed = place(job, places, is_trusted=False)
    assert isinstance(placed, Placement) and placed.executor == "docker"
