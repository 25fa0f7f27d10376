"""Containers made ahead: each is used once, by one node, with its limits; and what nobody took is removed."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from appliance.errors import SandboxLost
from appliance.executors.base import Command, Container, DockerAccess, Exit, Sandbox, SandboxSpec
from appliance.executors.docker import DockerExecutor
from appliance.executors.docker_plan import DockerOptions
from appliance.executors.docker_warm import wanted
from tests.contracts.worlds import QUICK, finish, first_bytes, kept_warm, quiet, warmed
from tests.engine_fixture import BUSYBOX, DEBIAN, Engine, request, request_json

INSTANCE = f"warm-{os.getpid()}"


def make(engine: Engine, **options: Any) -> DockerExecutor:
    return DockerExecutor(INSTANCE, engine.url, pace=QUICK, options=DockerOptions(**{"warm": 1, **options}))


@pytest.fixture
async def executor(docker_engine: Engine) -> AsyncIterator[DockerExecutor]:
    executor = make(docker_engine)
    yield executor
    await clean(executor)


async def clean(executor: DockerExecutor) -> None:
    for ref in await executor.list():
        await executor.remove(ref)
    await executor.close()


def spec(node: str = "1.0", image: str = BUSYBOX, memory_bytes: int = 1 << 30, **rest: Any) -> SandboxSpec:
    return SandboxSpec(node=node, containers=(Container(image=image, **rest),), memory_bytes=memory_bytes)


def made(engine: Engine) -> dict[str, str]:
    """The names of this instance's containers, and their ids."""
    found = request_json(engine.socket, "GET", "/containers/json?all=1")
    own = [each for each in found if each["Labels"].get("rondo.instance") == INSTANCE]
    return {each["Names"][0].removeprefix(f"/rondo-{INSTANCE}-"): each["Id"] for each in own}


async def said(sandbox: Sandbox, script: str, command_id: str = "1") -> str:
    output, how = await finish(sandbox, Command(id=command_id, script=script))
    assert how == Exit(0), output
    return output.decode().strip()


@pytest.mark.docker
async def test_one_made_ahead_is_used_once_and_by_one(executor: DockerExecutor, docker_engine: Engine) -> None:
    async with kept_warm(executor, spec("0.0")):
        (waiting,) = made(docker_engine).values()
        one, two = await asyncio.gather(executor.open(spec("1.0"), quiet), executor.open(spec("2.0"), quiet))
        ids = made(docker_engine)
        assert {ids["1.0-0"], ids["2.0-0"]} > {waiting}
        names = await asyncio.gather(said(one, "hostname; ls -A ~ /tmp/.rondo"), said(two, "hostname; touch ~/x"))
        assert sorted(name.split()[0] for name in names) == sorted((ids["1.0-0"][:12], ids["2.0-0"][:12]))
        await warmed(executor)
        assert await executor.list() == ["1.0", "2.0"]  # what waits is nobody's sandbox, and no stranger's
        await asyncio.gather(one.close(), two.close())
        assert set(made(docker_engine).values()).isdisjoint(ids.values())


@pytest.mark.docker
async def test_what_was_used_before_a_start_is_made_ahead(executor: DockerExecutor, docker_engine: Engine) -> None:
    """By how often and how long ago; what is not there any more, or cannot be made ahead, is no trouble."""
    asked = [
        *((spec("", BUSYBOX), 60.0) for _ in range(2)),
        *((spec("", DEBIAN), 7200.0) for _ in range(9)),
        (spec("", "rondo.invalid/gone:1"), 1.0),
        (spec("", "NO IMAGE"), 1.0),
        (spec("", DEBIAN, command=("sleep", "9")), 1.0),
    ]
    async with asyncio.TaskGroup() as group:
        warming = group.create_task(executor.keep_warm(asked))
        await warmed(executor)
        (waiting,) = made(docker_engine).values()
        sandbox = await executor.open(spec("1.0"), quiet)
        assert made(docker_engine)["1.0-0"] == waiting
        await sandbox.close()
        warming.cancel()


