"""The machines' rows: what may be said of one, that the settings are law at start, and who takes itself out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from appliance import choices
from appliance.crypto import SecretBox
from appliance.errors import BadRequest, Conflict, NotFound, SettingsError
from appliance.settings import load
from appliance.store import machines
from appliance.store.database import Tx, open_plain
from appliance.store.machines import Definition

BOX = SecretBox(b"k" * 32)
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA"
MAC = Definition(name="mac-1", address="10.0.0.7", user_name="ci", private_key="-----BEGIN", host_key=KEY, os="macos")


@pytest.fixture
def tx(tmp_path: Path) -> Iterator[Tx]:
    with closing(open_plain(tmp_path / "rondo.db")) as connection:
        connection.execute("PRAGMA foreign_keys = OFF")  # nodes without their jobs
        yield connection


def run_node(tx: Tx, machine: str) -> None:
    tx.execute(
        "INSERT INTO nodes (job_id, idx, status, executor) VALUES ('j', 0, 'running', :executor)",
        {"executor": machines.executor_of(machine)},
    )


def test_a_machine_is_added_once_and_its_key_is_sealed(tx: Tx) -> None:
    added = machines.add(tx, BOX, MAC, 5)
    assert (added.source, added.os, added.slots, added.executor, added.added_at_ms) == (
        "added",
        "macos",
        1,
        "machine:mac-1",
        5,
    )
    assert machines.private_key(BOX, added) == "-----BEGIN"
    assert "BEGIN" not in repr(added) + repr(MAC)
    assert b"BEGIN" not in tx.execute("SELECT private_key FROM machines").fetchone()[0]
    with pytest.raises(Conflict, match="there is a machine mac-1 already"):
        machines.add(tx, BOX, MAC, 6)


@pytest.mark.parametrize(
    "name", ["", "-oProxyCommand=id", "a b", "a/b", "..", ".a", "a\n", "a;b", "$(id)", "ä", "x" * 65, "a'b", "a%h"]
)
def test_names_that_could_mean_something_else_are_refused(name: str) -> None:
    with pytest.raises(BadRequest, match="is no name for a machine"):
        machines.checked(replace(MAC, name=name))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"address": "-oProxyCommand=id"}, "no host name"),
        ({"address": "a b"}, "no host name"),
        ({"address": "host\n"}, "no host name"),
        ({"address": "a..b"}, "no host name"),
        ({"address": "fe80::1%eth0"}, "no host name"),
        ({"address": "1::2::3"}, "no host name"),
        ({"address": "$(id)"}, "no host name"),
        ({"address": ""}, "has no address"),
        ({"user_name": "-l"}, "no name of a user"),
        ({"user_name": "a b"}, "no name of a user"),
        ({"user_name": ""}, "no name of a user"),
        ({"port": 0}, "no port"),
        ({"port": 70000}, "no port"),
        ({"os": "plan9"}, "os must be one of linux, macos, windows, freebsd"),
        ({"arch": "a b"}, "arch must be"),
        ({"classes": ("a/b/c",)}, "no resource class"),
        ({"classes": ("a b",)}, "no resource class"),
        ({"slots": 0}, "slots must be"),
        ({"home": "none"}, "home must be one of fresh, user"),
        ({"folder": "relative"}, "folder must be"),
        ({"folder": "/a/../b"}, "folder must be"),
        ({"folder": "/a'; id"}, "folder must be"),
        ({"host_key": "AAAA"}, "host_key must be a public key"),
        ({"host_key": KEY + "\n" + KEY}, "host_key must be a public key"),
        ({"private_key": ""}, "needs a private key"),
        ({"private_key": "", "key_file": "key"}, "absolute path"),
        ({"dials_in": True}, "has no address and no user"),
        ({"dials_in": True, "address": "", "user_name": ""}, "its runner has a key of its own"),
    ],
)
def test_what_makes_no_machine_is_told(change: dict[str, object], said: str) -> None:
    with pytest.raises(BadRequest, match=said):
        machines.checked(replace(MAC, **change))  # type: ignore[arg-type]


def test_systems_have_one_spelling() -> None:
    same = machines.checked(replace(MAC, os="Darwin", arch="aarch64", address="2001:DB8:0::1", classes=("a/b", "a/b")))
    assert (same.os, same.arch, same.address, same.classes) == ("macos", "arm64", "2001:db8::1", ("a/b",))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("ci@host", ("ci", "host", 22)),
        ("ci@host:2222", ("ci", "host", 2222)),
        ("host", ("", "host", 22)),
        ("ci@[2001:db8::1]:24", ("ci", "2001:db8::1", 24)),
        ("ci@[2001:db8::1]", ("ci", "2001:db8::1", 22)),
        ("ci@corp@host", ("ci@corp", "host", 22)),
    ],
)
def test_addresses(text: str, found: tuple[str, str, int]) -> None:
    assert machines.read_address(text) == found


@pytest.mark.parametrize("text", ["ci@", "ci@host:", "ci@host:ssh", "ci@1:2:3", "ci@[::1]x", ""])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(BadRequest, match="is no address"):
        machines.read_address(text)


def test_the_settings_are_law_and_what_is_known_of_a_machine_stays(tx: Tx) -> None:
    machines.add(tx, BOX, replace(MAC, name="mine"), 1)
    machines.take_settings(tx, BOX, [replace(MAC, host_key="", slots=2), replace(MAC, name="old")], 2)
    machines.pin(tx, "mac-1", KEY)
    machines.drain(tx, "mac-1", 3)
    machines.mark_broken(tx, "mac-1", "no route", 4)
    machines.take_settings(tx, BOX, [replace(MAC, host_key="", slots=3)], 5)
    assert [one.name for one in machines.everything(tx)] == ["mac-1", "mine"]
    mac = machines.by_name(tx, "mac-1")
    assert (mac.source, mac.slots, mac.drained_at_ms, mac.broken_since_ms, mac.trouble) == ("settings", 3, 3, 4, "no route")
    assert mac.host_key == KEY, "pinned by hand, as long as it is the same place"
    machines.take_settings(tx, BOX, [replace(MAC, host_key="", address="10.0.0.8")], 6)
    assert machines.by_name(tx, "mac-1").host_key == "", "another place shows another key"


def test_what_it_says_of_itself_fills_in_what_was_left_open(tx: Tx) -> None:
    machines.add(tx, BOX, replace(MAC, os="", cpus=2), 1)
    machines.measured(tx, "mac-1", {"os": "freebsd", "arch": "arm64", "cpus": 16, "memory_bytes": 1 << 34})
    found = machines.by_name(tx, "mac-1")
    assert (found.os, found.arch, found.cpus, found.memory_bytes) == ("freebsd", "arm64", 2, 1 << 34)


def test_its_load_is_noted_whenever_it_is_seen_once_it_was_measured(tx: Tx) -> None:
    machines.add(tx, BOX, MAC, 1)
    machines.mark_seen(tx, MAC.name, 2, 1.5)
    assert machines.by_name(tx, MAC.name).measured == {}, "or it would not be measured any more"
    machines.measured(tx, MAC.name, {"cpus": 4, "load": 0.5})
    machines.mark_seen(tx, MAC.name, 3)
    assert machines.by_name(tx, MAC.name).measured == {"cpus": 4, "load": 0.5}
    machines.mark_seen(tx, MAC.name, 4, 2.5)
    assert machines.by_name(tx, MAC.name).measured == {"cpus": 4, "load": 2.5}


def test_one_that_is_removed_under_running_jobs_is_shown_to_nobody_and_goes_with_them(tx: Tx) -> None:
    machines.add(tx, BOX, MAC, 1)
    run_node(tx, "mac-1")
    assert not machines.remove(tx, "mac-1", 2)
    assert machines.everything(tx) == [] and [one.name for one in machines.with_leaving(tx)] == ["mac-1"]
    with pytest.raises(NotFound):
        machines.by_name(tx, "mac-1")
    with pytest.raises(Conflict, match="wait until its last job has ended"):
        machines.add(tx, BOX, MAC, 3)
    assert not machines.forget(tx, "mac-1")
    tx.execute("UPDATE nodes SET status = 'success'")
    assert machines.forget(tx, "mac-1")
    assert machines.with_leaving(tx) == []


def test_three_losses_in_a_row_take_a_machine_out_and_a_success_between_does_not(tx: Tx) -> None:
    machines.add(tx, BOX, MAC, 1)

    def end(*, is_lost: bool, now_ms: int) -> machines.Machine:
        if is_lost:
            machines.note_loss(tx, "machine:mac-1", "it went away", now_ms)
        else:
            machines.note_end(tx, "machine:mac-1")
        return machines.by_name(tx, "mac-1")

    for is_lost in (True, True, False, True, True):
        assert end(is_lost=is_lost, now_ms=2).broken_since_ms is None
    out = end(is_lost=True, now_ms=9)
    assert (out.broken_since_ms, out.trouble) == (9, "it has lost 3 jobs in a row, the last: it went away")
    assert end(is_lost=True, now_ms=10).lost_in_a_row == 3, "what it loses while it is out is the same trouble"
    machines.mark_seen(tx, "mac-1", 11)
    machines.mark_well(tx, "mac-1", 11, broken_since_ms=8)
    assert machines.by_name(tx, "mac-1").broken_since_ms == 9, "that one answered does not undo what came meanwhile"
    machines.mark_well(tx, "mac-1", 11, broken_since_ms=9)
    assert end(is_lost=True, now_ms=12).broken_since_ms == 12, "on probation until one ends well"
    machines.note_loss(tx, "docker", "gone", 13)
    machines.note_end(tx, "docker")


def test_a_runner_is_known_by_its_key(tx: Tx) -> None:
    machines.add(tx, BOX, MAC, 1)
    machines.add(tx, BOX, Definition(name="away", dials_in=True, runner_key=KEY + "BBBB"), 1)
    found = machines.by_runner_key(tx, KEY + "BBBB")
    assert found is not None and found.name == "away"
    assert machines.by_runner_key(tx, KEY) is None and machines.by_runner_key(tx, "") is None


def test_machines_of_the_settings(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(
        '[machines.mac-1]\naddress = "ci@10.0.0.7:2222"\nkey_file = "/k"\nclasses = ["acme/mac"]\nmemory = 8\n'
        '[machines."away.1"]\ndials_in = true\n'
    )
    mac, away = choices.machines(load(path, {}))
    assert (mac.user_name, mac.address, mac.port, mac.classes, mac.memory_bytes) == (
        "ci",
        "10.0.0.7",
        2222,
        ("acme/mac",),
        8,
    )
    assert (away.name, away.dials_in) == ("away.1", True)


def test_every_problem_of_the_settings_is_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("[machines.a]\nadress = 'x'\nslots = 'many'\n[machines]\nb = 3\n")
    with pytest.raises(SettingsError) as caught:
        load(path, {})
    assert caught.value.problems == [
        f"{path}: machines must be tables, each [machines.NAME], not {{'a': {{'adress': 'x', 'slots': 'many'}}, 'b': 3}}"
    ]
    path.write_text("[machines.a]\nadress = 'x'\nslots = 'many'\ncpus = -1\n")
    with pytest.raises(SettingsError) as caught:
        load(path, {})
    assert caught.value.problems == [
        f"{path}: machines.a.adress is unknown; did you mean address?",
        f"{path}: machines.a.slots must be a whole number, not 'many'",
        f"{path}: machines.a.cpus must be at least 0, not -1",
    ]
    path.write_text("[machines.a]\naddress = 'x'\n[machines.'b b']\n")
    with pytest.raises(SettingsError) as caught:
        choices.machines(load(path, {}))
    assert len(caught.value.problems) == 2
    assert caught.value.problems[0] == "machines: machine a: '' is no name of a user to log in as"
