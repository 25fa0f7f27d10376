"""The pool of machines with a scheduler upon it: who gets which job while machines come, go, are drained and break.

The machines are fakes that keep the executors' contract; rows, scheduler, runners and pool are the real ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest

from appliance.bell import Bell
from appliance.clock import SystemClock
from appliance.engine import checks
from appliance.engine.fit import Machine as Room
from appliance.engine.scheduler import HERE, Scheduler
from appliance.engine.stranded import jobs_only_for
from appliance.errors import Unavailable
from appliance.executors.base import Executor, SandboxSpec
from appliance.executors.fake import FakeExecutor, FakeNode
from appliance.executors.machine_check import Examination
from appliance.language import plan as plans
from appliance.model import JobStatus
from appliance.pool import Examine, Pool, Rhythm
from appliance.store import jobs, machines
from appliance.store.database import Database, open_database
from appliance.store.machines import Definition, Machine
from tests.engine.shop import BOX, PLACES, pipeline, scheduler, workshop
from tests.whole import until

T = TypeVar("T")
LONGEST_S = 20.0
RHYTHM = Rhythm(
    look=0.05,
    check=0.05,
    longest_check=0.5,
    first_pause=0.05,
    longest_pause=0.1,
    note=0.05,
    rest=3600,
    sweep=0.05,
    linger=0.05,
)
GIB = 1 << 30
FOUND = Examination(
    os="linux", arch="amd64", system="", kernel="", user="ci", is_root=False, cpus=8, memory_bytes=64 * GIB,
    available_bytes=0, free_bytes=0, folder="", load=0, round_trip_ms=0, pour_mb_s=0, clock_off_s=0, bash="", git="",
    docker="", sudo=False, lacks=(), warnings=(),
)  # fmt: skip


class FakeMachine(FakeExecutor):
    """Its nodes are those of the place that its row names: another address, another machine."""

    def __init__(self, nodes: dict[str, FakeNode]) -> None:
        super().__init__(nodes)
        self.is_closed = False
        self.load: float | None = None
        self.hangs = False
        self.clings = False
        self.asked = 0

    async def check(self) -> str | None:
        self.asked += 1
        if self.hangs:
            await asyncio.Event().wait()
        return await super().check()

    async def remove(self, ref: str) -> None:
        if self.clings:
            await asyncio.Event().wait()
        await super().remove(ref)

    async def close(self) -> None:
        self.is_closed = True


class Fleet:
    """Jobs of one project, machines by rows, and an appliance's engine upon both, which can be started again."""

    def __init__(self, db: Database, folder: Path) -> None:
        self.db = db
        self.folder = folder
        self.bell = Bell()
        self.clock = SystemClock()
        self.places: dict[str, dict[str, FakeNode]] = {}  # what runs where, by address
        self.made: dict[str, list[FakeMachine]] = {}
        self.executors: dict[str, Executor] = {}
        self.numbers = 0
        self.pool = self.new_pool()

    def new_pool(self, rhythm: Rhythm = RHYTHM, examine: Examine | None = None) -> Pool:
        return Pool(
            db=self.db,
            bell=self.bell,
            clock=self.clock,
            executors=self.executors,
            make=self.make,
            examine=examine,
            rhythm=rhythm,
        )

    def make(self, machine: Machine) -> FakeMachine:
        executor = FakeMachine(self.places.setdefault(machine.address, {}))
        self.made.setdefault(machine.name, []).append(executor)
        return executor

    def __getitem__(self, name: str) -> FakeMachine:
        """The executor of a machine that is in use."""
        return self.made[name][-1]

    async def add(
        self, name: str, *, slots: int = 1, address: str = "", classes: tuple[str, ...] = (), forks: bool = False
    ) -> None:
        wanted = Definition(
            name=name, address=address or name, user_name="ci", private_key="k", slots=slots, classes=classes, cpus=8,
            memory_bytes=64 * GIB, forks=forks,
        )  # fmt: skip
        await self.db.write(lambda tx: machines.add(tx, BOX, wanted, 1))

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """An appliance's life: what its end cuts off is gone on with in the next."""
        await self.pool.refresh()
        resumed = await self.db.read(jobs.running_nodes)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self.pool.run()), group.create_task(self.scheduler().run(resumed))]
            yield
            for task in tasks:
                task.cancel()
        await self.pool.close()

    def restart(self) -> None:
        self.executors = {}
        self.pool = self.new_pool()

    def scheduler(self) -> Scheduler:
        shop = workshop(self.db, self.folder, self.executors, bell=self.bell, clock=self.clock)
        room = Room(name=HERE, cpus=8, memory_bytes=64 * GIB, nodes=9)
        return scheduler(shop, machine=room, pool=self.pool.spots, refresh_pool=self.pool.look_again)

    async def push(
        self,
        count: int,
        script: str = "sleep",
        resource_class: str | None = None,
        executor: plans.Executor | None = None,
        *,
        is_fork: bool = False,
    ) -> list[jobs.Job]:
        """A pipeline of so many jobs, for machines unless `executor` says otherwise."""
        self.numbers += 1
        number = self.numbers

        made = tuple(
            plans.Job(
                name=f"job{index}",
                executor=executor or plans.Machine(),
                resource_class=resource_class,
                steps=(plans.Run(command=script, name="run"),),
            )
            for index in range(count)
        )
        now_ms = self.clock.now_ms()
        found = await self.db.write(lambda tx: pipeline(tx, *made, number=number, is_fork=is_fork, now_ms=now_ms))
        self.bell.ring("work")
        return found

    async def job(self, job: jobs.Job) -> jobs.Job:
        return await self.db.read(lambda tx: jobs.by_id(tx, job.id))

    async def node(self, job: jobs.Job) -> jobs.Node:
        return await self.db.read(lambda tx: jobs.node(tx, job.id, 0))

    async def machine(self, name: str) -> Machine:
        return await self.db.read(lambda tx: machines.by_name(tx, name))

    async def on(self, job: jobs.Job, *names: str) -> str:
        """Wait until the job's sandbox is open on one of these machines; which."""

        async def look() -> str | None:
            node = await self.node(job)
            name = machines.name_of(node.executor)
            return name if name in names and node.sandbox and self.commands(name, node.sandbox) else None

        return await until(look, LONGEST_S)

    def commands(self, name: str, sandbox: str) -> list[str]:
        node = self[name].nodes.get(sandbox)
        return [] if node is None else list(node.commands)

    async def release(self, job: jobs.Job, executor: FakeMachine | None = None) -> None:
        """Let the job's command go on."""
        node = await self.node(job)
        assert node.sandbox is not None
        where = executor or self[machines.name_of(node.executor) or ""]
        where.release(node.sandbox, list(where.nodes[node.sandbox].commands)[-1])

    async def ended(self, job: jobs.Job) -> JobStatus:
        await self.when(lambda: self.job(job), lambda found: found.status.is_done)
        return (await self.job(job)).status

    async def says(self, job: jobs.Job, message: str) -> None:
        await self.when(lambda: self.job(job), lambda found: message in found.message)

    async def when(self, ask: Callable[[], Awaitable[T]], is_so: Callable[[T], object]) -> None:
        async def look() -> bool | None:
            return bool(is_so(await ask())) or None

        await until(look, LONGEST_S)


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    async with open_database(tmp_path / "rondo.db") as db:
        yield Fleet(db, tmp_path)