@pytest.mark.docker
async def test_the_limits_are_those_of_the_jobs_class(executor: DockerExecutor, docker_engine: Engine) -> None:
    hog = "python3 -c 'x = bytearray(b\"x\") * (200 << 20)'"
    async with kept_warm(executor, spec("0.0", DEBIAN)):
        (waiting,) = made(docker_engine).values()
        small = await executor.open(spec("1.0", DEBIAN, memory_bytes=64 << 20), quiet)
        assert made(docker_engine)["1.0-0"] == waiting
        assert (await finish(small, Command(id="1", script=hog)))[1] == Exit(137, out_of_memory=True)
        await warmed(executor)
        large = await executor.open(spec("2.0", DEBIAN, memory_bytes=600 << 20), quiet)
        assert await said(large, f"{hog}; echo fits") == "fits"
        (found,) = (request_json(docker_engine.socket, "GET", f"/containers/{waiting}/json"),)
        limits = {name: found["HostConfig"][name] for name in ("NanoCpus", "Memory", "MemorySwap", "PidsLimit")}
        assert limits == {"NanoCpus": 2 * 10**9, "Memory": 64 << 20, "MemorySwap": 64 << 20, "PidsLimit": 8192}


@pytest.mark.docker
async def test_a_job_that_differs_is_served_as_if_there_were_none(executor: DockerExecutor, docker_engine: Engine) -> None:
    others: tuple[dict[str, Any], ...] = (
        {"user": "circleci"},
        {"environment": {"COLOUR": "red"}, "command": ("sleep", "1000")},
        {"entrypoint": ("sleep", "1000")},
    )
    async with kept_warm(executor, spec("0.0")):
        (waiting,) = made(docker_engine).values()
        for number, other in enumerate(others, 1):
            sandbox = await executor.open(spec(f"{number}.0", **other), quiet)
            assert await said(sandbox, "echo fine") == "fine"
        assert waiting not in {made(docker_engine)[f"{number}.0-0"] for number in (1, 2, 3)}


@pytest.mark.docker
async def test_nothing_a_project_says_is_in_what_waits(docker_engine: Engine) -> None:
    executor = make(docker_engine, primary_environment_in_steps=True)
    secret = spec("0.0", environment={"PASSWORD": "hunter2"})
    shared = SandboxSpec(node="0.1", containers=(Container(image=BUSYBOX),), docker=DockerAccess.SHARED)
    for each in (secret, shared):
        await (await executor.open(each, quiet)).close()
    async with kept_warm(executor, spec("0.2")):
        (waiting,) = made(docker_engine)
        assert waiting.startswith("warm.")
        assert "hunter" not in str(request_json(docker_engine.socket, "GET", f"/containers/rondo-{INSTANCE}-{waiting}/json"))
    await clean(executor)


@pytest.mark.docker
async def test_services_join_one_made_ahead(executor: DockerExecutor, docker_engine: Engine) -> None:
    serve = ("sh", "-c", "while :; do echo hello | nc -l -p 5555; done")
    both = (Container(image=BUSYBOX), Container(image=BUSYBOX, name="db.local", entrypoint=serve))
    async with kept_warm(executor, SandboxSpec(node="0.0", containers=both)):
        (waiting,) = made(docker_engine).values()
        sandbox = await executor.open(SandboxSpec(node="1.0", containers=both), quiet)
        assert made(docker_engine)["1.0-0"] == waiting
        assert await said(sandbox, "until nc db.local 5555 </dev/null | grep hello; do sleep 0.1; done") == "hello"
        assert len(await sandbox.usage()) == 2
        await sandbox.close()
        assert not [name for name in made(docker_engine) if name.startswith("1.0")]


@pytest.mark.docker
async def test_without_the_setting_none_is_made(docker_engine: Engine) -> None:
    executor = make(docker_engine, warm=0)
    async with kept_warm(executor, spec("0.0"), count=0):
        await executor.open(spec(), quiet)
        await executor.remove("1.0")
        assert made(docker_engine) == {}
    await clean(executor)


@pytest.mark.docker
async def test_none_is_kept_while_memory_is_short(docker_engine: Engine) -> None:
    executor = make(docker_engine, warm_memory_floor=1 << 60)
    async with kept_warm(executor, spec("0.0"), count=0):
        await executor.open(spec(), quiet)
        await executor.remove("1.0")
        assert made(docker_engine) == {}
    await clean(executor)


