"""Regular expressions that users write: whole-string matches in bounded time.

Filters and `matches:` are Java patterns, expressions use RE2's. RE2 reads nearly all of both and takes linear time.
What it cannot read (look-around, back-references, possessive repeats) is left to Python's engine, which can take
exponential time; so that is allowed only for short texts, and refused when the text is longer than
`Limits.backtracking_chars` or the pattern nests repeats.
"""

from __future__ import annotations

import functools
import re
from typing import Any, Protocol

import re2

from appliance.language.options import Limits


class Pattern(Protocol):
    def fullmatch(self, text: str, /) -> Any: ...


class PatternError(Exception):
    """The pattern cannot be used; the text says why."""


_REPEATED_GROUP = re.compile(r"[+*}]\)*\)[+*{]|\\[1-9]")


@functools.lru_cache(maxsize=512)
def _linear(source: str) -> Pattern | str:
    """An RE2 pattern, or RE2's reason against it."""
    options = re2.Options()
    options.log_errors = False
    options.max_mem = 4 << 20
    try:
        pattern: Pattern = re2.compile(source, options)
    except re2.error as error:
        return _reason(error)
    return pattern


def _reason(error: Exception) -> str:
    detail = error.args[0] if error.args else error
    return detail.decode("utf-8", "replace") if isinstance(detail, bytes) else str(detail)


def compile_linear(source: str) -> Pattern:
    """An RE2 pattern; PatternError where RE2 cannot read it."""
    found = _linear(source)
    if isinstance(found, str):
        raise PatternError(found)
    return found


def matches_fully(source: str, text: str, limits: Limits) -> bool:
    """Does the Java pattern `source` match all of `text`? PatternError when that cannot be said."""
    if len(source) > limits.pattern_chars:
        raise PatternError(f"it is longer than {limits.pattern_chars} characters")
    found = _linear(source)
    if not isinstance(found, str):
        return found.fullmatch(text) is not None
    pattern = _backtracking(source, found)
    if len(text) > limits.backtracking_chars:
        raise PatternError(
            f"it needs look-around, which is only tried on texts of up to {limits.backtracking_chars} characters"
        )
    return pattern.fullmatch(text) is not None


@functools.lru_cache(maxsize=128)
def _backtracking(source: str, reason: str) -> re.Pattern[str]:
    try:
        pattern = re.compile(source)
    except (re.error, OverflowError, RecursionError):
        raise PatternError(reason) from None
    if _REPEATED_GROUP.search(source) or len(re.findall(r"[*+{]", source)) > 4:
        raise PatternError("it mixes look-around with repeats, which can take for ever")
    return pattern
