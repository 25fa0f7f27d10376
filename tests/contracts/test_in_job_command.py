"""The in-job `circleci` in every sandbox: there in every step, heard when it halts, told what the appliance has for it."""

from __future__ import annotations

import shutil

import pytest

from appliance.errors import SandboxError
from appliance.executors.base import Command, Exit
from tests.contracts.worlds import World, finish


async def test_a_halt_is_told_with_the_exit_and_again_to_a_later_reader(world: World) -> None:
    sandbox = await world.open()
    assert await finish(sandbox, Command(id="1", script="exit 0")) == (b"", Exit(0))
    assert await finish(sandbox, Command(id="2", script="circleci step halt")) == (b"", Exit(0, halts=True))
    await sandbox.detach()
    second = world.again()
    again = await second.reattach(sandbox.ref)
    assert await finish(again, Command(id="2", script="")) == (b"", Exit(0, halts=True))
    assert await finish(again, Command(id="1", script="")) == (b"", Exit(0))
    await again.close()
    await second.close()


async def test_a_failed_step_may_halt_too(world: World) -> None:
    sandbox = await world.open()
    assert await finish(sandbox, Command(id="1", script="circleci step halt\nexit 3")) == (b"", Exit(3, halts=True))


async def test_both_names_come_before_all_others(real_world: World) -> None:
    sandbox = await real_world.open()
    script = """
    mkdir -p ~/bin; printf '#!/bin/sh\\necho mine' >~/bin/circleci; chmod +x ~/bin/circleci; PATH=$PATH:~/bin
    circleci version --short; circleci-agent version --short; circleci orb list
    """
    output, how = await finish(sandbox, Command(id="1", script=script))
    assert how == Exit(0), output
    version, same, other = output.decode().split()
    assert (version, other) == (same, "mine")


async def test_a_job_that_sets_path_still_has_it(real_world: World) -> None:
    sandbox = await real_world.open()
    path = "/usr/local/bin:/usr/bin:/bin"
    output, how = await finish(sandbox, Command(id="1", script="circleci version --short", environment={"PATH": path}))
    assert how == Exit(0), output


@pytest.mark.parametrize("shell", ["/bin/bash --login -eo pipefail", "/bin/bash -eo pipefail"])
async def test_a_login_shell_has_it(real_world: World, shell: str) -> None:
    if real_world.kind == "docker-busybox" or shutil.which("bash") is None:
        pytest.skip("has no bash")
    sandbox = await real_world.open()
    for number in (1, 2):
        output, how = await finish(sandbox, Command(id=f"{number}", shell=shell, script="circleci step halt; echo $-"))
        assert how == Exit(0, halts=True), output


async def test_files_for_the_job_arrive_whole(real_world: World) -> None:
    sandbox = await real_world.open()
    for data in (b"old", bytes(range(256)) * 4096):
        await sandbox.put("circle-test-results/results.json", data)
    script = 'cd "$CIRCLE_INTERNAL_TASK_DATA"; ls *; wc -c < circle-test-results/results.json'
    output, how = await finish(sandbox, Command(id="1", script=script))
    assert how == Exit(0), output
    assert output.split() == [b"results.json", b"1048576"]


async def test_a_file_that_cannot_be_written_is_said(real_world: World) -> None:
    sandbox = await real_world.open()
    await sandbox.put("x", b"")
    with pytest.raises(SandboxError, match="cannot write x/y"):
        await sandbox.put("x/y", b"")
