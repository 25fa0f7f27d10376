"""Seeded worlds around the engine's transactions: whoever acts, in whatever order, crashes included, the rows stay right.

A world is a project with a few pipelines of random graphs in a real SQLite database, and actors that are drawn by a
seed: the forge (events late, lost and doubled), intake, the scheduler with its claims (stale ones too), runners (ends
reported twice, or after a cancel), people who approve, cancel and rerun, and a crash, between transactions or inside
one. After every move the invariants are looked at; at its end a world is left alone until nothing is left to do.

The transactions are handed in, so that a test can plant a bug and see it caught.
"""

from __future__ import annotations

import random
import sqlite3
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

from appliance.engine import moves as real_moves
from appliance.engine import reruns
from appliance.errors import RondoError
from appliance.language import plan as plans
from appliance.model import (
    JobId,
    JobStatus,
    NodeStatus,
    PipelineId,
    Project,
    Trigger,
    TriggerKind,
    User,
    UserId,
    Vcs,
    WorkflowId,
)
from appliance.store import jobs, pipelines, projects, queue
from appliance.store.database import migrate
from appliance.store.pipelines import load_trigger
from tests.engine import losses
from tests.engine.losses import Wrong as Wrong

CPUS = 4
WHO = User(id=UserId("u"), name="somebody", is_admin=False, sees_all_projects=True)
ENDS = [NodeStatus.SUCCESS] * 6 + [
    NodeStatus.FAILED,
    NodeStatus.FAILED,
    NodeStatus.TIMEDOUT,
    NodeStatus.INFRASTRUCTURE_FAIL,
]
RAN = (JobStatus.SUCCESS, JobStatus.FAILED, JobStatus.TIMEDOUT, JobStatus.INFRASTRUCTURE_FAIL, JobStatus.CANCELED)
BEGUN = (JobStatus.NOT_RUNNING, JobStatus.RUNNING, JobStatus.ON_HOLD, JobStatus.QUEUED, *RAN[:-1])
TERMINAL = ("success", "failed", "canceled", "unauthorized", "not_run")
MOVES = SimpleNamespace(**vars(real_moves), rerun=reruns.rerun)


class Crash(Exception):
    """The process dies here: the transaction is rolled back, everything in memory is gone."""


class Brittle(sqlite3.Connection):
    """A connection that dies at a given statement."""

    left: int | None = None

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        if self.left is not None:
            self.left -= 1
            if self.left <= 0:
                self.left = None
                raise Crash
        return super().execute(*arguments)


def template() -> sqlite3.Connection:
    """An empty migrated database, to be copied for each world."""
    made = sqlite3.connect(":memory:", isolation_level=None)
    made.row_factory = sqlite3.Row
    migrate(made)
    return made


@dataclass
class Memory:
    """What a process knows; a crash forgets it."""

    running: set[tuple[JobId, int]] = field(default_factory=set)
    stale: list[Any] = field(default_factory=list)  # claims that were drawn up and not made


