"""A node that was started again: its page and the API show what went before, and the log of it stays."""

from __future__ import annotations

from appliance.engine import moves
from appliance.model import JobId, StepStatus
from appliance.store import jobs
from tests.web.world import World, job, workflow

GONE = "machine m1 has not answered for 60 s"


async def lose(world: World, job_id: JobId) -> None:
    loss = moves.Loss(job_id=job_id, index=0, attempt=1, why=GONE)
    end = moves.StepEnd(position=1, status=StepStatus.INFRASTRUCTURE_FAIL, message=GONE)
    world.ring(await world.db.write(lambda tx: moves.lose_node(tx, loss, 1, [end], 5)))


async def test_both_attempts_of_a_lost_node_are_shown_each_with_its_steps(world: World) -> None:
    user = await world.user("grace", sees_all=True)
    project = await world.project("acme/app")
    pipeline = await world.pipeline(project, workflow("w", job("build", "make")))
    found = await world.job_of(pipeline, "build")
    path, api = f"/jobs/{found.number}", f"/project/gh/acme/app/job/{found.number}"
    await world.start(found.id, executor="machine:m1")
    await world.step(found.id, 0)
    world.write_log(found.id, 1, b"Cloning\n")
    await lose(world, found.id)
    _, body = await world.ask(user, "GET", path)
    assert f"Waits to be started again: {GONE}" in body
    await world.start(found.id, executor="machine:m2")
    _, body = await world.ask(user, "GET", path)
    shown = ["Started again on m2: " + GONE, "Attempt 1", 'id="step-0"', 'id="step-1"', "Attempt 2"]
    places = [body.index(text) for text in [*shown, f'id="step-{jobs.LATER}"', f'id="step-{jobs.LATER + 1}"']]
    assert places == sorted(places)
    assert await world.ask(user, "GET", f"{path}/0/1/log") == (200, "Cloning\n")
    await world.finish(found.id)
    status, answer = await world.json(user, "GET", api)
    assert (status, answer["status"]) == (200, "success")
    message = f"Node 0, attempt 2: Started again on m2: {GONE}"
    assert answer["messages"] == [{"type": "warning", "reason": "lost", "message": message}]


async def test_the_page_of_a_job_that_lost_nothing_speaks_of_no_attempts(world: World) -> None:
    user = await world.user("grace", sees_all=True)
    pipeline = await world.pipeline(await world.project("acme/app"), workflow("w", job("build", "make")))
    found = await world.run(pipeline, "build")
    _, body = await world.ask(user, "GET", f"/jobs/{found.number}")
    assert "Attempt" not in body and 'id="loss"' not in body
