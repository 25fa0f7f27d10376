"""What a job on a machine leaves behind: nothing, whatever it did; and nothing else is touched."""

from __future__ import annotations

import contextlib
import os
import pty
import secrets
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from appliance.executors.base import Command, Exit, Sandbox
from tests.contracts.conftest import open_world
from tests.contracts.worlds import World, finish

CGROUPS = [Path("/sys/fs/cgroup", name) for name in ("", "unified", "memory")]


@pytest.fixture(params=["machine", pytest.param("machine-user", marks=pytest.mark.slow)])
async def there(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    async for each in open_world(request, tmp_path):
        yield each


def running(word: str) -> list[list[str]]:
    """The processes with `word` in their command lines."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and word.encode() in (line := (entry / "cmdline").read_bytes()):
                found.append(line.decode().split("\0"))
    return found


@contextlib.contextmanager
def at_a_terminal(folder: Path) -> Iterator[Callable[[], bool]]:
    """While somebody sits at a terminal and stands in the folder; whether they still do."""
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(folder)
        os.write(1, b"here")
        os.execvp("sleep", ["sleep", "1000"])
    try:
        assert os.read(terminal, 4) == b"here"
        yield lambda: os.waitpid(process, os.WNOHANG) == (0, 0)
    finally:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        os.close(terminal)


async def home_of(sandbox: Sandbox) -> Path:
    output, _ = await finish(sandbox, Command(id="home", script="printf %s ~"))
    return Path(output.decode())


async def test_daemons_end_with_the_job(there: World) -> None:
    sandbox = await there.open()
    word = f"sleep 9{secrets.randbelow(10**6)}"
    script = f"""
    (trap '' HUP TERM; {word} & setsid sh -c '{word}; :' & exec setsid sh -c '(setsid {word} &); {word}; {word}') &
    (env -i /bin/sh -c '{word}; :' &)
    until [ "$(ps -A -o args | grep -c '^{word}')" = 5 ]; do sleep 0.05; done
    """
    assert await finish(sandbox, Command(id="1", script=script)) == (b"", Exit(0))
    await sandbox.close()
    assert running(word.replace(" ", "\0")) == []


async def test_a_daemon_is_told_once_to_end_and_killed_when_its_grace_is_over(there: World) -> None:
    sandbox = await there.open()
    told = (await home_of(sandbox)).parent.parent / "told"
    script = f"""
    (trap 'echo x >>{told}' TERM; : >~/on; while :; do sleep 0.1 || :; done) 2>/dev/null &
    until [ -e ~/on ]; do sleep 0.05; done
    """
    assert (await finish(sandbox, Command(id="1", script=script)))[1] == Exit(0)
    began_s = time.monotonic()
    await sandbox.close()
    assert 1.0 < time.monotonic() - began_s < 6.0, "its grace is a second, whatever the looks at all processes take"
    assert told.read_text() == "x\n"


async def test_a_daemon_that_hides_in_the_folder_ends_and_who_looks_at_it_from_a_terminal_does_not(there: World) -> None:
    sandbox = await there.open()
    home = await home_of(sandbox)
    word = f"sleep 9{secrets.randbelow(10**6)}"
    script = (
        f"mkdir 'in here'; cd 'in here'; env -i setsid {word} & until ps -A -o args | grep -q '^{word}'; do sleep 0.05; done"
    )
    assert await finish(sandbox, Command(id="1", script=script)) == (b"", Exit(0))
    with at_a_terminal(home) as looks_on:
        await sandbox.close()
        assert running(word.replace(" ", "\0")) == []
        assert not home.exists() and looks_on()


async def test_a_daemon_without_environment_and_session_ends_where_there_is_a_cgroup(there: World) -> None:
    if there.kind != "machine" or not any(os.access(root / "cgroup.procs", os.W_OK) for root in CGROUPS):
        pytest.skip("only root may make cgroups")
    sandbox = await there.open()
    word = f"sleep 9{secrets.randbelow(10**6)}"
    script = f"cd /; env -i setsid /bin/sh -c '{word}; :' & until ps -A -o args | grep -q '^{word}'; do sleep 0.05; done"
    assert await finish(sandbox, Command(id="1", script=script)) == (b"", Exit(0))
    await sandbox.close()
    assert running(word.replace(" ", "\0")) == []


async def test_folders_that_nobody_may_enter_are_removed_and_links_are_not_followed(there: World) -> None:
    sandbox = await there.open()
    home = await home_of(sandbox)
    kept = home.parent.parent / "kept"
    script = f"""
    mkdir -p a/b/c ../../kept; echo x >a/b/c/file; echo kept >../../kept/file; chmod 500 a/b/c; chmod 0 a/b; chmod 000 a
    ln -s "{kept}" link; ln -s / root; mkdir -- "-rf" "a b
c"; ln -s "{kept}" ../tmp/link
    """
    assert await finish(sandbox, Command(id="1", script=script)) == (b"", Exit(0))
    await sandbox.close()
    assert not home.parent.exists()
    assert (kept / "file").read_text() == "kept\n"


async def test_what_root_mounted_in_the_folder_is_not_emptied(there: World) -> None:
    if there.kind != "machine" or os.geteuid() != 0:
        pytest.skip("only root mounts")
    sandbox = await there.open()
    home = await home_of(sandbox)
    kept = home.parent.parent / "kept"
    script = "mkdir ../../kept 'in here'; echo kept >../../kept/file; mount --bind ../../kept 'in here'"
    output, how = await finish(sandbox, Command(id="1", script=script))
    if how != Exit(0):
        pytest.skip(f"nobody may mount here: {output.decode()}")
    assert (home / "in here" / "file").exists()
    await sandbox.close()
    assert not home.parent.exists()
    assert (kept / "file").read_text() == "kept\n"


async def test_other_jobs_and_what_is_not_ours_live_on(there: World) -> None:
    sandbox, other = await there.open("1.0"), await there.open("1.0.1")
    run = other.run(Command(id="1", script="echo on; until [ -e ~/go ]; do sleep 0.05; done; echo off"))
    assert await anext(run) == b"on\n"
    await sandbox.close()
    assert await there.executor.list() == ["1.0.1"]
    process = await other.process(["sh", "-c", "touch ~/go"])
    assert await process.wait() == 0
    await process.kill()
    assert [event async for event in run] == [b"off\n", Exit(0)]


async def test_the_home_is_fresh_and_the_login_is_forgotten(there: World) -> None:
    sandbox = await there.open()
    script = "ls -A ~; ! env | grep ^SSH_; pwd | grep -c /1.0/home; echo $TMPDIR | grep -c /1.0/tmp"
    assert await finish(sandbox, Command(id="1", script=script)) == (b"1\n1\n", Exit(0))
