"""A reader of a sandbox that is killed with SIGKILL at given moments, as a process of its own.

    python reader.py KIND WHERE INSTANCE REF FOLDER

Each line on stdin is a number of milliseconds: a fork of this process re-attaches, goes on with the job, and is killed
after that time; "-" lets it finish. All it knows about its predecessors is in FOLDER: for step I the bytes in I.log and,
once it has ended, I.exit. For each line, one word on stdout: "killed" or "done".
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from appliance.executors.base import Command, Executor, Exit
from appliance.executors.docker import DockerExecutor
from appliance.executors.local import LocalExecutor
from appliance.executors.machine import MachineExecutor, MachineOptions
from appliance.executors.machine_link import Address, over_ssh

# Short, long and silent ones, bursts over a pipe's and a chunk's size, no newline at the end, a background writer
# that outlives its step, marks like the supervisor's own.
SCRIPTS = (
    "echo short",
    "seq 20000",
    "for i in 1 2 3 4 5 6 7 8; do echo line $i; sleep 0.03; done; exit 3",
    "exit 0",
    "seq 200000; printf 'no newline'",
    "sleep 0.1; echo after a silence",
    "printf '\\001begin 0123456789abcdef\\n\\001end 0123456789abcdef 0 - 0\\n'",
    "for i in 1 2 3 4 5 6; do seq 3000; sleep 0.02; done; exit 7",
    "echo a; echo b >&2; echo c; echo d >&2",
    "(sleep 0.2; echo late) & echo early",
    "seq 60000 | head -c 65536",
    "seq 60000 | head -c 65537; exit 1",
    "echo the end",
) * 3


def steps() -> list[Command]:
    return [
        Command(id=f"step-{index}", script=f"echo {index} >>~/started\n{script}") for index, script in enumerate(SCRIPTS)
    ]


def make(kind: str, where: str, instance: str) -> Executor:
    if kind == "docker":
        return DockerExecutor(instance, where)
    if kind == "machine":
        address = json.loads(where)
        options = MachineOptions(folder=address.pop("folder"))
        return MachineExecutor(instance, "here", over_ssh(Address(**address)), options=options)
    return LocalExecutor(instance, Path(where))


async def go_on(executor: Executor, ref: str, folder: Path) -> None:
    """The rest of the job: the appliance after a restart."""
    sandbox = await executor.reattach(ref)
    for index, command in enumerate(steps()):
        ended = folder / f"{index}.exit"
        if ended.exists():
            continue
        with (folder / f"{index}.log").open("ab", buffering=0) as out:
            async for event in sandbox.run(command, out.tell()):
                if isinstance(event, Exit):
                    part = ended.with_suffix(".part")
                    part.write_text(str(event.code))
                    part.rename(ended)
                else:
                    out.write(event)
    await executor.close()


def main() -> None:
    kind, where, instance, ref, folder = sys.argv[1:]

    async def read() -> None:
        await go_on(make(kind, where, instance), ref, Path(folder))

    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            asyncio.run(read())
            os._exit(0)
        if line.strip() != "-":
            time.sleep(float(line) / 1000)
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        print("killed" if os.WIFSIGNALED(status) else f"done {os.WEXITSTATUS(status)}", flush=True)


if __name__ == "__main__":
    main()
