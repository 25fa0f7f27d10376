"""`rondo lsp`: the language server that an editor starts."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from appliance import __version__
from appliance.cli.config import LOCAL_VALUES, lock_file
from appliance.cli.orb_sources import add_mirrors, shelf_of
from appliance.cli.place import add_options
from appliance.errors import BadRequest

if TYPE_CHECKING:
    from appliance.language import OrbSource
    from appliance.lsp.server import OrbsFor

_ABOUT = "Speaks the Language Server Protocol on standard input and output, about every .circleci/*.yml an editor opens."


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "lsp", help="a language server for editors, on standard input and output", description=_ABOUT
    )
    add_options(parser)
    add_mirrors(parser)
    parser.add_argument("--stdio", action="store_true", help="what it does anyway; many editors say so")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    try:
        from appliance.lsp.server import serve
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in ("pygls", "lsprotocol"):
            raise
        raise BadRequest(
            "the language server needs pygls: in the clone of Rondo, `.venv/bin/pip install -e '.[lsp]'`"
        ) from None
    orbs_for = _orbs(args)
    # Whatever prints must not speak in the middle of the protocol: from here on, standard output is the error stream.
    stdout = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return serve(sys.stdin.buffer, stdout, orbs_for, LOCAL_VALUES, __version__)


def _orbs(args: argparse.Namespace) -> OrbsFor:
    """The sources of the command, bound by the lock beside a config."""
    shelf = shelf_of(args)

    def orbs_for(config: Path) -> OrbSource:
        lock = lock_file(str(config), None)
        try:
            return shelf.source(None, lock.read_text("utf-8") if lock is not None else None)
        except (OSError, UnicodeError) as error:
            raise BadRequest(f"the lock file {lock} cannot be read: {error}") from None

    return orbs_for
