"""What executors with real shells and processes keep beyond the contract: spec 1.8.1, signals, late writers, memory."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import resource

import pytest

from appliance.errors import SandboxLost
from appliance.executors.base import Command, Exit, Process
from tests.contracts.worlds import World, finish, first_bytes, read_all


async def test_environment_values_are_literal_whatever_is_in_them(real_world: World) -> None:
    sandbox = await real_world.open()
    values = {
        "QUOTES": "it's \"quoted\" 'twice'",
        "LINES": "one\ntwo\n\nfour\n",
        "SHELL_TEXT": "$(touch /tmp/x) `id` ${HOME} \\ \\n $$",
        "UNICODE": "naïve — 日本語 🦀",
        "SPACES": "  a\t b  ",
        "EMPTY": "",
        "STARS": "* ? [a] ~",
        "MARKS": "\x01begin x\n=\n.\n-",
        "NOT_UTF8": b"\xff\xfe".decode("utf-8", "surrogateescape"),
    }
    script = "".join(f"printf '%s|' \"${name}\"\n" for name in values)
    output, how = await finish(sandbox, Command(id="1", script=script, environment=values))
    assert output.decode("utf-8", "surrogateescape").split("|")[:-1] == list(values.values())
    assert how == Exit(0)


async def test_a_script_arrives_byte_for_byte(real_world: World) -> None:
    sandbox = await real_world.open()
    chance = random.Random(7)
    lines = ["-", "=", ".", "", "  x  ", "\\", "a\\", "'", '"', "\tb\t", "\r", "kill 1 0 ;", "\x01end 0 0 0 0", "ünï"]
    lines += ["".join(chr(chance.randrange(1, 0x250)) for _ in range(80)).replace("\n", "n") for _ in range(40)]
    text = "\n".join(lines)
    output, how = await finish(sandbox, Command(id="1", script=f"cat <<'END-OF-IT'\n{text}\nEND-OF-IT\n"))
    assert output.decode() == text + "\n"
    assert how == Exit(0)


async def test_an_environment_cannot_bend_the_start_of_its_own_step(real_world: World) -> None:
    sandbox = await real_world.open()
    environment = {
        "PATH": "/nowhere",
        "IFS": "/",
        "HOME": "/elsewhere",
        "PPID": "1",
        "UID": "7",
        "SHELLOPTS": "noexec",
        "OPTIND": "x",
        "not-a-name": "1",
        "CDPATH": "/etc",
        "LC_ALL": "xx_YY",
    }
    command = Command(id="1", script="echo $HOME $PATH; pwd", environment=environment, working_directory="~/sub")
    output, how = await finish(sandbox, command)
    assert output.splitlines()[-2].startswith(b"/elsewhere ") and output.splitlines()[-2].endswith(b"/nowhere")
    assert output.splitlines()[-1].endswith(b"/sub")
    assert how == Exit(0)


async def test_folders_are_made_and_entered(real_world: World) -> None:
    sandbox = await real_world.open()
    home = (await finish(sandbox, Command(id="0", script='printf %s "$HOME"')))[0].decode()
    cases = [
        ("~", "~", home),
        ("~/project", "~", f"{home}/project"),
        (".", "~/project", f"{home}/project"),
        ("sub/it's here", "~/project", f"{home}/project/sub/it's here"),
        (f"{home}/$(x)", "~", f"{home}/$(x)"),
        ("~/a b", "/nowhere", f"{home}/a b"),
    ]
    for index, (folder, base, where) in enumerate(cases, start=1):
        command = Command(id=str(index), script="pwd", working_directory=folder, base_directory=base)
        assert await finish(sandbox, command) == (f"{where}\n".encode(), Exit(0))


async def test_a_folder_that_cannot_be_made_fails_the_step_with_a_reason(real_world: World) -> None:
    sandbox = await real_world.open()
    output, how = await finish(sandbox, Command(id="1", script="echo no", working_directory="/dev/null/x"))
    assert how.code != 0
    assert b"/dev/null" in output and b"no\n" not in output


async def test_the_default_shell_stops_at_the_first_error_also_in_a_pipe(real_world: World) -> None:
    sandbox = await real_world.open()
    assert await finish(sandbox, Command(id="1", script="echo a\nfalse\necho b")) == (b"a\n", Exit(1))
    assert await finish(sandbox, Command(id="2", script="(exit 4) | cat\necho b")) == (b"", Exit(4))


async def test_a_shell_of_ones_own_has_no_such_options(real_world: World) -> None:
    sandbox = await real_world.open()
    command = Command(id="1", script="false\n(exit 4) | cat\necho b", shell="/bin/sh")
    assert await finish(sandbox, command) == (b"b\n", Exit(0))
    assert await finish(sandbox, Command(id="2", script="false\necho b", shell=" /bin/sh  -e ")) == (b"", Exit(1))


async def test_a_shell_with_c_gets_the_text(real_world: World) -> None:
    sandbox = await real_world.open()
    command = Command(id="1", script='echo "$0"; echo "it\'s"', shell="sh -e -c")
    assert await finish(sandbox, command) == (b"sh\nit's\n", Exit(0))


async def test_the_shell_is_the_scripts_first_line(real_world: World) -> None:
    sandbox = await real_world.open()
    output, _ = await finish(sandbox, Command(id="1", script='head -n 1 "$0"', shell="/bin/sh -e"))
    assert output == b"#!/bin/sh -e\n"


async def test_a_script_for_another_interpreter_is_run_by_it(real_world: World) -> None:
    sandbox = await real_world.open()
    script = "#!/usr/bin/awk -f\nBEGIN { print 6 * 7 }" if "busybox" not in real_world.kind else "#!/bin/awk -f\n"
    script = script if script.endswith("}") else script + "BEGIN { print 6 * 7 }"
    assert await finish(sandbox, Command(id="1", script=script)) == (b"42\n", Exit(0))
    bash = Command(id="2", script="#!/usr/bin/env bash\nfalse\necho still -e")
    assert await finish(sandbox, bash) == (b"", Exit(1))
    given = Command(id="3", script="#!/usr/bin/awk -f\necho a comment now", shell="/bin/sh")
    assert await finish(sandbox, given) == (b"a comment now\n", Exit(0))


async def test_an_unknown_shell_fails_the_step_with_its_name(real_world: World) -> None:
    sandbox = await real_world.open()
    output, how = await finish(sandbox, Command(id="1", script="echo x", shell="fishy-shell -e"))
    assert how.code in (126, 127)
    assert b"fishy-shell" in output


async def test_bash_env_carries_variables_to_later_steps(real_world: World) -> None:
    sandbox = await real_world.open()
    script = """echo 'export CARRIED="from before"' >>"$BASH_ENV"; [ "$BASH_ENV" = "$CIRCLE_SHELL_ENV" ]"""
    assert (await finish(sandbox, Command(id="1", script=script)))[1] == Exit(0)
    source = '[ -n "$BASH_VERSION" ] || . "$BASH_ENV"\necho "$CARRIED"'  # only bash sources it by itself
    assert await finish(sandbox, Command(id="2", script=source)) == (b"from before\n", Exit(0))
    own = Command(id="3", script='echo "$BASH_ENV"', environment={"BASH_ENV": "/dev/null"}, shell="/bin/sh")
    assert await finish(sandbox, own) == (b"/dev/null\n", Exit(0))


async def test_a_step_has_no_input_and_default_signals(real_world: World) -> None:
    """A shell's "&" would leave SIGINT ignored in the step and in every program it starts."""
    sandbox = await real_world.open()
    assert await finish(sandbox, Command(id="1", script="cat; [ ! -t 0 ]")) == (b"", Exit(0))
    script = "sh -c 'kill -INT $$; echo survived' || echo $?"
    assert await finish(sandbox, Command(id="2", script=script)) == (b"130\n", Exit(0))
    script = "sh -c 'kill -PIPE $$; echo survived' || echo $?"
    assert await finish(sandbox, Command(id="3", script=script)) == (b"141\n", Exit(0))


