"""The command line. Every command imports what it needs when it runs, so that `rondo --version` answers at once."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable, Sequence

from appliance import __version__
from appliance.errors import RondoError

_COMMANDS = {
    "run": "local_run",
    "serve": "serve",
    "runner": "runner",
    "project": "project",
    "user": "user",
    "machine": "machine",
    "context": "context",
    "config": "config",
    "orb": "orb",
    "oidc": "oidc",
    "lsp": "lsp",
    "demo": "demo",
}
"""Each command's module, in the order of the help."""


def run(argv: Sequence[str]) -> int:
    """Do what `argv` says; the exit code: 0, 1 for trouble, 2 for wrong words."""
    parser = _parser(argv)
    args = parser.parse_args(argv)
    action: Callable[[argparse.Namespace], int] | None = getattr(args, "run", None)
    if action is None:
        parser.print_help()
        return 2
    try:
        return action(args)
    except RondoError as error:
        for line in str(error).splitlines():
            print(f"rondo: {line}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        return 1
    except KeyboardInterrupt:
        return 130


def _parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    """With the command that `argv` names; with all of them where it names none, for the help."""
    parser = argparse.ArgumentParser(prog="rondo", description="A CI server in one process that runs .circleci/config.yml.")
    parser.add_argument("--version", action="version", version=f"rondo {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    wanted = [module for command, module in _COMMANDS.items() if argv[:1] == [command]]
    for module in wanted or _COMMANDS.values():
        importlib.import_module(f"appliance.cli.{module}").register(commands)
    return parser