class World:
    def __init__(self, seed: int, empty: sqlite3.Connection, moves: Any = MOVES) -> None:
        self.random = random.Random(seed)
        self.moves = moves
        self.now_ms = 1_000_000
        self.tx: Brittle = sqlite3.connect(":memory:", isolation_level=None, factory=Brittle)
        empty.backup(self.tx)
        self.tx.row_factory = sqlite3.Row
        self.tx.execute("PRAGMA foreign_keys = ON")
        self.project: Project = self.in_one(
            lambda tx: projects.add(
                tx, org="acme", repo="app", vcs=Vcs.GITHUB, git_url="https://x/a.git", default_branch="main", now_ms=1
            )
        )
        self.memory = Memory()
        self.deliveries: list[Trigger] = []
        self.starts: Counter[tuple[JobId, int, int]] = Counter()  # by attempt
        self.ended: dict[tuple[str, ...], str] = {}
        self.events = 0
        self.crashes = 0
        self.told: list[str] = []
        self.checked_changes = -1
        self.requires: dict[str, dict[JobId, tuple[plans.Require, ...]]] = {}  # they never change

    # How a transaction runs

    def in_one(self, fn: Callable[[sqlite3.Connection], Any]) -> Any:
        self.tx.execute("BEGIN IMMEDIATE")
        try:
            found = fn(self.tx)
        except BaseException:
            self.tx.left = None
            self.tx.execute("ROLLBACK")
            raise
        self.tx.left = None
        self.tx.execute("COMMIT")
        return found

    def move(self, name: str, *arguments: Any, **named: Any) -> Any:
        """One transaction; now and then the process dies within it. None too when the rows refuse."""
        if self.random.random() < 0.04:
            self.tx.left = self.random.randint(2, 30)
        self.told.append(" ".join([name, *(_short(one) for one in arguments)]))
        try:
            return self.in_one(lambda tx: getattr(self.moves, name)(tx, *arguments, **named))
        except Crash:
            self.crash()
            return None
        except RondoError:
            return None
        except sqlite3.IntegrityError as error:
            raise Wrong(f"the schema refuses: {error}") from error
        finally:
            self.check()

    def crash(self) -> None:
        """All that is in memory goes; the rows say what runs, and the sandboxes go on meanwhile."""
        self.crashes += 1
        self.told.append("crash")
        self.memory = Memory(running={(node.job_id, node.index) for node in jobs.running_nodes(self.tx)})

    # Who acts

    def step(self) -> None:
        """Let somebody do something."""
        self.now_ms += self.random.choice((1, 50, 3000, 400_000))
        act = self.random.choices(
            [self.push, self.deliver, self.compile, self.schedule, self.run, self.late, self.person, self.crash, self.lose],
            [1, 2, 3, 8, 9, 2, 3, 0.5, 3],
        )[0]
        act()

    def push(self) -> None:
        self.events += 1
        if self.events > 3:
            return
        self.deliveries += [self._event(self.events)] * self.random.choice((0, 1, 1, 1, 2, 3))

    def _event(self, number: int) -> Trigger:
        branch = self.random.choice(("main", "topic"))
        return Trigger(
            project_id=self.project.id,
            kind=TriggerKind.WEBHOOK,
            semantic_key=f"push refs/heads/{branch} {number}",
            delivery_id=f"d{number}" if self.random.random() < 0.7 else None,
            branch=branch,
            revision=f"{number:040x}",
            actor="someone",
        )

    def deliver(self) -> None:
        """The forge hands an event over, out of order, and keeps it when the appliance died before it answered."""
        if self.deliveries:
            at = self.random.randrange(len(self.deliveries))
            crashes = self.crashes
            self.move("accept", self.deliveries[at], self.now_ms, True)
            if crashes == self.crashes:
                del self.deliveries[at]

    def compile(self) -> None:
        for trigger_id, trigger in self._open_triggers():
            number = self.tx.execute("SELECT count(*) FROM pipelines").fetchone()[0] + 1
            plan = None if self.random.random() < 0.05 else random_plan(self.random)
            draft = real_moves.Draft(
                pipeline_id=PipelineId(f"p{number}"),
                number=number,
                source="",
                compiled="",
                values={},
                problems=[],
                plan=plan,
            )
            self.move("create_pipeline", trigger_id, trigger, draft, self.now_ms)
            if self.random.random() < 0.2:  # two of them at once
                self.move("create_pipeline", trigger_id, trigger, draft, self.now_ms)

    def _open_triggers(self) -> list[tuple[int, Trigger]]:
        found = pipelines.oldest_open_trigger(self.tx)
        return [] if found is None else [(found.id, found.trigger)]

    def schedule(self) -> None:
        """What fits is claimed; some claims wait and are made later, when they may be stale."""
        if self.memory.stale and self.random.random() < 0.5:
            claims = [self.memory.stale.pop()]
        else:
            claims = [self._claim(one.job_id, one.index) for one in queue.waiting(self.tx, 20, 20)]
            self.random.shuffle(claims)
            if claims and self.random.random() < 0.3:
                self.memory.stale.append(claims[0])
        for claim in claims[:2]:
            if len(self.memory.running) >= CPUS:
                return
            before = self.crashes
            changed = self.move("start_node", claim, self.now_ms)
            if before == self.crashes and changed is not None:
                attempt = jobs.node(self.tx, claim.job_id, claim.index).attempt
                self.starts[claim.job_id, claim.index, attempt] += 1
                self.memory.running.add((claim.job_id, claim.index))
                self.check()
                if self.random.random() < 0.5:
                    self.move("open_node", claim.job_id, claim.index, "a sandbox", self.now_ms)

    def _claim(self, job_id: JobId, index: int) -> real_moves.Claim:
        plan = jobs.plan_of(self.tx, job_id)
        return real_moves.Claim(job_id=job_id, index=index, plan=plan, executor="fake", cpus=1, memory_bytes=1)

    def run(self) -> None:
        """A running node comes to its end; the end is sometimes reported twice, differently the second time."""
        if not self.memory.running:
            return
        job_id, index = self.random.choice(sorted(self.memory.running))
        crashes = self.crashes
        for _ in range(self.random.choice((1, 1, 1, 2))):
            self.move("finish_node", job_id, index, self.random.choice(ENDS), "", [], self.now_ms)
        if crashes == self.crashes:
            self.memory.running.discard((job_id, index))

    def lose(self) -> None:
        """A machine vanishes, or somebody tells late that one did."""
        self.random.choice((losses.lose, losses.lose_late))(self)

    def late(self) -> None:
        """Somebody reports the end of a node that is long over, or was never begun by him."""
        rows = self.tx.execute("SELECT job_id, idx FROM nodes WHERE status != 'waiting' AND status != 'running'").fetchall()
        if rows:
            row = self.random.choice(rows)
            self.move("finish_node", JobId(row["job_id"]), row["idx"], self.random.choice(ENDS), "late", [], self.now_ms)

    def person(self) -> None:
        kind = self.random.choice(("approve", "approve", "cancel_job", "cancel_workflow", "fail_waiting_job", "rerun"))
        if kind in ("cancel_workflow", "rerun"):
            rows = self.tx.execute("SELECT id FROM workflows").fetchall()
            if rows and self.random.random() < 0.5 and (kind != "rerun" or len(rows) < 9):
                workflow_id = WorkflowId(self.random.choice(rows)["id"])
                how = (self._wish(workflow_id), WHO) if kind == "rerun" else self._who(kind)
                self.move(kind, workflow_id, *how, self.now_ms)
            return
        # Who cancels an unlock job by itself lets the next one begin, as it is meant: nothing to look for here.
        only = "WHERE type = 'approval'" if kind == "approve" else "WHERE type != 'unlock'"
        rows = self.tx.execute(f"SELECT id FROM jobs {only}").fetchall()
        if not rows or (kind != "approve" and self.random.random() < 0.6):
            return
        job_id = JobId(self.random.choice(rows)["id"])
        self.move(kind, job_id, *self._who(kind), self.now_ms)

    def _wish(self, workflow_id: WorkflowId) -> reruns.Wish:
        """Again from the start, from what failed, or a few of the jobs, with or without the rest."""
        rows = [row.id for row in jobs.of_workflow(self.tx, workflow_id)]
        some = tuple(self.random.sample(rows, min(len(rows), 2)))
        return self.random.choice(
            (
                reruns.Wish(),
                reruns.Wish(from_failed=True),
                reruns.Wish(jobs=some),
                reruns.Wish(jobs=some, sparse_tree=True),
                reruns.Wish(from_failed=True, jobs=some),
            )
        )

    def _who(self, kind: str) -> tuple[Any, ...]:
        return (WHO,) if kind == "approve" else ("somebody",)

    # What must hold

    def check(self) -> None:
        """After every move. Raises Wrong."""
        if self.tx.total_changes == self.checked_changes:
            return
        self.checked_changes = self.tx.total_changes
        for row in self.tx.execute("SELECT id FROM workflows").fetchall():
            self._check_workflow(row["id"])
        running = self.tx.execute("SELECT count(*) FROM nodes WHERE status = 'running'").fetchone()[0]
        if running > CPUS:
            raise Wrong(f"{running} nodes run, and there is room for {CPUS}")
        events = [
            load_trigger(row["event"]).semantic_key for row in self.tx.execute("SELECT event FROM pipelines").fetchall()
        ]
        if len(set(events)) < len(events):
            raise Wrong(f"an event became two pipelines: {events}")
        self._check_locks()
        losses.check(self)
        for node, count in self.starts.items():
            if count > 1:
                raise Wrong(f"node {node} was started {count} times")

    def _check_locks(self) -> None:
        """A lock is held between its lock job and its unlock job, by one at a time, and by nobody else."""
        held = self.tx.execute(
            "SELECT jobs.id, jobs.name, jobs.status, locks.key, workflows.stopped_at_ms FROM locks"
            " JOIN jobs ON jobs.id = locks.job_id JOIN workflows ON workflows.id = jobs.workflow_id WHERE locks.is_held = 1"
        ).fetchall()
        for row in held:
            if row["status"] != "success" or row["stopped_at_ms"] is not None:
                raise Wrong(f"{row['key']} is held by {row['name']}, which is {row['status']}, or whose workflow is over")
        keys = {row["key"] for row in held}
        for row in self.tx.execute("SELECT key FROM locks WHERE is_held = 0").fetchall():
            if row["key"] not in keys:
                raise Wrong(f"somebody waits for {row['key']}, which nobody holds")
        busy = self.tx.execute(
            "SELECT json_extract(locks.plan, '$.key') AS key FROM jobs JOIN requirements ON requirements.job_id = jobs.id"
            " JOIN jobs AS locks ON locks.id = requirements.required_id AND locks.type = 'lock'"
            " WHERE jobs.status IN ('running', 'not_running') GROUP BY 1 HAVING count(*) > 1"
        ).fetchall()
        if busy:
            raise Wrong(f"two jobs of the serial group {busy[0]['key']} run at once")

    def _check_workflow(self, workflow_id: str) -> None:
        workflow = pipelines.workflow(self.tx, workflow_id)  # type: ignore[arg-type]
        rows = jobs.of_workflow(self.tx, workflow.id)
        requires = self.requires.get(workflow_id) or {row.id: jobs.plan_of(self.tx, row.id).requires for row in rows}
        self.requires[workflow_id] = requires
        status = {row.name: row.status for row in rows}
        for row in rows:
            self._never_again(("job", row.id), row.status, row.status.is_done)
            self._check_job(row, requires[row.id], status)
            for node in jobs.nodes_of(self.tx, row.id):
                self._never_again(("node", node.job_id, str(node.index)), node.status, node.status.is_done)
                if row.status in RAN and node.status is NodeStatus.WAITING:
                    raise Wrong(f"job {row.name} has ended as {row.status} with a node that waits")
        self._never_again(("workflow", workflow.id), workflow.status, workflow.status.is_done)
        if not all(one.is_done for one in status.values()) and workflow.status.is_done:
            raise Wrong(f"workflow is {workflow.status}, and a job of it is not over")
        if status and all(one.is_done for one in status.values()) and not workflow.status.is_done:
            raise Wrong(f"every job is over, and the workflow is {workflow.status}")
        if (workflow.stopped_at_ms is not None) is not workflow.status.is_done:
            raise Wrong(f"workflow is {workflow.status} and stopped at {workflow.stopped_at_ms}")

    def _never_again(self, what: tuple[str, ...], status: str, is_done: bool) -> None:
        before = self.ended.get(what)
        if before is not None and before != status:
            raise Wrong(f"{what} had ended as {before} and is {status} now")
        if is_done:
            self.ended[what] = status

    def _check_job(self, row: jobs.Job, requires: tuple[plans.Require, ...], status: dict[str, JobStatus]) -> None:
        if row.origin_id is not None:  # carried over as it ended, by a rerun: nothing of it was decided here
            if not row.status.is_done:
                raise Wrong(f"job {row.name} is carried over and {row.status}")
            return
        met = [(status[one.job].required_as in one.statuses if status[one.job].is_done else None) for one in requires]
        if row.status is JobStatus.BLOCKED and (False in met or None not in met):
            raise Wrong(f"job {row.name} is blocked, and all that decides it is known: {met}")
        if (row.status in BEGUN or row.started_at_ms is not None) and not all(met):
            raise Wrong(f"job {row.name} is {row.status}, and its requirements are {met}")
        if row.status is JobStatus.NOT_RUN and False not in met and row.type != plans.JobType.LOCK:  # those may be outrun
            raise Wrong(f"job {row.name} was not run, and nothing stood in its way: {met}")

    # The end of a world

    def settle(self) -> None:
        """Nobody comes any more: what runs ends, what waits is approved, until there is nothing to do. Raises Wrong."""
        for _ in range(400):
            self.deliver()
            self.compile()
            self.schedule()
            for node in sorted(self.memory.running):
                self.move("finish_node", *node, NodeStatus.SUCCESS, "", [], self.now_ms)
                self.memory.running = {(one.job_id, one.index) for one in jobs.running_nodes(self.tx)}
            for row in self.tx.execute("SELECT id FROM jobs WHERE status = 'on_hold'").fetchall():
                self.move("approve", JobId(row["id"]), WHO, self.now_ms)
            if not self._is_something_left():
                if self.tx.execute("SELECT count(*) FROM locks").fetchone()[0]:
                    raise Wrong("a lock outlives all workflows")
                return
        stuck = self.tx.execute("SELECT name, status FROM jobs WHERE stopped_at_ms IS NULL").fetchall()
        raise Wrong(f"left alone, it never ends: {[tuple(row) for row in stuck]}")

    def _is_something_left(self) -> bool:
        open_ones = self.tx.execute("SELECT count(*) FROM workflows WHERE stopped_at_ms IS NULL").fetchone()[0]
        return bool(self.deliveries or self._open_triggers() or open_ones)


