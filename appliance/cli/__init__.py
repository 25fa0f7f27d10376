"""The command line. Every command imports what it needs when it runs, so that `rondo --version` answers at once."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from appliance import __version__
from appliance.errors import RondoError


def run(argv: Sequence[str]) -> int:
    """Do what `argv` says; the exit code: 0, 1 for trouble, 2 for wrong words."""
    parser = _parser()
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


def _parser() -> argparse.ArgumentParser:
    from appliance.cli import config, context, demo, local_run, lsp, machine, oidc, orb, project, runner, serve, user

    parser = argparse.ArgumentParser(prog="rondo", description="A CI server in one process that runs .circleci/config.yml.")
    parser.add_argument("--version", action="version", version=f"rondo {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for module in (local_run, serve, runner, project, user, machine, context, config, orb, oidc, lsp, demo):
        module.register(commands)
    return parser
