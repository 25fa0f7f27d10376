"""`rondo context`: sets of environment variables that jobs of any project may ask for."""

from __future__ import annotations

import argparse

from appliance.cli.place import add_options, project_of, store_of
from appliance.cli.typed import typed
from appliance.errors import NotFound


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("context", help="make contexts, set their variables, restrict them")
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
    restrict = actions.add_parser("restrict", help="say who may use a context; without more, list what is said")
    restrict.add_argument("name", metavar="CONTEXT")
    kinds = restrict.add_mutually_exclusive_group()
    kinds.add_argument("--project", metavar="ORG/REPO", help="jobs of this project (of these: may be repeated)")
    kinds.add_argument("--group", choices=("members", "admins"), help="what runs for users, for administrators")
    kinds.add_argument("--user", metavar="NAME", help="what runs for this user")
    kinds.add_argument("--expression", metavar="EXPR", help="""where this holds: 'pipeline.git.branch == "main"'""")
    kinds.add_argument("--remove", metavar="ID", help="lift a restriction")
    _action(restrict, _restrict)


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


def _restrict(args: argparse.Namespace) -> int:
    from appliance.engine.rights import check_expression
    from appliance.store import contexts, people, restrictions
    from appliance.store.database import Tx
    from appliance.store.restrictions import Type

    def change(tx: Tx) -> None:
        context = contexts.find(tx, args.name)
        if args.remove is not None:
            if not restrictions.remove(tx, context.id, args.remove):
                raise NotFound(f"the context {args.name} has no restriction {args.remove}")
        elif args.project is not None:
            restrictions.add(tx, context.id, Type.PROJECT, project_of(tx, args.project).id, store.now_ms)
        elif args.group is not None:
            group = restrictions.ADMINS if args.group == "admins" else restrictions.ALL_MEMBERS
            restrictions.add(tx, context.id, Type.GROUP, group, store.now_ms)
        elif args.user is not None:
            restrictions.add(tx, context.id, Type.GROUP, people.by_name(tx, args.user).id, store.now_ms)
        elif args.expression is not None:
            check_expression(args.expression)
            restrictions.add(tx, context.id, Type.EXPRESSION, args.expression, store.now_ms)

    with store_of(args) as store:
        store.write(change)
        found = restrictions.of_context(store.tx, contexts.find(store.tx, args.name).id)
        for one in found:
            print(f"{one.id}  {one.type}  {one.name or one.value}")
        if not found:
            print(f"{args.name} has no restriction: jobs of every project may use it")
    return 0


def _env(args: argparse.Namespace) -> int:
    from appliance.store import contexts
    from appliance.store.variables import check

    with store_of(args) as store:
        context = contexts.find(store.tx, args.name)
        if args.remove:
            if not store.write(lambda tx: contexts.remove_variable(tx, context.id, args.variable)):
                raise NotFound(f"the context {args.name} has no variable {args.variable}")
            return 0
        check(args.variable, "", 0)  # before a value is asked for
        value = typed(f"value of {args.variable}").removesuffix("\n")
        store.write(lambda tx: contexts.set_variable(tx, store.box, context.id, args.variable, value, store.now_ms))
    return 0
