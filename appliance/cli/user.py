"""`rondo user`: who may enter."""

from __future__ import annotations

import argparse
import getpass
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from appliance.cli.place import Store, add_options, project_of, store_of
from appliance.errors import BadRequest, NotFound

if TYPE_CHECKING:
    from appliance.store.people import SshKey

_LONGEST_NAME = 64
_NAME = re.compile(r"\w[\w.@+-]*\Z")
_LINK_LASTS_MS = 24 * 3600 * 1000


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("user", help="add people, their keys and logins")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    add = actions.add_parser("add", help="add a user, or keys and projects to one that is there")
    add.add_argument("name", metavar="NAME")
    add.add_argument("--ssh-key", metavar="FILE", type=Path, action="append", default=[], help="public key file")
    add.add_argument("--admin", action="store_true", help="may do everything")
    add.add_argument(
        "--project", metavar="ORG/REPO", action="append", default=[], help="only these projects (default: all of them)"
    )
    _action(add, _add)
    _action(actions.add_parser("list", help="list users and their keys"), _list)
    for name, text, fn in (
        ("remove", "remove a user with keys and tokens", _remove),
        ("password", "set a password (asked, or read from a pipe)", _password),
        ("login", "print a link that logs in once, within a day", _login),
        ("token", "print a new API token", _token),
    ):
        action = actions.add_parser(name, help=text)
        action.add_argument("name", metavar="NAME")
        _action(action, fn)
    link = actions.add_parser("link", help="say who a user is on GitHub: what their pushes there start has their rights")
    link.add_argument("name", metavar="NAME")
    link.add_argument("login", metavar="github:LOGIN")
    link.add_argument("--remove", action="store_true", help="take it back")
    _action(link, _link)


def _action(parser: argparse.ArgumentParser, fn: object) -> None:
    add_options(parser)
    parser.set_defaults(run=fn)


def _add(args: argparse.Namespace) -> int:
    from appliance.store import people
    from appliance.store.database import Tx

    keys = [read_key(path) for path in args.ssh_key]
    with store_of(args) as store:

        def add(tx: Tx) -> str:
            known = {user.name.lower(): user for user in people.everybody(tx)}
            user = known.get(args.name.lower())
            word = "changed" if user else "added"
            if user is None:
                _check_name(args.name)
                user = people.add(
                    tx, name=args.name, is_admin=args.admin, sees_all_projects=not args.project, now_ms=store.now_ms
                )
            for key in keys:
                people.add_key(tx, user.id, key, store.now_ms)
            for slug in args.project:
                people.let_into(tx, user.id, project_of(tx, slug).id)
            return word

        print(f"{store.write(add)} user {args.name}")
    return 0


def _check_name(name: str) -> None:
    """Of new users only: who is there already keeps the name. Raises BadRequest."""
    if not _NAME.match(name) or len(name) > _LONGEST_NAME:
        raise BadRequest(
            f"{name!r} is no name for a user: up to {_LONGEST_NAME} letters, digits and . _ @ + -, a letter or digit first"
        )


def read_key(path: Path) -> SshKey:
    """A public key file. A private key is refused with a word, before anybody stores it."""
    import asyncssh

    from appliance.store.people import SshKey

    try:
        text = path.read_text("utf-8").strip()
        if "PRIVATE KEY" in text:
            raise BadRequest(f"{path} holds a private key; give the .pub file beside it")
        key = asyncssh.import_public_key(text)
    except OSError as error:
        raise BadRequest(f"cannot read {path}: {error.strerror}") from None
    except (UnicodeDecodeError, asyncssh.KeyImportError) as error:
        raise BadRequest(f"{path} is not a public SSH key: {error}") from None
    return SshKey(key.get_fingerprint("sha256"), key.export_public_key("openssh").decode().strip())


def _list(args: argparse.Namespace) -> int:
    from appliance.store import people

    with store_of(args) as store:
        for user in people.everybody(store.tx):
            print(f"{user.name}{' (admin)' if user.is_admin else ''}")
            for key in people.keys_of(store.tx, user.id):
                print(f"    {key.fingerprint}")
            for login in people.logins_of(store.tx, user.id):
                print(f"    {login}")
    return 0


def _link(args: argparse.Namespace) -> int:
    from appliance.store import people
    from appliance.store.database import Tx

    forge, _, login = args.login.partition(":")
    if forge != "github" or not login:
        raise BadRequest("say github:LOGIN")

    def link(tx: Tx) -> None:
        user = people.by_name(tx, args.name)
        if not args.remove:
            people.link(tx, user.id, forge, login, store.now_ms)
        elif not people.unlink(tx, user.id, forge, login):
            raise NotFound(f"{args.name} is not linked to {args.login}")

    with store_of(args) as store:
        store.write(link)
    return 0


def _remove(args: argparse.Namespace) -> int:
    from appliance.store import people

    with store_of(args) as store:
        store.write(lambda tx: people.remove(tx, people.by_name(tx, args.name).id))
    print(f"removed user {args.name}")
    return 0


def _password(args: argparse.Namespace) -> int:
    from appliance.crypto import password_hash
    from appliance.store import people

    password = getpass.getpass("Password: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
    if len(password) < 8:
        raise BadRequest("a password has at least 8 characters")
    hashed = password_hash(password)
    with store_of(args) as store:
        store.write(lambda tx: people.set_password_hash(tx, people.by_name(tx, args.name).id, hashed))
    print(f"set the password of {args.name}")
    return 0


def _login(args: argparse.Namespace) -> int:
    with store_of(args) as store:
        print(login_link(store, args.name))
    return 0


def login_link(store: Store, name: str) -> str:
    """A link that logs `name` in once."""
    from appliance.store import people

    token = store.write(lambda tx: people.make_token(tx, people.by_name(tx, name).id, "link", store.now_ms, _LINK_LASTS_MS))
    return f"{web_url(store)}/login?token={token}"


def web_url(store: Store) -> str:
    """Where the pages are: what the running server wrote down, else what the settings say."""
    noted = store.data / "web_url"
    if noted.exists():
        return noted.read_text("utf-8").strip()
    settings = store.settings
    return settings.text("web.url") or f"http://{settings.text('web.host')}:{settings.integer('web.port')}"


def _token(args: argparse.Namespace) -> int:
    from appliance.store import people

    with store_of(args) as store:
        print(store.write(lambda tx: people.make_token(tx, people.by_name(tx, args.name).id, "api", store.now_ms)))
    return 0