async def test_jobs_spread_over_machines_and_one_that_is_added_gets_the_next(fleet: Fleet) -> None:
    await fleet.add("m1")
    async with fleet.at_work():
        first, second, third = await fleet.push(3)
        await fleet.on(first, "m1")
        await fleet.says(second, "waits: 1 node runs on m1, as many as it has slots")
        await fleet.add("m2")
        await fleet.on(second, "m2")
        assert (await fleet.node(third)).executor == ""
        await fleet.release(first)
        await fleet.on(third, "m1")
        for job in (second, third):
            await fleet.release(job)
        assert [await fleet.ended(job) for job in (first, second, third)] == [JobStatus.SUCCESS] * 3


async def test_a_class_that_no_machine_has_ends_the_job_with_a_sentence(fleet: Fleet) -> None:
    await fleet.add("m1")
    async with fleet.at_work():
        (job,) = await fleet.push(1, resource_class="acme/big")
        assert await fleet.ended(job) is JobStatus.FAILED
        assert (await fleet.job(job)).message.startswith("no machine has the resource class acme/big")


async def test_a_job_for_a_machine_that_was_added_just_now_is_not_failed(fleet: Fleet) -> None:
    """The pool has not looked since: it looks by itself only every hour here."""
    fleet.pool = fleet.new_pool(replace(RHYTHM, look=3600))
    async with fleet.at_work():
        (early,) = await fleet.push(1, resource_class="acme/big")
        assert await fleet.ended(early) is JobStatus.FAILED
        await fleet.add("m1", classes=("acme/big",))
        (job,) = await fleet.push(1, resource_class="acme/big")
        await fleet.on(job, "m1")
        await fleet.release(job)
        assert await fleet.ended(job) is JobStatus.SUCCESS


