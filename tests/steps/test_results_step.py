"""`store_test_results` in sandboxes that do not play along."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from appliance.executors.base import Command, Container, SandboxSpec
from appliance.executors.fake import FakeExecutor, FakeSandbox
from appliance.language import plan as plans
from appliance.steps import results as step_results
from appliance.steps import run
from appliance.steps.base import SUCCESS, Data, Keys, NodeView, Outcome, Source
from appliance.store import jobs, results
from tests.web.world import World, job, serving_world, workflow


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with serving_world(tmp_path) as made:
        yield made


async def nothing() -> AsyncIterator[bytes]:
    return
    yield b""


async def no_docker(_: bool) -> str:
    raise AssertionError("no step asks for an engine")


async def refuse(_: Command, __: float) -> Outcome:
    raise AssertionError("no command of the user's is run")


def view(world: World, found: jobs.Job, sandbox: FakeSandbox, said: list[str]) -> NodeView:
    async def say(text: str) -> None:
        said.append(text)

    data = Data(
        db=world.db,
        blobs=world.blobs,
        clock=world.clock,
        project_id=found.project_id,
        scope="trusted",
        job_id=found.id,
        job_number=found.number or 0,
        workspace_id="w",
        mask=lambda text: text,
    )
    return NodeView(
        sandbox=sandbox,
        job=job("test"),
        index=0,
        name="1.0",
        command_id="step1",
        environment={},
        source=Source(url="", revision="", branch=None, tag=None, bundle=nothing, archive=nothing),
        data=data,
        keys=Keys(),
        execute=refuse,
        start_docker=no_docker,
        after_others=nobody_else,
        say=say,
    )


async def nobody_else() -> str | None:
    return None


async def opened(answer: tuple[bytes, int]) -> FakeSandbox:
    executor = FakeExecutor(on_process=lambda argv, data: answer)
    spec = SandboxSpec(node="1.0", containers=(Container(image="x"),))

    async def progress(_: bytes) -> None:
        return

    return await executor.open(spec, progress)


@pytest.mark.parametrize("answer", [(b"", 127), (b"no tar at all" * 1000, 0), (b"", 2)])
async def test_what_cannot_be_read_fails_no_job(world: World, answer: tuple[bytes, int]) -> None:
    pipeline = await world.pipeline(await world.project("acme/app"), workflow("ci", job("test")))
    found, said = await world.job_of(pipeline, "test"), list[str]()
    node = view(world, found, await opened(answer), said)
    assert await step_results.store(plans.StoreTestResults(path="out"), node) == SUCCESS
    assert "Warning: not all could be read" in "".join(said)
    assert "0 tests" in "".join(said)


async def test_a_job_is_shown_the_timings_that_were_chosen(world: World) -> None:
    project = await world.project("acme/app")
    earlier = await world.run(await world.pipeline(project, workflow("ci", job("test"))), "test")
    upload = results.Upload(job_id=earlier.id, index=0, step="s", project_id=project.id, scope="trusted", created_at_ms=1)
    one = results.Result(
        name="t", classname="C", file="f", source="s", verdict=results.Verdict.SUCCESS, run_time_s=1.5, message=""
    )
    await world.db.write(lambda tx: results.begin(tx, upload))
    await world.db.write(lambda tx: results.add(tx, upload, [one]))
    found = await world.job_of(await world.pipeline(project, workflow("ci", job("test"))), "test")
    sandbox = await opened((b"", 0))
    await step_results.deliver_timings(view(world, found, sandbox, []))
    shown = sandbox._nodes["1.0"].files["circle-test-results/results.json"]
    assert shown == b'{"tests":[{"classname":"C","file":"f","name":"t","result":"success","run_time":1.5}]}'


@pytest.mark.parametrize(
    ("command", "wants"),
    [
        ("circleci tests split --split-by=timings", True),
        ("circleci tests split --split-by timings", True),
        ("circleci tests run --command=x", True),
        ("circleci tests split", False),
        ("make", False),
    ],
)
def test_only_steps_that_split_by_timings_are_held_up(command: str, wants: bool) -> None:
    assert run.wants_timings(plans.Run(command=command, name="x")) is wants
