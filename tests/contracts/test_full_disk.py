"""A disk that a job fills: what is not begun has not succeeded, what ends is told, and the words say why."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.executors.base import Command, Executor, Exit, SandboxSpec
from appliance.executors.local import LocalExecutor
from appliance.executors.machine import MachineExecutor, MachineOptions
from appliance.executors.machine_link import over_ssh
from tests.contracts.worlds import QUICK, finish, quiet
from tests.openssh import Machine

SIZE = "2m"
ROOM_BYTES = 5_000_000  # more than there is


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A folder with a disk of its own."""
    folder = tmp_path / "small"
    folder.mkdir()
    options = f"size={SIZE},mode=700"
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", folder], check=False).returncode:
        pytest.skip("only root mounts")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture(params=["local", "machine"])
def executor(request: pytest.FixtureRequest, small: Path) -> Executor:
    if request.param == "local":
        return LocalExecutor("full", small, pace=QUICK)
    there: Machine = request.getfixturevalue("ssh_machine")
    options = MachineOptions(folder=str(small), end_grace_s=1.0)
    return MachineExecutor("full", "here", over_ssh(there.address()), options=options, pace=QUICK)


async def test_a_step_on_a_full_disk_is_not_begun_and_no_success(executor: Executor, tmp_path: Path) -> None:
    sandbox = await executor.open(SandboxSpec(node="1.0"), quiet)
    fill = f"head -c {ROOM_BYTES} /dev/zero >~/large || :; sleep 1; exit 3"
    assert await finish(sandbox, Command(id="1", script=fill)) == (b"", Exit(3, no_room=True))
    long = f"touch {tmp_path}/ran; : " + "x" * 200_000
    assert await finish(sandbox, Command(id="2", script=long)) == (b"", Exit(1, no_room=True))
    assert await finish(sandbox, Command(id="2", script=long)) == (b"", Exit(1, no_room=True)), "once refused, refused"
    assert not (tmp_path / "ran").exists()
    removal = await sandbox.process(["sh", "-c", "rm ~/large"])
    assert await removal.wait() == 0
    assert await finish(sandbox, Command(id="3", script=long + "; echo on")) == (b"on\n", Exit(0))
    assert (tmp_path / "ran").exists()
    await sandbox.close()
    await executor.close()


async def test_output_without_room_is_told(executor: Executor) -> None:
    sandbox = await executor.open(SandboxSpec(node="1.0"), quiet)
    loud = Command(id="1", script=f"echo begun; head -c {ROOM_BYTES} /dev/zero | tr '\\0' x; echo over")
    output, how = await finish(sandbox, loud)
    assert output.startswith(b"begun\nxxx") and how == Exit(141, no_room=True)
    await sandbox.close()
    await executor.close()


async def test_a_machine_with_a_full_disk_is_out_until_there_is_room(ssh_machine: Machine, small: Path) -> None:
    box = MachineExecutor("full", "here", over_ssh(ssh_machine.address()), options=MachineOptions(folder=str(small)))
    assert await box.check() is None
    with (small / "filler").open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        while True:
            file.write(bytes(1 << 16))
    assert "is the disk full?" in (await box.check() or "")
    (small / "filler").unlink()
    assert await box.check() is None
    await box.close()
