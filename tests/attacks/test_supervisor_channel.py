"""A job that forges its supervisor's words or notes spoils its own sandbox, and nothing else."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from appliance.errors import SandboxError
from appliance.executors.base import Command, Exit, SandboxSpec
from appliance.executors.local import LocalExecutor
from appliance.executors.marks import Answer


@pytest.mark.parametrize(
    "forged",
    [b"garbage\n", b"0\n", b"0 - x\n", b"99999999999999999999 - 0\n", b"0 " + b"9" * 40 + b" 0\n", b"x" * 1000],
)
def test_an_end_that_is_none_is_an_error_and_is_not_gathered(forged: bytes) -> None:
    answer = Answer("nonce")
    answer.feed(b"\x01begin nonce\noutput")
    with pytest.raises(SandboxError, match="cannot be understood"):
        answer.feed(b"\x01end nonce " + forged)


async def silent(_: bytes) -> None:
    """No progress is shown."""


async def run(script: str, executor: LocalExecutor, node: str) -> list[bytes | Exit]:
    sandbox = await executor.open(SandboxSpec(node=node), silent)
    found = [item async for item in sandbox.run(Command(id="a", script=script))]
    await sandbox.close()
    return found


async def test_forged_notes_of_processes_kill_nobody_and_stop_nothing(tmp_path: Path) -> None:
    executor = LocalExecutor("test", tmp_path / "sandboxes")
    stranger = await asyncio.create_subprocess_exec("sleep", "600", start_new_session=True)
    try:
        script = f"""
            cd "$HOME/../state"
            echo garbage > evil.pid; : > empty.pid; ln -s /dev/zero endless.pid; mkfifo pipe.pid
            echo {stranger.pid} > stranger.pid; echo 99999999999999999999 > large.pid
        """
        found = await run(script, executor, "1.0")
        assert found[-1] == Exit(0)
        assert await executor.list() == []
        assert stranger.returncode is None
    finally:
        stranger.kill()
        await stranger.wait()
        await executor.close()


async def test_an_environment_without_end_is_refused(tmp_path: Path) -> None:
    executor = LocalExecutor("test", tmp_path / "sandboxes")
    sandbox = await executor.open(SandboxSpec(node="1.0"), silent)
    script = 'cd "$HOME/../state"; ln -s /dev/zero evil.start; echo evil > latest'
    async for _ in sandbox.run(Command(id="a", script=script)):
        pass
    with pytest.raises(SandboxError, match="more than anybody can hear"):
        await sandbox.environment_of()
    await sandbox.close()
    await executor.close()
