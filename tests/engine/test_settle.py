"""What follows in a workflow when a job ends: by the rows, and always what the whole graph says."""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from importlib import resources
from pathlib import Path

import pytest

from appliance.engine import moves, rules
from appliance.language import plan as plans
from appliance.model import JobId, JobStatus, NodeStatus, PipelineId, Project, WorkflowStatus
from appliance.store import jobs, pipelines, requirements
from appliance.store.database import Tx, migrate, open_plain
from tests.engine.shop import NOW
from tests.engine.test_moves import create, finish, job, project, start, statuses, tx, workflow

__all__ = ["project", "tx"]

TERMINAL = ("success", "failed", "canceled", "unauthorized", "not_run")


def needing(name: str, *requires: plans.Require, type: plans.JobType = plans.JobType.BUILD) -> plans.Job:
    made = job(name, type=type)
    return plans.Job(name=name, type=type, requires=requires, executor=made.executor, steps=made.steps)


def test_a_requirement_that_cannot_be_met_decides_before_the_others_have_ended(tx: Tx, project: Project) -> None:
    made = create(tx, project, job("a"), job("b"), job("c", "a", "b"), job("d", "c"))
    start(tx, made["a"])
    finish(tx, made["a"], NodeStatus.FAILED)
    assert statuses(tx)["c"] is statuses(tx)["d"] is JobStatus.NOT_RUN
    assert workflow(tx).status is WorkflowStatus.FAILING, "b still waits"


def test_a_no_op_frees_what_needs_it_in_the_same_move(tx: Tx, project: Project) -> None:
    no_op, approval = plans.JobType.NO_OP, plans.JobType.APPROVAL
    create(tx, project, job("c", "ask"), job("ask", "gate", type=approval), job("b", "gate"), job("gate", type=no_op))
    assert statuses(tx) == {
        "c": JobStatus.BLOCKED,
        "ask": JobStatus.ON_HOLD,
        "b": JobStatus.NOT_RUNNING,
        "gate": JobStatus.SUCCESS,
    }


def test_a_job_may_name_the_same_requirement_twice(tx: Tx, project: Project) -> None:
    both = needing("b", plans.Require(job="a"), plans.Require(job="a", statuses=TERMINAL))
    never = needing("c", plans.Require(job="a", statuses=("failed",)), plans.Require(job="a", statuses=("canceled",)))
    after = needing("d", plans.Require(job="c", statuses=("not_run",)), plans.Require(job="e"))
    made = create(tx, project, job("a"), both, never, after, job("e"))
    start(tx, made["a"])
    finish(tx, made["a"])
    assert statuses(tx) == {
        "a": JobStatus.SUCCESS,
        "b": JobStatus.NOT_RUNNING,
        "c": JobStatus.NOT_RUN,
        "d": JobStatus.BLOCKED,
        "e": JobStatus.NOT_RUNNING,
    }


def test_a_workflow_that_fails_while_an_approval_holds_is_failing(tx: Tx, project: Project) -> None:
    made = create(tx, project, job("a"), job("ask", type=plans.JobType.APPROVAL))
    start(tx, made["a"])
    finish(tx, made["a"], NodeStatus.FAILED)
    assert workflow(tx).status is WorkflowStatus.FAILING
    moves.cancel_job(tx, made["ask"].id, "boss", NOW)
    assert workflow(tx).status is WorkflowStatus.FAILED
    assert jobs.by_id(tx, made["ask"].id).canceled_by == "boss"


def test_a_job_that_cannot_be_started_makes_an_error(tx: Tx, project: Project) -> None:
    made = create(tx, project, job("a"), job("b"))
    moves.fail_waiting_job(tx, made["a"].id, "there is no such class", NOW)
    assert workflow(tx).status is WorkflowStatus.FAILING
    start(tx, made["b"])
    finish(tx, made["b"])
    assert workflow(tx).status is WorkflowStatus.ERROR


def test_numbers_of_deleted_jobs_are_not_given_again(tx: Tx, project: Project) -> None:
    create(tx, project, job("a"), job("b"))
    tx.execute("DELETE FROM pipelines")
    assert create(tx, project, job("a"), number=2)["a"].number == 3


