"""The loops of the engine when the world is against them: none may take the appliance down, none may wait for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from appliance.bell import Bell
from appliance.blobs import Blobs
from appliance.clock import FakeClock
from appliance.crypto import SecretBox
from appliance.engine import moves, placement
from appliance.engine.courier import Courier
from appliance.engine.drafting import Drafter
from appliance.engine.intake import Intake
from appliance.engine.janitor import Janitor
from appliance.engine.runner import run_node
from appliance.errors import SandboxError, VcsError
from appliance.executors.fake import FakeExecutor, FakeNode
from appliance.language import plan as plans
from appliance.model import Commit, JobStatus, Project, Trigger, TriggerKind, Vcs
from appliance.orbs import Mirror
from appliance.store import jobs, outbox, pipelines, projects
from appliance.store.database import Database, Tx, open_database
from appliance.vcs.base import CommitStatus
from appliance.vcs.client import Git
from appliance.vcs.mirror import Mirrors
from appliance.vcs.plain import PlainGit
from tests.engine.shop import NOW, PLACES, at_work, claim, one_job, scheduler, workshop
from tests.whole import until


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(tmp_path / "rondo.db") as database:
        yield database


class MoodyForge(PlainGit):
    """Hears commit statuses, except while it is moody."""

    def __init__(self, folder: Path) -> None:
        super().__init__(Mirrors(Git(), folder))
        self.is_moody = False
        self.heard: list[str] = []

    async def say(self, project: Project, revision: str, status: CommitStatus) -> None:
        if self.is_moody:
            raise VcsError("not now")
        self.heard.append(status.state)


async def test_a_status_that_was_outrun_is_not_sent_any_more(tmp_path: Path, db: Database) -> None:
    job = await one_job(db)
    clock, forge = FakeClock(NOW), MoodyForge(tmp_path)
    courier = Courier(db=db, bell=Bell(), clock=clock, providers={Vcs.GITHUB: forge}, web_url="http://x")
    letter = {"project": job.project_id, "revision": "2" * 40, "context": "c", "description": "", "path": "/"}
    while await courier.carry_due():
        forge.heard.clear()
    forge.is_moody = True
    await db.write(lambda tx: outbox.add(tx, "commit_status", {**letter, "state": "pending"}, NOW))
    await courier.carry_due()
    forge.is_moody = False
    await db.write(lambda tx: outbox.add(tx, "commit_status", {**letter, "state": "success"}, NOW))
    await courier.carry_due()
    clock.advance(3600)
    while await courier.carry_due():
        pass
    assert forge.heard == ["success"]


async def test_a_clock_that_is_set_back_lets_no_old_status_arrive_last(tmp_path: Path, db: Database) -> None:
    job = await one_job(db)
    clock, forge = FakeClock(NOW), MoodyForge(tmp_path)
    courier = Courier(db=db, bell=Bell(), clock=clock, providers={Vcs.GITHUB: forge}, web_url="http://x")
    letter = {"project": job.project_id, "revision": "2" * 40, "context": "c", "description": "", "path": "/"}
    while await courier.carry_due():
        forge.heard.clear()
    await db.write(lambda tx: outbox.add(tx, "commit_status", {**letter, "state": "pending"}, NOW + 600_000))
    await db.write(lambda tx: outbox.add(tx, "commit_status", {**letter, "state": "success"}, NOW))
    await courier.carry_due()
    clock.advance(3600)
    while await courier.carry_due():
        pass
    assert forge.heard == ["success"]


@pytest.mark.parametrize("has_failed", [False, True])
async def test_a_clock_that_is_set_back_keeps_no_status_waiting(tmp_path: Path, db: Database, has_failed: bool) -> None:
    job = await one_job(db)
    clock, forge = FakeClock(NOW), MoodyForge(tmp_path)
    courier = Courier(db=db, bell=Bell(), clock=clock, providers={Vcs.GITHUB: forge}, web_url="http://x")
    letter = {"project": job.project_id, "revision": "2" * 40, "context": "c", "description": "", "path": "/"}
    while await courier.carry_due():
        forge.heard.clear()
    await db.write(lambda tx: outbox.add(tx, "commit_status", {**letter, "state": "success"}, NOW))
    if has_failed:
        forge.is_moody = True
        await courier.carry_due()
        forge.is_moody = False
        assert not await courier.carry_due(), "its pause is not over"
    clock.jump(-3600)
    while await courier.carry_due():
        pass
    assert forge.heard == ["success"]


class StubbornExecutor(FakeExecutor):
    async def remove(self, ref: str) -> None:
        raise SandboxError("the engine restarts just now")


async def test_a_sandbox_that_cannot_be_removed_does_not_end_the_janitor(tmp_path: Path, db: Database) -> None:
    spec = placement.spec("1.0", (await _plan(db)), placement.Placement(executor="fake", cpus=1, memory_bytes=1), PLACES, {})
    executor = StubbornExecutor({"1.0": FakeNode(spec)})
    janitor = Janitor(
        db=db,
        clock=FakeClock(NOW),
        blobs=Blobs(tmp_path / "blobs"),
        executors={"fake": executor},
        cache_quota=1,
        disk_floor=0,
    )
    await janitor.sweep_once()
    assert await executor.list() == ["1.0"]


async def _plan(db: Database) -> plans.Job:
    job = await one_job(db)
    return await db.read(lambda tx: jobs.plan_of(tx, job.id))


async def claimed(db: Database, executor: str) -> jobs.Job:
    job = await one_job(db)

    assert await db.write(lambda tx: claim(tx, job, executor)) is not None
    return job


async def test_a_node_of_an_executor_that_was_switched_off_ends(tmp_path: Path, db: Database) -> None:
    job = await claimed(db, "gone")
    await run_node(workshop(db, tmp_path, {}), job.id, 0)
    ended = await db.read(lambda tx: jobs.by_id(tx, job.id))
    assert ended.status is JobStatus.INFRASTRUCTURE_FAIL
    assert "the gone executor" in ended.message


async def test_secrets_that_cannot_be_read_end_the_node_and_not_the_appliance(tmp_path: Path, db: Database) -> None:
    job = await claimed(db, "fake")
    await run_node(workshop(db, tmp_path, {"fake": FakeExecutor()}, box=SecretBox(b"z" * 32)), job.id, 0)
    ended = await db.read(lambda tx: jobs.by_id(tx, job.id))
    assert ended.status is JobStatus.INFRASTRUCTURE_FAIL
    assert "secret key is not the one" in ended.message


async def test_a_full_disk_holds_the_scheduler_up_and_no_more(
    tmp_path: Path, db: Database, caplog: pytest.LogCaptureFixture
) -> None:
    job = await one_job(db, steps=2_000)
    started = asyncio.Event()

    async def run(job_id: object, index: int) -> None:
        started.set()
        await asyncio.Event().wait()

    async def is_held_up() -> bool | None:
        return "holds up the scheduler" in caplog.text or None

    shop = workshop(db, tmp_path, {"docker": FakeExecutor()})
    await db.write(lambda tx: tx.execute("PRAGMA max_page_count = 1").fetchall())  # as many as there are
    async with at_work(scheduler(shop, run_node=run).run([])) as task:
        await until(is_held_up, 10)
        assert not task.done()
        await db.write(lambda tx: tx.execute("PRAGMA max_page_count = 1000000").fetchall())
        shop.bell.ring("work")
        async with asyncio.timeout(10):
            await started.wait()
        assert (await db.read(lambda tx: jobs.by_id(tx, job.id))).status is JobStatus.RUNNING


class SlowForge(MoodyForge):
    """Whatever is asked of the project `slow` never ends; the others have no config."""

    async def fetch(self, project: Project, revision: str | None) -> None:
        if project.repo == "slow":
            await asyncio.Event().wait()

    async def read_file(self, project: Project, revision: str, path: str, limit_bytes: int) -> str | None:
        return None

    async def commit(self, project: Project, revision: str) -> Commit:
        return Commit(subject="x")


async def test_a_repository_that_is_slow_to_fetch_holds_up_no_other_project(tmp_path: Path, db: Database) -> None:
    def make(tx: Tx, repo: str, number: int) -> int:
        project = next((one for one in projects.all_of(tx) if one.repo == repo), None) or projects.add(
            tx, org="acme", repo=repo, vcs=Vcs.GIT, git_url="https://x/a.git", default_branch="main", now_ms=NOW
        )
        trigger = Trigger(
            project_id=project.id, kind=TriggerKind.WEBHOOK, semantic_key=f"{number}", branch="main", revision="1" * 40
        )
        accepted = moves.accept(tx, trigger, NOW, True)
        assert accepted is not None
        return accepted.trigger_id

    await db.write(lambda tx: make(tx, "slow", 0))
    quick = [await db.write(lambda tx, number=number: make(tx, "quick", number)) for number in range(1, 4)]  # type: ignore[misc]
    intake = Intake(
        db=db,
        bell=Bell(),
        clock=FakeClock(NOW),
        providers={Vcs.GIT: SlowForge(tmp_path)},
        drafter=Drafter(db=db, box=SecretBox(bytes(32)), orbs=lambda project, lock: Mirror(tmp_path)),
        git_url=lambda project: "",
        largest_config=1 << 20,
        patience_s=1,
    )

    def made(tx: Tx) -> list[int] | None:
        ids = [pipelines.pipeline_of_trigger(tx, one) for one in quick]
        return None if None in ids else [pipelines.pipeline(tx, one).number for one in ids if one is not None]

    async with at_work(intake.run()):
        assert await until(lambda: db.read(made), 10) == [1, 2, 3], "those of one project in their order"


class HangingExecutor(FakeExecutor):
    async def check(self) -> str | None:
        await asyncio.Event().wait()
        return None


@pytest.mark.slow
async def test_an_engine_that_hangs_is_told_of_and_asked_again(tmp_path: Path, db: Database) -> None:
    job = await one_job(db)

    async def is_told() -> bool | None:
        return "has not answered" in (await db.read(lambda tx: jobs.by_id(tx, job.id))).message or None

    async with at_work(scheduler(workshop(db, tmp_path, {"docker": HangingExecutor()})).run([])):
        await until(is_told, 20)