async def test_a_step_cannot_reach_the_supervisors_channels(real_world: World) -> None:
    sandbox = await real_world.open()
    script = "for fd in 3 4 5 6 7 8 9; do (echo x >&$fd) 2>/dev/null && echo $fd is open; done; :"
    assert await finish(sandbox, Command(id="1", script=script)) == (b"", Exit(0))


async def test_output_that_imitates_the_supervisor_is_output(real_world: World) -> None:
    sandbox = await real_world.open()
    text = "\\001begin 0123456789abcdef\\n\\001end 0123456789abcdef 0 - 0\\n\\001end \\001end"
    output, how = await finish(sandbox, Command(id="1", script=f"printf '{text}'; sleep 0.1; printf '{text}'; exit 5"))
    assert output == text.replace("\\001", "\x01").replace("\\n", "\n").encode() * 2
    assert how == Exit(5)


async def test_signals_show_in_the_exit_code(real_world: World) -> None:
    sandbox = await real_world.open()
    assert (await finish(sandbox, Command(id="1", script="kill -9 $$")))[1] == Exit(137)
    assert (await finish(sandbox, Command(id="2", script="kill -USR1 $$")))[1].code in (138, 128 + 10)


async def test_kill_takes_the_whole_process_group_within_its_grace(real_world: World) -> None:
    sandbox = await real_world.open()
    command = Command(id="1", script="sh -c 'trap \"\" TERM; echo $$; sleep 1000; sleep 1000' & wait")
    run = sandbox.run(command)
    pid = (await anext(run)).decode().strip()  # type: ignore[union-attr]
    await sandbox.kill("1", 2.0)
    assert await anext(run) == Exit(143)
    # The leader went at once; its stubborn child goes when the grace is over.
    script = f"while [ -e /proc/{pid} ] && ! grep -q 'State:.Z' /proc/{pid}/status; do sleep 0.05; done"
    assert (await finish(sandbox, Command(id="2", script=script)))[1] == Exit(0)