def test_a_long_chain_follows_to_its_end_in_one_move(tx: Tx, project: Project) -> None:
    made = create(tx, project, job("0"), *(job(str(at), str(at - 1)) for at in range(1, 1500)))
    start(tx, made["0"])
    finish(tx, made["0"], NodeStatus.FAILED)
    assert set(list(statuses(tx).values())[1:]) == {JobStatus.NOT_RUN}
    assert workflow(tx).status is WorkflowStatus.FAILED


def test_an_end_costs_as_much_as_it_has_dependents_and_not_as_its_workflow_has_jobs(tx: Tx, project: Project) -> None:
    """By the rows that SQLite steps over: a clock would tell lies on a busy machine."""
    costs = []
    for number, size in enumerate((5, 500), 1):
        made = create(tx, project, *(job(f"a{at}") for at in range(size)), job("z", "a0"), number=number)
        start(tx, made["a0"])
        steps = 0

        def count() -> int:
            nonlocal steps
            steps += 1
            return 0

        tx.set_progress_handler(count, 10)
        finish(tx, made["a0"])
        tx.set_progress_handler(None, 0)
        costs.append(steps)
    assert costs[1] < costs[0] * 1.5, costs


def naive(
    graph: Mapping[str, Sequence[plans.Require]], types: Mapping[str, str], now: dict[str, JobStatus]
) -> dict[str, JobStatus]:
    """The whole graph looked at again and again, until nothing moves: slow, and plain to see."""
    found, is_moving = dict(now), True
    while is_moving:
        is_moving = False
        for name, needs in graph.items():
            if found[name] is not JobStatus.BLOCKED:
                continue
            ends = [(need, found[need.job]) for need in needs]
            if any(end.is_done and end.required_as not in need.statuses for need, end in ends):
                found[name], is_moving = JobStatus.NOT_RUN, True
            elif all(end.is_done for _, end in ends):
                found[name], is_moving = rules.freed_as(types[name]), True
    return found


@pytest.mark.parametrize("seed", range(40))
def test_random_workflows_go_as_their_whole_graph_says(tx: Tx, project: Project, seed: int) -> None:
    dice = random.Random(seed)
    names = [f"j{at}" for at in range(dice.randint(2, 12))]
    kinds = [plans.JobType.BUILD] * 4 + [plans.JobType.APPROVAL, plans.JobType.NO_OP]
    graph = {
        name: tuple(
            plans.Require(job=other, statuses=tuple(dice.sample(TERMINAL, dice.randint(1, 5))))
            for other in dice.sample(names[:at], dice.randint(0, min(at, 3)))
        )
        for at, name in enumerate(names)
    }
    of = [needing(name, *graph[name], type=dice.choice(kinds)) for name in names]
    shuffled = dice.sample(of, len(of))
    made = create(tx, project, *shuffled)
    types = {one.name: str(one.type) for one in of}
    expected = naive(graph, types, dict.fromkeys(names, JobStatus.BLOCKED))
    assert statuses(tx) == expected
    while going := sorted(name for name, status in expected.items() if not status.is_done and status != JobStatus.BLOCKED):
        name = dice.choice(going)
        act(tx, made[name], dice)
        expected = naive(graph, types, {**expected, name: statuses(tx)[name]})
        assert statuses(tx) == expected
        assert workflow(tx).status is rules.workflow_status(set(expected.values()), is_canceled=False)
    assert workflow(tx).status.is_done, "a graph without cycles always ends"


def act(tx: Tx, row: jobs.Job, dice: random.Random) -> None:
    """Something happens to a job that waits, runs or holds."""
    match jobs.by_id(tx, row.id).status:
        case JobStatus.NOT_RUNNING if dice.random() < 0.8:
            start(tx, row)
        case JobStatus.RUNNING if dice.random() < 0.8:
            finish(tx, row, dice.choice([NodeStatus.SUCCESS, NodeStatus.FAILED, NodeStatus.TIMEDOUT]))
        case _:
            moves.cancel_job(tx, row.id, "someone", NOW)


