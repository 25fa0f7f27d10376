"""Pipelines in two phases: the transactions of a continuation on a real SQLite file, and what a door asks of the engine."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from appliance.bell import Bell
from appliance.clock import FakeClock
from appliance.crypto import SecretBox
from appliance.engine import moves, moves_setup, reruns
from appliance.engine.commands import Commands, LiveNodes
from appliance.errors import BadRequest, Conflict, NotFound
from appliance.language import compile
from appliance.model import NodeStatus, PipelineId, PipelineState, Trigger, TriggerKind, User, UserId, Vcs, WorkflowStatus
from appliance.store import continuations, jobs, pipelines, projects
from appliance.store.database import Database, Tx, open_database

NOW = 1_000_000
BOX = SecretBox(bytes(32))
PIPELINE = PipelineId("11111111-1111-4111-8111-111111111111")
KEY = continuations.key_of(BOX, PIPELINE)
SETUP = """\
version: 2.1
setup: true
parameters:
  only-here: { type: string, default: "" }
  deploy: { type: boolean, default: false }
jobs:
  generate: { machine: true, steps: [checkout] }
workflows:
  first: { jobs: [generate] }
"""
SECOND = """\
version: 2.1
parameters:
  deploy: { type: boolean, default: true }
  level: { type: integer, default: 1 }
jobs:
  test: { machine: true, steps: [checkout] }
workflows:
  second: { jobs: [test] }