def _short(argument: Any) -> str:
    match argument:
        case real_moves.Claim():
            return f"{argument.job_id[:4]}.{argument.index}"
        case real_moves.Draft():
            return argument.pipeline_id
        case Trigger():
            return argument.semantic_key
        case User():
            return argument.name
    return str(argument)


def random_plan(chance: random.Random) -> plans.Plan:
    """One or two workflows of up to eight jobs, each needing some of those before it in some way."""

    def workflow(number: int) -> plans.Workflow:
        return plans.Workflow(name=f"w{number}", jobs=tuple(_jobs(chance)), max_auto_reruns=chance.choice((0, 0, 2)))

    return plans.Plan(version="2.1", workflows=tuple(workflow(number) for number in range(chance.randint(1, 2))))


def _jobs(chance: random.Random) -> list[plans.Job]:
    made: list[plans.Job] = []
    for number in range(chance.randint(1, 8)):
        needed = chance.sample(made, min(len(made), chance.choice((0, 1, 1, 2, 3))))
        kind = chance.choices([plans.JobType.BUILD, plans.JobType.APPROVAL, plans.JobType.NO_OP], [8, 1, 1])[0]
        made.append(
            plans.Job(
                name=f"j{number}",
                type=kind,
                requires=tuple(_require(chance, one.name) for one in needed),
                executor=plans.Docker(images=(plans.DockerImage(image="x"),)) if kind is plans.JobType.BUILD else None,
                parallelism=chance.choice((1, 1, 1, 2, 3)),
                steps=(plans.Run(command="true", name="true"),) if kind is plans.JobType.BUILD else (),
            )
        )
    return [part for job in made for part in (_in_group(chance, job) if job.type is plans.JobType.BUILD else [job])]


