"""What a command reads from standard input."""

from __future__ import annotations

import sys


def typed(what: str, most_chars: int = -1) -> str:
    """All of it, or so much; whoever sits at a terminal is told `what` is wanted."""
    if sys.stdin.isatty():
        print(f"{what}, end with Ctrl-D:", file=sys.stderr)
    return sys.stdin.read(most_chars)
