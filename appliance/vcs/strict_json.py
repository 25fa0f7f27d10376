"""JSON from strangers: read strictly, typed at the edge, every surprise a BadRequest with a sentence."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from appliance.errors import BadRequest

_LONGEST_NUMBER = 30
_LONGEST_WORD = 1000


def parse_object(body: bytes) -> Mapping[str, Any]:
    """The JSON object in `body`. Raises BadRequest for anything that two readers could understand differently."""
    try:
        document = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_without_doubles,
            parse_int=_integer,
            parse_constant=_no_constant,
        )
    except UnicodeDecodeError as error:
        raise BadRequest(f"the body is not UTF-8 (byte {error.start})") from None
    except RecursionError:
        raise BadRequest("the body is nested too deeply") from None
    except ValueError as error:
        raise BadRequest(f"the body is not JSON: {str(error)[:200]}") from None
    if not isinstance(document, dict):
        raise BadRequest("the body is not a JSON object")
    return document


def word(document: Mapping[str, Any], *path: str) -> str:
    """A text that names something, whole or not at all; "" when it is missing or null. Raises BadRequest."""
    found = _found(document, path)
    if len(found) > _LONGEST_WORD or not _is_whole(found):
        raise BadRequest(f"{'.'.join(path)} is too long or not text")
    return found


def prose(document: Mapping[str, Any], *path: str, limit: int = 1000) -> str:
    """A text for people, cut at `limit`; "" when it is missing or null. Raises BadRequest for another type."""
    return _found(document, path)[:limit].encode("utf-8", "replace").decode("utf-8")


def whole_number(document: Mapping[str, Any], *path: str) -> int | None:
    """A number that counts or names something, at least 1; None when it is missing or null. Raises BadRequest."""
    value = _value(document, path)
    if value is None:
        return None
    if type(value) is not int or not 0 < value < 1 << 62:
        raise BadRequest(f"{'.'.join(path)} is not a number from 1 on")
    return value


def _value(document: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    value: Any = document
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _found(document: Mapping[str, Any], path: tuple[str, ...]) -> str:
    value = _value(document, path)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadRequest(f"{'.'.join(path)} is not a text")
    return value


def _is_whole(text: str) -> bool:
    """JSON can carry half a character (an escaped surrogate), which no database and no git can hold."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key comes twice in one object")
    return found


def _integer(digits: str) -> int:
    if len(digits) > _LONGEST_NUMBER:
        raise ValueError(f"a number has {len(digits)} digits")
    return int(digits)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON value")