def before_requirements(path: Path) -> Tx:
    """A database as it was before jobs' requirements had a table: two workflows under way, one of them waiting."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.row_factory = sqlite3.Row
    files = sorted(resources.files("appliance.store").joinpath("migrations").iterdir(), key=lambda file: file.name)
    for file in [file for file in files if file.name.endswith(".sql")][:6]:
        connection.executescript(file.read_text("utf-8"))
    connection.execute("PRAGMA user_version = 6")
    connection.execute(
        "INSERT INTO projects (id, slug, vcs, org, repo, default_branch, created_at_ms)"
        " VALUES ('p', 'circleci/a/b', 'hosted', 'a', 'b', 'main', 1)"
    )
    connection.execute(
        "INSERT INTO pipelines (id, project_id, number, state, event, is_trusted, source, compiled, pipeline_values,"
        " problems, created_at_ms, updated_at_ms) VALUES ('pi', 'p', 1, 'created',"
        ' \'{"kind": "webhook", "project_id": "p", "semantic_key": "x", "revision": "1", "commit": {}}\','
        " 1, '', '', '{}', '[]', 1, 1)"
    )
    connection.execute(
        "INSERT INTO workflows (id, pipeline_id, name, status, workspace_id, started_by, created_at_ms)"
        " VALUES ('w', 'pi', 'w', 'running', 'ws', 'x', 1)"
    )
    rows = [
        ("done", "success", []),
        ("going", "running", []),
        ("next", "blocked", [{"job": "done", "statuses": ["success"]}, {"job": "going", "statuses": ["success"]}]),
        ("last", "blocked", [{"job": "next", "statuses": ["success"]}]),
    ]
    for position, (name, status, requires) in enumerate(rows):
        plan = plans.dump_job(job(name)) | {"requires": requires}
        connection.execute(
            "INSERT INTO jobs (id, workflow_id, project_id, number, position, name, type, status, plan, created_at_ms)"
            " VALUES (:name, 'w', 'p', :number, :position, :name, 'build', :status, json(:plan), 1)",
            {"name": name, "number": 7 + position, "position": position, "status": status, "plan": json.dumps(plan)},
        )
        connection.execute("INSERT INTO nodes (job_id, idx, status) VALUES (?, 0, 'waiting')", (name,))
    connection.execute("UPDATE nodes SET status = 'running' WHERE job_id = 'going'")
    return connection


def test_workflows_from_before_requirements_had_a_table_go_on(tmp_path: Path) -> None:
    with closing(before_requirements(tmp_path / "rondo.db")) as old:
        migrate(old)
    with closing(open_plain(tmp_path / "rondo.db")) as tx:
        tx.execute("BEGIN IMMEDIATE")
        moves.finish_node(tx, JobId("going"), 0, NodeStatus.SUCCESS, "", [], NOW)
        found = {row.name: row.status for row in jobs.of_pipeline(tx, PipelineId("pi"))}
        assert found == {
            "done": JobStatus.SUCCESS,
            "going": JobStatus.SUCCESS,
            "next": JobStatus.NOT_RUNNING,
            "last": JobStatus.BLOCKED,
        }
        assert requirements.edges(tx, pipelines.workflows_of(tx, PipelineId("pi"))[0].id) == [
            ("next", "done"),
            ("next", "going"),
            ("last", "next"),
        ]
        assert jobs.next_number(tx) == 11


@pytest.mark.parametrize("name", ["DEPENDENTS", "STATUSES", "FAILURES_LEFT"])
def test_what_every_transition_asks_uses_an_index(tx: Tx, name: str) -> None:
    rows = tx.execute(f"EXPLAIN QUERY PLAN {getattr(requirements, name)}", {"id": "x"}).fetchall()
    plan = [row["detail"] for row in rows]
    assert any("INDEX" in line or "PRIMARY KEY" in line for line in plan), plan
    assert not any(line.startswith(("SCAN jobs", "SCAN requirements")) for line in plan), plan
