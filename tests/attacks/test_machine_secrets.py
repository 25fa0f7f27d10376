"""What other users of a machine can see of a job's secrets: nothing, neither in command lines nor in files."""

from __future__ import annotations

import contextlib
from pathlib import Path

from appliance.executors.base import Command, SandboxSpec
from appliance.executors.machine import MachineExecutor, MachineOptions
from appliance.executors.machine_link import over_ssh
from tests.contracts.worlds import finish, first_bytes, quiet
from tests.openssh import machine

SECRET = "correct-horse-battery"


def command_lines() -> str:
    said = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            said.append(each.read_bytes().decode("utf-8", "replace"))
    return "\n".join(said)


async def test_secrets_are_in_no_command_line_and_in_no_file_of_others(tmp_path: Path) -> None:
    with machine(tmp_path / "machine") as there:
        options = MachineOptions(folder=str(tmp_path / "jobs"), environment={"ALL": SECRET + "-all"}, end_grace_s=0.1)
        executor = MachineExecutor("i", "here", over_ssh(there.address()), options=options)
        sandbox = await executor.open(SandboxSpec(node="1.0"), quiet)
        step = Command(id="1", script='echo "$S"; sleep 1000', environment={"S": SECRET})
        assert await first_bytes(sandbox, step) == f"{SECRET}\n".encode()
        words = ["sh", "-c", "echo $S; sleep 1000"]
        plain = await sandbox.process(words, environment={"S": SECRET})
        assert SECRET in (await plain.read()).decode()
        terminal = await sandbox.process(
            ["sh", "-c", "sleep 1; echo $S; sleep 1000"], environment={"S": SECRET}, tty=(80, 24)
        )
        said = b""
        while SECRET.encode() not in said:
            said += await terminal.read()
        assert SECRET not in command_lines()
        folder = tmp_path / "jobs" / "i"
        assert folder.stat().st_mode & 0o077 == 0 and (folder / "1.0").stat().st_mode & 0o077 == 0
        holding = [each for each in folder.rglob("*") if each.is_file() and SECRET.encode() in each.read_bytes()]
        assert holding and all(each.stat().st_mode & 0o077 == 0 for each in holding), holding
        assert not any("shells" in each.parts for each in holding)
        for process in (plain, terminal):
            await process.kill()
        await sandbox.kill("1", 0.1)
        await finish(sandbox, Command(id="1", script=""))
        await sandbox.close()
        await executor.close()
        assert not any(SECRET.encode() in each.read_bytes() for each in (tmp_path / "jobs").rglob("*") if each.is_file())
