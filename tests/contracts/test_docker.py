"""What is Docker's own: images, services, networks, limits, and an engine that goes away."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from appliance.errors import ImageError, SandboxError, SandboxLost
from appliance.executors.base import Command, Container, Exit, LogMark, Mount, Sandbox, SandboxSpec
from appliance.executors.docker import DockerExecutor
from appliance.executors.docker_plan import DockerOptions
from tests.contracts.worlds import QUICK, finish, quiet, read_all
from tests.engine_fixture import (
    BUSYBOX,
    DEBIAN,
    NO_SHELL,
    Engine,
    PrivateEngine,
    add_image,
    cache_folder,
    request,
    request_json,
    require_rights,
)

pytestmark = pytest.mark.docker

INSTANCE = f"docker-{os.getpid()}"
WITH_VOLUME = "rondo-test/with-volume:latest"


@pytest.fixture
async def executor(docker_engine: Engine) -> AsyncIterator[DockerExecutor]:
    async for each in _executor(docker_engine.url):
        yield each


async def _executor(url: str, options: DockerOptions | None = None) -> AsyncIterator[DockerExecutor]:
    executor = DockerExecutor(INSTANCE, url, pace=QUICK, options=options)
    yield executor
    for ref in await executor.list():
        await executor.remove(ref)
    await executor.close()


def primary(image: str = BUSYBOX, **rest: object) -> SandboxSpec:
    return SandboxSpec(node="1.0", containers=(Container(image=image, **rest),))  # type: ignore[arg-type]


def with_service(service: Container, image: str = BUSYBOX) -> SandboxSpec:
    return SandboxSpec(node="1.0", containers=(Container(image=image), service))


async def output_of(sandbox: Sandbox, script: str, command_id: str = "1") -> str:
    output, how = await finish(sandbox, Command(id=command_id, script=script))
    assert how == Exit(0), output
    return output.decode()


async def test_an_image_without_a_shell_is_the_users_trouble(executor: DockerExecutor) -> None:
    with pytest.raises(ImageError, match="has no sh"):
        await executor.open(primary(NO_SHELL), quiet)
    assert await executor.list() == []


async def test_a_shell_that_warns_at_its_start_spoils_no_process(executor: DockerExecutor) -> None:
    sandbox = await executor.open(primary(), quiet)
    warns = ["#!/bin/busybox sh", "echo has no such locale >&2", 'exec /bin/busybox sh "$@"']
    await put(sandbox, "/bin/sh", warns)
    for tty in (None, (80, 24)):
        process = await sandbox.process(["echo", "hello"], tty=tty)
        assert (await read_all(process)).strip() == b"hello", tty
        assert await process.wait() == 0
        await process.kill()
    await put(sandbox, "/bin/sh", warns[:2])
    with pytest.raises(SandboxError, match="no such locale"):
        await sandbox.process(["echo", "hello"])


async def put(sandbox: Sandbox, path: str, lines: list[str]) -> None:
    """A new file, whatever other names the old one has."""
    script = f"cat >/tmp/new; chmod +x /tmp/new; mv /tmp/new {path}"
    process = await sandbox.process(["busybox", "sh", "-c", script])
    await process.write("".join(f"{line}\n" for line in lines).encode())
    await process.write_eof()
    assert await read_all(process) == b""
    await process.kill()


async def test_a_name_that_cannot_be_an_image_is_the_users_trouble(executor: DockerExecutor) -> None:
    with pytest.raises(ImageError):
        await executor.open(primary("No Such/IMAGE::"), quiet)


async def test_an_unknown_user_is_the_users_trouble(executor: DockerExecutor) -> None:
    with pytest.raises(ImageError, match="user"):
        await executor.open(primary(user="nobody-here"), quiet)
    assert await executor.list() == []


async def test_a_broken_service_image_leaves_nothing(executor: DockerExecutor) -> None:
    with pytest.raises(ImageError, match="cannot be started"):
        await executor.open(with_service(Container(image=NO_SHELL, entrypoint=("/not-there",))), quiet)
    assert await executor.list() == []


async def test_steps_run_as_the_user_asked_for(executor: DockerExecutor) -> None:
    for image in (BUSYBOX, DEBIAN):
        sandbox = await executor.open(primary(image, user="circleci"), quiet)
        script = 'id -u; cd; pwd; touch x; stat -c %a "${BASH_ENV%/*}"'
        assert await output_of(sandbox, script) == "3434\n/home/circleci\n700\n"
        root = await sandbox.process(["id", "-u"], user="root")
        assert await root.read() == b"0\n"
        await root.kill()
        await sandbox.close()


async def test_a_service_is_on_localhost_and_by_its_name(executor: DockerExecutor) -> None:
    serve = ("sh", "-c", "echo ready; while :; do echo hello from $WHO | nc -l -p 5555; done")
    service = Container(image=BUSYBOX, name="db.local", entrypoint=serve, environment={"WHO": "db"})
    sandbox = await executor.open(with_service(service), quiet)
    wait = "until nc -z localhost 5555 2>/dev/null || nc {0} 5555 </dev/null; do sleep 0.1; done"
    script = f"{wait.format('localhost')}; until nc db.local 5555 </dev/null | grep hello; do sleep 0.1; done"
    async with asyncio.timeout(30):
        assert "hello from db" in await output_of(sandbox, script)
    said = [text async for text, _ in sandbox.service(1).output(LogMark(), is_followed=False)]
    assert said == [b"ready\n"]
    await sandbox.close()
    assert await executor.list() == []


async def test_jobs_cannot_reach_each_other(executor: DockerExecutor) -> None:
    one = await executor.open(SandboxSpec(node="1.0", containers=(Container(image=BUSYBOX),)), quiet)
    two = await executor.open(SandboxSpec(node="2.0", containers=(Container(image=BUSYBOX),)), quiet)
    address = (await output_of(one, "hostname -i")).strip()
    listen = Command(id="b", script="echo up; nc -l -p 5555 </dev/null", background=True)
    run = one.run(listen)
    assert await anext(run) == b"up\n"
    reach = f"nc -w 2 {address} 5555 </dev/null 2>/dev/null && echo reached || echo refused"
    assert await output_of(two, reach) == "refused\n"
    assert await output_of(one, reach.replace(address, "127.0.0.1"), "2") == "reached\n"
    await run.aclose()


async def test_the_primarys_own_entrypoint_is_ignored_unless_asked_for(executor: DockerExecutor) -> None:
    entry = ("sh", "-c", "echo $COLOUR >/tmp/entry; exec sleep 1000")
    asked = Container(image=BUSYBOX, entrypoint=entry, environment={"COLOUR": "red", "PATH": "/bin:/usr/bin"})
    sandbox = await executor.open(SandboxSpec(node="1.0", containers=(asked,)), quiet)
    script = 'until [ -s /tmp/entry ]; do sleep 0.05; done; cat /tmp/entry; echo "[$COLOUR] $PATH"; cat /proc/1/cmdline'
    output = await output_of(sandbox, script)
    first, step = output.splitlines()[:2]
    assert first == "red"
    assert step.startswith("[] ") and step.endswith("/usr/sbin:/usr/bin:/sbin:/bin")  # the image's PATH, no COLOUR
    assert output.endswith("sleep\x001000\x00")
    await sandbox.close()
    plain = await executor.open(primary(environment={"COLOUR": "red"}), quiet)
    assert await output_of(plain, 'echo "[$COLOUR]"') == "[]\n"


async def test_the_primarys_environment_can_be_shown_to_steps(docker_engine: Engine) -> None:
    async for executor in _executor(docker_engine.url, DockerOptions(primary_environment_in_steps=True)):
        sandbox = await executor.open(primary(environment={"COLOUR": "red"}), quiet)
        assert await output_of(sandbox, 'echo "[$COLOUR]"') == "[red]\n"


async def test_the_end_of_a_kept_entrypoint_ends_the_job(executor: DockerExecutor) -> None:
    sandbox = await executor.open(primary(command=("sh", "-c", "until [ -e /tmp/go ]; do sleep 0.05; done")), quiet)
    with pytest.raises(SandboxLost, match="exit code 0"):
        async with asyncio.timeout(20):
            await finish(sandbox, Command(id="1", script="touch /tmp/go; sleep 1000"))


async def test_a_label_keeps_the_images_entrypoint(executor: DockerExecutor, docker_engine: Engine) -> None:
    name = "rondo-test/kept:latest"
    changes = ['ENTRYPOINT ["sh","-c","echo kept >/tmp/entry; sleep 1000"]']
    changes += ["LABEL com.circleci.preserve-entrypoint=true"]
    await asyncio.to_thread(add_image, docker_engine.socket, name, "busybox", changes)
    sandbox = await executor.open(primary(name), quiet)
    assert await output_of(sandbox, "until [ -s /tmp/entry ]; do sleep 0.05; done; cat /tmp/entry") == "kept\n"


async def test_more_than_the_host_has_is_capped_not_refused(executor: DockerExecutor) -> None:
    spec = SandboxSpec(node="1.0", containers=(Container(image=BUSYBOX),), cpus=1000, memory_bytes=1 << 50)
    sandbox = await executor.open(spec, quiet)
    assert await output_of(sandbox, "echo fine") == "fine\n"


async def test_a_step_over_the_memory_limit_says_so(executor: DockerExecutor) -> None:
    spec = SandboxSpec(node="1.0", containers=(Container(image=DEBIAN),), memory_bytes=64 << 20)
    sandbox = await executor.open(spec, quiet)
    _, how = await finish(sandbox, Command(id="1", script="python3 -c 'x = bytearray(b\"x\") * (200 << 20)'"))
    assert how == Exit(137, out_of_memory=True)
    assert await finish(sandbox, Command(id="2", script="exit 3")) == (b"", Exit(3))


async def test_mounts_are_read_only_and_the_ramdisk_is_one(executor: DockerExecutor, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("from the host\n")
    spec = SandboxSpec(
        node="1.0",
        containers=(Container(image=BUSYBOX),),
        mounts=(Mount(source=str(tmp_path), target="/mnt/given"),),
    )
    sandbox = await executor.open(spec, quiet)
    script = "cat /mnt/given/file; touch /mnt/given/x 2>/dev/null || echo refused; grep -c 'tmpfs /mnt/ramdisk' /proc/mounts"
    assert await output_of(sandbox, script) == "from the host\nrefused\n1\n"


async def test_no_secret_shows_in_what_the_engine_tells(executor: DockerExecutor, docker_engine: Engine) -> None:
    sandbox = await executor.open(primary(), quiet)
    command = Command(id="1", script="echo hunter3; sleep 1000", environment={"PASSWORD": "hunter2"})
    run = sandbox.run(command)
    await anext(run)
    name = f"rondo-{INSTANCE}-1.0-0"
    inspected = json.dumps(request_json(docker_engine.socket, "GET", f"/containers/{name}/json"))
    processes = json.dumps(request_json(docker_engine.socket, "GET", f"/containers/{name}/top"))
    assert "hunter" not in inspected and "hunter" not in processes
    await run.aclose()


async def test_everything_carries_our_labels_and_goes_with_its_volumes(
    executor: DockerExecutor, docker_engine: Engine
) -> None:
    socket = docker_engine.socket
    add_image(socket, WITH_VOLUME, "busybox", ['CMD ["sh"]', "VOLUME /kept"])
    spec = SandboxSpec(node="7.1", containers=(Container(image=WITH_VOLUME),) * 2, labels={"circleci.job": "x"})
    sandbox = await executor.open(spec, quiet)
    found = [request_json(socket, "GET", f"/containers/rondo-{INSTANCE}-7.1-{index}/json") for index in range(2)]
    for container in found:
        labels = container["Config"]["Labels"]
        assert labels["rondo.instance"] == INSTANCE and labels["rondo.node"] == "7.1" and labels["circleci.job"] == "x"
    volumes = [mount["Name"] for container in found for mount in container["Mounts"]]
    assert len(volumes) == 2
    await sandbox.close()
    assert [request(socket, "GET", f"/volumes/{name}")[0] for name in volumes] == [404, 404]


async def test_a_fork_bomb_stays_within_its_container(docker_engine: Engine) -> None:
    async for executor in _executor(docker_engine.url, DockerOptions(processes=64)):
        sandbox = await executor.open(primary(), quiet)
        bomb = "for i in $(seq 200); do sleep 1000 & done 2>&1"
        output, how = await finish(sandbox, Command(id="1", script=bomb))
        assert how.code != 0 and b"can't fork" in output
        (usage,) = await sandbox.usage()
        assert 50 < usage.processes <= 64


async def test_two_busy_loops_get_the_cpus_of_the_class_and_no_more(executor: DockerExecutor) -> None:
    spec = SandboxSpec(node="1.0", containers=(Container(image=BUSYBOX),), cpus=0.5)
    sandbox = await executor.open(spec, quiet)
    script = "(while :; do :; done) & (while :; do :; done) & sleep 2; kill $(jobs -p)"
    began_s = asyncio.get_running_loop().time()
    await finish(sandbox, Command(id="1", script=script))
    (usage,) = await sandbox.usage()
    assert 0.2 < usage.cpu_s < 0.5 * (asyncio.get_running_loop().time() - began_s) + 0.4


async def test_a_container_killed_from_outside_is_lost(executor: DockerExecutor, docker_engine: Engine) -> None:
    sandbox = await executor.open(primary(), quiet)
    run = sandbox.run(Command(id="1", script="echo on; sleep 1000"))
    assert await anext(run) == b"on\n"
    await asyncio.to_thread(request, docker_engine.socket, "POST", f"/containers/rondo-{INSTANCE}-1.0-0/kill")
    with pytest.raises(SandboxLost, match="exit code 137"):
        await anext(run)
    assert await executor.list() == ["1.0"]


async def test_a_leftover_of_the_same_node_is_replaced(executor: DockerExecutor) -> None:
    await executor.open(primary(), quiet)
    sandbox = await executor.open(primary(), quiet)
    assert await output_of(sandbox, "echo new") == "new\n"
    assert await executor.list() == ["1.0"]


async def test_a_cancelled_open_leaves_nothing(executor: DockerExecutor) -> None:
    for delay_s in (0.001, 0.02, 0.05, 0.1, 0.2):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay_s):
                await executor.open(with_service(Container(image=BUSYBOX, entrypoint=("sleep", "1000"))), quiet)
            await executor.remove("1.0")  # it was quick enough
        assert await executor.list() == []


async def test_no_engine_is_one_sentence(tmp_path: Path) -> None:
    executor = DockerExecutor(INSTANCE, f"unix://{tmp_path}/none.sock")
    reason = await executor.check()
    assert reason is not None and "no Docker engine answers" in reason
    with pytest.raises(SandboxError):
        await executor.open(primary(), quiet)
    await executor.close()


@pytest.fixture(params=[(), ("--live-restore",)], ids=["plain", "live-restore"])
def own_engine(request: pytest.FixtureRequest, docker_engine: Engine) -> Iterator[tuple[PrivateEngine, bool]]:
    """An engine that this test may restart; the shared one has other users."""
    if not docker_engine.is_private:
        require_rights()
    options = ("--iptables=false", "--ip-masq=false", *request.param)
    engine = PrivateEngine(cache_folder() / "restarted", bridge="rondotest1", subnet="172.30.0.1/16", options=options)
    with engine.owned():
        add_image(engine.socket, BUSYBOX, "busybox", ['CMD ["sh"]'])
        yield engine, bool(request.param)


@pytest.mark.slow
async def test_an_engine_restarted_in_mid_job(own_engine: tuple[PrivateEngine, bool]) -> None:
    """With live-restore the job goes on and no byte is missing; without it the containers are gone: lost."""
    engine, lives_on = own_engine
    async for executor in _executor(f"unix://{engine.socket}"):
        sandbox = await executor.open(primary(), quiet)
        end = 60 if lives_on else 100000
        script = f"i=0; while [ $i -lt {end} ]; do echo $i; i=$((i+1)); sleep 0.1; done"
        command = Command(id="1", script=script)
        run = sandbox.run(command)
        output = await anext(run)
        assert isinstance(output, bytes)
        restart = asyncio.create_task(asyncio.to_thread(engine.restart))
        if lives_on:
            async for event in run:
                if isinstance(event, Exit):
                    assert event == Exit(0)
                else:
                    output += event
            assert output.decode().split() == [str(n) for n in range(60)]
        else:
            with pytest.raises(SandboxLost):
                async for _ in run:
                    pass
        await restart
        await sandbox.close()
        assert await executor.list() == []
