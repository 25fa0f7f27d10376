"""Machines that dial in, as a real `rondo runner` does it: enrolment, the commands it runs, and its coming and going."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import asyncssh
import pytest

from appliance.errors import Unavailable
from appliance.machine_runner.identity import public_text
from appliance.model import NodeStatus
from appliance.store import jobs, machines
from appliance.store.database import Tx
from tests.contracts.tcp_proxy import proxy_to
from tests.dialling import Dialler, dialled_in, dialler, enrol, welcome
from tests.sshd.jobs import add_job
from tests.sshd.world import World, until, world


async def run_node(here: World) -> Callable[[], Awaitable[None]]:
    """A running node on machine `mac`, as its row says; gives what ends it."""
    job_id, _ = await add_job(here, await here.project())

    def start(tx: Tx) -> None:
        assert jobs.start_node(tx, job_id, 0, executor="machine:mac", cpus=1, memory_bytes=1, now_ms=1)

    async def end() -> None:
        await here.db.write(lambda tx: jobs.end_node(tx, job_id, 0, NodeStatus.SUCCESS, "", 1))

    await here.db.write(start)
    return end


async def test_an_unknown_machine_says_how_to_enrol_it_and_comes_in_when_it_is(tmp_path: Path) -> None:
    async with world(tmp_path) as here, dialler(tmp_path / "box", here.port) as box:
        await box.start()
        command = f"rondo machine add box --dials-in --key '{box.public_key}'"
        await until(lambda: command in box.said)
        with pytest.raises(Unavailable, match="machine mac is not connected"):
            await here.runners.connect("mac")()
        await here.db.write(lambda tx: enrol(tx, "mac", box.public_key))
        await welcome(here)
        assert box.said.count(command) == 1, "once, not at every attempt"
        assert (tmp_path / "box/runner/key").stat().st_mode & 0o777 == 0o600


async def test_commands_run_with_pipes(tmp_path: Path) -> None:
    async with dialled_in(tmp_path) as (here, _), await here.runners.connect("mac")() as machine:
        done = await machine.run("cat; echo to stderr >&2; echo $A; exit 7", input="in\n", env={"A": "a b"})
        assert (done.stdout, done.stderr, done.exit_status) == ("in\na b\n", "to stderr\n", 7)
        done = await machine.run("kill -9 $$")
        assert (done.exit_signal or ("",))[0] == "KILL"
        done = await machine.run("pwd; id -un")
        assert done.stdout == f"{tmp_path}/box/home\n{os.environ.get('USER', 'root')}\n"


async def test_a_terminal_has_a_size_that_changes_and_control_keys(tmp_path: Path) -> None:
    script = "stty -echo; stty size; echo $TERM; while read x; do stty size; done; echo over; exec sleep 1000"
    async with dialled_in(tmp_path) as (here, _), await here.runners.connect("mac")() as machine:
        process = await machine.create_process(script, term_type="xterm", term_size=(90, 30))
        assert [await line_of(process) for _ in range(2)] == ["30 90", "xterm"]
        process.change_terminal_size(100, 40)
        process.stdin.write("now\n")
        assert await line_of(process) == "40 100"
        process.stdin.write("\x04")
        assert await line_of(process) == "over"
        process.stdin.write("\x03")
        async with asyncio.timeout(10):
            assert (await process.wait()).exit_signal == ("INT", False, "", "en-US")


async def line_of(process: asyncssh.SSHClientProcess[str]) -> str:
    async with asyncio.timeout(10):
        return (await process.stdout.readline()).strip()


async def test_signals_reach_all_of_a_command(tmp_path: Path) -> None:
    async with dialled_in(tmp_path) as (here, _), await here.runners.connect("mac")() as machine:
        process = await machine.create_process("sleep 1000 | { echo up; cat; }")
        assert await line_of(process) == "up"
        process.send_signal("TERM")
        async with asyncio.timeout(10):
            assert (await process.wait()).exit_signal == ("TERM", False, "", "en-US")


async def test_a_connected_machine_does_not_hold_up_the_end_of_the_door(tmp_path: Path) -> None:
    """A busy host may be slow once or twice."""
    took_s = [await end_s(tmp_path / f"{number}") for number in range(3)]
    assert min(took_s) < 1.8, "not the second for farewells and the second after it"


async def end_s(folder: Path) -> float:
    """How long a door to which a machine is connected takes to close."""
    folder.mkdir()
    async with AsyncExitStack() as outside:
        async with world(folder) as here:
            box = await outside.enter_async_context(dialler(folder / "box", here.port))
            await here.db.write(lambda tx: enrol(tx, "mac", box.public_key))
            await box.start()
            await welcome(here)
            began_s = time.monotonic()
        return time.monotonic() - began_s


@pytest.mark.slow
async def test_what_is_slow_to_read_or_write_slows_the_other_end(tmp_path: Path) -> None:
    """The runner holds nothing that the other end does not take."""
    size = 200_000_000
    async with dialled_in(tmp_path) as (here, box), await here.runners.connect("mac")() as machine:
        unread = await machine.create_process(f"head -c {size} /dev/zero", encoding=None)
        slow = await machine.create_process("sleep 0.5; wc -c", encoding=None)
        for _ in range(size // 1_000_000):
            slow.stdin.write(bytes(1_000_000))
            await slow.stdin.drain()
        slow.stdin.write_eof()
        assert int(await slow.stdout.read()) == size
        seen = 0
        while data := await unread.stdout.read(1 << 20):
            seen += len(data)
        assert seen == size
        assert most_resident_bytes(box) < 150 << 20


def most_resident_bytes(box: Dialler) -> int:
    assert box.process is not None
    status = Path(f"/proc/{box.process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) << 10


async def test_a_lost_connection_ends_what_minds_it_and_nothing_that_is_detached(tmp_path: Path) -> None:
    async with dialled_in(tmp_path) as (here, box):
        machine = await here.runners.connect("mac")()
        process = await machine.create_process(
            "setsid sh -c 'echo $$; exec sleep 1000 >&2' 2>/dev/null & echo $$; exec sleep 1000"
        )
        detached, attached = sorted([int(await process.stdout.readline()) for _ in range(2)])[::-1]
        try:
            await box.kill()
            await box.start()
            await welcome(here)
            assert Path(f"/proc/{detached}").exists()
        finally:
            os.kill(detached, signal.SIGKILL)
            os.kill(attached, signal.SIGKILL)


@pytest.mark.slow
async def test_the_runner_comes_back_to_a_door_that_was_away(tmp_path: Path) -> None:
    async with dialled_in(tmp_path) as (here, box):
        port = here.port
    assert box.process is None
    async with dialler(tmp_path / "box", port) as box:
        await box.start()
        await until(lambda: "cannot reach" in box.said)
        async with world(tmp_path, ssh__port=port) as here:
            await welcome(here)
            async with await here.runners.connect("mac")() as machine:
                assert (await machine.run("echo again")).stdout == "again\n"


@pytest.mark.slow
async def test_a_frozen_runner_is_noticed_and_another_one_takes_its_place(tmp_path: Path) -> None:
    """Half-open: the former connection is there as far as TCP knows."""
    async with dialled_in(tmp_path) as (here, box), dialler(tmp_path / "other", here.port) as other:
        shutil.copytree(tmp_path / "box/runner", tmp_path / "other/runner")
        await other.start()
        await until(lambda: "a runner with this key is connected from" in other.said)
        async with await here.runners.connect("mac")() as machine:
            assert (await machine.run("echo still me")).stdout == "still me\n"
        box.signal(signal.SIGSTOP)
        await until(lambda: "connected to" in other.said.partition("is connected from")[2])
        async with await here.runners.connect("mac")() as machine:
            assert (await machine.run("pwd")).stdout == f"{tmp_path}/other/home\n"
        box.signal(signal.SIGCONT)
        await until(lambda: "is connected from" in box.said)


@pytest.mark.slow
async def test_silence_is_noticed_within_15_s_at_both_ends(tmp_path: Path) -> None:
    async with dialled_in(tmp_path) as (here, box), proxy_to(here.port) as proxy:
        await box.kill()
        box.port = proxy.port
        await box.start()
        await welcome(here)
        proxy.freeze()
        began_s = time.monotonic()
        await until(lambda: here.runners.trouble("mac") is not None and "trying again" in box.said)
        assert 4 < time.monotonic() - began_s < 25, "15, and what a busy host adds"


async def test_a_key_that_is_taken_away_ends_its_connection(tmp_path: Path) -> None:
    async with dialled_in(tmp_path) as (here, box):
        machine = await here.runners.connect("mac")()
        await here.db.write(lambda tx: machines.remove(tx, "mac", 1))
        async with asyncio.timeout(5):
            await machine.wait_closed()
        assert here.runners.trouble("mac") is not None
        await until(lambda: "this is not the key of machine mac any more" in box.said)
        await here.db.write(lambda tx: enrol(tx, "second", box.public_key))
        await until(lambda: here.runners.trouble("second") is None)


@pytest.mark.slow
async def test_term_waits_for_jobs_and_takes_no_new_ones(tmp_path: Path) -> None:
    async with dialled_in(tmp_path) as (here, box):
        end = await run_node(here)
        await until(lambda: "1 job here now" in box.said)
        box.signal(signal.SIGTERM)
        await until(lambda: "is leaving" in (here.runners.trouble("mac") or ""))
        async with await here.runners.connect("mac")() as machine:
            assert (await machine.run("echo on")).stdout == "on\n", "its jobs still need it"
        await end()
        assert await box.ended() == 0
        await until(lambda: "is not connected" in (here.runners.trouble("mac") or ""))


@pytest.mark.parametrize("how", ["a second signal", "the longest time"])
async def test_leaving_jobs_behind_is_said(tmp_path: Path, how: str) -> None:
    async with world(tmp_path) as here, dialler(tmp_path / "box", here.port) as box:
        await here.db.write(lambda tx: enrol(tx, "mac", box.public_key))
        await run_node(here)
        await box.start("--max-run-time", "1s" if how == "the longest time" else "1h")
        await until(lambda: "1 job here now" in box.said)
        box.signal(signal.SIGTERM)
        await until(lambda: "leaving: no new jobs" in box.said)
        if how == "a second signal":
            box.signal(signal.SIGINT)
        assert await box.ended() == 1
        assert "leaving 1 job behind" in box.said


async def test_a_changed_host_key_is_refused(tmp_path: Path) -> None:
    async with dialled_in(tmp_path) as (here, box):
        await box.kill()
        pins = tmp_path / "box/runner/known_servers"
        known = pins.read_text()
        other = asyncssh.generate_private_key("ssh-ed25519")
        pins.write_text(f"{known.split()[0]} {public_text(other)}\n")
        await box.start()
        await until(lambda: "Does somebody stand between?" in box.said)
        assert other.get_fingerprint() in box.said
        await box.kill()
        await box.start("--host-key", here.door.public_key)
        await welcome(here)
