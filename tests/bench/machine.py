"""What jobs on a machine over SSH cost: each further step beside the bare command on the same connection, and the first."""

from __future__ import annotations

import time

from appliance.executors.base import Command, Exit, Sandbox, SandboxSpec
from appliance.executors.machine import MachineExecutor, MachineOptions
from appliance.executors.machine_link import Link, over_ssh
from tests.bench.report import Aim, Figure
from tests.bench.world import Bench, ms_since
from tests.openssh import machine

STEPS = 100
BARE = "exec bash -eo pipefail -c 'echo step'"


async def measure(bench: Bench) -> list[Figure]:
    steps: list[float] = []
    bare: list[float] = []
    first: list[float] = []
    first_bare: list[float] = []
    with machine(bench.scratch / "machine") as there:
        link = Link(over_ssh(there.address()))
        executor = MachineExecutor(
            "bench", "here", over_ssh(there.address()), options=MachineOptions(folder=str(bench.scratch / "jobs"))
        )
        for turn in bench.turns(9):
            begin_s = time.perf_counter()
            sandbox = await executor.open(SandboxSpec(node=f"{turn}.0"), _quiet)
            await _run(sandbox, 0)
            first.append(ms_since(begin_s))
            begin_s = time.perf_counter()
            for number in range(1, STEPS + 1):
                await _run(sandbox, number)
            steps.append(ms_since(begin_s) / STEPS)
            await sandbox.close()
            begin_s = time.perf_counter()
            await _bare(link)
            first_bare.append(ms_since(begin_s))
            begin_s = time.perf_counter()
            for _ in range(STEPS):
                await _bare(link)
            bare.append(ms_since(begin_s) / STEPS)
            bench.say(f"machine {turn + 1}: step {steps[-1]:.1f} of {bare[-1]:.1f}, first {first[-1]:.0f} ms")
        await executor.close()
        await link.close()
    above = [step - floor for step, floor in zip(steps, bare, strict=True)]
    floor = "the same command as a channel of an open connection"
    return [
        Figure(name="step on a machine", unit="ms", samples=steps, floor=floor, floor_samples=bare),
        Figure(name="the same, above its floor", unit="ms", samples=above, aim=Aim(of="value", at_most=10)),
        Figure(name="start of a machine's job to output", unit="ms", samples=first, floor=floor, floor_samples=first_bare),
    ]


async def _run(sandbox: Sandbox, number: int) -> None:
    said = [event async for event in sandbox.run(Command(id=f"{number}", script="echo step"))]
    assert said == [b"step\n", Exit(0)]


async def _bare(link: Link) -> None:
    channel = await link.channel(BARE)
    assert await channel.read(100) == b"step\n"
    assert await channel.wait() == 0


async def _quiet(_: bytes) -> None: ...
