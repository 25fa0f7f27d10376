"""What an environment variable may be called and hold, wherever it is kept (spec 1.13)."""

from __future__ import annotations

import re

from appliance.errors import BadRequest

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LONGEST_NAME = 300


def check(name: str, value: str, largest_bytes: int) -> None:
    """Raises BadRequest with what is wrong."""
    if not _NAME.fullmatch(name):
        raise BadRequest(f"{name[:100]!r} is no name for a variable: letters, digits and _, and no digit at its beginning.")
    if len(name) > _LONGEST_NAME:
        raise BadRequest(f"The name of a variable has at most {_LONGEST_NAME} characters.")
    if "\0" in value:
        raise BadRequest("A value cannot hold the character NUL.")
    if len(value.encode()) > largest_bytes:
        raise BadRequest(f"A value has at most {largest_bytes >> 10} KiB.")
