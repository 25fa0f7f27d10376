"""How git is run: clean environment, bounded output, ended with all its children."""

from __future__ import annotations

import asyncio
import os
import stat
from contextlib import aclosing
from pathlib import Path

import pytest

from appliance.errors import VcsError
from appliance.vcs.client import Git, clean_environment
from appliance.vcs.words import readable, without_credentials
from tests.vcs.repos import WorkTree

HOSTILE = {
    "GIT_DIR": "/nonexistent",
    "GIT_CONFIG_COUNT": "1",
    "GIT_CONFIG_KEY_0": "core.sshCommand",
    "GIT_CONFIG_VALUE_0": "touch pwned",
    "GIT_SSH_COMMAND": "touch pwned",
    "GIT_EXEC_PATH": "/nonexistent",
    "GIT_TRACE": "1",
    "LD_PRELOAD": "/nonexistent.so",
    "BASH_ENV": "/nonexistent",
    "HOME": "/nonexistent",
}


def program(folder: Path, script: str) -> Git:
    """A client of a `git` that does what `script` says."""
    path = folder / "git"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return Git(program=str(path), timeout_s=0.5)


async def test_nothing_of_our_environment_changes_what_git_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = WorkTree(tmp_path / "tree")
    revision = tree.commit("One")
    for name, value in HOSTILE.items():
        monkeypatch.setenv(name, value)
    assert not set(clean_environment()) & (set(HOSTILE) - {"GIT_SSH_COMMAND"})
    out = await Git().run(tree.folder / ".git", "rev-parse", "--verify", "HEAD")
    assert out.decode().strip() == revision


async def test_hooks_of_a_repository_never_run(tmp_path: Path) -> None:
    tree = WorkTree(tmp_path / "tree")
    tree.commit("One")
    hook = tree.folder / ".git" / "hooks" / "reference-transaction"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/pwned\n")
    hook.chmod(0o755)
    await Git().run(tree.folder / ".git", "update-ref", "refs/heads/other", tree.head())
    assert not (tmp_path / "pwned").exists()


async def test_a_command_that_takes_too_long_is_ended_with_its_children(tmp_path: Path) -> None:
    git = program(tmp_path, f"sleep 1000 & echo $! > {tmp_path}/child; wait")
    with pytest.raises(VcsError, match=r"git fetch took longer than 0\.5 s"):
        await git.run(None, "fetch")
    assert await is_gone(int((tmp_path / "child").read_text()))


async def test_a_cancelled_command_is_ended_with_its_children(tmp_path: Path) -> None:
    git = program(tmp_path, f"sleep 1000 & echo $! > {tmp_path}/child; wait")
    git.timeout_s = 60
    async with asyncio.TaskGroup() as group:
        running = group.create_task(git.run(None, "fetch"))
        while not (tmp_path / "child").exists() or not (tmp_path / "child").read_text():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        running.cancel()
    assert await is_gone(int((tmp_path / "child").read_text()))


async def is_gone(pid: int) -> bool:
    async with asyncio.timeout(10):
        while state_of(pid) not in ("", "Z"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return True


def state_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return ""


async def test_output_without_end_is_cut_off(tmp_path: Path) -> None:
    git = program(tmp_path, "exec yes")
    git.timeout_s = 20
    with pytest.raises(VcsError, match="git log wrote more than 1000 bytes"):
        await git.run(None, "log", limit_bytes=1000)


async def test_a_flood_of_errors_is_bounded(tmp_path: Path) -> None:
    git = program(tmp_path, "head -c 3000000 /dev/zero | tr '\\0' x >&2; echo the end >&2; exit 3")
    git.timeout_s = 20
    done = await git.call(None, "fetch")
    assert done.code == 3
    assert len(done.error) <= 500 and done.error.endswith("the end")


async def test_a_stream_that_fails_says_so_at_its_end(tmp_path: Path) -> None:
    git = program(tmp_path, "echo some; echo broken pack >&2; exit 1")
    found = []
    with pytest.raises(VcsError, match="git bundle failed: broken pack"):
        async with aclosing(git.stream(tmp_path, "bundle")) as chunks:
            async for chunk in chunks:
                found.append(chunk)
    assert b"".join(found) == b"some\n"


async def test_a_stream_that_stalls_is_given_up(tmp_path: Path) -> None:
    with pytest.raises(VcsError, match=r"git bundle wrote nothing for 0\.5 s"):
        async with aclosing(program(tmp_path, "sleep 1000").stream(tmp_path, "bundle")) as chunks:
            async for _ in chunks:
                pass


async def test_a_machine_without_git_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(VcsError, match=r"cannot start git: .* is git installed"):
        await Git(program=str(tmp_path / "git")).run(None, "version")


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("https://user:token@host/x", "https://host/x"),
        ("fatal: ssh://git@host:22/x and http://t@h/", "fatal: ssh://host:22/x and http://h/"),
        ("git@host:x", "git@host:x"),
    ],
)
def test_credentials_are_taken_out_of_urls(text: str, clean: str) -> None:
    assert without_credentials(text) == clean


def test_messages_hold_no_control_characters() -> None:
    assert readable(b"\x1b[31mred\x1b[0m\r\nremote: \x07two\xff\n") == "[31mred[0m; remote: two\ufffd"


def test_the_environment_is_never_that_of_a_person() -> None:
    assert clean_environment()["GIT_CONFIG_GLOBAL"] == os.devnull
    assert "HOME" not in clean_environment()
