"""What every executor keeps, over all of them. Scripts here use only words that the fake knows too."""

from __future__ import annotations

import pytest

from appliance.errors import SandboxError, SandboxLost, Unavailable
from appliance.executors.base import Command, Exit, PrivateDocker, Sandbox
from tests.contracts.worlds import World, finish, first_bytes, read_all


async def test_output_and_exit_code_arrive(world: World) -> None:
    sandbox = await world.open()
    assert await finish(sandbox, Command(id="1", script="echo one\necho two\nexit 3")) == (b"one\ntwo\n", Exit(3))
    assert await finish(sandbox, Command(id="2", script="exit 0")) == (b"", Exit(0))


async def test_long_output_arrives_whole(world: World) -> None:
    sandbox = await world.open()
    output, how = await finish(sandbox, Command(id="1", script="seq 300000"))
    assert output == "".join(f"{n}\n" for n in range(1, 300001)).encode()
    assert how == Exit(0)


async def test_an_id_runs_once_and_its_output_can_be_read_again_from_any_byte(world: World) -> None:
    sandbox = await world.open()
    command = Command(id="1", script="seq 20000")
    whole, _ = await finish(sandbox, command)
    for offset in (0, 1, 65535, 65536, 65537, len(whole) - 1, len(whole)):
        rest, how = await finish(sandbox, Command(id="1", script="echo never; exit 9"), offset)
        assert (rest == whole[offset:]) and how == Exit(0)


async def test_a_broken_off_reader_goes_on_at_its_offset(world: World) -> None:
    sandbox = await world.open()
    command = Command(id="1", script="echo first\nsleep 1000")
    assert await first_bytes(sandbox, command) == b"first\n"
    await sandbox.kill("1", 5.0)
    rest, how = await finish(sandbox, command, len(b"first\n"))
    assert (rest, how) == (b"", Exit(143))


async def test_a_restarted_appliance_finds_its_sandbox(world: World) -> None:
    sandbox = await world.open()
    command = Command(id="1", script="echo first\nsleep 1000")
    assert await first_bytes(sandbox, command) == b"first\n"
    await sandbox.detach()
    second = world.again()
    assert await second.list() == [sandbox.ref]
    found = await second.reattach(sandbox.ref)
    await found.kill("1", 5.0)
    assert await finish(found, command, 3) == (b"st\n", Exit(143))
    assert await finish(found, Command(id="2", script="echo more")) == (b"more\n", Exit(0))
    await found.close()
    assert await second.list() == []
    await second.close()


async def test_kill_ends_a_command_that_ignores_sigterm(world: World) -> None:
    sandbox = await world.open()
    command = Command(id="1", script="trap '' TERM\necho on\nsleep 1000")
    run = sandbox.run(command)
    assert await anext(run) == b"on\n"
    await sandbox.kill("1", 0.2)
    assert await anext(run) == Exit(137)


async def test_kill_of_what_ended_or_never_began_does_nothing(world: World) -> None:
    sandbox = await world.open()
    await finish(sandbox, Command(id="1", script="echo x"))
    await sandbox.kill("1", 1.0)
    await sandbox.kill("7", 1.0)
    assert await finish(sandbox, Command(id="7", script="echo y")) == (b"y\n", Exit(0))


async def test_a_background_command_goes_on_beside_others(world: World) -> None:
    sandbox = await world.open()
    server = Command(id="b", script="echo up\nsleep 1000", background=True)
    run = sandbox.run(server)
    assert await anext(run) == b"up\n"
    assert await finish(sandbox, Command(id="1", script="echo beside")) == (b"beside\n", Exit(0))
    await sandbox.kill("b", 5.0)
    assert await anext(run) == Exit(143)
    assert await finish(sandbox, server, 1) == (b"p\n", Exit(143))


async def exports_of(sandbox: Sandbox, command_id: str | None = None) -> dict[str, str]:
    """Without what the supervisor adds for every command: bash reads it in a debug shell too."""
    found = await sandbox.environment_of(command_id)
    return {name: value for name, value in found.items() if name not in ("BASH_ENV", "CIRCLE_SHELL_ENV")}


async def test_the_environment_of_a_command_can_be_asked_for(world: World) -> None:
    sandbox = await world.open()
    assert await exports_of(sandbox) == {}
    await finish(sandbox, Command(id="1", script="echo $A", environment={"A": "it's", "B": "two\nlines"}))
    await finish(sandbox, Command(id="2", script="echo", environment={"C": ""}))
    assert await exports_of(sandbox) == {"C": ""}
    assert await exports_of(sandbox, "1") == {"A": "it's", "B": "two\nlines"}


async def test_wrong_ids_and_nul_bytes_are_refused(world: World) -> None:
    sandbox = await world.open()
    for command in (Command(id="a b", script="echo"), Command(id="1", script="echo \0")):
        with pytest.raises(SandboxError):
            await finish(sandbox, command)
    assert await finish(sandbox, Command(id="1", script="echo x")) == (b"x\n", Exit(0))


async def test_a_process_takes_input_and_gives_output(world: World) -> None:
    sandbox = await world.open()
    process = await sandbox.process(["cat"])
    await process.write(b"hello ")
    await process.write(b"you")
    await process.write_eof()
    assert await read_all(process) == b"hello you"
    assert await process.wait() == 0
    await process.kill()


async def test_closing_and_removing_may_be_repeated_and_leave_nothing(world: World) -> None:
    sandbox = await world.open("1.0")
    other = await world.open("2.0")
    assert await world.executor.list() == ["1.0", "2.0"]
    await sandbox.close()
    await sandbox.close()
    await world.executor.remove(other.ref)
    await world.executor.remove(other.ref)
    assert await world.executor.list() == []
    for ref in ("1.0", "2.0", "3.0"):
        with pytest.raises(SandboxLost):
            await world.executor.reattach(ref)


async def test_a_removed_sandbox_is_lost_to_its_reader(world: World) -> None:
    sandbox = await world.open()
    run = sandbox.run(Command(id="1", script="echo on\nsleep 1000"))
    assert await anext(run) == b"on\n"
    await world.executor.remove(sandbox.ref)
    try:
        ended = await anext(run)
    except SandboxLost:
        pass
    else:  # all of the job is ended at once: its supervisor may still have told how the step ended
        assert isinstance(ended, Exit) and ended.code in (137, 143)
    with pytest.raises(SandboxLost):
        await finish(sandbox, Command(id="2", script="echo x"))


async def test_check_is_silent_when_all_is_well(world: World) -> None:
    assert await world.executor.check() is None


async def test_a_sandbox_that_was_not_made_for_an_engine_says_so(world: World) -> None:
    sandbox = await world.open()
    with pytest.raises((Unavailable, SandboxError), match="Docker engine"):
        await sandbox.start_docker(PrivateDocker(cpus=1, memory_bytes=1 << 30))
    assert await world.executor.kept_layers() == []
    await world.executor.remove_layers("rondo-layers-none")
