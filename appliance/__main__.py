"""`rondo`, or `python -m appliance`."""

from __future__ import annotations

import sys

from appliance.cli import run


def main() -> int:
    """The command line; the exit code."""
    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