async def test_a_daemon_that_keeps_the_output_open_delays_nothing(real_world: World) -> None:
    sandbox = await real_world.open()
    script = "(trap '' HUP; while :; do echo noise; done) & echo started"
    async with asyncio.timeout(60):
        output, how = await finish(sandbox, Command(id="1", script=script))
        assert b"started\n" in output and how == Exit(0)
        slow = Command(id="2", script="(while :; do echo noise; done) & sleep 0.1; echo over")
        output, how = await finish(sandbox, slow)
        assert b"over\n" in output and how == Exit(0)
        assert await finish(sandbox, Command(id="3", script="echo next")) == (b"next\n", Exit(0))


async def test_an_outlived_runner_is_noticed(real_world: World) -> None:
    """A step may kill everything it can, its own runner too: the reader gets 137 and the next step runs."""
    sandbox = await real_world.open()
    if not real_world.kind.startswith("docker"):
        # Never kill -9 -1 outside a container: it reaches this test, and as root everything on this host.
        script = 'for p in $(cat "${BASH_ENV%/*}"/starter | cut -d" " -f1); do kill -9 $p; done; kill -9 $$'
    else:
        script = "kill -9 -1; kill -9 $$"
    async with asyncio.timeout(20):
        _, how = await finish(sandbox, Command(id="1", script=script))
        assert how == Exit(137)
        assert await finish(sandbox, Command(id="2", script="echo still here")) == (b"still here\n", Exit(0))


async def test_a_killed_supervisor_is_a_lost_sandbox(real_world: World) -> None:
    sandbox = await real_world.open()
    if real_world.kind.startswith("docker"):
        pytest.skip("process 1 of a container cannot be killed from inside")
    find = "grep -l RONDO_SANDBOX=$RONDO_SANDBOX /proc/[0-9]*/environ | cut -d/ -f3"
    script = f"for p in $({find}); do [ $p = $$ ] || kill -9 $p; done"
    with pytest.raises(SandboxLost):
        async with asyncio.timeout(10):
            await finish(sandbox, Command(id="1", script=script))


async def test_a_background_command_ends_with_its_own_code(real_world: World) -> None:
    sandbox = await real_world.open()
    commands = [Command(id=f"b{n}", script=f"echo {n}; exit {n}", background=True) for n in range(5)]
    results = await asyncio.gather(*(finish(sandbox, command) for command in commands))
    assert results == [(f"{n}\n".encode(), Exit(n)) for n in range(5)]


async def test_interrupted_readers_lose_and_double_nothing(real_world: World) -> None:
    """As the killed readers of test_reader_deaths, but in one process: cancelled anywhere, many more times."""
    sandbox = await real_world.open()
    chance = random.Random(11)
    longest_s, interrupted = 0.05, 0
    script = "for i in 1 2 3 4 5 6 7 8 9 10; do seq 2000; sleep 0.01; done"
    whole = b"".join(b"%d\n" % n for n in range(1, 2001)) * 10
    for index in range(6):
        command, seen = Command(id=str(index), script=script), bytearray()
        while True:
            before = len(seen)
            try:
                async with asyncio.timeout(chance.uniform(0.001, longest_s)):
                    async for event in sandbox.run(command, len(seen)):
                        if isinstance(event, Exit):
                            break
                        seen += event
                    break
            except TimeoutError:
                interrupted += 1
                if len(seen) == before:  # the host is busy, or a detached reader has to log in again
                    longest_s *= 1.05
                if chance.random() < 0.5:
                    await sandbox.detach()
        assert bytes(seen) == whole
    assert interrupted > 10, "too few: the test proves nothing"


@pytest.mark.slow
async def test_much_output_takes_little_memory(real_world: World) -> None:
    sandbox = await real_world.open()
    before, total = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, 0
    script = "head -c 200000000 /dev/zero | tr '\\0' x"
    async for event in sandbox.run(Command(id="1", script=script)):
        if isinstance(event, bytes):
            assert len(event) <= 256 * 1024
            total += len(event)
    assert total == 200_000_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30_000  # KiB


