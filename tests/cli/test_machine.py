"""`rondo machine`, with a real OpenSSH server as the machine."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import asyncssh
import pytest

from appliance import shim
from appliance.executors.machine_check import NEEDED
from appliance.store import machines
from appliance.store.database import open_plain
from tests.cli.line import Line
from tests.openssh import Machine, machine

TOOLS = (
    *(
        "sh",
        "cat",
        "uname",
        "id",
        "date",
        "df",
        "head",
        "mkdir",
        "mkfifo",
        "rm",
        "chmod",
        "kill",
        "dd",
        "wc",
        "sleep",
        "cut",
    ),
    *("sed", "sort", "tr"),
)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Machine]:
    with machine(tmp_path / "machine") as made:
        yield made


def key_file(machine: Machine, folder: Path) -> str:
    path = folder / "key"
    path.write_text(machine.private_key)
    return str(path)


def place(machine: Machine) -> str:
    return f"{machine.user}@{machine.server.host}:{machine.server.port}"


def row(rondo: Line, name: str) -> machines.Machine:
    with closing(open_plain(rondo.data / "rondo.db")) as tx:
        return machines.by_name(tx, name)


def add(rondo: Line, here: Machine, tmp_path: Path, *more: str) -> str:
    folder = str(here.folder)
    return rondo("machine", "add", "m1", place(here), "--key-file", key_file(here, tmp_path), "--folder", folder, *more)


def test_a_machine_is_added_measured_and_its_host_key_noted(rondo: Line, here: Machine, tmp_path: Path) -> None:
    said = add(rondo, here, tmp_path, "--class", "acme/big", "--slots", "3")
    fingerprint = asyncssh.import_public_key(here.server.host_key).get_fingerprint()
    assert fingerprint in said and "ssh_host_ed25519_key.pub" in said
    assert re.search(r"size +\d+ CPUs, \d+\.\d GiB", said) and re.search(r"takes \d+ MB/s", said) and "  ready" in said
    found = row(rondo, "m1")
    assert (found.os, found.cpus, found.slots) == ("linux", os.cpu_count(), 3)
    assert found.host_key == " ".join(here.server.host_key.split()[:2]) and found.seen_at_ms
    assert here.private_key.split()[5] not in str(found.sealed_key), "the key lies open in the database"
    assert re.search(r"m1 +ready +0/3 .* GiB +[0-9.]+ .* acme/big ", rondo("machine", "list"))
    assert not list(here.folder.iterdir()), "a check leaves something behind"


def test_another_host_key_is_refused_until_it_is_given(rondo: Line, here: Machine, tmp_path: Path) -> None:
    add(rondo, here, tmp_path)
    here.server.stop()
    here.server.new_host_key()
    here.server.start()
    said = rondo("machine", "check", "m1", says=1)
    assert "shows another host key" in said
    assert re.search(r"m1 +out, ", rondo("machine", "list")) and row(rondo, "m1").broken_since_ms
    assert "  ready" in rondo("machine", "check", "m1", "--host-key", here.server.host_key)
    assert row(rondo, "m1").broken_since_ms is None


def test_missing_tools_are_named_with_how_to_get_them(rondo: Line, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in TOOLS:
        found = shutil.which(name)
        (tools / name).symlink_to(found or "/bin/true")
    (tools / "apt-get").symlink_to("/bin/true")
    with machine(tmp_path / "machine", SetEnv=f"PATH={tools}") as bare:
        (bare.server.folder / "rc").touch()
        said = rondo("machine", "add", "m1", place(bare), "--key-file", key_file(bare, tmp_path), says=1)
    install = "apt-get install -y" if os.geteuid() == 0 else "sudo apt-get install -y"
    assert f"lacks    tar: no job can run without. {install} tar" in said
    assert f"lacks    setsid: what a step leaves behind may outlive it. {install} util-linux" in said
    assert f"{install} findutils" in said
    assert "not ready: it lacks find, grep, mv, tail, tar" in said
    assert "it lacks find, grep, mv, tail, tar" in rondo("machine", "list")


def test_a_look_at_a_machine_asks_for_every_tool_that_jobs_need() -> None:
    asked = shim.text("examine.sh").replace("\\\n", " ").split("for tool in ")[1].partition(";")[0].split()
    assert set(NEEDED) <= set(asked)


def test_a_machine_without_a_key_gets_one(rondo: Line, here: Machine) -> None:
    said = rondo("machine", "add", "m1", place(here), "--folder", str(here.folder))
    public = next(line.strip() for line in said.splitlines() if line.strip().startswith("ssh-ed25519 "))
    assert f"Then: rondo machine check m1 --data {rondo.data}\n" in said
    assert "does not let" in rondo("machine", "check", "m1", says=1)
    with (here.server.folder / "authorized_keys").open("a") as file:
        file.write(f"{public}\n")
    assert "  ready" in rondo("machine", "check", "m1")


def test_one_that_is_drained_or_removed_says_so(rondo: Line, here: Machine, tmp_path: Path) -> None:
    add(rondo, here, tmp_path)
    assert "nothing runs there" in rondo("machine", "drain", "m1")
    assert re.search(r"m1 +drained", rondo("machine", "list"))
    rondo("machine", "undrain", "m1")
    assert re.search(r"m1 +ready", rondo("machine", "list"))
    assert rondo("machine", "remove", "m1") == "removed machine m1; nothing runs there\n"
    assert "there is no machine" in rondo("machine", "list")
    assert "there is no machine m1" in rondo("machine", "drain", "m1", says=1)


def test_jobs_that_run_there_are_counted_when_it_goes(rondo: Line) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode().strip()
    rondo("machine", "add", "m2", "--dials-in", "--key", key)
    with closing(open_plain(rondo.data / "rondo.db")) as tx:
        tx.execute("PRAGMA foreign_keys = OFF")  # a node is all that is looked at
        tx.execute(
            "INSERT INTO nodes (job_id, idx, status, executor) VALUES ('j', 0, 'running', :executor)",
            {"executor": machines.executor_of("m2")},
        )
    assert rondo("machine", "remove", "m2") == "removed machine m2; 1 job runs there to the end\n"


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (("m1",), "say where it is"),
        (("-oProxyCommand=x", "ci@host"), "unrecognized|expected|is no name"),
        (("m 1", "ci@host"), "is no name for a machine"),
        (("m1", "ci@-oProxyCommand=touch"), "is no address|no host name"),
        (("m1", "ci@host:0"), "is no port"),
        (("m1", "ci@host", "--key-file", "/nowhere"), "cannot read /nowhere"),
        (("m1", "--dials-in"), "--dials-in needs --key"),
        (("m1", "ci@host", "--folder", "/a'b"), "folder must be"),
    ],
)
def test_what_cannot_be_a_machine_is_refused(rondo: Line, words: tuple[str, ...], wrong: str) -> None:
    try:
        said = rondo("machine", "add", *words, says=1)
    except SystemExit:
        return  # argparse said it
    assert re.search(wrong, said)
    assert "there is no machine" in rondo("machine", "list")


def test_one_that_dials_in_waits_for_its_runner(rondo: Line) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode().strip()
    assert "as soon as its runner calls" in rondo("machine", "add", "m2", "--dials-in", "--key", f"{key} me@home")
    assert row(rondo, "m2").runner_key == key
    assert "never called yet" in rondo("machine", "check", "m2", says=1)
    assert re.search(r"m2 +not seen yet .* not measured +\? .* dials in", rondo("machine", "list"))


def test_a_machine_with_windows_is_found_to_be_one(rondo: Line, tmp_path: Path) -> None:
    """Its login knows no sh, but git, which brings a bash that says that it is MSYS2's."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in (*TOOLS[1:], "bash", "find", "git", "grep", "mv", "tail", "tar"):
        found = shutil.which(name)
        (tools / name).symlink_to(found or "/bin/true")
    (tools / "uname").unlink()
    (tools / "uname").write_text("#!/bin/bash\necho MINGW64_NT-10.0-20348\n")
    (tools / "uname").chmod(0o755)
    (tools / "sh").write_text("#!/bin/bash\necho \"'exec' is not recognized as a command\" >&2\nexit 1\n")
    (tools / "sh").chmod(0o755)
    with machine(tmp_path / "machine", SetEnv=f"PATH={tools}") as here:
        assert "  ready" in rondo("machine", "add", "w1", place(here), "--key-file", key_file(here, tmp_path))
    assert (row(rondo, "w1").os, row(rondo, "w1").known_os) == ("windows", "windows")
