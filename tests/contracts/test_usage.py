"""What a sandbox has taken: CPU time, memory, disk; by every executor, by both cgroup layouts, and by a distant engine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from appliance.executors import cgroups
from appliance.executors.base import Command, Container, Sandbox, SandboxSpec, TellsLoad, Usage
from appliance.executors.docker import DockerExecutor
from appliance.executors.docker_plan import INDEX_LABEL
from appliance.executors.docker_usage import Gauge, usage_of
from appliance.executors.machine import MachineOptions
from tests.contracts.test_docker import executor  # noqa: F401  (a fixture)
from tests.contracts.worlds import World, finish, machine_executor, quiet
from tests.engine_fixture import BUSYBOX
from tests.openssh import Machine
from tests.whole import until

BUSY = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done"
HOLD = "x=$(head -c 20000000 /dev/zero | tr '\\0' x); echo held; sleep 1000"


async def test_what_a_sandbox_takes_is_told_and_never_shrinks(world: World) -> None:
    sandbox = await world.open()
    (before,) = await sandbox.usage()
    await finish(sandbox, Command(id="1", script="echo x"))
    (after,) = await sandbox.usage()
    assert after.cpu_s >= before.cpu_s and after.processes >= 1
    await sandbox.close()
    assert await sandbox.usage() == ()


async def test_a_busy_loop_costs_cpu_time_and_what_is_held_is_memory(real_world: World) -> None:
    sandbox = await real_world.open()
    (before,) = await sandbox.usage()
    await finish(sandbox, Command(id="1", script=BUSY))
    (after,) = await sandbox.usage()
    assert 0.02 < after.cpu_s - before.cpu_s < 60
    run = sandbox.run(Command(id="2", script=HOLD, background=True))
    assert await anext(run) == b"held\n"
    (held,) = await sandbox.usage()
    assert 15e6 < held.memory_bytes - before.memory_bytes < 200e6
    await run.aclose()


async def test_a_reattached_sandbox_goes_on_counting(real_world: World) -> None:
    sandbox = await real_world.open()
    await finish(sandbox, Command(id="1", script=BUSY))
    (before,) = await sandbox.usage()
    await sandbox.detach()
    again = real_world.again()
    (after,) = await (await again.reattach(sandbox.ref)).usage()
    await again.close()
    assert after.cpu_s >= before.cpu_s


@pytest.mark.docker
async def test_each_container_is_told_apart_also_when_it_has_ended(executor: DockerExecutor) -> None:  # noqa: F811
    busy = Container(image=BUSYBOX, entrypoint=("sh", "-c", BUSY + "; sleep 0.2"))
    sandbox = await executor.open(SandboxSpec(node="1.0", containers=(Container(image=BUSYBOX), busy)), quiet)
    taken: list[Usage] = []

    async def has_ended() -> bool | None:
        usage = await sandbox.usage()
        assert len(usage) == 2
        taken.append(usage[1])
        return True if len(taken) > 1 and not usage[1].memory_bytes else None

    await until(has_ended, 30)
    assert [each.cpu_s for each in taken] == sorted(each.cpu_s for each in taken)


@pytest.mark.docker
async def test_an_engine_elsewhere_tells_the_same(executor: DockerExecutor) -> None:  # noqa: F811
    sandbox = await executor.open(SandboxSpec(node="1.0", containers=(Container(image=BUSYBOX),)), quiet)
    await finish(sandbox, Command(id="1", script=BUSY))
    (near,) = await sandbox.usage()
    _forget_cgroups(sandbox)
    (far,) = await sandbox.usage()
    assert far.cpu_s == pytest.approx(near.cpu_s, rel=0.2)
    assert far.memory_bytes == pytest.approx(near.memory_bytes, abs=8e6)
    assert far.processes == near.processes


def _forget_cgroups(sandbox: Sandbox) -> None:
    """As when the engine's processes are not ours to see."""
    gauge = sandbox._gauge  # type: ignore[attr-defined]
    gauge._places = [(container, None) for container, _ in gauge._places]


def test_the_second_layout_is_read(tmp_path: Path) -> None:
    files = {
        "cpu.stat": "usage_usec 2500000\nuser_usec 1\nsystem_usec 2\n",
        "memory.current": "3000\n",
        "memory.stat": "anon 1000\ninactive_file 500\nactive_file 100\n",
        "io.stat": "8:0 rbytes=5 wbytes=70 rios=1 wios=2 dbytes=0 dios=0\n8:16 rbytes=1 wbytes=7 rios=1 wios=1\n",
        "pids.current": "4\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    told = cgroups.Cgroup({"": tmp_path}).read()
    assert told == Usage(cpu_s=2.5, memory_bytes=2500, written_bytes=77, processes=4)
    (tmp_path / "memory.current").unlink()
    assert cgroups.Cgroup({"": tmp_path}).read() is None


def test_a_pid_of_something_else_is_not_believed() -> None:
    assert cgroups.find(1, "0123456789abcdef") is None
    assert cgroups.find(2**22 + 5, "x") is None


def test_the_engines_answer_of_both_layouts() -> None:
    first = {
        "cpu_stats": {"cpu_usage": {"total_usage": 1_500_000_000}},
        "memory_stats": {"usage": 900, "stats": {"total_inactive_file": 100, "inactive_file": 1}},
        "blkio_stats": {"io_service_bytes_recursive": [{"op": "Read", "value": 1}, {"op": "Write", "value": 5}]},
        "pids_stats": {"current": 3},
    }
    assert usage_of(first) == Usage(cpu_s=1.5, memory_bytes=800, written_bytes=5, processes=3)
    second = first | {
        "memory_stats": {"usage": 900, "stats": {"inactive_file": 200}},
        "blkio_stats": {"io_service_bytes_recursive": None},
        "pids_stats": {},
    }
    assert usage_of(second) == Usage(cpu_s=1.5, memory_bytes=700, written_bytes=0, processes=0)
    assert usage_of({"memory_stats": {}}) is None


class _Shown(dict[str, Any]):
    """A container that has ended; an engine that ends in mid-answer shows it the first time not."""

    id = "0" * 64

    def __init__(self, index: int, failures: int) -> None:
        super().__init__(Labels={INDEX_LABEL: str(index)})
        self.failures = failures

    async def show(self) -> dict[str, Any]:
        self.failures -= 1
        if self.failures >= 0:
            raise OSError("the engine has gone")
        return {"State": {"Pid": 0}}


class _Stats:
    """The engine's answer about a container that runs."""

    async def __aenter__(self) -> _Stats:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def json(self) -> dict[str, Any]:
        return {"cpu_stats": {"cpu_usage": {"total_usage": 1_500_000_000}}, "memory_stats": {"usage": 900}}


class _Engine:
    def _query(self, path: str, params: dict[str, str]) -> _Stats:
        return _Stats()


async def test_an_engine_that_ends_while_it_is_asked_breaks_nothing() -> None:
    containers = [_Shown(0, 0), _Shown(1, 1)]

    async def find() -> list[Any]:
        return containers

    gauge = Gauge(_Engine(), find)  # type: ignore[arg-type]
    assert await gauge.read() == ()
    assert len(await gauge.read()) == 2


async def test_a_machine_tells_how_busy_it_is_with_each_check(ssh_machine: Machine, tmp_path: Path) -> None:
    box = machine_executor(ssh_machine, "busy", MachineOptions(folder=str(tmp_path / "jobs")))
    assert isinstance(box, TellsLoad) and box.load is None
    assert await box.check() is None
    assert box.load is not None and abs(box.load - os.getloadavg()[0]) < 5
    await box.close()
