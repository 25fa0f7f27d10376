"""A world: rows in a real SQLite database, what a process keeps in memory, and those who act on both by chance."""

from __future__ import annotations

import random
import sqlite3
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from appliance.engine import cancels, fit, flags, moves, moves_schedules, moves_setup, reruns
from appliance.engine.classes import GIB
from appliance.engine.scheduler import HERE
from appliance.errors import RondoError
from appliance.model import JobId, NodeStatus, PipelineId, Project, ProjectId, Trigger, TriggerKind, Vcs, WorkflowId
from appliance.store import jobs, people, pipelines, projects, queue
from appliance.store.database import Tx, migrate
from appliance.store.machines import executor_of, name_of
from tests.engine.simulation.checks import Checks
from tests.engine.simulation.graphs import random_plan
from tests.engine.simulation.pool import SIZES, Node, Pool, Wrong

ENDS = [NodeStatus.SUCCESS] * 6 + [
    NodeStatus.FAILED,
    NodeStatus.FAILED,
    NodeStatus.TIMEDOUT,
    NodeStatus.INFRASTRUCTURE_FAIL,
]
PATIENCE = cancels.Patience(workflows_ms=4 * 3_600_000, holds_ms=3_600_000, locks_ms=1_800_000)


def change_settings(tx: Tx, project_id: ProjectId, wanted: dict[str, bool], now_ms: int) -> None:
    """As the command does it: who stops a project has all that is open in it cancelled."""
    if flags.change(tx, project_id, wanted, "somebody").is_stopped:
        moves.cancel_open(tx, project_id, "somebody", now_ms)


MOVES = SimpleNamespace(
    **vars(moves),
    rerun=reruns.rerun,
    expire=cancels.expire,
    change_settings=change_settings,
    accept_continuation=moves_setup.accept_continuation,
    finish_continuation=moves_setup.finish_continuation,
    fire=moves_schedules.fire,
    let_pass=moves_schedules.let_pass,
    recount=moves_schedules.recount,
    create_schedule=moves_schedules.create,
    next_number=pipelines.next_number,
    fit=fit.fit,
)
"""What a world does its moves with. A test plants a bug by handing in another one."""


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
    """A database with two projects and somebody, to be copied for each world."""
    made = sqlite3.connect(":memory:", isolation_level=None)
    made.row_factory = sqlite3.Row
    migrate(made)
    for repo in ("app", "site"):
        projects.add(made, org="acme", repo=repo, vcs=Vcs.GITHUB, git_url="https://x/a.git", default_branch="main", now_ms=1)
    people.add(made, name="somebody", is_admin=False, sees_all_projects=True, now_ms=1)
    return made


@dataclass
class Memory:
    """What a process knows; a crash forgets it."""

    held: dict[Node, fit.Held] = field(default_factory=dict)  # by nodes whose runner lives
    known: dict[JobId, queue.Candidate] = field(default_factory=dict)
    starts: Sequence[fit.Start] = ()  # decided on and not claimed yet
    numbers: dict[int, int] = field(default_factory=dict)  # of pipelines, by triggers that are being taken in