async def test_a_drained_machine_gets_nothing_new_and_finishes_what_it_has(fleet: Fleet) -> None:
    await fleet.add("m1", slots=2)
    async with fleet.at_work():
        (before,) = await fleet.push(1)
        await fleet.on(before, "m1")
        await fleet.db.write(lambda tx: machines.drain(tx, "m1", 1))
        (after,) = await fleet.push(1)
        await fleet.says(after, "waits: machine m1 is drained")
        await fleet.release(before)
        assert await fleet.ended(before) is JobStatus.SUCCESS
        assert (await fleet.node(after)).executor == ""
        await fleet.db.write(lambda tx: machines.undrain(tx, "m1"))
        await fleet.on(after, "m1")


async def test_a_machine_in_trouble_is_out_says_why_and_comes_back_by_itself(fleet: Fleet) -> None:
    await fleet.add("m1")
    await fleet.add("m2", classes=("acme/big",))
    async with fleet.at_work():
        await fleet.when(lambda: fleet.machine("m1"), lambda found: found.seen_at_ms)
        fleet["m1"].trouble = "machine m1: no route to host"
        await fleet.when(lambda: fleet.machine("m1"), lambda found: found.trouble == "no route to host")
        (job,) = await fleet.push(1)
        await fleet.says(job, "waits: machine m1 is out: no route to host")
        fleet["m1"].trouble = None
        await fleet.on(job, "m1")
        assert (await fleet.machine("m1")).broken_since_ms is None
        assert (await fleet.machine("m2")).seen_at_ms is not None


async def test_a_machine_that_does_not_answer_holds_up_no_other(fleet: Fleet) -> None:
    await fleet.add("m1")
    await fleet.add("m2")
    fleet.pool = fleet.new_pool(replace(RHYTHM, longest_check=10 * LONGEST_S))
    await fleet.pool.refresh()
    fleet["m1"].hangs = True
    async with fleet.at_work():
        (job,) = await fleet.push(1)
        await fleet.on(job, "m2")


async def test_a_machine_that_does_not_answer_is_out(fleet: Fleet) -> None:
    await fleet.add("m1")
    await fleet.pool.refresh()
    fleet["m1"].hangs = True
    async with fleet.at_work():
        await fleet.when(lambda: fleet.machine("m1"), lambda found: "not answered for 0.5 seconds" in found.trouble)


async def test_a_machine_on_which_we_break_takes_no_other_along(fleet: Fleet) -> None:
    async def examine(machine: Machine) -> Examination:
        if machine.name == "m1":
            raise ValueError("a bug, or what nobody thought of")
        return FOUND

    fleet.pool = fleet.new_pool(examine=examine)
    await fleet.add("m1")
    await fleet.add("m2")
    async with fleet.at_work():
        await fleet.when(lambda: fleet.machine("m1"), lambda found: "Rondo itself broke" in found.trouble)
        (job,) = await fleet.push(1)
        assert await fleet.on(job, "m1", "m2") == "m2"


async def test_a_machine_is_looked_at_again_and_a_look_that_fails_is_no_trouble(fleet: Fleet) -> None:
    looks = 0

    async def examine(machine: Machine) -> Examination:
        nonlocal looks
        looks += 1
        if looks == 2:
            raise Unavailable("no")
        if looks == 3:
            await asyncio.Event().wait()
        return replace(FOUND, load=float(looks))

    fleet.pool = fleet.new_pool(replace(RHYTHM, examine=0.05), examine)
    await fleet.add("m1")
    async with fleet.at_work():
        await fleet.when(lambda: fleet.machine("m1"), lambda found: found.measured.get("load", 0) > 4)
        assert (await fleet.machine("m1")).broken_since_ms is None


