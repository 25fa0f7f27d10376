"""What a job took, on its page: while it runs and afterwards."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from appliance.engine import moves
from appliance.engine.classes import GIB
from appliance.engine.commands import LiveNode
from appliance.executors.base import SandboxSpec
from appliance.executors.fake import FakeNode, FakeSandbox
from appliance.language import plan as plans
from appliance.model import JobId, NodeStatus, User
from appliance.store import jobs, usage
from appliance.store.usage import Point, Series, Share
from tests.web.conftest import Visitor
from tests.web.world import World, job, workflow


def series(cpus: float, gib: float, seconds: int = 60, written: int = 0) -> Series:
    points = tuple(
        Point(
            at_s=float(at),
            cpus=cpus / 2 if at % 4 else cpus,
            memory_bytes=int(gib * GIB * at / seconds),
            written_bytes=written,
        )
        for at in range(2, seconds + 1, 2)
    )
    shares = (Share(cpu_s=12.0, most_memory_bytes=int(gib * GIB)), Share(cpu_s=0.5, most_memory_bytes=40 << 20))
    return Series(
        began_at_ms=0,
        cpu_s=12.0,
        most_cpus=cpus,
        most_memory_bytes=int(gib * GIB),
        step_s=2.0,
        points=points,
        shares=shares,
    )


async def ended(world: World, taken: Series, status: NodeStatus = NodeStatus.SUCCESS) -> tuple[User, str]:
    """A user and the path of a job that has ended and took so much."""
    user = await world.user("grace", sees_all=True)
    pipeline = await world.pipeline(await world.project("acme/app"), workflow("w", job("build", "make")))
    found = await world.run(pipeline, "build", status)
    await world.db.write(lambda tx: usage.keep(tx, found.id, 0, taken, 1))
    return user, f"/jobs/{found.number}"


@pytest.mark.parametrize(
    ("taken", "said"),
    [
        (series(1.6, 2.2), "It used 1.2 of 2 CPUs on average, 1.6 at most; 2.2 GiB of 4 GiB"),
        (series(0.4, 0.5), "resource_class: small would do."),
        (series(1.6, 3.9), "Close to its memory limit; try resource_class: large."),
        (series(4.0, 1.0), "Its CPUs were busy nearly all the time; try resource_class: large."),
    ],
)
async def test_a_job_says_what_it_took_and_which_class_would_do(world: World, taken: Series, said: str) -> None:
    user, path = await ended(world, taken)
    status, body = await world.ask(user, "GET", path)
    assert status == 200 and said in re.sub(r"<[^>]+>", "", body)
    assert body.count("<polyline") == 2


async def test_a_short_or_failed_job_is_told_nothing_of_smaller_classes(world: World) -> None:
    user, path = await ended(world, series(0.4, 0.5), NodeStatus.FAILED)
    _, body = await world.ask(user, "GET", path)
    assert "It used" in body and "would do" not in body


async def test_disk_is_drawn_when_something_was_written(world: World) -> None:
    user, path = await ended(world, series(0.4, 0.5, written=5 << 20))
    _, body = await world.ask(user, "GET", path)
    assert body.count("<polyline") == 3 and "Written to disk" in body


async def test_a_job_that_nobody_looked_at_says_nothing(world: World) -> None:
    user, path = await ended(world, Series(began_at_ms=0, step_s=2.0))
    _, body = await world.ask(user, "GET", path)
    assert "It used" not in body


async def test_one_cpu_is_one(world: World) -> None:
    user = await world.user("grace", sees_all=True)
    pipeline = await world.pipeline(await world.project("acme/app"), workflow("w", job("build", "make")))
    found = await world.job_of(pipeline, "build")
    await world.start(found.id, cpus=1)
    await world.db.write(lambda tx: usage.keep(tx, found.id, 0, series(0.6, 1.0), 1))
    await world.finish(found.id)
    _, body = await world.ask(user, "GET", f"/jobs/{found.number}")
    assert "of 1 CPU on average" in body
    assert "1 CPU · 4" in body


async def test_a_running_job_shows_what_its_runner_knows(world: World) -> None:
    user = await world.user("grace", sees_all=True)
    pipeline = await world.pipeline(await world.project("acme/app"), workflow("w", job("build", "make")))
    found = await world.job_of(pipeline, "build")
    await world.start(found.id)
    with world.commands.live.show(live_node(found.id, series(1.6, 2.2))):
        _, body = await world.ask(user, "GET", f"/jobs/{found.number}")
    assert "It uses 1.2 of 2 CPUs" in body


def live_node(job_id: JobId, taken: Series) -> LiveNode:
    nodes = {"1.0": FakeNode(SandboxSpec(node="1.0"))}
    sandbox = FakeSandbox(nodes, "1.0", None)
    return LiveNode(job_id=job_id, index=0, sandbox=sandbox, working_directory="~", series=lambda: taken)


@pytest.mark.browser
async def test_the_curve_is_drawn_without_a_script(visitor: Visitor, world: World) -> None:
    _, path = await ended(world, series(1.6, 3.9, written=5 << 20))
    page = await visitor.go(path)
    for width in (1200, 390):
        await page.set_viewport_size({"width": width, "height": 800})
        box = await page.locator("#chart-1 polyline").bounding_box()
        assert box is not None and box["width"] > 200 and box["height"] > 20
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")


async def test_services_stand_behind_the_start_and_say_when_they_listen(world: World) -> None:
    user = await world.user("grace", sees_all=True)
    images = tuple(plans.DockerImage(image=image) for image in ("x", "redis:7"))
    plan = replace(job("build", "make"), executor=plans.Docker(images=images))
    pipeline = await world.pipeline(await world.project("acme/app"), workflow("w", plan))
    found = await world.job_of(pipeline, "build")
    await world.start(found.id)
    position = jobs.FIRST_SERVICE
    await world.db.write(lambda tx: moves.open_node(tx, found.id, 0, "1.0", 1))
    await world.db.write(lambda tx: jobs.set_step_message(tx, found.id, 0, position, "listens on 6379 after 0.4 s"))
    world.write_log(found.id, position, b"Ready to accept connections\n")
    _, body = await world.ask(user, "GET", f"/jobs/{found.number}")
    places = [body.index(text) for text in ("Spin up environment", "Service redis:7", "listens on 6379", "Checkout code")]
    assert places == sorted(places)
    status, log = await world.ask(user, "GET", f"/jobs/{found.number}/0/{position}/log")
    assert (status, log) == (200, "Ready to accept connections\n")
    await world.finish(found.id, NodeStatus.TIMEDOUT)
    ended = await world.db.read(lambda tx: jobs.steps_of(tx, found.id, 0))
    assert (ended[-1].status, ended[-1].message) == ("canceled", "listens on 6379 after 0.4 s")
