"""Cache keys: Go-like templates, filled in when the step runs (spec 2.1)."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

LONGEST_KEY = 900

_PIECE = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_QUOTED = r'(?:"((?:[^"\\]|\\.)*)"|`([^`]*)`)'
_CHECKSUM = re.compile(rf"checksum\s*{_QUOTED}")
_ROUND = re.compile(rf"epoch\s*\|\s*round\s+{_QUOTED}")
_ENVIRONMENT = re.compile(r"\.Environment\.([A-Za-z_][A-Za-z0-9_]*)")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(h|m|s)")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0}


class WrongKey(Exception):
    """A key that cannot be made; the text says why."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a key may speak of. `checksum` gives the base64 of a file's SHA-256, None when there is no such file."""

    branch: str
    checkout_key: str  # the public half
    build_number: int
    revision: str
    environment: Mapping[str, str]
    epoch_s: int
    arch: Callable[[], Awaitable[str]]
    checksums: Callable[[Sequence[str]], Awaitable[Mapping[str, str]]]


async def fill(template: str, facts: Facts) -> str:
    """The key. Raises WrongKey on a template that is not one, a missing file, or a key that is too long."""
    pieces = _PIECE.findall(template)
    files = [_text(found) for piece in pieces if (found := _CHECKSUM.fullmatch(piece.strip()))]
    sums = await facts.checksums(files) if files else {}
    arch = await facts.arch() if any(piece.strip() == "arch" for piece in pieces) else ""
    key = _PIECE.sub(lambda found: _value(found[1].strip(), facts, sums, arch), template)
    if len(key) > LONGEST_KEY:
        raise WrongKey(f"the key has {len(key)} characters, the longest allowed is {LONGEST_KEY}")
    if not key.strip():
        raise WrongKey("the key is empty")
    return key


def _value(piece: str, facts: Facts, sums: Mapping[str, str], arch: str) -> str:
    plain = {
        ".Branch": facts.branch,
        ".BuildNum": str(facts.build_number),
        ".Revision": facts.revision,
        ".CheckoutKey": facts.checkout_key,
        "epoch": str(facts.epoch_s),
        "arch": arch,
    }
    if piece in plain:
        return plain[piece]
    if found := _ENVIRONMENT.fullmatch(piece):
        return facts.environment.get(found[1], "<no value>")
    if found := _CHECKSUM.fullmatch(piece):
        file = _text(found)
        if file not in sums:
            raise WrongKey(f"cannot compute the checksum of {file}: there is no such file")
        return sums[file]
    if found := _ROUND.fullmatch(piece):
        span = _duration(_text(found))
        return str(int(facts.epoch_s // span * span))
    raise WrongKey(f"{{{{ {piece} }}}} is nothing that a cache key can hold")


def _text(found: re.Match[str]) -> str:
    return re.sub(r"\\(.)", r"\1", found[1]) if found[1] is not None else found[2]


def _duration(text: str) -> float:
    parts = _DURATION.findall(text)
    if not parts or _DURATION.sub("", text):
        raise WrongKey(f'"{text}" is not a duration such as "72h"')
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if seconds <= 0:
        raise WrongKey(f'"{text}" rounds to nothing')
    return seconds
