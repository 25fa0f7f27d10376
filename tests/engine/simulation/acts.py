"""Who else acts on a world: people with buttons, setup jobs with their keys, and the clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from appliance.engine import continuation, moves, reruns
from appliance.engine.moves_schedules import Wish
from appliance.errors import BadRequest
from appliance.model import JobId, NodeStatus, Occasion, Trigger, TriggerKind
from appliance.store import continuations, jobs, pipelines, schedules
from tests.engine.simulation.checks import KEY_LASTS_MS
from tests.engine.simulation.graphs import random_plan
from tests.engine.simulation.losses import lose
from tests.engine.simulation.pool import Wrong
from tests.engine.simulation.world import PATIENCE, World

SETUP = "{version: 2.1, setup: true, parameters: {deploy: {type: boolean, default: false}}}"
SECOND = "{version: 2.1, parameters: {deploy: {type: boolean, default: true}}}"


# People


def person(world: World) -> None:
    kinds = (_approve, _approve, _cancel_job, _cancel_workflow, _cancel_pipeline, _end_waiting_job, _rerun, _rerun, _release)
    world.random.choice(kinds)(world)


def _approve(world: World) -> None:
    job_id = world.job("type = 'approval'")
    if job_id is not None:
        world.move("approve", job_id, world.who, world.now_ms)


def _cancel_job(world: World) -> None:
    # Who cancels an unlock job by itself lets the next one begin, as it is meant: nothing to look for here.
    job_id = world.job("type != 'unlock'")
    if job_id is not None and world.random.random() < 0.4:
        world.move("cancel_job", job_id, "somebody", world.now_ms)


def _cancel_workflow(world: World) -> None:
    workflow_id = world.workflow()
    if workflow_id is not None and world.random.random() < 0.5:
        world.move("cancel_workflow", workflow_id, "somebody", world.now_ms)


def _cancel_pipeline(world: World) -> None:
    """No workflow of it goes on, and none comes of what continues it."""
    rows = world.tx.execute("SELECT id FROM pipelines ORDER BY rowid").fetchall()
    if not rows or world.random.random() < 0.7:
        return
    pipeline_id = world.random.choice(rows)["id"]
    if world.move("cancel_pipeline", pipeline_id, "somebody", world.now_ms) is not None:
        world.checks.given_up(pipeline_id)


def _end_waiting_job(world: World) -> None:
    """The scheduler finds no place for it, or it may not have a context."""
    job_id = world.job("type = 'build'")
    if job_id is not None and world.random.random() < 0.4:
        world.move(world.random.choice(("fail_waiting_job", "deny_job")), job_id, "no", world.now_ms)


def _rerun(world: World) -> None:
    """Again from the start, from what failed, or a few of the jobs, with or without the rest."""
    workflow_id = world.workflow()
    if workflow_id is None or world.random.random() < 0.5 or world.checks.count("workflows") > 12:
        return
    rows = [row.id for row in jobs.of_workflow(world.tx, workflow_id)]
    some = tuple(world.random.sample(rows, min(len(rows), 2)))
    wishes = (
        reruns.Wish(),
        reruns.Wish(from_failed=True),
        reruns.Wish(jobs=some),
        reruns.Wish(jobs=some, sparse_tree=True),
        reruns.Wish(from_failed=True, jobs=some),
    )
    world.move("rerun", workflow_id, world.random.choice(wishes), world.who, world.now_ms)


def _release(world: World) -> None:
    job_id = world.job("id IN (SELECT job_id FROM locks)")
    if job_id is not None and world.random.random() < 0.5:
        world.checks.released.add(job_id)
        if world.move("release_lock", job_id, world.now_ms) is None:
            world.checks.released.discard(job_id)


def settings(world: World) -> None:
    """Somebody stops a project, or lets it go on; or has its redundant workflows cancelled, or not."""
    wanted = world.random.choice(
        (
            {"autocancel_builds": True},
            {"autocancel_builds": world.random.random() < 0.5},
            {"is_stopped": True},
            {"is_stopped": False},
            {"is_stopped": False, "blocks_new_work": world.random.random() < 0.3},
        )
    )
    world.move("change_settings", world.random.choice(world.projects).id, wanted, world.now_ms)


# Setup jobs


def continue_(world: World) -> None:
    """A setup job, or who has kept its key, asks to continue: too late, twice, or with parameters that conflict.

    Now and then somebody cancels the setup workflow just then.
    """
    is_late = world.random.random() < 0.3
    only = "WHERE continued_at_ms IS NULL" if is_late else ""
    rows = world.tx.execute(f"SELECT pipeline_id FROM continuations {only} ORDER BY rowid").fetchall()
    if not rows:
        return
    if is_late:
        world.now_ms += KEY_LASTS_MS - world.random.choice((0, 0, 3_600_000))
    pipeline = pipelines.pipeline(world.tx, world.random.choice(rows)["pipeline_id"])
    given = world.random.choice(({}, {}, {}, {"deploy": True}, {"deploy": False}, {"nothing": 1}))
    triggered = pipeline.trigger.parameters
    may = given.keys() <= {"deploy"} and not (given and triggered.get("deploy", False))
    try:
        merged = continuation.merged(SETUP, SECOND, triggered, given)
    except BadRequest:
        if may:
            raise Wrong(f"{given} is refused for a pipeline that began with {triggered}") from None
        return
    if not may or merged != {**triggered, **given}:
        raise Wrong(f"{given} gives {merged} for a pipeline that began with {triggered}")
    key = f"key of {pipeline.id}" if world.random.random() < 0.9 else "a guess"
    request = world.random.choice(("job 1", "job 2", None))
    is_open = key != "a guess" and world.checks.may_continue(pipeline.id, world.now_ms)
    crashes = world.crashes
    made = world.move("accept_continuation", key, SECOND, merged, request, world.now_ms)
    if crashes == world.crashes and made is not None and not is_open and not world.checks.is_same(pipeline.id, request):
        raise Wrong(f"{key} continues a pipeline that it may not continue")
    if crashes == world.crashes and made is None and is_open:
        raise Wrong(f"{key} does not continue a pipeline that waits for it")
    if made is not None and world.random.random() < 0.3:
        found = continuations.last_setup(world.tx, pipeline.id)
        if found is not None:
            world.move("cancel_workflow", found.id, "somebody", world.now_ms)


def compile_second(world: World) -> None:
    """What continues a pipeline is compiled, and its workflows begin; sometimes by two at once."""
    pipeline_id = continuations.oldest_pending(world.tx)
    if pipeline_id is None:
        return
    plan = None if world.random.random() < 0.1 else random_plan(world.random, setups=0)
    draft = moves.Draft(pipeline_id=pipeline_id, number=0, source="", compiled="", values={}, problems=[], plan=plan)
    for _ in range(2 if world.random.random() < 0.4 else 1):
        world.move("finish_continuation", pipeline_id, draft, world.now_ms)


# The clock


def clock(world: World) -> None:
    """Schedules are made and fire, what waits for too long ends; the clock itself may be wrong for a while."""
    world.random.choice((_add_schedule, fire_due, fire_due, fire_due, _expire, _jump))(world)


def _add_schedule(world: World) -> None:
    if world.checks.count("schedules") < 4:
        days = {"days-of-week": ["MON", "THU", "FRI"]} if world.random.random() < 0.5 else {"days-of-month": [1, 2]}
        hours = world.random.choice((list(range(24)), [0, 1, 7]))
        timetable = {"per-hour": world.random.choice((1, 4, 60)), "hours-of-day": hours, **days}
        wish = Wish(
            name="s",
            timetable=timetable,
            branch=world.random.choice(("main", "topic")),
            parameters={},
            is_system=world.random.random() < 0.5,
        )
        world.move("create_schedule", world.random.choice(world.projects).id, wish, world.who, world.now_ms)


def fire_due(world: World) -> None:
    """Fire what is due, or let it pass; two who fire the same one do it once."""
    if schedules.ahead(world.tx, world.now_ms, 1):
        world.move("recount", world.now_ms, 100)
    for due in schedules.due(world.tx, world.now_ms, (), 2):
        if world.random.random() < 0.1:
            world.move("let_pass", due, "nobody knows", world.now_ms)
            continue
        for _ in range(2 if world.random.random() < 0.2 else 1):
            fired = world.move("fire", due, _trigger(due), world.now_ms)
            if fired is not None and fired.trigger_id is not None:
                world.checks.fires(due)
            now = schedules.find(world.tx, due.id)
            if fired is not None and now is not None and now.due_at_ms is not None and now.due_at_ms <= world.now_ms:
                raise Wrong(f"{due.name} has fired, and is due again at once")


def _trigger(due: schedules.Schedule) -> Trigger:
    is_of_config = due.workflow is not None
    known_by = f"{due.branch} {due.workflow}" if is_of_config else due.id
    return Trigger(
        project_id=due.project_id,
        kind=TriggerKind.SCHEDULE if is_of_config else TriggerKind.SCHEDULED_PIPELINE,
        semantic_key=f"schedule {due.slot_ms} {known_by}",
        branch=due.branch,
        tag=due.tag,
        revision="5" * 40,
        occasion=Occasion(id=due.id, name=due.name, workflow=due.workflow),
    )


def _expire(world: World) -> None:
    world.move("expire", PATIENCE, world.now_ms)


def _jump(world: World) -> None:
    if world.random.random() < 0.4:
        hours = world.random.choice((-1, -0.2, 0.5, 2, 7))
        world.now_ms = max(world.now_ms + int(hours * 3_600_000), 1)
        world.told.append(f"the clock jumps by {hours} hours")


Act = Callable[[World], None]
ACTS: dict[Act, float] = {
    World.push: 1.5,
    World.deliver: 2,
    World.take_in: 3,
    World.schedule: 8,
    World.run: 9,
    World.late: 1.5,
    World.machine: 0.8,
    lose: 2,
    World.crash: 0.5,
    person: 4,
    settings: 0.4,
    continue_: 1,
    compile_second: 1,
    clock: 2,
}
RARE = (World.late, World.machine, lose, person, settings, continue_, clock)


def weights(world: World, much: Sequence[Act]) -> list[float]:
    """Worlds differ in what happens there most, if it is not said: what seldom meets in all of them often does in some."""
    much, little = much or world.random.sample(RARE, 2), world.random.sample(RARE, 2)
    world.setups = 0.6 if continue_ in much else 0.1
    return [ACTS[act] * (4 if act in much else 0.2 if act in little else 1) for act in ACTS]


def step(world: World, likely: list[float]) -> None:
    """Let somebody do something."""
    world.now_ms += world.random.choice((1, 50, 3000, 400_000))
    (act,) = world.random.choices(list(ACTS), likely)
    act(world)


def settle(world: World) -> None:
    """Nobody comes any more: what runs ends, what waits is approved, until there is nothing to do. Raises Wrong."""
    world.pool.calm()
    for _ in range(400):
        world.deliver()
        world.take_in()
        compile_second(world)
        fire_due(world)
        world.schedule()
        for job_id, index, attempt in list(world.memory.held):
            crashes = world.crashes
            world.move("finish_node", job_id, index, NodeStatus.SUCCESS, "", [], world.now_ms)
            if crashes == world.crashes:
                world.memory.held.pop((job_id, index, attempt), None)
        for row in world.tx.execute("SELECT id FROM jobs WHERE status = 'on_hold' ORDER BY rowid").fetchall():
            world.move("approve", JobId(row["id"]), world.who, world.now_ms)
        if not _is_something_left(world):
            if world.checks.count("locks"):
                raise Wrong("a lock outlives all workflows")
            return
    stuck = world.tx.execute("SELECT name, status, message FROM jobs WHERE stopped_at_ms IS NULL").fetchall()
    raise Wrong(f"left alone, it never ends: {[tuple(row) for row in stuck]}")


def _is_something_left(world: World) -> bool:
    open_ones = world.tx.execute("SELECT count(*) FROM workflows WHERE stopped_at_ms IS NULL").fetchone()[0]
    return bool(
        world.deliveries
        or open_ones
        or pipelines.oldest_open_trigger(world.tx)
        or continuations.oldest_pending(world.tx)
        or schedules.due(world.tx, world.now_ms, (), 1)
    )