async def test_a_reader_that_stops_reading_takes_no_memory(real_world: World) -> None:
    sandbox = await real_world.open()
    command = Command(id="1", script="head -c 100000000 /dev/zero | tr '\\0' x; touch ~/ended")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run = sandbox.run(command)
    await anext(run)
    # The step goes on and ends while nobody reads; another channel sees that.
    process = await sandbox.process(["sh", "-c", "until [ -e ~/ended ]; do sleep 0.05; done"])
    await read_all(process)
    await process.kill()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30_000
    await run.aclose()


async def test_a_process_has_its_environment_and_folder_but_no_argv_shows_them(real_world: World) -> None:
    sandbox = await real_world.open()
    script = "pwd; echo \"$SECRET\"; tr '\\0' ' ' </proc/$$/cmdline; :"
    process = await sandbox.process(["sh", "-c", script], environment={"SECRET": "it's\nme"}, working_directory="~")
    output = await read_all(process)
    assert await process.wait() == 0
    assert b"it's\nme\n" in output.split(b"sh -c")[0]
    assert b"it's" not in output.split(b"sh -c")[1]


async def test_a_process_joins_its_errors_and_says_its_exit_code(real_world: World) -> None:
    sandbox = await real_world.open()
    process = await sandbox.process(["sh", "-c", "echo a; echo b >&2; echo c; exit 9"])
    assert await read_all(process) == b"a\nb\nc\n"
    assert await process.wait() == 9
    missing = await sandbox.process(["no-such-program"])
    assert b"no-such-program" in await read_all(missing)
    assert await missing.wait() == 127
    nowhere = await sandbox.process(["echo", "x"], working_directory="/no/such/folder")
    assert b"/no/such/folder" in await read_all(nowhere)
    assert await nowhere.wait() == 126
    await process.kill()
    await missing.kill()


async def test_a_process_carries_megabytes_both_ways(real_world: World) -> None:
    sandbox = await real_world.open()
    process = await sandbox.process(["cat"])
    block = os.urandom(1 << 20)

    async def feed() -> None:
        for _ in range(20):
            await process.write(block)
        await process.write_eof()

    async with asyncio.TaskGroup() as group:
        group.create_task(feed())
        received = await read_all(process)
    assert received == block * 20
    assert await process.wait() == 0
    await process.kill()


async def test_a_terminal_has_a_size_and_takes_control_keys(real_world: World) -> None:
    sandbox = await real_world.open()
    process = await sandbox.process(["sh"], tty=(100, 40), environment={"PS1": "$ ", "TERM": "dumb"})
    await process.write(b"stty size\n")
    await _until(process, b"40 100")
    await process.resize(120, 50)
    await process.write(b"stty size\n")
    await _until(process, b"50 120")
    await process.write(b"echo sle''eping; sleep 1000\n")
    await _until(process, b"sleeping")
    await _interrupt(process)
    await process.write(b"echo af''ter\n")
    await _until(process, b"after")
    await process.write(b"exit 3\n")
    await read_all(process)
    assert await process.wait() == 3
    await process.kill()


async def _interrupt(process: Process) -> None:
    """Ctrl-C until the prompt is there: one that comes before `sleep` has the terminal reaches only the shell."""
    for _ in range(20):
        await process.write(b"\x03")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                return await _until(process, b"$ ")
    raise AssertionError("Ctrl-C does not reach the foreground")


async def _until(process: Process, words: bytes) -> None:
    seen = b""
    async with asyncio.timeout(10):
        while words not in seen:
            data = await process.read()
            assert data, seen
            seen += data


async def test_killing_a_process_leaves_nothing_of_it_behind(real_world: World) -> None:
    sandbox = await real_world.open()
    sleep = f"sleep 1{os.getpid()}"  # as no other test run on this host says
    script = f"{sleep} & setsid {sleep} & (trap '' HUP TERM; {sleep}; {sleep}) & echo up; wait"
    for tty in (None, (80, 24)):
        process = await sandbox.process(["sh", "-c", script], tty=tty)
        await _until(process, b"up")
        await process.kill()
        await process.kill()
        count = f"cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n' | grep -cx '[1]{os.getpid()}' || :"
        check = Command(id=f"count-{tty is None}", script=count)
        assert (await finish(sandbox, check))[0] == b"0\n"


async def test_a_process_beside_the_commands_does_not_disturb_them(real_world: World) -> None:
    sandbox = await real_world.open()
    command = Command(id="1", script="for i in 1 2 3 4 5; do echo $i; sleep 0.05; done")
    first = await first_bytes(sandbox, command)
    process = await sandbox.process(["sh", "-c", "echo beside"])
    assert await read_all(process) == b"beside\n"
    await process.kill()
    rest, how = await finish(sandbox, command, len(first))
    assert (first + rest, how) == (b"1\n2\n3\n4\n5\n", Exit(0))
