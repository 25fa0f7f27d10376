"""Folders of jobs on a machine: none where others could change it, and the end of one takes nothing along."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from appliance import shim
from appliance.executors.machine import _LIST
from appliance.executors.machine_script import words

NOBODY = 65534


def say(base: Path, *names: str, text: str = "", **more: str) -> list[str]:
    """What our texts answer to a shell here."""
    known = words(base=str(base), instance="i", node="n1", cookie=f"i/n1-{os.getpid()}", grace="10", **more)
    lines = [f"{name}={word}" for name, word in known.items()]
    script = "\n".join(["r_nonce=x", *lines, *(shim.text(name) for name in ("machine.sh", *names)), text])
    done = subprocess.run(["sh"], input=script, capture_output=True, text=True, timeout=60, check=False)
    return [line.removeprefix("\x01x ") for line in done.stdout.splitlines() if line.startswith("\x01x ")]


def enter(base: Path) -> list[str]:
    return say(base, "machine_folder.sh", text="r_enter; r_tell ok")


def test_a_folder_of_our_own_is_taken(tmp_path: Path) -> None:
    assert enter(tmp_path / "base") == ["ok"]
    assert (tmp_path / "base" / "i").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("which", ["base", "base/i", "."])
def test_a_folder_that_all_may_change_is_none(tmp_path: Path, which: str) -> None:
    (tmp_path / "base" / "i").mkdir(parents=True)
    (tmp_path / which).chmod(0o777)
    (said,) = enter(tmp_path / "base")
    assert said.startswith("no others on this machine may change /")


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a folder to somebody else")
@pytest.mark.parametrize("which", ["base", "base/i"])
def test_a_folder_that_somebody_else_has_made_is_none(tmp_path: Path, which: str) -> None:
    (tmp_path / "base" / "i").mkdir(parents=True)
    os.chown(tmp_path / which, NOBODY, NOBODY)
    assert enter(tmp_path / "base")[0].startswith("no others on this machine may change")


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a link to somebody else")
def test_a_link_that_somebody_else_has_made_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "ours").mkdir()
    (tmp_path / "base").symlink_to(tmp_path / "ours")
    assert enter(tmp_path / "base") == ["ok"]
    os.lchown(tmp_path / "base", NOBODY, NOBODY)
    assert enter(tmp_path / "base")[0].startswith("no others on this machine may change")


def test_the_end_of_a_folder_takes_nothing_along(tmp_path: Path) -> None:
    """Links, hard links, FIFOs, closed folders, odd names, forged notes; and the folder itself a link."""
    victim = tmp_path / "victim"
    (victim / "deep").mkdir(parents=True)
    (victim / "file").write_text("kept")
    node = tmp_path / "base" / "i" / "n1"
    (node / "home" / "shut").mkdir(parents=True)
    (node / "state").mkdir()
    (node / "home" / "shut" / "dir").symlink_to(victim)
    (node / "home" / "-rf").symlink_to(victim / "deep")
    os.link(victim / "file", node / "home" / "hard")
    os.mkfifo(node / "home" / "fifo")
    for name, text in (("1.pid", "1 ;"), ("2.pid", "-1 ;"), ("main", f"{os.getpid()} ;")):
        (node / "state" / name).write_text(text)
    (node / "pid").write_text("1.1\n")
    (node / "home" / "new\nline\x01x ok").touch()
    (node / "home" / "shut").chmod(0)
    assert say(tmp_path / "base", "machine_end.sh", "machine_remove.sh") == ["ok"]
    assert not node.exists() and (victim / "deep").is_dir() and (victim / "file").read_text() == "kept"
    node.symlink_to(victim)
    assert say(tmp_path / "base", "machine_end.sh", "machine_remove.sh") == ["ok"]
    assert not node.is_symlink() and (victim / "file").read_text() == "kept"


def test_a_list_has_folders_of_ours_alone(tmp_path: Path) -> None:
    folder = tmp_path / "base" / "i"
    for name in ("n1", "-rf", "a b", "x\n\x01x node other", "$(id)", "..."):
        (folder / name).mkdir(parents=True)
    (folder / "link").symlink_to(tmp_path)
    (folder / "file").touch()
    said = say(tmp_path / "base", text=_LIST)
    assert "node n1" in said and "node link" not in said and "node file" not in said


def test_who_is_moved_into_a_jobs_cgroup_may_be_init_and_lives(tmp_path: Path) -> None:
    (tmp_path / "cgroup.procs").write_text("0\n1\n")
    ask = f"r_cgroups={tmp_path}; r_find RONDO_SANDBOX=i/nobody-{os.getpid()}; r_tell all $r_all"
    assert say(tmp_path, "machine_end.sh", text=ask) in (["all"], ["all "])
