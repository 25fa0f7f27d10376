"""`rondo machine`: the machines that run jobs over SSH."""

from __future__ import annotations

import argparse
import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING

from appliance.cli.place import Store, add_options, given_options, store_of
from appliance.errors import BadRequest, Refused, RondoError, SandboxError, Unavailable

if TYPE_CHECKING:
    from appliance.executors.machine_check import Examination
    from appliance.store.machines import Definition, Machine

_SHOWN = 10
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("machine", help="machines that run jobs over SSH: list, check, drain, add, remove")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    _register_add(actions)
    for name, text, fn in (
        ("list", "list all, with what runs there", _list),
        ("check", "log in, measure, and say which tools are missing and how to get them", _check),
        ("drain", "give it no new jobs; those that run there go on", _drain),
        ("undrain", "give it jobs again", _undrain),
        ("remove", "forget a machine, once its last job has ended", _remove),
    ):
        action = actions.add_parser(name, help=text)
        if name != "list":
            action.add_argument("name", metavar="NAME")
        if name == "check":
            action.add_argument(
                "--host-key", metavar="KEY", help='the key it has to show from now on ("ssh-ed25519 AAAA...")'
            )
        add_options(action)
        action.set_defaults(run=fn)


def _register_add(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    add = actions.add_parser("add", help="add a machine; a running server uses it within seconds")
    add.add_argument("name", metavar="NAME")
    add.add_argument("address", metavar="USER@HOST[:PORT]", nargs="?", help="where it is; not for one that dials in")
    add.add_argument("--key-file", metavar="FILE", type=Path, help="private key to log in with (default: a new one is made)")
    add.add_argument("--host-key", metavar="KEY", help="the key it has to show (default: the one it shows now)")
    add.add_argument("--dials-in", action="store_true", help="it comes by itself, with `rondo runner`")
    add.add_argument("--key", metavar="KEY", help='public key of its runner ("ssh-ed25519 AAAA...")')
    add.add_argument(
        "--class", metavar="CLASS", dest="classes", action="append", default=[], help="a resource class it takes"
    )
    add.add_argument("--slots", metavar="N", type=int, default=1, help="jobs at once at most (default: 1)")
    add.add_argument("--os", default="", help="linux, macos, windows or freebsd (default: as it says)")
    add.add_argument("--arch", default="", help="amd64, arm64, ... (default: as it says)")
    add.add_argument("--cpus", type=float, default=0.0, help="what jobs may take of it (default: all)")
    add.add_argument("--memory", metavar="SIZE", type=_size, default=0, help="likewise; 16G (default: all)")
    add.add_argument("--home", default="fresh", help="HOME of jobs: a fresh folder, or the user's own (user)")
    add.add_argument("--forks", action="store_true", help="jobs of strangers' forks may run there too, as its user")
    add.add_argument("--folder", default="", help="where our files go there (default: ~/.rondo)")
    add_options(add)
    add.set_defaults(run=_add)


def _size(text: str) -> int:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([kmgt]?)(?:i?b)?", text.strip().lower())
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; it looks like 16G")
    return int(float(found[1]) * _UNITS[found[2]])


# Adding


def _add(args: argparse.Namespace) -> int:
    from appliance.store import machines

    if args.dials_in == bool(args.address):
        raise BadRequest("say where it is (USER@HOST), or --dials-in with the key of its runner (--key)")
    if args.dials_in and not args.key:
        raise BadRequest("--dials-in needs --key: start `rondo runner --server HOST` on the machine, it prints its key")
    private, public = ("", "") if args.dials_in else _login_key(args.key_file)
    definition = _definition(args, private)
    with store_of(args) as store:
        store.write(lambda tx: machines.add(tx, store.box, definition, store.now_ms))
        print(f"added machine {args.name}")
        if args.dials_in:
            print("It takes jobs as soon as its runner calls.")
            return 0
        if args.key_file is None:
            print(
                f"Its key was made just now. On the machine, add this line to ~{definition.user_name}/.ssh/authorized_keys:"
            )
            print(f"    {public}")
            print(f"Then: rondo machine check {args.name}{given_options(args)}")
            return 0
        return _examine(store, args.name)


def _definition(args: argparse.Namespace, private_key: str) -> Definition:
    from appliance.store.machines import Definition, read_address

    user, host, port = read_address(args.address) if args.address else ("", "", 22)
    return Definition(
        name=args.name,
        address=host,
        port=port,
        user_name=user,
        private_key=private_key,
        host_key=_bare_key(args.host_key),
        os=args.os,
        arch=args.arch,
        classes=tuple(args.classes),
        slots=args.slots,
        cpus=args.cpus,
        memory_bytes=args.memory,
        home=args.home,
        folder=args.folder,
        dials_in=args.dials_in,
        forks=args.forks,
        runner_key=_bare_key(args.key),
    )


def _bare_key(text: str | None) -> str:
    """A public key without its comment."""
    return " ".join((text or "").split()[:2])


def _login_key(file: Path | None) -> tuple[str, str]:
    """A private key and its public half: the one in `file`, or a new one. Raises BadRequest."""
    import asyncssh

    if file is None:
        key = asyncssh.generate_private_key("ssh-ed25519", comment="rondo")
    else:
        try:
            key = asyncssh.read_private_key(str(file))
        except OSError as error:
            raise BadRequest(f"cannot read {file}: {error.strerror}") from None
        except asyncssh.KeyEncryptionError:
            raise BadRequest(
                f"{file} has a passphrase, and nobody will be there to type it: give a key without one"
            ) from None
        except (asyncssh.KeyImportError, ValueError) as error:
            raise BadRequest(f"{file} is no private key: {error}") from None
    return key.export_private_key("openssh").decode(), key.export_public_key("openssh").decode().strip()


# Checking


def _check(args: argparse.Namespace) -> int:
    from appliance.store import machines

    with store_of(args) as store:
        machine = machines.by_name(store.tx, args.name)
        if args.host_key:
            store.write(lambda tx: machines.pin(tx, machine.name, _bare_key(args.host_key)))
        return _examine(store, args.name)


def _examine(store: Store, name: str) -> int:
    from appliance.connections import address_of, folder_of
    from appliance.executors.machine_check import examine
    from appliance.executors.machine_link import over_ssh
    from appliance.store import machines

    machine = machines.by_name(store.tx, name)
    if machine.dials_in:
        _print_runner(machine, store.now_ms)
        return 0 if machine.seen_at_ms and not machine.trouble else 1
    if not machine.host_key:
        machine = _pinned_now(store, machine)
    try:
        address = address_of(store.box, machine)
    except Unavailable as error:  # the server may be allowed to read what we are not
        raise Refused(f"cannot check machine {name}: {error}") from None
    try:
        found = asyncio.run(examine(over_ssh(address), folder_of(machine), machine.known_os))
    except (Unavailable, SandboxError) as error:
        why = str(error)
        store.write(lambda tx: machines.mark_broken(tx, name, why, store.now_ms))
        raise
    trouble = found.trouble

    def note(tx: object) -> None:
        machines.measured(store.tx, name, found.facts())
        if trouble:
            machines.mark_broken(store.tx, name, trouble, store.now_ms)
        else:
            machines.mark_well(store.tx, name, store.now_ms)

    store.write(note)
    _print_found(machine, found)
    if machine.drained_at_ms is not None:
        print(f"  drained: rondo machine undrain {name}")
    return 1 if trouble else 0


def _pinned_now(store: Store, machine: Machine) -> Machine:
    """Nobody said which key it shows: the one that it shows now counts from here on, and somebody should compare it."""
    from appliance.executors.machine_check import shown_host_key
    from appliance.store import machines

    key = _bare_key(asyncio.run(shown_host_key(machine.address, machine.port)))
    store.write(lambda tx: machines.pin(tx, machine.name, key))
    print(f"{machine.name} shows the host key {_fingerprint(key)}, which is noted from now on. Compare, on the machine:")
    kind = key.partition("-sha2-")[0].removeprefix("ssh-").partition(" ")[0]  # ed25519, rsa, ecdsa
    print(f"    ssh-keygen -lf /etc/ssh/ssh_host_{kind}_key.pub")
    return machines.by_name(store.tx, machine.name)


def _fingerprint(public_key: str) -> str:
    import asyncssh

    return asyncssh.import_public_key(public_key).get_fingerprint()


def _print_found(machine: Machine, found: Examination) -> None:
    print(f"{machine.name}: {found.system or found.os}, {found.arch}, {found.user}@{machine.address}")
    free = f", {found.available_bytes / 2**30:.1f} GiB of it free" if found.available_bytes else ""
    print(f"  size     {found.cpus:g} CPUs, {found.memory_bytes / 2**30:.1f} GiB{free}; load {found.load:g}")
    print(f"  disk     {found.free_bytes / 1e9:.0f} GB free in {found.folder}")
    print(f"  answers  in {found.round_trip_ms:.1f} ms, takes {found.pour_mb_s:.0f} MB/s")
    tools = [f"{name} {version}" for name in ("bash", "git", "docker") if (version := getattr(found, name))]
    print(f"  has      {', '.join([*tools, *(['sudo without a password'] if found.sudo else [])]) or 'no bash, no git'}")
    for lack in found.lacks:
        print(f"  lacks    {lack.tool}: {lack.why}. {lack.how}")
    for warning in found.warnings:
        print(f"  note     {warning}")
    print(f"  not ready: {found.trouble}" if found.trouble else "  ready")


def _print_runner(machine: Machine, now_ms: int) -> None:
    seen = "never called yet" if machine.seen_at_ms is None else f"last heard of {_ago(now_ms - machine.seen_at_ms)}"
    print(f"{machine.name} dials in, {seen}; the server looks at it whenever it calls")
    if machine.trouble:
        print(f"  not ready: {machine.trouble}")


# Listing


def _list(args: argparse.Namespace) -> int:
    from appliance.store import jobs, machines

    with store_of(args) as store:
        running = [node.executor for node in jobs.running_nodes(store.tx)]
        found = machines.everything(store.tx)
        if not found:
            print("there is no machine; rondo machine add NAME USER@HOST")
        rows = [("NAME", "STATE", "JOBS", "SIZE", "LOAD", "SYSTEM", "CLASSES", "ADDRESS")]
        for machine in found:
            busy = running.count(machine.executor)
            size = f"{machine.cpus:g} CPUs/{machine.memory_bytes / 2**30:.0f} GiB" if machine.cpus else "not measured"
            classes = ", ".join(machine.classes) or "all that fit"
            where = "dials in" if machine.dials_in else f"{machine.user_name}@{machine.address}:{machine.port}"
            state = _state(machine, store.now_ms)
            load = f"{machine.measured['load']:g}" if "load" in machine.measured else ""
            jobs_there, system = f"{busy}/{machine.slots}", _system(machine)
            rows.append((machine.name, state, jobs_there, size, load, system, classes, where))
        if found:
            widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
            for row in rows:
                print("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
        for machine in found:
            if machine.trouble:
                print(f"{machine.name}: {machine.trouble}")
    return 0


def _system(machine: Machine) -> str:
    """What somebody said it has or it said itself; "?" while nobody did."""
    return f"{machine.os} {machine.arch}" if machine.measured else machine.known_os or "?"


def _state(machine: Machine, now_ms: int) -> str:
    if machine.broken_since_ms is not None:
        return f"out, {_ago(now_ms - machine.broken_since_ms)}"
    if machine.drained_at_ms is not None:
        return "drained"
    return "ready" if machine.seen_at_ms else "not seen yet"


def _ago(span_ms: int) -> str:
    seconds = max(span_ms, 0) // 1000
    for unit, each in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * each:
            return f"{seconds // each} {unit} ago"
    return f"{seconds} s ago"


# Draining


def _drain(args: argparse.Namespace) -> int:
    from appliance.store import machines

    with store_of(args) as store:
        store.write(lambda tx: machines.drain(tx, args.name, store.now_ms))
        words = _what_runs(store, machines.by_name(store.tx, args.name))
    print(f"{args.name} gets no new jobs; {words}. Back: rondo machine undrain {args.name}")
    return 0


def _what_runs(store: Store, machine: Machine) -> str:
    from appliance.store import jobs

    left = sum(node.executor == machine.executor for node in jobs.running_nodes(store.tx))
    return "nothing runs there" if not left else f"{left} {'job runs' if left == 1 else 'jobs run'} there to the end"


def _undrain(args: argparse.Namespace) -> int:
    from appliance.store import machines

    with store_of(args) as store:
        store.write(lambda tx: machines.undrain(tx, args.name))
    print(f"{args.name} gets jobs again")
    return 0


def _remove(args: argparse.Namespace) -> int:
    from appliance import where
    from appliance.engine import stranded
    from appliance.store import machines

    with store_of(args) as store:
        machine = machines.by_name(store.tx, args.name)
        if machine.source == "settings":
            raise RondoError(f"{args.name} stands in the settings: take it out there, and start the server again")
        left_without = stranded.jobs_only_for(store.tx, args.name, where.places(store.settings))
        words = _what_runs(store, machine)
        store.write(lambda tx: machines.remove(tx, args.name, store.now_ms))
    print(f"removed machine {args.name}; {words}")
    for resource_class, numbers in sorted(left_without.items()):
        shown = ", ".join(map(str, numbers[:_SHOWN])) + (", ..." if len(numbers) > _SHOWN else "")
        jobs = "1 waiting job needs" if len(numbers) == 1 else f"{len(numbers)} waiting jobs need"
        print(f"{jobs} the class {resource_class}, which no other machine takes, and will fail: {shown}")
    return 0
