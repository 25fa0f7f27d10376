"""`rondo project checkout-key` and `rondo project ssh-key`: the SSH keys of a project's jobs."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from appliance.cli.place import Store, add_options, project_of, store_of
from appliance.cli.typed import typed

if TYPE_CHECKING:
    from appliance.model import Project
    from appliance.store.keys import CheckoutKey

Fn = Callable[[argparse.Namespace], int]


def register(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Below `rondo project`."""
    checkout = actions.add_parser("checkout-key", help="keys by which the repository is fetched: list, add, remove")
    verbs = checkout.add_subparsers(title="actions", metavar="ACTION", required=True)
    _verb(verbs, "list", "list them; the first is the one in use", _list_checkout)
    add = _verb(verbs, "add", "make a new one, and use it from now on", _add_checkout)
    add.add_argument("--user", metavar="NAME", help="a user key, which may do with git all that this user may")
    _verb(verbs, "remove", "remove one", _remove_checkout).add_argument("fingerprint", metavar="FINGERPRINT")
    additional = actions.add_parser("ssh-key", help="keys for the step add_ssh_keys: list, add, remove")
    verbs = additional.add_subparsers(title="actions", metavar="ACTION", required=True)
    _verb(verbs, "list", "list them", _list_additional)
    add = _verb(verbs, "add", "add a private key, read from standard input", _add_additional)
    add.add_argument("--host", metavar="HOST", default="", help="the host that it is for (default: every host)")
    remove = _verb(verbs, "remove", "remove one", _remove_additional)
    remove.add_argument("fingerprint", metavar="FINGERPRINT")
    remove.add_argument("--host", metavar="HOST", help="from this host only")


def _verb(
    verbs: argparse._SubParsersAction[argparse.ArgumentParser], name: str, text: str, fn: Fn
) -> argparse.ArgumentParser:
    verb = verbs.add_parser(name, help=text)
    verb.add_argument("name", metavar="ORG/REPO")
    add_options(verb)
    verb.set_defaults(run=fn)
    return verb


def _list_checkout(args: argparse.Namespace) -> int:
    from appliance.store import keys

    with store_of(args) as store:
        for key in keys.checkout_keys(store.tx, project_of(store.tx, args.name).id):
            kind = "deploy-key" if key.user_id is None else "user-key"
            print(f"{kind}  {key.md5}  {key.fingerprint}{'  in use' if key.is_preferred else ''}\n    {key.public}")
    return 0


def _add_checkout(args: argparse.Namespace) -> int:
    from appliance.store import people

    with store_of(args) as store:
        project = project_of(store.tx, args.name)
        user_id = people.by_name(store.tx, args.user).id if args.user else None
        for line in made_checkout_key(store, project, user_id):
            print(line)
    return 0


def made_checkout_key(store: Store, project: Project, user_id: str | None = None) -> list[str]:
    """Make a checkout key; what to tell the person about it."""
    from appliance import ssh_keys
    from appliance.model import UserId
    from appliance.store import keys

    pair = ssh_keys.generate(f"rondo {project.name}")
    owner = None if user_id is None else UserId(user_id)
    key = store.write(lambda tx: keys.add_checkout_key(tx, store.box, project.id, pair, store.now_ms, owner))
    return [f"made checkout key {key.fingerprint}", *_where_to_put(project, key)]


def _where_to_put(project: Project, key: CheckoutKey) -> list[str]:
    if project.git_url is None:
        return [f"it reads {project.name} here" if key.user_id is None else "it is known here: there is nothing to do"]
    where = "the account's SSH keys" if key.user_id else "the repository's deploy keys (read access is enough)"
    if not project.is_fetched_by_ssh:
        where += "; jobs get it, the server itself goes on fetching by the project's URL, without it"
    return [f"add it to {where}:", f"    {key.public}"]


def _remove_checkout(args: argparse.Namespace) -> int:
    from appliance.store import keys

    with store_of(args) as store:
        project = project_of(store.tx, args.name)
        store.write(lambda tx: keys.remove_checkout_key(tx, project.id, args.fingerprint))
    return 0


def _list_additional(args: argparse.Namespace) -> int:
    from appliance.store import keys

    with store_of(args) as store:
        for key in keys.additional_keys(store.tx, project_of(store.tx, args.name).id):
            print(f"{key.hostname or 'every host'}  {key.md5}  {key.fingerprint}")
    return 0


def _add_additional(args: argparse.Namespace) -> int:
    from appliance import ssh_keys
    from appliance.store import keys

    with store_of(args) as store:
        project = project_of(store.tx, args.name)
        pair = ssh_keys.read(typed("the private key", ssh_keys.LARGEST_KEY + 1))
        store.write(lambda tx: keys.add_additional_key(tx, store.box, project.id, pair, args.host, store.now_ms))
    print(f"added for {args.host or 'every host'}: {pair.md5}  {pair.sha256}")
    return 0


def _remove_additional(args: argparse.Namespace) -> int:
    from appliance.store import keys

    with store_of(args) as store:
        project = project_of(store.tx, args.name)
        store.write(lambda tx: keys.remove_additional_key(tx, project.id, args.fingerprint, args.host))
    return 0