@pytest.mark.docker
async def test_an_image_of_the_same_name_makes_the_old_one_go(executor: DockerExecutor, docker_engine: Engine) -> None:
    name = "rondo-test/moving:latest"

    async def publish(version: str) -> None:
        socket = docker_engine.socket
        base = await asyncio.to_thread(request_json, socket, "POST", "/containers/create", {"Image": BUSYBOX})
        query = f"container={base['Id']}&repo={name.replace(':', '&tag=')}&changes=ENV%20VERSION%3D{version}"
        await asyncio.to_thread(request_json, socket, "POST", f"/commit?{query}", {})
        await asyncio.to_thread(request, socket, "DELETE", f"/containers/{base['Id']}")

    await publish("1")
    async with kept_warm(executor, spec("0.0", name)):
        (old,) = made(docker_engine).values()
        await publish("2")
        sandbox = await executor.open(spec("1.0", name), quiet)
        assert await said(sandbox, "echo $VERSION") == "2"
        async with asyncio.timeout(30):
            while old in made(docker_engine).values():  # noqa: ASYNC110 - the engine rings no bell
                await asyncio.sleep(0.05)


@pytest.mark.docker
async def test_one_that_has_died_is_not_used(executor: DockerExecutor, docker_engine: Engine) -> None:
    async with kept_warm(executor, spec("0.0")):
        (name,) = made(docker_engine)
        await asyncio.to_thread(request, docker_engine.socket, "POST", f"/containers/rondo-{INSTANCE}-{name}/kill")
        await warmed(executor, 0)
        sandbox = await executor.open(spec(), quiet)
        assert await said(sandbox, "echo fine") == "fine"


@pytest.mark.docker
async def test_the_end_of_the_appliance_takes_them_along(docker_engine: Engine) -> None:
    executor = make(docker_engine)
    async with kept_warm(executor, spec("0.0")):
        assert len(made(docker_engine)) == 1
    await executor.close()
    assert made(docker_engine) == {}


_TAKES = """
import asyncio, sys
from appliance.executors.docker import DockerExecutor
from appliance.executors.docker_plan import DockerOptions
from tests.contracts.test_docker_warm import spec
from tests.contracts.worlds import finish, kept_warm, quiet
from appliance.executors.base import Command

async def main():
    executor = DockerExecutor(sys.argv[1], sys.argv[2], options=DockerOptions(warm=2))
    async with kept_warm(executor, spec("0.0"), count=2):
        print("warm", flush=True)
        sandbox = await executor.open(spec("1.0"), quiet)
        await finish(sandbox, Command(id="1", script="echo ran >>/tmp/ran; cat /tmp/ran; sleep 1000"))

asyncio.run(main())
"""


@pytest.mark.docker
@pytest.mark.parametrize("delay_s", [0.0, 0.02, 0.06])
async def test_who_is_killed_in_taking_one_leaves_nothing_and_runs_nothing_twice(
    docker_engine: Engine, delay_s: float
) -> None:
    argv = (sys.executable, "-c", _TAKES, INSTANCE, docker_engine.url)
    process = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    async with asyncio.timeout(60):
        assert await process.stdout.readline() == b"warm\n"
        await asyncio.sleep(delay_s)  # nobody can tell from outside where in the taking it is
        process.kill()
        await process.wait()
    again = make(docker_engine)
    left = await again.list()
    assert left and all(ref == "1.0" or ref.startswith("warm.") for ref in left)
    if "1.0" in left:
        try:
            sandbox = await again.reattach("1.0")
        except SandboxLost:
            sandbox = None  # made on the spot and not started yet
        if sandbox is not None:
            command = Command(id="1", script="echo ran >>/tmp/ran; cat /tmp/ran; sleep 1000")
            assert await first_bytes(sandbox, command) == b"ran\n"
            watch = await sandbox.process(["cat", "/tmp/ran"])
            assert await watch.read() == b"ran\n"
            await watch.kill()
    for ref in left:
        await again.remove(ref)
    assert made(docker_engine) == {}
    await again.close()


def test_what_is_used_most_is_made_most() -> None:
    assert wanted({}, 3) == Counter()
    assert wanted({"a": 5.0}, 3) == Counter(a=3)
    assert wanted({"a": 5.0, "b": 2.0}, 3) == Counter(a=2, b=1)
    assert wanted({"a": 9.0, "b": 1.0, "c": 2.0}, 4) == Counter(a=4)
    assert wanted({"a": 9.0}, 0) == Counter()
