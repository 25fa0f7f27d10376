"""What git says, for messages."""

from __future__ import annotations

import re

MESSAGE_LIMIT = 500
_CREDENTIALS = re.compile(r"(\w+://)[^/\s]*@")  # up to the last @: a password may hold one


def without_credentials(text: str) -> str:
    """`https://user:token@host/` as `https://host/`."""
    return _CREDENTIALS.sub(r"\1", text)


def readable(stderr: bytes) -> str:
    """git's last words on one line, fit for a message: bounded, no control characters, no credentials."""
    text = without_credentials(stderr.decode("utf-8", "replace"))
    lines = [line.strip() for line in re.split(r"[\r\n]+", text) if line.strip()]
    joined = "; ".join(lines[-4:])
    return "".join(character for character in joined if character.isprintable())[-MESSAGE_LIMIT:]
