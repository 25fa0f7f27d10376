"""A node whose machine vanishes, or that no executor can open, is started once more; nothing that it left counts twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from appliance.crypto import SecretBox
from appliance.engine import moves, rules
from appliance.engine.runner import run_node
from appliance.engine.spots import Spot
from appliance.engine.workshop import Workshop
from appliance.errors import ImageError, RondoError, SandboxError, SandboxLost, Unavailable
from appliance.executors.base import Progress, SandboxSpec
from appliance.executors.fake import FakeExecutor, FakeSandbox
from appliance.language import plan as plans
from appliance.model import JobStatus, NodeStatus
from appliance.store import artifacts, coverage, jobs, machines, outbox, queue, results, usage, workspaces
from appliance.store.database import Database, Tx, open_database
from tests.engine.shop import NOW, at_work, claim, pipeline, scheduler, workshop
from tests.whole import until

M1, M2 = "machine:m1", "machine:m2"
AWAY = "it does not answer"


@dataclass
class World:
    """A job that waits, and what could run it."""

    db: Database
    folder: Path
    executors: dict[str, FakeExecutor]
    job: jobs.Job

    @property
    def shop(self) -> Workshop:
        return workshop(self.db, self.folder, self.executors)

    async def claim(self, executor: str, index: int = 0) -> moves.Changed | None:
        return await self.db.write(lambda tx: claim(tx, self.job, executor, index))

    async def node(self, index: int = 0) -> jobs.Node:
        return await self.db.read(lambda tx: jobs.node(tx, self.job.id, index))

    async def status(self) -> JobStatus:
        return (await self.db.read(lambda tx: jobs.by_id(tx, self.job.id))).status

    async def end(self) -> JobStatus | None:
        """How the job ended, once it has."""
        status = await self.status()
        return status if status.is_done else None

    async def steps(self, index: int = 0) -> list[tuple[int, str, str]]:
        """Position, status, and log of each step."""
        rows = await self.db.read(lambda tx: jobs.steps_of(tx, self.job.id, index))
        blobs = self.shop.blobs
        return [
            (row.position, str(row.status), blobs.read_log(self.job.id, index, row.position, 0, 9999).decode())
            for row in rows
        ]

    async def begun(self, executor: str, sandbox: str, command: str) -> None:
        """Wait until a command has begun to sleep, and its step's row says that it runs."""
        index, position = int(sandbox.split(".")[1]), int(command.removeprefix("step"))

        async def look() -> bool | None:
            node = self.executors[executor].nodes.get(sandbox)
            if node is None or command not in node.commands:
                return None
            statuses = {where: status for where, status, _ in await self.steps(index)}
            return statuses.get(position) == "running" or None

        await until(look, 10)


def make(tx: Tx, script: str, parallelism: int, executor: plans.Executor) -> jobs.Job:
    job = plans.Job(
        name="build",
        executor=executor,
        steps=(plans.Run(command="echo first", name="first"), plans.Run(command=script, name="second")),
        parallelism=parallelism,
    )
    return pipeline(tx, job)[0]


@asynccontextmanager
async def world(
    folder: Path,
    script: str = "echo before; sleep 9; echo after",
    parallelism: int = 1,
    executor: plans.Executor = plans.Docker(images=(plans.DockerImage(image="x"),)),  # noqa: B008 - frozen
) -> AsyncIterator[World]:
    async with open_database(folder / "rondo.db") as db:
        job = await db.write(lambda tx: make(tx, script, parallelism, executor))
        yield World(db, folder, {M1: FakeExecutor(), M2: FakeExecutor(), "docker": FakeExecutor()}, job)


class Shaky(FakeExecutor):
    """Its engine goes away when a sandbox is wanted of it first."""

    was_asked = False

    async def open(self, spec: SandboxSpec, progress: Progress) -> FakeSandbox:
        if not self.was_asked:
            self.was_asked, self.trouble = True, AWAY
        return await super().open(spec, progress)