"""
PERSON = User(id=UserId("u"), name="somebody", is_admin=False, sees_all_projects=True)
EMPTY = "{version: 2, jobs: {}, workflows: {version: 2}}"


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(tmp_path / "rondo.db") as database:
        yield database


def draft(source: str, parameters: dict[str, Any] | None = None) -> moves.Draft:
    compiled = compile(source, parameters=parameters or {})
    return moves.Draft(
        pipeline_id=PIPELINE,
        number=1,
        source=source,
        compiled=compiled.process() if compiled.plan else "",
        values={},
        problems=[pipelines.Problem(type="config", kind="error", message=one.message) for one in compiled.problems],
        plan=compiled.plan,
        key=KEY,
    )


def begin(tx: Tx, parameters: dict[str, Any] | None = None, source: str = SETUP) -> PipelineId:
    project = projects.add(tx, org="acme", repo="app", vcs=Vcs.HOSTED, git_url=None, default_branch="main", now_ms=NOW)
    trigger = Trigger(
        project_id=project.id,
        kind=TriggerKind.API,
        semantic_key="api 1",
        branch="main",
        revision="1" * 40,
        actor="someone",
        parameters=parameters or {},
    )
    accepted = moves.accept(tx, trigger, NOW, True)
    assert accepted is not None
    assert moves.create_pipeline(tx, accepted.trigger_id, trigger, draft(source, parameters), NOW) is not None
    return PIPELINE


def commands(db: Database, now_ms: int = NOW) -> Commands:
    return Commands(db, Bell(), FakeClock(now_ms), LiveNodes())


async def state(db: Database) -> tuple[str, list[tuple[str, bool]]]:
    def look(tx: Tx) -> tuple[str, list[tuple[str, bool]]]:
        found = [(one.name, one.is_setup) for one in pipelines.workflows_of(tx, PIPELINE)]
        return pipelines.pipeline(tx, PIPELINE).state.value, found

    return await db.read(look)


async def test_a_setup_pipeline_waits_in_setup_with_its_one_workflow_tagged(db: Database) -> None:
    await db.write(begin)
    assert await state(db) == ("setup", [("first", True)])
    pipeline = await db.read(lambda tx: pipelines.pipeline(tx, PIPELINE))
    setup = await db.read(lambda tx: continuations.of_pipeline(tx, PIPELINE))
    assert setup is not None and setup.setup_source == SETUP and "generate" in setup.setup_compiled
    assert (pipeline.source, pipeline.compiled) == ("", "")


@pytest.mark.parametrize("is_continued", [False, True])
async def test_a_pipeline_is_canceled_with_what_its_setup_phase_would_bring(db: Database, is_continued: bool) -> None:
    """Though the setup workflow has ended well before: its key opens nothing, what is being compiled begins nothing."""
    await db.write(begin)
    rows = await db.read(lambda tx: jobs.of_pipeline(tx, PIPELINE))
    claim = moves.Claim(
        job_id=rows[0].id,
        index=0,
        plan=await db.read(lambda tx: jobs.plan_of(tx, rows[0].id)),
        executor="local",
        cpus=1,
        memory_bytes=1,
    )
    await db.write(lambda tx: moves.start_node(tx, claim, NOW))
    if is_continued:
        await commands(db).continue_pipeline(KEY, SECOND, {})
    await db.write(lambda tx: moves.finish_node(tx, rows[0].id, 0, NodeStatus.SUCCESS, "", [], NOW))

    async def may_bring_more(now_ms: int = NOW) -> bool:
        return await db.read(lambda tx: continuations.may_bring_more(tx, PIPELINE, now_ms))

    assert await may_bring_more() and await may_bring_more(NOW + 6 * 3_600_000) is is_continued
    await commands(db).cancel_pipeline(PIPELINE, PERSON)
    assert not await may_bring_more()
    if not is_continued:
        with pytest.raises(Conflict, match="canceled"):
            await commands(db).continue_pipeline(KEY, SECOND, {})
        return
    await db.write(lambda tx: moves_setup.finish_continuation(tx, PIPELINE, draft(SECOND), NOW))
    found = {one.name: one.status for one in await db.read(lambda tx: pipelines.workflows_of(tx, PIPELINE))}
    assert found == {"first": WorkflowStatus.SUCCESS, "second": WorkflowStatus.CANCELED}


async def test_an_approval_of_a_setup_workflow_is_for_the_setup_config(db: Database) -> None:
    source = SETUP.replace("[generate]", "[generate, hold: {type: approval}]")
    await db.write(lambda tx: begin(tx, source=source))
    hold = next(row for row in await db.read(lambda tx: jobs.of_pipeline(tx, PIPELINE)) if row.name == "hold")
    await commands(db).approve(hold.id, PERSON)
    setup = await db.read(lambda tx: continuations.of_pipeline(tx, PIPELINE))
    (row,) = await db.read(lambda tx: tx.execute("SELECT job_id, config_digest FROM approvals").fetchall())
    assert setup is not None and row["job_id"] == hold.id
    assert row["config_digest"] == hashlib.sha256(setup.setup_compiled.encode()).hexdigest()


async def test_the_key_is_stored_nowhere(db: Database, tmp_path: Path) -> None:
    await db.write(begin)
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert PIPELINE.encode() in kept and KEY.encode() not in kept
    assert continuations.key_of(SecretBox(b"1" * 32), PIPELINE) != KEY


async def test_a_continuation_passes_pending_and_gets_its_workflows(db: Database) -> None:
    await db.write(begin)
    await commands(db).continue_pipeline(KEY, SECOND, {"level": 3})
    assert await state(db) == ("pending", [("first", True)])
    assert await db.read(continuations.oldest_pending) == PIPELINE
    await db.write(lambda tx: moves_setup.finish_continuation(tx, PIPELINE, draft(SECOND), NOW))
    assert await state(db) == ("created", [("first", True), ("second", False)])
    again = await db.write(lambda tx: moves_setup.finish_continuation(tx, PIPELINE, draft(SECOND), NOW))
    assert again is None, "a crash and one more look add nothing"
    assert await state(db) == ("created", [("first", True), ("second", False)])
    assert await db.read(continuations.oldest_pending) is None
    assert await db.read(lambda tx: continuations.is_continued(tx, PIPELINE))


async def test_what_continues_a_setup_workflow_is_canceled_with_it(db: Database) -> None:
    """Also when the cancel comes between the asking and the end of the compiling, when there is nothing to be seen of it."""
    await db.write(begin)
    await commands(db).continue_pipeline(KEY, SECOND, {})

    def cancel(tx: Tx) -> None:
        (setup,) = pipelines.workflows_of(tx, PIPELINE)
        moves.cancel_workflow(tx, setup.id, "somebody", NOW)
        moves_setup.finish_continuation(tx, PIPELINE, draft(SECOND), NOW)

    await db.write(cancel)
    found = await db.read(lambda tx: pipelines.workflows_of(tx, PIPELINE))
    assert [(one.name, one.status, one.canceled_by) for one in found] == [
        ("first", WorkflowStatus.CANCELED, "somebody"),
        ("second", WorkflowStatus.CANCELED, "somebody"),
    ]


async def test_a_setup_workflow_that_was_rerun_may_continue_although_the_clock_went_back(db: Database) -> None:
    await db.write(begin)

    def cancel_and_rerun(tx: Tx) -> None:
        (setup,) = pipelines.workflows_of(tx, PIPELINE)
        moves.cancel_workflow(tx, setup.id, "somebody", NOW)
        who = User(id=UserId("u"), name="somebody", is_admin=False, sees_all_projects=True)
        reruns.rerun(tx, setup.id, reruns.Wish(), who, NOW - 1)

    await db.write(cancel_and_rerun)
    await commands(db).continue_pipeline(KEY, SECOND, {})
    assert (await state(db))[0] == "pending"


async def test_a_key_is_good_once_unless_the_very_same_request_comes_again(db: Database) -> None:
    await db.write(begin)
    await commands(db).continue_pipeline(KEY, SECOND, {}, request="job 1")
    await commands(db).continue_pipeline(KEY, SECOND, {}, request="job 1")
    for request in (None, "job 2"):
        with pytest.raises(Conflict, match=r"Pipeline is not in setup state\."):
            await commands(db).continue_pipeline(KEY, SECOND, {}, request=request)


async def test_of_two_who_use_a_key_at_once_one_does(db: Database) -> None:
    """Both find it good before either has used it; what the other one sent is nowhere."""
    await db.write(begin)
    other = SECOND.replace("second", "other")
    both = (commands(db).continue_pipeline(KEY, config, {}, request=config) for config in (SECOND, other))
    ends = await asyncio.gather(*both, return_exceptions=True)
    assert [type(end) for end in ends if end is not None] == [Conflict]
    assert (await db.read(lambda tx: pipelines.pipeline(tx, PIPELINE))).source == (SECOND if ends[0] is None else other)


async def test_whose_hands_it_went_through_does_not_hang_on_the_clock(db: Database) -> None:
    await db.write(begin)
    assert await db.read(lambda tx: continuations.hands(tx, PIPELINE)) == set()
    await commands(db, NOW - 3_600_000).continue_pipeline(KEY, SECOND, {})
    assert await db.read(lambda tx: continuations.hands(tx, PIPELINE)) == {None}, "who began it is nobody we know"


async def test_a_key_lives_for_six_hours(db: Database) -> None:
    await db.write(begin)
    with pytest.raises(Conflict, match=r"Continuation key has expired. Please run a new pipeline."):
        await commands(db, NOW + 6 * 3_600_000).continue_pipeline(KEY, SECOND, {})
    await commands(db, NOW + 6 * 3_600_000 - 1).continue_pipeline(KEY, SECOND, {})


async def test_what_cannot_continue_leaves_the_key_unused(db: Database) -> None:
    await db.write(begin)
    with pytest.raises(NotFound):
        await commands(db).continue_pipeline("rondo_continue_guess", SECOND, {})
    with pytest.raises(BadRequest, match="cannot be a setup config itself"):
        await commands(db).continue_pipeline(KEY, SETUP, {})
    with pytest.raises(BadRequest, match=r"Unexpected argument\(s\): nothing"):
        await commands(db).continue_pipeline(KEY, SECOND, {"nothing": 1})
    with pytest.raises(BadRequest, match=r"Unexpected argument\(s\): level"):
        await commands(db).continue_pipeline(KEY, EMPTY, {"level": 1})
    with pytest.raises(BadRequest, match="level must be an integer"):
        await commands(db).continue_pipeline(KEY, SECOND, {"level": "high"})
    assert await state(db) == ("setup", [("first", True)])
    await commands(db).continue_pipeline(KEY, EMPTY, {})


async def test_a_broken_config_is_the_pipelines_error_not_the_callers(db: Database) -> None:
    await db.write(begin)
    await commands(db).continue_pipeline(KEY, "a: [b", {"level": 1})
    await db.write(lambda tx: moves_setup.finish_continuation(tx, PIPELINE, draft("a: [b"), NOW))
    pipeline = await db.read(lambda tx: pipelines.pipeline(tx, PIPELINE))
    assert pipeline.state is PipelineState.ERRORED and pipeline.problems and pipeline.source == "a: [b"


@pytest.mark.parametrize(
    ("triggered", "given", "outcome"),
    [
        ({"deploy": True}, {"deploy": False}, "Conflicting pipeline parameters."),
        (
            {"deploy": False},
            {"deploy": True},
            {"deploy": True},
        ),  # what the setup config has by itself conflicts with nothing
        ({"deploy": True}, {"level": 2}, {"deploy": True, "level": 2}),
        ({"deploy": False}, {}, {"deploy": False}),  # a default of the second config does not win over the trigger
        ({"only-here": "x"}, {}, "Unexpected argument(s): only-here. The config declares no such pipeline parameter."),
    ],
)
async def test_parameters_of_the_trigger_carry_over(
    db: Database, triggered: dict[str, Any], given: dict[str, Any], outcome: dict[str, Any] | str
) -> None:
    await db.write(lambda tx: begin(tx, triggered))
    if isinstance(outcome, str):
        with pytest.raises(BadRequest) as raised:
            await commands(db).continue_pipeline(KEY, SECOND, given)
        assert str(raised.value) == outcome
        return
    await commands(db).continue_pipeline(KEY, SECOND, given)
    found = await db.read(lambda tx: continuations.of_pipeline(tx, PIPELINE))
    assert found is not None and found.parameters == outcome


async def test_an_empty_continuation_needs_no_parameters_of_the_trigger(db: Database) -> None:
    await db.write(lambda tx: begin(tx, {"only-here": "x"}))
    await commands(db).continue_pipeline(KEY, EMPTY, {})


async def test_a_setup_config_that_runs_nothing_here_is_ready_as_it_is(db: Database) -> None:
    nothing = SETUP.replace("first: {", "first: { when: false,")
    await db.write(lambda tx: begin(tx, source=nothing))
    assert await state(db) == ("created", [])


async def test_the_loop_finds_pending_pipelines_by_an_index(db: Database) -> None:
    plan = await db.read(lambda tx: [row["detail"] for row in tx.execute("EXPLAIN QUERY PLAN " + continuations.PENDING)])
    assert plan == ["SCAN pipelines USING INDEX pipelines_pending"]
