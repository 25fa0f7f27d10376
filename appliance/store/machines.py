"""Machines that run jobs over SSH: what each is said to be, what it has said of itself, and whether it gets work.

A machine is from the settings or was added while the appliance runs. One that is removed while jobs run on it stays as a
row that nobody is shown until they have ended: their runners have to find it again after a restart.
"""

from __future__ import annotations

import ipaddress
import json
import re
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any, Literal

from appliance.crypto import SecretBox
from appliance.errors import BadRequest, Conflict, NotFound
from appliance.ssh_keys import fingerprint_of
from appliance.store.database import Tx

Source = Literal["settings", "added"]

SYSTEMS = ("linux", "macos", "windows", "freebsd")
HOMES = ("fresh", "user")
MOST_LOST = 3  # so many nodes lost in a row, and a machine is out
DEFAULT_PORT = 22

_PREFIX = "machine:"
_LONGEST_NAME = 64
_MOST_SLOTS = 10_000
_MOST_CPUS = 100_000
_MOST_BYTES = 1 << 50
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?\Z")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@\\$-]*\Z")
_CLASS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*(?:/[A-Za-z0-9][A-Za-z0-9._+-]*)?\Z")
_PUBLIC_KEY = re.compile(r"(?:ssh|ecdsa|sk)-[a-z0-9@.-]+ [A-Za-z0-9+/]+={0,2}\Z")
_ARCH = re.compile(r"[a-z0-9_]{1,20}\Z")
_SAME = {"x86_64": "amd64", "x64": "amd64", "aarch64": "arm64", "darwin": "macos"}


