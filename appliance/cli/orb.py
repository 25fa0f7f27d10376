"""`rondo orb`: check, pack, publish, import and lock orbs."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from appliance.cli.config import DEFAULT_FILE, as_json, compile_file, compile_options, is_failed, print_problems, read_text
from appliance.cli.config import shown_name as shown
from appliance.cli.orb_sources import add_mirrors, shelf_of
from appliance.cli.place import Store, add_options, settings_of, store_of
from appliance.errors import BadRequest, NotFound

if TYPE_CHECKING:
    from appliance.language.orb_document import CheckedOrb

_VERSION_HELP = "VERSION is 1.2.3, or major, minor or patch for the next number"


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("orb", help="check, pack, publish, import and lock orbs")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    _register_sources(actions)
    _register_registry(actions)
    lock = _action(actions, "lock", _lock, "write down which version and text each orb of a config stands for")
    lock.add_argument("files", nargs="*", default=[DEFAULT_FILE], metavar="CONFIG", help=f"default {DEFAULT_FILE}")
    lock.add_argument("--output", metavar="FILE", help="default: orbs.lock beside the first CONFIG; - is standard output")
    lock.add_argument("--org", help="whose project it is, for orbs that are private")
    add_mirrors(lock)
    compile_options(lock)


def _register_sources(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    validate = _action(actions, "validate", _validate, "list every problem of an orb")
    validate.add_argument("file", metavar="FILE", help="the orb; - is standard input")
    validate.add_argument("--strict", action="store_true", help="fail on deprecated things and bad habits too")
    validate.add_argument("--format", choices=("text", "json"), default="text")
    validate.add_argument("--org", help="for whom, for orbs that are private")
    add_mirrors(validate)
    pack = actions.add_parser("pack", help="print the orb that a folder of sources (with an @orb.yml) makes")
    pack.add_argument("folder", metavar="DIR", type=Path)
    pack.set_defaults(run=_pack)


def _register_registry(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    namespace = _action(actions, "namespace", _namespace, "make a namespace in our own registry")
    namespace.add_argument("name", metavar="NAME")
    namespace.add_argument("--private-to", metavar="ORG", help="only projects of this organisation may use its orbs")
    publish = _action(actions, "publish", _publish, "publish an orb in our own registry")
    publish.add_argument("file", metavar="FILE", help="the orb; - is standard input")
    publish.add_argument("name", metavar="NAMESPACE/NAME@VERSION", help=f"{_VERSION_HELP}; or dev:LABEL, which may change")
    add_mirrors(publish)
    promote = _action(actions, "promote", _promote, "publish what dev:LABEL is now under a number")
    promote.add_argument("name", metavar="NAMESPACE/NAME@dev:LABEL")
    promote.add_argument("version", metavar="VERSION", help=_VERSION_HELP)
    add_mirrors(promote)
    take = _action(actions, "import", _import, "take a mirror's orbs over into our own registry")
    take.add_argument("folder", metavar="DIR", type=Path, help="laid out NAMESPACE/NAME/VERSION.yml")
    listing = _action(actions, "list", _list, "list the orbs of our own registry")
    listing.add_argument("namespace", metavar="NAMESPACE", nargs="?", help="only this one, with all versions")
    source = _action(actions, "source", _source, "print the source of an orb")
    source.add_argument("name", metavar="NAMESPACE/NAME[@VERSION]", help="VERSION is 1.2.3, 1.2, 1, volatile or dev:LABEL")
    add_mirrors(source)


def _action(
    actions: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    fn: Callable[[argparse.Namespace], int],
    help_text: str,
) -> argparse.ArgumentParser:
    parser = actions.add_parser(name, help=help_text)
    add_options(parser)
    parser.set_defaults(run=fn)
    return parser


def _read(name: str) -> str:
    text = read_text(name)
    if text is None:
        raise BadRequest("nothing was done")
    return text


# Checking and packing


def _validate(args: argparse.Namespace) -> int:
    from appliance.language.orb_document import check_orb

    checked = check_orb(_read(args.file), file=shown(args.file), orbs=shelf_of(args).source(args.org))
    failed = is_failed(checked, bool(args.strict))
    if args.format == "json":
        print(json.dumps({"valid": not failed, "problems": as_json(checked)}, indent=2))
        return int(failed)
    print_problems(checked, sys.stdout)
    print(f"{shown(args.file)} is {'not ' if failed else ''}valid.")
    return int(failed)


def _pack(args: argparse.Namespace) -> int:
    from appliance.orbs.pack import pack

    sys.stdout.write(pack(args.folder))
    return 0


# Our own registry


def _namespace(args: argparse.Namespace) -> int:
    from appliance.store import orbs

    with store_of(args) as store:
        store.write(lambda tx: orbs.add_namespace(tx, args.name, private_to=args.private_to, now_ms=store.now_ms))
    print(f"created {args.name}" + (f", for projects of {args.private_to} only" if args.private_to else ""))
    return 0


def _publish(args: argparse.Namespace) -> int:
    text = _read(args.file)
    with store_of(args) as store:
        return _put(args, store, args.name, text, shown(args.file))


def _promote(args: argparse.Namespace) -> int:
    from appliance.orbs.names import parse
    from appliance.store import orbs

    wanted = parse(args.name)
    if wanted is None or not wanted.version.startswith("dev:"):
        raise BadRequest(f"{args.name!r} is not NAMESPACE/NAME@dev:LABEL")
    with store_of(args) as store:
        found = orbs.resolve(store.tx, wanted.namespace, wanted.name, wanted.version, store.now_ms)
        if found is None:
            raise NotFound(f"there is no {args.name}")
        return _put(args, store, f"{wanted.orb}@{args.version}", found.source, args.name)


def _put(args: argparse.Namespace, store: Store, name: str, text: str, file: str) -> int:
    """Publish `text` as `name`, unless there is something wrong with it."""
    from appliance.language.orb_document import check_orb
    from appliance.orbs.publish import draft
    from appliance.store import orbs

    name = _numbered(store, name)
    namespace = orbs.namespace(store.tx, orbs.split(name)[0])
    if namespace is None:
        owner = orbs.split(name)[0]
        raise NotFound(f"there is no namespace {owner}; make it with `rondo orb namespace {owner}`")
    source = shelf_of(args).source(namespace.private_to)
    checked = check_orb(text, file=file, orbs=source)
    if not checked.is_valid:
        return _refuse(checked)
    made = draft(name, text, checked, source)
    store.write(lambda tx: orbs.put(tx, name, given=made.given, source=made.source, now_ms=store.now_ms))
    print(f"published {name}, SHA-256 {made.digest}")
    return 0


def _numbered(store: Store, name: str) -> str:
    """`acme/tools@minor` as the next number."""
    from appliance.store import orbs

    orb, _, version = name.partition("@")
    if version not in orbs.STEPS:
        return name
    owner, _, plain = orb.partition("/")
    return f"{orb}@{orbs.next_version(store.tx, owner, plain, version)}"


def _refuse(checked: CheckedOrb) -> int:
    print_problems(checked, sys.stderr)
    print("rondo: nothing is published until these are mended", file=sys.stderr)
    return 1


def _import(args: argparse.Namespace) -> int:
    from appliance.orbs.publish import Draft, drafts_of, put_all

    if not args.folder.is_dir():
        raise BadRequest(f"{args.folder} is no folder")
    args.orb_mirror = []
    with store_of(args) as store:
        found = list(drafts_of(args.folder, shelf_of(args).source(None)))
        drafts = [one for one in found if isinstance(one, Draft)]
        refused = [one for one in found if isinstance(one, str)]
        outcomes = store.write(lambda tx: put_all(tx, drafts, store.now_ms))
    for outcome in outcomes:
        print(outcome.line)
    for note in (note for one in drafts for note in one.notes):
        print(f"note: {note}", file=sys.stderr)
    for line in refused:
        print(f"rondo: left out: {line}", file=sys.stderr)
    return int(bool(refused) or any(outcome.is_refused for outcome in outcomes))


def _list(args: argparse.Namespace) -> int:
    from appliance.store import orbs

    with store_of(args) as store:
        wanted = [one for one in orbs.namespaces(store.tx) if args.namespace in (None, one.name)]
        if args.namespace is not None and not wanted:
            raise NotFound(f"there is no namespace {args.namespace}")
        if not any(orbs.names(store.tx, namespace.name) for namespace in wanted):
            print("there is no orb; rondo orb publish FILE NAMESPACE/NAME@VERSION publishes one")
        for namespace in wanted:
            private = f"  (private to {namespace.private_to})" if namespace.private_to else ""
            for name in orbs.names(store.tx, namespace.name):
                versions = orbs.versions(store.tx, namespace.name, name, store.now_ms)
                listed = versions if args.namespace is not None else versions[:1]
                print(f"{namespace.name}/{name}  {', '.join(listed) or 'no version'}{private}")
    return 0


def _source(args: argparse.Namespace) -> int:
    name = args.name if "@" in args.name else f"{args.name}@volatile"
    sys.stdout.write(_found(args, name))
    return 0


def _found(args: argparse.Namespace, name: str) -> str:
    """From our own registry, private ones too; else from wherever it comes from."""
    from appliance.orbs.names import parse
    from appliance.store import orbs

    wanted = parse(name)
    if wanted is None:
        raise BadRequest(f"{args.name!r} is not NAMESPACE/NAME[@VERSION]")
    if _has_store(args):
        with store_of(args) as store:
            own = orbs.resolve(store.tx, wanted.namespace, wanted.name, wanted.version, store.now_ms)
        if own is not None:
            return own.source
    try:
        return shelf_of(args).source(None).resolve(name).text
    except LookupError as error:
        raise NotFound(f"{name} cannot be had: {error}") from None


def _has_store(args: argparse.Namespace) -> bool:
    return os.access(Path(settings_of(args).text("data")) / "rondo.db", os.R_OK | os.W_OK)


# Locking


def _lock(args: argparse.Namespace) -> int:
    from appliance.orbs.lock import Recorder, write

    recorder = Recorder(shelf_of(args).source(args.org))
    for file in args.files:
        args.file = file
        compiled = compile_file(args, recorder)
        if compiled is None:
            return 1
        errors = [problem for problem in compiled.problems if problem.code in ("orb-not-found", "orb-reference")]
        if errors:
            for problem in errors:
                print(compiled.render(problem), end="\n\n", file=sys.stderr)
            print("rondo: nothing is locked until every orb can be resolved", file=sys.stderr)
            return 1
    text = write(recorder.entries)
    if args.output == "-":
        sys.stdout.write(text)
        return 0
    path = Path(args.output) if args.output else Path(args.files[0]).parent / "orbs.lock"
    path.write_text(text, "utf-8")
    print(f"locked {len(recorder.entries)} orbs in {path}")
    return 0
