"""`rondo serve`: the appliance itself."""

from __future__ import annotations

import argparse

from appliance.cli.place import add_options, given_options, settings_of


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("serve", help="run the appliance")
    add_options(parser)
    parser.set_defaults(run=_serve)


def _serve(args: argparse.Namespace) -> int:
    settings = settings_of(args)
    import asyncio

    from appliance.app import serve

    return asyncio.run(serve(settings, given_options(args)))