def _in_group(chance: random.Random, job: plans.Job) -> list[plans.Job]:
    """Some jobs stand in one of two serial groups, as the language would have it; others keep to their names."""
    if chance.random() < 0.75:
        return [job]
    key = chance.choice(("g1", "g2"))
    lock = plans.Job(name=f"{job.name}/lock", type=plans.JobType.LOCK, key=key, requires=job.requires)
    held = replace(job, requires=(plans.Require(job=lock.name),))
    after = (plans.Require(job=job.name, statuses=TERMINAL),)
    return [lock, held, plans.Job(name=f"{job.name}/unlock", type=plans.JobType.UNLOCK, key=key, requires=after)]


def _require(chance: random.Random, name: str) -> plans.Require:
    if chance.random() < 0.7:
        return plans.Require(job=name)
    return plans.Require(job=name, statuses=tuple(chance.sample(TERMINAL, chance.randint(1, 5))))


def run_world(seed: int, empty: sqlite3.Connection, moves: Any = MOVES, steps: int = 60) -> World:
    """A world from its seed to its end. Raises Wrong with the seed and the last moves."""
    world = World(seed, empty, moves)
    try:
        for _ in range(steps):
            world.step()
        world.settle()
    except Wrong as wrong:
        raise Wrong(f"world {seed}: {wrong}\n  " + "\n  ".join(world.told[-12:])) from None
    finally:
        world.tx.close()
    return world
