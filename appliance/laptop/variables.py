"""Variables as a person gives them: NAME=VALUE words of the command line, and dotenv files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from appliance.errors import BadRequest

_LINE = re.compile(r"(?:export\s+)?([A-Za-z_]\w*)\s*=\s*(.*)\Z", re.DOTALL)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


def pairs(given: Iterable[str], option: str, form: str = "NAME=VALUE") -> dict[str, str]:
    """Pairs, whose `form` is what a complaint says. Raises BadRequest."""
    found: dict[str, str] = {}
    for pair in given:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise BadRequest(f"{option} wants {form}, not {pair}")
        found[name] = value
    return found


def handed_on(given: Iterable[str], option: str, known: Mapping[str, str]) -> dict[str, str]:
    """NAME=VALUE pairs; a NAME alone takes its value from `known`. Raises BadRequest."""
    whole = []
    for pair in given:
        if pair and "=" not in pair and pair not in known:
            raise BadRequest(f"{option} {pair}: {pair} is not set here; {option} {pair}=VALUE gives it a value")
        whole.append(f"{pair}={known[pair]}" if pair in known else pair)
    return pairs(whole, option)


def dotenv(text: str, file: str) -> dict[str, str]:
    """The variables of a dotenv file: NAME=VALUE lines, quotes, `export`, # comments. Raises BadRequest.

    In double quotes \\n, \\r, \\t, \\" and \\\\ are what they look like; quoted values may go on over lines.
    """
    found: dict[str, str] = {}
    lines = text.splitlines()
    at = 0
    while at < len(lines):
        number, line = at + 1, lines[at].strip()
        at += 1
        if not line or line.startswith("#"):
            continue
        match = _LINE.match(line)
        if match is None:
            raise BadRequest(f"{file}:{number}: this is not NAME=VALUE")
        name, value = match[1], match[2]
        if value[:1] in ("'", '"'):
            while _end_of(value) is None:
                if at == len(lines):
                    raise BadRequest(f"{file}:{number}: the quote of {name} is not closed")
                value += f"\n{lines[at]}"
                at += 1
            end = _end_of(value)
            assert end is not None
            found[name] = _unescaped(value[1:end]) if value[0] == '"' else value[1:end]
        else:
            found[name] = re.split(r"\s+#", value, maxsplit=1)[0].strip()
    return found


def _end_of(value: str) -> int | None:
    """Where the quote closes that opens `value`."""
    quote, at = value[0], 1
    while at < len(value):
        if value[at] == "\\" and quote == '"':
            at += 1
        elif value[at] == quote:
            return at
        at += 1
    return None


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[1]), text, flags=re.DOTALL)
