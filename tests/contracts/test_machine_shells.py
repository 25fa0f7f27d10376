"""A machine whose login shell or whose `sh` and tools are not Debian's; and one that says what it likes."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from pathlib import Path

import pytest

from appliance.errors import SandboxError
from appliance.executors.base import Command, Exit, SandboxSpec
from appliance.executors.machine import MachineExecutor, MachineOptions
from appliance.executors.machine_link import SHELL, over_ssh
from appliance.executors.machine_script import Script
from tests.contracts.worlds import QUICK, finish, first_bytes, quiet
from tests.openssh import machine

LOGIN_SHELLS = ["sh", "bash", "dash", "zsh", "mksh", "ksh", "yash", "fish", "csh", "tcsh", "busybox sh"]


@pytest.mark.parametrize("login", LOGIN_SHELLS)
def test_every_login_shell_takes_our_command_line(login: str) -> None:
    if shutil.which(login.split()[0]) is None:
        pytest.skip(f"{login} is not installed here")
    text = 'r_tell ok "it\'s"\nIFS= read -r r_line\necho "$r_line"\n'
    script = Script("machine.sh", words={"r_word": "'a b'"}, text=text)
    argv = [*login.split(), "-c", SHELL]
    done = subprocess.run(argv, input=script.encode() + b"what is left\n", capture_output=True, check=True)
    assert done.stdout == script.mark + b"ok it's\nwhat is left\n"


def functions_of(program: str) -> set[str]:
    """The names of busybox or toybox that a machine may have for its own."""
    listed = subprocess.run([program], capture_output=True, text=True, check=False).stdout
    words = listed.rpartition("defined functions:")[2].replace(",", " ").split()
    return {name for name in words if name not in ("sh", "bash", "ssh", "sshd", "su", "sudo", "login")}


@pytest.mark.parametrize("kind", ["bash", "mksh", "busybox", "toybox"])
async def test_a_job_runs_with_other_shells_and_tools(kind: str, tmp_path: Path) -> None:
    program = shutil.which(kind)
    if program is None:
        pytest.skip(f"{kind} is not installed here")
    tools = tmp_path / "bin"
    tools.mkdir()
    path = f"{tools}:/usr/bin:/bin"
    if kind in ("busybox", "toybox"):
        for name in functions_of(program) | ({"sh"} if kind == "busybox" else set()):
            (tools / name).symlink_to(program)
        path = str(tools) if kind == "busybox" else path
    else:
        (tools / "sh").symlink_to(program)
    with machine(tmp_path / "machine", SetEnv=f"SHLVL=1 PATH={path}") as there:
        options = MachineOptions(folder=str(tmp_path / "jobs"), end_grace_s=1.0)
        executor = MachineExecutor("shells", "here", over_ssh(there.address()), options=options, pace=QUICK)
        assert await executor.check() is None
        sandbox = await executor.open(SandboxSpec(node="1.0"), quiet)
        assert await finish(sandbox, Command(id="1", script="echo one\nexit 3", shell="/bin/sh")) == (b"one\n", Exit(3))
        assert await first_bytes(sandbox, Command(id="2", script="echo on\nsleep 1000")) == b"on\n"
        await sandbox.detach()
        await sandbox.kill("2", 5.0)
        output, how = await finish(sandbox, Command(id="2", script=""))
        assert output.startswith(b"on\n") and how == Exit(143)  # mksh says "Terminated"
        process = await sandbox.process(["sh", "-c", "echo $A; sleep 1000"], environment={"A": "it's"})
        assert await process.read() == b"it's\n"
        await process.kill()
        (usage,) = await sandbox.usage()
        assert usage.processes >= 1
        assert await executor.list() == ["1.0"]
        await sandbox.close()
        assert await executor.list() == [] and not (tmp_path / "jobs" / "shells" / "1.0").exists()
        await executor.close()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("yes", "says more than anybody can hear"),
        ("yes >&2", "ended without an answer; it said: y"),
        ("exit 0", "ended without an answer"),
        ("echo no jobs here; exit 1", "no jobs here"),
    ],
)
async def test_a_login_that_says_anything_is_an_error_and_no_flood(words: str, reason: str, tmp_path: Path) -> None:
    with machine(tmp_path / "machine", ForceCommand=words) as there:
        executor = MachineExecutor("hostile", "here", over_ssh(there.address()))
        executor.ask_s = 2.0
        async with asyncio.timeout(30):
            with pytest.raises(SandboxError, match=reason):
                await executor.open(SandboxSpec(node="1.0"), quiet)
            with pytest.raises(SandboxError, match=reason):
                await executor.list()
        await executor.close()