async def test_a_machine_that_vanishes_in_mid_job_is_said_and_the_job_ends_well_on_another(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        assert await here.claim(M1)
        running = asyncio.create_task(run_node(here.shop, here.job.id, 0))
        await here.begun(M1, "1.0", "step2")
        here.executors[M1].lose("1.0")
        await running
        node = await here.node()
        assert (node.status, node.attempt, node.lost_on, node.sandbox) == (NodeStatus.WAITING, 2, M1, None)
        assert await here.status() is JobStatus.RUNNING, "nobody hears of an end before there is one"
        assert await here.db.read(lambda tx: [one.lost_on for one in queue.waiting(tx, 9, 9)]) == [M1]
        gone = "node 1.0 does not run any more"
        lost = [
            (0, "success", "Started in memory\n\nA shell in this job while it runs: \n"),
            (1, "success", "first\n"),
            (2, "infrastructure_fail", f"before\n{gone}\n"),
        ]
        assert [(at, status) for at, status, _ in await here.steps()] == [(at, status) for at, status, _ in lost]
        assert (await here.steps())[2][2].endswith(f"{gone}\n")

        assert await here.claim(M2)
        running = asyncio.create_task(run_node(here.shop, here.job.id, 0))
        await here.begun(M2, "1.0.2", f"step{jobs.LATER + 2}")
        here.executors[M2].release("1.0.2", f"step{jobs.LATER + 2}")
        await running
        assert await here.status() is JobStatus.SUCCESS
        steps = await here.steps()
        assert [(at, status) for at, status, _ in steps] == [
            *((at, status) for at, status, _ in lost),
            *((jobs.LATER + at, "success") for at in range(3)),
        ]
        assert steps[2][2].endswith(f"before\n{gone}\n"), "what the lost attempt has said stays"
        assert steps[3][2].startswith(f"Started again on m2: {gone}\n")
        assert steps[5][2] == "before\nafter\n"
        assert await here.executors[M2].list() == []
        letters = await here.db.read(lambda tx: [one.body["description"] for one in outbox.due(tx, NOW + 9)])
        assert letters == ["Waits for room to run", "Runs", "Your tests passed"]


async def test_a_machine_that_was_lost_while_the_appliance_was_away_is_said_in_the_step_that_ran(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        assert await here.claim(M1)
        running = asyncio.create_task(run_node(here.shop, here.job.id, 0))
        await here.begun(M1, "1.0", "step2")
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        here.executors[M1].lose("1.0")
        await run_node(here.shop, here.job.id, 0)
        assert (await here.node()).attempt == 2
        assert (await here.steps())[2] == (2, "infrastructure_fail", "before\n\nnode 1.0 does not run any more\n")


async def test_a_machine_that_is_none_of_ours_any_more_is_a_lost_one(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        assert await here.claim(M1)
        del here.executors[M1]
        await run_node(here.shop, here.job.id, 0)
        node = await here.node()
        assert (node.status, node.attempt) == (NodeStatus.WAITING, 2)
        assert "machine m1, on which this ran, is none of ours" in node.lost_why


@pytest.mark.parametrize("comes", ["m1", "m2"])
async def test_the_scheduler_takes_another_machine_or_waits_for_the_same_one_to_answer(tmp_path: Path, comes: str) -> None:
    async with world(tmp_path, "echo done", executor=plans.Machine(image="ubuntu-2204:current")) as here:
        lost, shop = Shaky(), here.shop
        here.executors[M1] = lost
        await here.db.write(add_machines)
        spots = [Spot(name="m1", os="linux", arch="amd64")]
        waits = f"waits: {AWAY}; no other machine could run it"

        async def is_told() -> bool | None:
            return (await here.node()).message == waits or None

        async with at_work(scheduler(shop, pool=lambda: tuple(spots)).run([])):
            await until(is_told, 10)
            if comes == "m1":
                lost.trouble = None
            else:
                spots.append(Spot(name="m2", os="linux", arch="amd64"))
            shop.bell.ring("work")
            assert await until(here.end, 10) is JobStatus.SUCCESS
            node = await here.node()
            assert (node.executor, node.attempt, node.message) == (f"machine:{comes}", 2, "")


def add_machines(tx: Tx) -> None:
    for name in ("m1", "m2"):
        wanted = machines.Definition(name=name, address="127.0.0.1", user_name="ci", key_file="/x", os="linux", arch="amd64")
        machines.add(tx, SecretBox(b"k" * 32), wanted, NOW)


async def test_what_a_machine_loses_is_counted_until_something_ends_there_by_itself(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        await here.db.write(add_machines)
        job_id = here.job.id

        def lost_in_a_row(tx: Tx) -> list[int]:
            return [machines.by_name(tx, name).lost_in_a_row for name in ("m1", "m2")]

        assert await here.claim(M1)
        loss = moves.Loss(job_id=job_id, index=0, attempt=1, why=AWAY)
        for _ in range(2):  # told twice it counts once
            await here.db.write(lambda tx: moves.lose_node(tx, loss, 1, (), NOW))
        assert await here.claim(M2)
        await here.db.write(lambda tx: machines.note_loss(tx, M2, "", NOW))
        assert await here.db.read(lost_in_a_row) == [1, 1]
        await here.db.write(lambda tx: moves.finish_node(tx, job_id, 0, NodeStatus.FAILED, "", (), NOW))
        assert await here.db.read(lost_in_a_row) == [1, 0]


async def test_what_is_lost_a_second_time_ends_and_says_why(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        for executor, sandbox, command in ((M1, "1.0", "step2"), (M2, "1.0.2", f"step{jobs.LATER + 2}")):
            assert await here.claim(executor)
            running = asyncio.create_task(run_node(here.shop, here.job.id, 0))
            await here.begun(executor, sandbox, command)
            here.executors[executor].lose(sandbox)
            await running
        ended = await here.db.read(lambda tx: jobs.by_id(tx, here.job.id))
        assert ended.status is JobStatus.INFRASTRUCTURE_FAIL
        assert ended.message == "node 1.0.2 does not run any more"
        assert await here.claim(M1) is None


async def test_a_container_that_is_gone_is_not_started_again(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        assert await here.claim("docker")
        running = asyncio.create_task(run_node(here.shop, here.job.id, 0))
        await here.begun("docker", "1.0", "step2")
        here.executors["docker"].lose("1.0")
        await running
        assert await here.status() is JobStatus.INFRASTRUCTURE_FAIL


async def test_an_engine_that_is_away_when_a_job_begins_is_asked_once_more(tmp_path: Path) -> None:
    async with world(tmp_path, "echo done") as here:
        here.executors["docker"].trouble = AWAY
        assert await here.claim("docker")
        await run_node(here.shop, here.job.id, 0)
        node = await here.node()
        assert (node.status, node.lost_why) == (NodeStatus.WAITING, AWAY)
        assert await here.steps() == [
            (0, "infrastructure_fail", f"{AWAY}\n"),
            (1, "skipped", ""),
            (2, "skipped", ""),
        ]
        here.executors["docker"].trouble = None
        assert await here.claim("docker")
        await run_node(here.shop, here.job.id, 0)
        assert await here.status() is JobStatus.SUCCESS
        assert (await here.steps())[3][2].startswith(f"Started again: {AWAY}\n")


async def test_a_canceled_job_is_not_started_again_when_its_machine_is_lost(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        assert await here.claim(M1)
        running = asyncio.create_task(run_node(here.shop, here.job.id, 0))
        await here.begun(M1, "1.0", "step2")
        await here.db.write(lambda tx: moves.cancel_job(tx, here.job.id, "someone", NOW))
        here.executors[M1].lose("1.0")
        await running
        node = await here.node()
        assert (node.status, node.attempt) == (NodeStatus.CANCELED, 1)
        assert await here.claim(M2) is None


async def test_only_the_lost_one_of_several_nodes_is_started_again(tmp_path: Path) -> None:
    async with world(tmp_path, parallelism=2) as here:
        running = []
        for index, executor in enumerate((M1, M2)):
            assert await here.claim(executor, index)
            running.append(asyncio.create_task(run_node(here.shop, here.job.id, index)))
            await here.begun(executor, f"1.{index}", "step2")
        here.executors[M1].lose("1.0")
        await running[0]
        here.executors[M2].release("1.1", "step2")
        await running[1]
        other = await here.node(1)
        assert (other.status, other.attempt) == (NodeStatus.SUCCESS, 1)
        assert await here.status() is JobStatus.RUNNING
        assert await here.claim(M2, 1) is None
        assert await here.claim(M2, 0)


async def test_what_a_lost_node_has_stored_counts_for_nothing_and_its_siblings_stays(tmp_path: Path) -> None:
    async with world(tmp_path, parallelism=2) as here:
        job = here.job

        def store(tx: Tx, index: int) -> None:
            artifact = artifacts.Artifact(
                id=f"{index}" * 32, job_id=job.id, index=index, path="x", size_bytes=1, created_at_ms=NOW
            )
            artifacts.put_all(tx, [artifact], 1 << 20, 1 << 40)
            upload = results.Upload(
                job_id=job.id, index=index, step="step1", project_id=job.project_id, scope="t", created_at_ms=NOW
            )
            results.begin(tx, upload)
            verdict = results.Verdict.SUCCESS
            test = results.Result(name="t", classname="", file="", source="", verdict=verdict, run_time_s=1, message="")
            results.add(tx, upload, [test])
            layer = workspaces.Layer(
                id=f"{index}", workspace_id="w", job_id=job.id, index=index, step="step1", names=frozenset("x"),
                size_bytes=1, created_at_ms=NOW,
            )  # fmt: skip
            workspaces.add(tx, layer)
            usage.keep(tx, job.id, index, usage.Series(began_at_ms=NOW, step_s=1), NOW)
            coverage.begin(tx, job.id, "trusted", NOW)
            coverage.add(tx, job.id, [coverage.Part(path="a", found=6, ran=2 << index, branches=0, branches_ran=0)])
            report = coverage.Report(
                index=index, path="x", format="lcov", files=1, lines=2, lines_ran=1, branches=0, branches_ran=0
            )
            coverage.finish(tx, job.id, [report])

        def counts(tx: Tx) -> tuple[list[int], ...]:
            tables = ("artifacts", "test_results", "layers", "node_usage", "coverage_reports")
            return tuple([row["idx"] for row in tx.execute(f"SELECT idx FROM {table} ORDER BY idx")] for table in tables)

        def lose(tx: Tx, index: int) -> None:
            moves.lose_node(tx, moves.Loss(job_id=job.id, index=index, attempt=1, why="gone"), 1, (), NOW)

        for index in (0, 1):
            assert await here.claim(M1, index)
            await here.db.write(lambda tx, index=index: store(tx, index))  # type: ignore[misc]
        await here.db.write(lambda tx: lose(tx, 0))
        assert await here.db.read(counts) == ([1],) * 5
        assert await here.db.read(lambda tx: coverage.of_job(tx, job.id)) is not None
        await here.db.write(lambda tx: lose(tx, 1))
        assert await here.db.read(counts) == ([],) * 5
        assert await here.db.read(lambda tx: coverage.of_job(tx, job.id)) is None


@pytest.mark.parametrize(
    ("executor", "error", "is_opening", "is_lost"),
    [
        (M1, SandboxLost("gone"), False, True),
        (M1, SandboxError("cut off"), False, True),
        (M1, Unavailable("no Docker engine here"), False, False),
        (M1, Unavailable("not connected"), True, True),
        (M1, ImageError("no such"), True, False),
        ("docker", SandboxLost("gone"), False, False),
        ("docker", SandboxError("away"), True, True),
        ("local", SandboxError("away"), True, True),
        ("docker", RondoError("no room"), True, False),
    ],
)
def test_what_makes_a_lost_node(executor: str, error: RondoError, is_opening: bool, is_lost: bool) -> None:
    assert rules.is_lost(executor, error, is_opening=is_opening) is is_lost


async def test_a_lost_node_says_why_it_waits_and_its_engine_is_asked_anew(tmp_path: Path) -> None:
    async with world(tmp_path, "echo done") as here:
        here.executors["docker"] = Shaky()
        shop = here.shop

        async def is_told() -> bool | None:
            return (await here.node()).message == f"waits: {AWAY}" or None

        async with at_work(scheduler(shop).run([])):
            await until(is_told, 10)
            here.executors["docker"].trouble = None
            shop.bell.ring("work")
            assert await until(here.end, 10) is JobStatus.SUCCESS
            assert (await here.node()).message == ""