async def test_how_busy_a_machine_is_comes_with_its_checks(fleet: Fleet) -> None:
    async def examine(machine: Machine) -> Examination:
        return FOUND

    fleet.pool = fleet.new_pool(examine=examine)
    await fleet.add("m1")
    async with fleet.at_work():
        await fleet.when(lambda: fleet.machine("m1"), lambda found: found.seen_at_ms is not None)
        assert (await fleet.machine("m1")).measured["load"] == 0
        fleet["m1"].load = 3.5
        await fleet.when(lambda: fleet.machine("m1"), lambda found: found.measured["load"] == 3.5)


async def test_jobs_that_only_one_machine_could_run_are_known_by_their_class(fleet: Fleet) -> None:
    await fleet.add("m1", classes=("acme/box", "medium"))
    await fleet.add("m2", classes=("medium",))
    await fleet.push(2, resource_class="acme/box")
    await fleet.push(1, resource_class="medium")
    await fleet.push(1, resource_class="acme/none")
    stranded = [await fleet.db.read(lambda tx: jobs_only_for(tx, name, PLACES)) for name in ("m1", "m2")]  # noqa: B023
    assert stranded == [{"acme/box": [1, 2]}, {}]


async def test_an_engine_of_this_host_that_hangs_holds_up_no_machine(fleet: Fleet) -> None:
    await fleet.add("m1")
    fleet.executors["docker"] = hanging = FakeMachine({})
    hanging.hangs = True
    async with fleet.at_work():
        (stuck,) = await fleet.push(1, executor=plans.Docker(images=(plans.DockerImage(image="x"),)))
        await fleet.says(stuck, "waits: the docker executor is being asked whether it can run jobs")
        (job,) = await fleet.push(1)
        async with asyncio.timeout(checks.LONGEST_S):
            await fleet.on(job, "m1")
        assert (await fleet.node(stuck)).executor == ""


async def test_a_lost_job_begins_again_elsewhere_and_three_take_the_machine_out_for_a_rest(fleet: Fleet) -> None:
    await fleet.add("m1")
    async with fleet.at_work():
        (job,) = await fleet.push(1)
        await fleet.on(job, "m1")
        await fleet.add("m2")
        await fleet.when(lambda: fleet.machine("m2"), lambda found: found.seen_at_ms)
        fleet["m1"].lose((await fleet.node(job)).sandbox or "")
        await fleet.on(job, "m2")
        assert (await fleet.machine("m1")).lost_in_a_row == 1
        await fleet.db.write(lambda tx: machines.drain(tx, "m2", 1))
        (unlucky,) = await fleet.push(1)
        await fleet.on(unlucky, "m1")
        fleet["m1"].lose((await fleet.node(unlucky)).sandbox or "")  # and there is nowhere else
        await fleet.when(lambda: fleet.node(unlucky), lambda found: found.attempt == 2 and found.sandbox)
        fleet["m1"].lose((await fleet.node(unlucky)).sandbox or "")
        assert await fleet.ended(unlucky) is JobStatus.INFRASTRUCTURE_FAIL
        assert (await fleet.machine("m1")).trouble.startswith("it has lost 3 jobs in a row, the last: ")
        (next_one,) = await fleet.push(1, "echo hello")
        await fleet.says(next_one, "machine m1 is out: it has lost 3 jobs in a row")
        asked, of_another = fleet["m1"].asked, fleet["m2"].asked
        await fleet.when(lambda: asyncio.sleep(0, fleet["m2"].asked), lambda now: now > of_another + 5)
        assert fleet["m1"].asked == asked and (await fleet.node(next_one)).executor == "", "it rests"
        an_hour_ago = "UPDATE machines SET broken_since_ms = broken_since_ms - 3600000 WHERE name = 'm1'"
        await fleet.db.write(lambda tx: tx.execute(an_hour_ago) and None)
        assert await fleet.ended(next_one) is JobStatus.SUCCESS, "after its rest it is tried again"
        assert (await fleet.machine("m1")).lost_in_a_row == 0


