"""`rondo oidc`: the keys that ID tokens of jobs are signed with."""

from __future__ import annotations

import argparse

from appliance.cli.place import add_options, store_of


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("oidc", help="the keys that ID tokens of jobs are signed with")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    rotate = actions.add_parser("rotate", help="make a new key; the old one stays published while a token of it may live")
    rotate.add_argument("--now", action="store_true", help="forget all others at once: the tokens they signed are void")
    add_options(rotate)
    rotate.set_defaults(run=_rotate)
    keys = actions.add_parser("keys", help="list the published keys")
    add_options(keys)
    keys.set_defaults(run=_keys)


def _rotate(args: argparse.Namespace) -> int:
    from appliance.engine.oidc import make_key, published
    from appliance.store import oidc
    from appliance.store.database import Tx

    with store_of(args) as store:
        key, pem = make_key(store.now_ms)

        def replace(tx: Tx) -> None:
            known = oidc.keys(tx)
            kept = set() if args.now else {one.id for one in published(known, store.now_ms)}
            oidc.remove_keys(tx, [one.id for one in known if one.id not in kept])
            oidc.add_key(tx, store.box, key, pem)

        store.write(replace)
    print(f"made key {key.id}; it signs {'from now on' if args.now else 'as soon as others had time to learn of it'}")
    return 0


def _keys(args: argparse.Namespace) -> int:
    from appliance.clock import rfc3339
    from appliance.engine.oidc import published, signing
    from appliance.store import oidc

    with store_of(args) as store:
        keys = published(oidc.keys(store.tx), store.now_ms)
        for key in keys:
            now = "  signs now" if key == signing(keys, store.now_ms) else ""
            print(f"{key.id}  made {rfc3339(key.created_at_ms)}{now}")
    return 0