@dataclass(frozen=True, kw_only=True)
class Definition:
    """What a machine is said to be. Empty texts and zeros mean: as it says itself, or as is usual."""

    name: str
    address: str = ""  # host name or IP address; none for one that dials in
    port: int = DEFAULT_PORT
    user_name: str = ""
    private_key: str = field(default="", repr=False)
    key_file: str = ""  # on this host, in the place of `private_key`
    host_key: str = ""  # "ssh-ed25519 AAAA..."
    os: str = ""
    arch: str = ""
    classes: tuple[str, ...] = ()
    slots: int = 1
    cpus: float = 0.0
    memory_bytes: int = 0
    home: str = "fresh"  # of jobs: a fresh folder, or the user's own
    folder: str = ""  # of our files there
    dials_in: bool = False
    runner_key: str = ""  # public, of one that dials in
    forks: bool = False  # strangers' forks may run there


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A machine as it is now: what was left open in its definition is filled in with what it said of itself."""

    name: str
    source: Source
    address: str
    port: int
    user_name: str
    sealed_key: bytes | None = field(repr=False)
    key_file: str
    host_key: str
    os: str
    known_os: str  # "" until somebody has said it; `os` then guesses
    arch: str
    classes: tuple[str, ...]
    slots: int
    cpus: float  # 0: not known yet
    memory_bytes: int  # 0: not known yet
    home: str
    folder: str
    dials_in: bool
    runner_key: str
    forks: bool
    added_at_ms: int
    drained_at_ms: int | None
    broken_since_ms: int | None
    trouble: str
    lost_in_a_row: int
    checked_at_ms: int | None
    seen_at_ms: int | None
    measured: Mapping[str, Any]
    removed_at_ms: int | None

    @property
    def executor(self) -> str:
        return executor_of(self.name)


def executor_of(name: str) -> str:
    """What `nodes.executor` says of a node on this machine."""
    return _PREFIX + name


def name_of(executor: str) -> str | None:
    """The machine behind `nodes.executor`; None when it is none of these."""
    return executor.removeprefix(_PREFIX) if executor.startswith(_PREFIX) else None


# What a machine is said to be


def checked(wanted: Definition) -> Definition:
    """The definition in its one form. Raises BadRequest with what is wrong.

    Strict, since parts of it become parts of commands, paths and addresses.
    """
    name = wanted.name
    if not _NAME.match(name) or len(name) > _LONGEST_NAME:
        raise BadRequest(
            f"{name!r} is no name for a machine: up to {_LONGEST_NAME} of A-Z a-z 0-9 . _ -, a letter or digit first"
        )
    os, arch = (_SAME.get(text.lower(), text.lower()) for text in (wanted.os, wanted.arch))
    if os and os not in SYSTEMS:
        raise BadRequest(f"machine {name}: os must be one of {', '.join(SYSTEMS)}, not {wanted.os!r}")
    if arch and not _ARCH.match(arch):
        raise BadRequest(f"machine {name}: arch must be a word like amd64 or arm64, not {wanted.arch!r}")
    if wanted.home not in HOMES:
        raise BadRequest(f"machine {name}: home must be one of {', '.join(HOMES)}, not {wanted.home!r}")
    for one in wanted.classes:
        if not _CLASS.match(one):
            raise BadRequest(f"machine {name}: {one!r} is no resource class; they look like medium, arm.large or acme/big")
    if not 0 < wanted.slots <= _MOST_SLOTS:
        raise BadRequest(f"machine {name}: slots must be from 1 to {_MOST_SLOTS}, not {wanted.slots}")
    if not (0 <= wanted.cpus <= _MOST_CPUS and 0 <= wanted.memory_bytes <= _MOST_BYTES):
        raise BadRequest(f"machine {name}: cpus and memory cannot be less than 0, nor what no machine has")
    _check_folder(name, wanted.folder)
    address = _checked_address(wanted)
    _check_keys(wanted)
    return replace(wanted, address=address, os=os, arch=arch, classes=tuple(dict.fromkeys(wanted.classes)))


def read_address(text: str) -> tuple[str, str, int]:
    """User, host and port of "user@host:port"; user and port may be missing (then "" and 22). Raises BadRequest."""
    user, _, place = text.rpartition("@")
    if place.startswith("["):
        host, _, rest = place[1:].partition("]")
        port = rest.removeprefix(":") if rest.startswith(":") or not rest else "?"
    elif place.count(":") > 1:
        raise BadRequest(f"{text!r} is no address: an IPv6 address stands in brackets, user@[2001:db8::1]:22")
    else:
        host, colon, port = place.partition(":")
        port = port or ("?" if colon else "")
    if not host or (port and not re.fullmatch(r"[0-9]{1,5}", port)):
        raise BadRequest(f"{text!r} is no address: it looks like user@host or user@host:port")
    return user, host, int(port or DEFAULT_PORT)


def _checked_address(wanted: Definition) -> str:
    name, host = wanted.name, wanted.address
    if wanted.dials_in:
        if host or wanted.user_name:
            raise BadRequest(f"machine {name} dials in: it has no address and no user")
        return ""
    if not host:
        raise BadRequest(f'machine {name} has no address: give one as "user@host:port", or dials_in = true')
    if not 0 < wanted.port < 65536:
        raise BadRequest(f"machine {name}: {wanted.port} is no port")
    if not _USER.match(wanted.user_name):
        raise BadRequest(f"machine {name}: {wanted.user_name!r} is no name of a user to log in as")
    try:
        return _host(host)
    except ValueError:
        raise BadRequest(f"machine {name}: {host!r} is no host name and no IP address") from None


def _host(host: str) -> str:
    """A host name or an IP address, without a zone. Raises ValueError."""
    if ":" in host and "%" not in host:
        return str(ipaddress.ip_address(host))
    if not _HOST.match(host) or ".." in host or len(host) > 253:
        raise ValueError
    return host


def _check_keys(wanted: Definition) -> None:
    name = wanted.name
    for what, key in (("host_key", wanted.host_key), ("runner_key", wanted.runner_key)):
        if key and not _PUBLIC_KEY.match(key):
            raise BadRequest(
                f'machine {name}: {what} must be a public key like "ssh-ed25519 AAAA...", on one line, without a comment'
            )
    if wanted.key_file and (not wanted.key_file.startswith("/") or not wanted.key_file.isprintable()):
        raise BadRequest(f"machine {name}: key_file must be an absolute path on this host, not {wanted.key_file!r}")
    if wanted.dials_in:
        if wanted.private_key or wanted.key_file or wanted.host_key:
            raise BadRequest(f"machine {name} dials in: its runner has a key of its own (runner_key), we need none")
    elif bool(wanted.private_key) == bool(wanted.key_file):
        raise BadRequest(f'machine {name} needs a private key to log in with: key_file = "/PATH"')


def _check_folder(name: str, folder: str) -> None:
    if folder and (
        not re.match(r"(?:~/|/|[A-Za-z]:[/\\])[^~]", folder)
        or not folder.isprintable()
        or ".." in PurePosixPath(folder.replace("\\", "/")).parts
        or re.search(r"[\"'`$;&|<>*?!\n]", folder)
    ):
        raise BadRequest(f"machine {name}: folder must be an absolute path there, or begin with ~/, not {folder!r}")


# Rows


def _machine(row: sqlite3.Row) -> Machine:
    measured = json.loads(row["measured"])
    plain = {key: row[key] for key in _PLAIN}
    return Machine(
        **plain,
        sealed_key=row["private_key"],
        os=row["os"] or measured.get("os") or "linux",
        known_os=row["os"] or measured.get("os") or "",
        arch=row["arch"] or measured.get("arch") or "amd64",
        classes=tuple(json.loads(row["classes"])),
        cpus=row["cpus"] or min(measured.get("cpus") or 0.0, _MOST_CPUS),
        memory_bytes=row["memory_bytes"] or min(measured.get("memory_bytes") or 0, _MOST_BYTES),
        dials_in=bool(row["dials_in"]),
        forks=bool(row["forks"]),
        measured=measured,
    )


_PLAIN = (
    *("name", "source", "address", "port", "user_name", "key_file", "host_key", "slots", "home", "folder", "runner_key"),
    *("added_at_ms", "drained_at_ms", "broken_since_ms", "trouble", "lost_in_a_row", "checked_at_ms", "seen_at_ms"),
    "removed_at_ms",
)


def everything(tx: Tx) -> list[Machine]:
    """Those that are there, by name."""
    return [machine for machine in with_leaving(tx) if machine.removed_at_ms is None]


def with_leaving(tx: Tx) -> list[Machine]:
    """Also those that were removed and whose last nodes still run."""
    return [_machine(row) for row in tx.execute("SELECT * FROM machines ORDER BY name")]


def by_name(tx: Tx, name: str) -> Machine:
    """Raises NotFound."""
    row = tx.execute("SELECT * FROM machines WHERE name = :name AND removed_at_ms IS NULL", {"name": name}).fetchone()
    if row is None:
        raise NotFound(f"there is no machine {name}; `rondo machine list` shows all")
    return _machine(row)


def by_runner_key(tx: Tx, public_key: str) -> Machine | None:
    """The machine that dials in with this key ("ssh-ed25519 AAAA..."); None when there is none."""
    row = tx.execute(
        "SELECT * FROM machines WHERE runner_key = :key AND runner_key != '' AND dials_in = 1 AND removed_at_ms IS NULL",
        {"key": public_key},
    ).fetchone()
    return None if row is None else _machine(row)


def private_key(box: SecretBox, machine: Machine) -> str | None:
    """The text of the key that was added with it; None when it has none of its own. Raises StoreError."""
    return None if machine.sealed_key is None else box.open(machine.sealed_key, _purpose(machine.name))


def add(tx: Tx, box: SecretBox, wanted: Definition, now_ms: int) -> Machine:
    """Add a machine. Raises BadRequest, and Conflict when there is one of this name."""
    definition = checked(wanted)
    known = tx.execute("SELECT removed_at_ms FROM machines WHERE name = :name", {"name": definition.name}).fetchone()
    if known is not None and known["removed_at_ms"] is not None:
        raise Conflict(f"machine {definition.name} is being removed; wait until its last job has ended")
    if known is not None:
        raise Conflict(f"there is a machine {definition.name} already")
    _put(tx, box, definition, "added", now_ms)
    return by_name(tx, definition.name)


def take_settings(tx: Tx, box: SecretBox, wanted: Sequence[Definition], now_ms: int) -> None:
    """Bring the rows in step with the settings, at start: new ones come, changed ones change, others of theirs go.

    What is known of a machine stays: drained or broken, and a pinned host key as long as its address is the same.
    Raises BadRequest.
    """
    for definition in wanted:
        _put(tx, box, checked(definition), "settings", now_ms)
    names = [definition.name for definition in wanted]
    gone = tx.execute(
        "SELECT name FROM machines WHERE source = 'settings' AND removed_at_ms IS NULL"
        " AND name NOT IN (SELECT value FROM json_each(:names))",
        {"names": json.dumps(names)},
    ).fetchall()
    for row in gone:
        remove(tx, row["name"], now_ms)


def _put(tx: Tx, box: SecretBox, one: Definition, source: Source, now_ms: int) -> None:
    if one.runner_key:
        _check_free(tx, one)
    sealed = box.seal(one.private_key, _purpose(one.name)) if one.private_key else None
    tx.execute(
        "INSERT INTO machines (name, source, address, port, user_name, private_key, key_file, host_key, os, arch, classes,"
        " slots, cpus, memory_bytes, home, folder, dials_in, runner_key, forks, added_at_ms)"
        " VALUES (:name, :source, :address, :port, :user_name, :sealed, :key_file, :host_key, :os, :arch, :classes,"
        " :slots, :cpus, :memory_bytes, :home, :folder, :dials_in, :runner_key, :forks, :now)"
        " ON CONFLICT (name) DO UPDATE SET source = excluded.source, private_key = excluded.private_key,"
        " host_key = CASE WHEN excluded.host_key = '' AND (machines.address, machines.port)"
        " = (excluded.address, excluded.port) THEN machines.host_key ELSE excluded.host_key END,"
        " address = excluded.address, port = excluded.port, user_name = excluded.user_name, key_file = excluded.key_file,"
        " os = excluded.os, arch = excluded.arch, classes = excluded.classes, slots = excluded.slots, cpus = excluded.cpus,"
        " memory_bytes = excluded.memory_bytes, home = excluded.home, folder = excluded.folder,"
        " dials_in = excluded.dials_in, runner_key = excluded.runner_key, forks = excluded.forks,"
        " removed_at_ms = NULL",
        {**vars(one), "classes": json.dumps(one.classes), "source": source, "sealed": sealed, "now": now_ms},
    )


def _check_free(tx: Tx, one: Definition) -> None:
    """At the SSH door a key is either a machine's, or a person's or a project's, and then one's. Raises BadRequest."""
    row = tx.execute(
        "SELECT 'machine ' || name AS holder FROM machines"
        " WHERE runner_key = :key AND name != :name AND removed_at_ms IS NULL"
        " UNION ALL SELECT 'a user' FROM ssh_keys WHERE fingerprint = :fingerprint"
        " UNION ALL SELECT 'a project' FROM checkout_keys WHERE fingerprint = :fingerprint",
        {"key": one.runner_key, "name": one.name, "fingerprint": fingerprint_of(one.runner_key)},
    ).fetchone()
    if row is not None:
        raise BadRequest(f"machine {one.name}: its runner_key is the key of {row['holder']} already; a machine has its own")


def _purpose(name: str) -> str:
    return f"machine/{name}"


def remove(tx: Tx, name: str, now_ms: int) -> bool:
    """Remove a machine; True when it is gone now, False when it goes with the last node that still runs there."""
    tx.execute("UPDATE machines SET removed_at_ms = :now WHERE name = :name", {"name": name, "now": now_ms})
    return forget(tx, name)


def forget(tx: Tx, name: str) -> bool:
    """Drop the row of a removed machine, unless nodes still run there."""
    found = tx.execute(
        "DELETE FROM machines WHERE name = :name AND removed_at_ms IS NOT NULL"
        " AND NOT EXISTS (SELECT 1 FROM nodes WHERE status = 'running' AND executor = :executor)",
        {"name": name, "executor": executor_of(name)},
    )
    return found.rowcount > 0


def running_on(tx: Tx) -> dict[str, int]:
    """How many nodes run on each machine that has any."""
    rows = tx.execute(
        "SELECT executor, count(*) AS n FROM nodes WHERE status = 'running' AND executor LIKE 'machine:%' GROUP BY executor"
    )
    return {name: row["n"] for row in rows if (name := name_of(row["executor"])) is not None}


# Whether it gets work


def drain(tx: Tx, name: str, now_ms: int) -> None:
    """Give it nothing new; what runs there goes on. Raises NotFound."""
    by_name(tx, name)
    tx.execute(
        "UPDATE machines SET drained_at_ms = coalesce(drained_at_ms, :now) WHERE name = :name", {"name": name, "now": now_ms}
    )


def undrain(tx: Tx, name: str) -> None:
    """Raises NotFound."""
    by_name(tx, name)
    tx.execute("UPDATE machines SET drained_at_ms = NULL WHERE name = :name", {"name": name})


def takes_jobs(tx: Tx, name: str, *, is_trusted: bool) -> bool:
    """Whether it may be given something new: it is there, not drained, not broken, and takes forks if this is one."""
    row = tx.execute(
        "SELECT 1 FROM machines WHERE name = :name AND drained_at_ms IS NULL AND broken_since_ms IS NULL"
        " AND removed_at_ms IS NULL AND (forks OR :trusted)",
        {"name": name, "trusted": is_trusted},
    ).fetchone()
    return row is not None


def mark_broken(tx: Tx, name: str, trouble: str, now_ms: int) -> None:
    """It was asked, and the answer is a trouble (a sentence): it is out until it is well."""
    tx.execute(
        "UPDATE machines SET broken_since_ms = coalesce(broken_since_ms, :now), trouble = :trouble, checked_at_ms = :now"
        " WHERE name = :name",
        {"name": name, "trouble": trouble, "now": now_ms},
    )


def mark_well(tx: Tx, name: str, now_ms: int, broken_since_ms: int | None = None) -> None:
    """It was asked, and can take jobs; with `broken_since_ms` only that trouble is over, not one that came meanwhile.

    Losses go on being counted: one more, and it is out again.
    """
    mark_seen(tx, name, now_ms)
    tx.execute(
        "UPDATE machines SET broken_since_ms = NULL, trouble = ''"
        " WHERE name = :name AND broken_since_ms = coalesce(:since, broken_since_ms)",
        {"name": name, "since": broken_since_ms},
    )


def mark_seen(tx: Tx, name: str, now_ms: int, load: float | None = None) -> None:
    """It was asked, and has answered; also how busy it is, which is noted once it was measured."""
    tx.execute(
        "UPDATE machines SET checked_at_ms = :now, seen_at_ms = :now, measured = CASE WHEN :load IS NULL OR measured = '{}'"
        " THEN measured ELSE json_set(measured, '$.load', :load) END WHERE name = :name",
        {"name": name, "now": now_ms, "load": load},
    )


def measured(tx: Tx, name: str, facts: Mapping[str, Any]) -> None:
    """What it said of itself; `os`, `arch`, `cpus` and `memory_bytes` count where its definition says nothing."""
    tx.execute("UPDATE machines SET measured = :facts WHERE name = :name", {"name": name, "facts": json.dumps(dict(facts))})


def pin(tx: Tx, name: str, host_key: str) -> None:
    """Note the host key that it has to show from now on. Raises BadRequest, NotFound."""
    if not _PUBLIC_KEY.match(host_key):
        raise BadRequest(f"{host_key!r} is no host key")
    by_name(tx, name)
    tx.execute("UPDATE machines SET host_key = :key WHERE name = :name", {"name": name, "key": host_key})


def note_end(tx: Tx, executor: str) -> None:
    """A node on `executor` has come to an end of its own."""
    name = name_of(executor)
    if name is not None:
        tx.execute("UPDATE machines SET lost_in_a_row = 0 WHERE name = :name AND lost_in_a_row > 0", {"name": name})


def note_loss(tx: Tx, executor: str, why: str, now_ms: int) -> None:
    """`executor` has lost a node. A machine that loses MOST_LOST in a row takes itself out.

    What one that is out already loses is not counted: all its nodes went by the same trouble.
    """
    one = {"name": name_of(executor), "now": now_ms, "why": why, "most": MOST_LOST}
    tx.execute("UPDATE machines SET lost_in_a_row = lost_in_a_row + 1 WHERE name = :name AND broken_since_ms IS NULL", one)
    tx.execute(
        "UPDATE machines SET broken_since_ms = :now,"
        " trouble = 'it has lost ' || lost_in_a_row || ' jobs in a row, the last: ' || :why"
        " WHERE name = :name AND broken_since_ms IS NULL AND lost_in_a_row >= :most",
        one,
    )