async def test_what_runs_on_a_machine_that_is_removed_comes_to_its_end(fleet: Fleet) -> None:
    await fleet.add("m1", slots=2)
    async with fleet.at_work():
        (job,) = await fleet.push(1)
        await fleet.on(job, "m1")
        removed = fleet["m1"]
        assert not await fleet.db.write(lambda tx: machines.remove(tx, "m1", 1))
        (late,) = await fleet.push(1)
        assert await fleet.ended(late) is JobStatus.FAILED
        assert "machine:m1" in fleet.executors and not removed.is_closed
        removed.nodes["9.0"] = FakeNode(SandboxSpec(node="9.0"))
        await fleet.release(job)
        assert await fleet.ended(job) is JobStatus.SUCCESS

        async def is_closed() -> bool | None:
            return removed.is_closed or None

        await until(is_closed, LONGEST_S)
        assert "machine:m1" not in fleet.executors and removed.nodes == {}, "what was left there is gone too"
        assert await fleet.db.read(machines.with_leaving) == []


async def test_a_machine_that_moves_keeps_its_jobs_where_they_are(fleet: Fleet) -> None:
    await fleet.add("m1", slots=2, address="old")
    async with fleet.at_work():
        (before,) = await fleet.push(1)
        await fleet.on(before, "m1")
        old = fleet["m1"]
        await fleet.db.write(lambda tx: tx.execute("UPDATE machines SET address = 'new'") and None)
        await fleet.when(lambda: asyncio.sleep(0, fleet["m1"]), lambda now: now is not old)
        (after,) = await fleet.push(1)
        await fleet.on(after, "m1")
        assert len(fleet.places["new"]) == 1 and not old.is_closed
        await fleet.release(before, old)
        assert await fleet.ended(before) is JobStatus.SUCCESS

        async def is_closed() -> bool | None:
            return old.is_closed or None

        await until(is_closed, LONGEST_S)
        assert not fleet["m1"].is_closed


async def test_after_a_restart_jobs_hold_the_room_of_their_own_machines(fleet: Fleet) -> None:
    await fleet.add("m1")
    await fleet.add("m2", slots=2)
    async with fleet.at_work():
        running = await fleet.push(3)
        for job in running:
            await fleet.on(job, "m1", "m2")
    fleet.restart()
    async with fleet.at_work():
        (late,) = await fleet.push(1)
        await fleet.says(late, "as many as it has slots")
        for job in running:
            await fleet.release(job)
            assert await fleet.ended(job) is JobStatus.SUCCESS
        await fleet.on(late, "m1", "m2")


async def test_what_takes_long_to_remove_keeps_no_machine_from_being_asked(fleet: Fleet) -> None:
    await fleet.add("m1")
    await fleet.pool.refresh()
    fleet["m1"].nodes["78.0"] = FakeNode(SandboxSpec(node="78.0"))
    fleet["m1"].clings = True
    async with fleet.at_work():

        async def is_asked_again() -> bool | None:
            return fleet["m1"].asked > 2 or None

        await until(is_asked_again, LONGEST_S)
        assert "78.0" in fleet["m1"].nodes
        fleet["m1"].clings = False

        async def is_swept() -> bool | None:
            return not fleet["m1"].nodes or None

        await until(is_swept, LONGEST_S)


async def test_a_machine_that_comes_back_is_swept_of_what_nobody_owns_there(fleet: Fleet) -> None:
    """A sandbox of the same name may be a running node's on another machine."""
    await fleet.add("m1")
    await fleet.add("m2", classes=("acme/big",))
    await fleet.pool.refresh()
    fleet["m2"].trouble = "away"
    async with fleet.at_work():
        (job,) = await fleet.push(1)
        await fleet.on(job, "m1")
        name = (await fleet.node(job)).sandbox or ""
        for left in (name, "77.0"):
            fleet["m2"].nodes[left] = FakeNode(SandboxSpec(node=left))
        fleet["m1"].nodes["78.0"] = FakeNode(SandboxSpec(node="78.0"))
        fleet["m2"].trouble = None

        async def are_swept() -> Sequence[str] | None:
            names = [*fleet["m1"].nodes, *fleet["m2"].nodes]
            return names if len(names) == 1 else None

        assert await until(are_swept, LONGEST_S) == [name]
        assert name in fleet["m1"].nodes
        await fleet.release(job)
        assert await fleet.ended(job) is JobStatus.SUCCESS
