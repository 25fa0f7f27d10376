"""`rondo context`: sets of environment variables that jobs of any project may ask for."""

from __future__ import annotations

import argparse
import re
import sys

from appliance.cli.place import add_options, store_of
from appliance.errors import BadRequest


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("context", help="make contexts, set their environment variables")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    for name, text, fn in (
        ("create", "make a context", _create),
        ("remove", "remove a context with its variables", _remove),
    ):
        action = actions.add_parser(name, help=text)
        action.add_argument("name", metavar="NAME")
        _action(action, fn)
    _action(actions.add_parser("list", help="list contexts and the names of their variables"), _list)
    variable = actions.add_parser("env", help="set or remove a variable; its value is read from standard input")
    variable.add_argument("name", metavar="CONTEXT")
    variable.add_argument("variable", metavar="NAME")
    variable.add_argument("--remove", action="store_true")
    _action(variable, _env)


def _action(parser: argparse.ArgumentParser, fn: object) -> None:
    add_options(parser)
    parser.set_defaults(run=fn)


def _create(args: argparse.Namespace) -> int:
    from appliance.store import contexts

    with store_of(args) as store:
        store.write(lambda tx: contexts.add(tx, args.name, store.now_ms))
    print(f"created context {args.name}")
    return 0


def _remove(args: argparse.Namespace) -> int:
    from appliance.store import contexts

    with store_of(args) as store:
        store.write(lambda tx: contexts.remove(tx, contexts.find(tx, args.name).id))
    print(f"removed context {args.name}")
    return 0


def _list(args: argparse.Namespace) -> int:
    from appliance.store import contexts

    with store_of(args) as store:
        for context in contexts.everything(store.tx):
            print(context.name)
            for name in contexts.variable_names(store.tx, context.id):
                print(f"    {name}")
    return 0


def _env(args: argparse.Namespace) -> int:
    from appliance.store import contexts

    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", args.variable):
        raise BadRequest(f"{args.variable} is not a name for an environment variable")
    with store_of(args) as store:
        context = contexts.find(store.tx, args.name)
        if args.remove:
            store.write(lambda tx: contexts.remove_variable(tx, context.id, args.variable))
            return 0
        if sys.stdin.isatty():
            print(f"value of {args.variable}, end with Ctrl-D:", file=sys.stderr)
        value = sys.stdin.read().removesuffix("\n")
        store.write(lambda tx: contexts.set_variable(tx, store.box, context.id, args.variable, value, store.now_ms))
    return 0