class World:
    """Who wants to know more of what happened to a world reads `told`."""

    def __init__(self, seed: int, empty: sqlite3.Connection, moves: Any = MOVES) -> None:
        self.random = random.Random(seed)
        self.moves = moves
        self.now_ms = 1_000_000
        self.tx: Brittle = sqlite3.connect(":memory:", isolation_level=None, factory=Brittle)
        empty.backup(self.tx)
        self.tx.row_factory = sqlite3.Row
        self.tx.execute("PRAGMA foreign_keys = ON")
        self.projects: list[Project] = sorted(projects.all_of(self.tx), key=lambda one: one.repo)
        self.who = people.by_name(self.tx, "somebody")
        self.memory = Memory()
        self.deliveries: list[Trigger] = []
        self.starts: Counter[Node] = Counter()
        self.events = 0
        self.crashes = 0
        self.told: list[str] = []
        self.pool = Pool(self.random, patience_ms=self.random.choice((1000, 120_000, 600_000)))
        self.setups = 0.1  # of all configs
        self.has_history = self.random.random() < 0.5  # or nobody can tell how long a job takes
        self.checks = Checks(self.tx, self.pool)
        for project in self.projects:
            wanted = {"autocancel_builds": self.random.random() < 0.6, "build_fork_prs": True}
            change_settings(self.tx, project.id, wanted, self.now_ms)

    # How a transaction runs

    def move(self, name: str, *arguments: Any, **named: Any) -> Any:
        """One of the engine's transactions, see `transaction`."""
        self.told.append(" ".join([name, *(_short(one) for one in arguments)]))
        return self.transaction(lambda tx: getattr(self.moves, name)(tx, *arguments, **named))

    def transaction(self, fn: Callable[[sqlite3.Connection], Any]) -> Any:
        """What `fn` gives; now and then the process dies within it. None then, and where the rows refuse."""
        if self.random.random() < 0.04:
            self.tx.left = self.random.randint(2, 30)
        self.tx.execute("BEGIN IMMEDIATE")
        try:
            found = fn(self.tx)
        except BaseException as error:
            self.tx.left = None
            self.tx.execute("ROLLBACK")
            if isinstance(error, Crash):
                self.crash()
            elif isinstance(error, sqlite3.IntegrityError):
                raise Wrong(f"the schema refuses: {error}") from error
            elif not isinstance(error, RondoError):
                raise
            else:
                self.told.append(f"  refused: {error}")
            return None
        self.tx.left = None
        self.tx.execute("COMMIT")
        self.checks.look(self.now_ms)
        return found

    def crash(self) -> None:
        """All that is in memory goes; the rows say what runs, and the sandboxes go on meanwhile."""
        self.crashes += 1
        self.told.append("crash")
        self.memory = Memory()
        for node in jobs.running_nodes(self.tx):
            job = jobs.by_id(self.tx, node.job_id)
            self.memory.held[node.job_id, node.index, node.attempt] = fit.Held(
                project_id=job.project_id,
                machine=name_of(node.executor) or HERE,
                cpus=node.cpus,
                memory_bytes=node.memory_bytes,
                job_number=job.number or 0,
                since_ms=node.started_at_ms,
            )

    # The forge and the intake

    def push(self) -> None:
        """A push, or a call of the API: lost, late or doubled on its way."""
        self.events += 1
        if self.events > 5:
            return
        self.deliveries += [self._event(self.events)] * self.random.choice((0, 1, 1, 1, 2, 3))

    def _event(self, number: int) -> Trigger:
        branch = self.random.choice(("main", "topic", "topic"))
        return Trigger(
            project_id=self.random.choice((*self.projects, self.projects[0])).id,
            kind=TriggerKind.API if self.random.random() < 0.2 else TriggerKind.WEBHOOK,
            semantic_key=f"push refs/heads/{branch} {number}",
            delivery_id=f"d{number}" if self.random.random() < 0.7 else None,
            branch=branch,
            revision=f"{number:040x}",
            actor="someone",
            parameters={"deploy": self.random.random() < 0.5} if self.random.random() < 0.3 else {},
            is_fork=self.random.random() < 0.1,
        )

    def deliver(self) -> None:
        """The forge hands an event over, out of order, and keeps it when the appliance died before it answered."""
        if self.deliveries:
            at = self.random.randrange(len(self.deliveries))
            crashes = self.crashes
            self.move("receive", self.deliveries[at], self.now_ms, True)
            if crashes == self.crashes:
                del self.deliveries[at]

    def take_in(self) -> None:
        """The oldest trigger becomes a pipeline; sometimes the one after it, when that one cannot be fetched just now."""
        found = pipelines.oldest_open_trigger(self.tx)
        if found is None:
            return
        if self.random.random() < 0.2:
            self._number(found.id, found.trigger)  # and then the disk was full
            found = pipelines.oldest_open_trigger(self.tx, after=found.id) or found
        number = self._number(found.id, found.trigger)
        if number is None:
            return
        draft = self._draft(found.id, found.trigger, number)
        for _ in range(2 if self.random.random() < 0.2 else 1):  # two of them at once
            self.checks.expect_schedules(found.trigger, draft.plan)
            made = self.move("create_pipeline", found.id, found.trigger, draft, self.now_ms)
            self.checks.schedules_done(is_made=made is not None)

    def _number(self, trigger_id: int, trigger: Trigger) -> int | None:
        if trigger_id not in self.memory.numbers:
            number = self.move("next_number", trigger.project_id)
            if number is None:
                return None
            self.memory.numbers[trigger_id] = number
        return self.memory.numbers[trigger_id]

    def _draft(self, trigger_id: int, trigger: Trigger, number: int) -> moves.Draft:
        plan = None if self.random.random() < 0.05 else random_plan(self.random, setups=self.setups)
        if plan is not None and trigger.occasion is not None and trigger.occasion.workflow is not None:
            names = trigger.occasion.workflow
            plan = type(plan)(
                version=plan.version,
                workflows=tuple(one for one in plan.scheduled if one.name == names),
                scheduled=plan.scheduled,
            )
        pipeline_id = PipelineId(f"p{trigger_id}.{number}.{self.crashes}")
        return moves.Draft(
            pipeline_id=pipeline_id,
            number=number,
            source="",
            compiled="",
            values={},
            problems=[],
            plan=plan,
            key=f"key of {pipeline_id}",
        )

    # The scheduler and the runners

    def schedule(self) -> None:
        """What fits is claimed, in one transaction; now and then something else happens between decision and claim."""
        if not self.memory.starts:
            self.memory.starts = self._decide()
            if self.memory.starts and self.random.random() < 0.2:
                return
        starts, self.memory.starts = self.memory.starts, ()
        if starts:
            self._claim(starts)

    def _decide(self) -> Sequence[fit.Start]:
        usable = self.pool.usable()
        wishes = []
        for one in queue.waiting(self.tx, 30, 20):
            if one.job_id not in self.memory.known:
                self.memory.known[one.job_id] = queue.candidate(self.tx, one.job_id)
            known = self.memory.known[one.job_id]
            cpus, gib = SIZES[known.plan.resource_class or "small"]
            wishes.append(
                fit.Wish(
                    job_id=one.job_id,
                    index=one.index,
                    project_id=one.project_id,
                    machines=tuple(name for name in usable if _executor(name) != one.lost_on) or usable,
                    cpus=cpus,
                    memory_bytes=gib * GIB,
                    since_ms=one.queued_at_ms,
                    lasts_ms=known.lasts_ms if self.has_history else None,
                )
            )
        decision = self.pool.decide(self.moves.fit, wishes, self.memory.held, self.now_ms)
        if decision.waits and self.random.random() < 0.2:
            wish, why = decision.waits[0]
            crashes = self.crashes
            self.move("explain_wait", wish.job_id, wish.index, why)
            if crashes < self.crashes:
                return ()
        return decision.starts

    def _claim(self, starts: Sequence[fit.Start]) -> None:
        claims = [self._claim_of(start) for start in starts]
        self.told.append("start_node " + ", ".join(f"{_short(one)} on {one.executor}" for one in claims))
        changes = self.transaction(lambda tx: [self.moves.start_node(tx, one, self.now_ms) for one in claims])
        for start, changed in zip(starts, changes or (), strict=False):
            if changed is not None:
                row = jobs.node(self.tx, start.wish.job_id, start.wish.index)
                node = row.job_id, row.index, row.attempt
                self.starts[node] += 1
                if self.starts[node] > 1:
                    raise Wrong(f"node {node} was started {self.starts[node]} times")
                if (row.cpus, row.memory_bytes) != (start.cpus, start.memory_bytes):
                    raise Wrong(f"{node} was given {start.cpus} CPUs and {start.memory_bytes} bytes, and its row says {row}")
                lasts_ms = start.wish.lasts_ms
                self.memory.held[node] = fit.Held(
                    project_id=start.wish.project_id,
                    machine=start.machine,
                    cpus=start.cpus,
                    memory_bytes=start.memory_bytes,
                    job_number=0,
                    ends_at_ms=None if lasts_ms is None else self.now_ms + lasts_ms,
                    since_ms=self.now_ms,
                )
        for node in list(self.memory.held)[-len(starts) :]:
            if changes is not None and self.random.random() < 0.3:
                self.move("open_node", *node[:2], "a sandbox", self.now_ms)

    def _claim_of(self, start: fit.Start) -> moves.Claim:
        return moves.Claim(
            job_id=start.wish.job_id,
            index=start.wish.index,
            plan=self.memory.known[start.wish.job_id].plan,
            executor=_executor(start.machine),
            cpus=start.cpus,
            memory_bytes=start.memory_bytes,
        )

    def run(self) -> None:
        """A running node comes to its end; the end is sometimes reported twice, differently the second time.

        Who was cancelled holds his room until his runner has seen it: that is here, too.
        """
        if not self.memory.held:
            return
        node = self.random.choice(list(self.memory.held))
        is_away = self.memory.held[node].machine in self.pool.away
        if is_away and self.random.random() < 0.7:
            return  # it is lost, if somebody says so
        crashes = self.crashes
        for _ in range(self.random.choice((1, 1, 1, 2))):
            end = NodeStatus.INFRASTRUCTURE_FAIL if is_away else self.random.choice(ENDS)
            self.move("finish_node", *node[:2], end, "", [], self.now_ms)
        if crashes == self.crashes:
            del self.memory.held[node]

    def late(self) -> None:
        """Somebody reports the end of a node that is long over, or was never begun by him."""
        rows = self.tx.execute("SELECT job_id, idx FROM nodes WHERE status != 'waiting' AND status != 'running'").fetchall()
        if rows:
            row = self.random.choice(rows)
            self.move("finish_node", JobId(row["job_id"]), row["idx"], self.random.choice(ENDS), "late", [], self.now_ms)

    def machine(self) -> None:
        """A machine comes, goes, is drained or comes back."""
        self.told.append(self.pool.change())

    # Who looks for something to act on

    def workflow(self) -> WorkflowId | None:
        """Any workflow."""
        rows = self.tx.execute("SELECT id FROM workflows ORDER BY rowid").fetchall()
        return WorkflowId(self.random.choice(rows)["id"]) if rows else None

    def job(self, only: str) -> JobId | None:
        """Any job that fits a condition."""
        rows = self.tx.execute(f"SELECT id FROM jobs WHERE {only} ORDER BY rowid").fetchall()
        return JobId(self.random.choice(rows)["id"]) if rows else None


def _executor(machine: str) -> str:
    return "docker" if machine == HERE else executor_of(machine)


def _short(argument: Any) -> str:
    match argument:
        case moves.Claim():
            return f"{argument.job_id[:4]}.{argument.index}"
        case moves.Draft():
            return argument.pipeline_id
        case Trigger():
            return argument.semantic_key
    return str(getattr(argument, "name", argument))[:60]
