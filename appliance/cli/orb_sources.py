"""Where a command takes orbs from: the settings' sources, and before them the folders of --orb-mirror."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from appliance.cli.place import settings_of
from appliance.errors import BadRequest

if TYPE_CHECKING:
    from appliance.orbs.shelf import Shelf


def add_mirrors(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--orb-mirror",
        type=Path,
        metavar="DIR",
        action="append",
        default=[],
        help="a folder of orbs, NAMESPACE/NAME/VERSION.yml, asked after our own registry; may be repeated",
    )


def shelf_of(args: argparse.Namespace) -> Shelf:
    """Raises BadRequest for a mirror that is no folder."""
    from appliance.clock import SystemClock
    from appliance.orbs import Mirror
    from appliance.orbs.shelf import from_settings

    for folder in args.orb_mirror:
        if not folder.is_dir():
            raise BadRequest(f"--orb-mirror: {folder} is no folder")
    settings = settings_of(args)
    mirrors = [Mirror(folder) for folder in args.orb_mirror]
    return from_settings(settings, Path(settings.text("data")), SystemClock(), mirrors)
