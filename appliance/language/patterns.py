"""Regular expressions that users write: whole-string matches in bounded time.

Filters and `matches:` are Java patterns, expressions use RE2's. RE2 reads nearly all of both and takes linear time.
What it lacks is look-around, and that is what people write: `(?!main$).*`, "everything but main". So look-aheads at
the beginning are tried one by one as patterns of their own, and `((?!x).)*` is "x is nowhere in it"; both are linear.

The rest (look-behind, back-references, look-ahead in the middle) is left to Python's engine, which can take
exponential time. It is tried only where that cannot happen: no repeated groups, at most `_MAX_REPEATS` repeats, and a
text of at most `Limits.backtracking_chars`; anything else is refused with the reason.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any, Protocol

import re2

from appliance.language.options import Limits

_MAX_REPEATS = 3
_REPEATED_GROUP = re.compile(r"\)[*+{]")
_REPEAT = re.compile(r"[*+{]")
_NOWHERE = re.compile(r"\^?\((?:\?:)?\(\?!(.*)\)\.\)([*+])\$?\Z", re.DOTALL)


class Pattern(Protocol):
    def fullmatch(self, text: str, /) -> Any: ...

    def match(self, text: str, /) -> Any: ...

    def search(self, text: str, /) -> Any: ...


class PatternError(Exception):
    """The pattern cannot be used; the text says why."""


Test = Callable[[str], bool]


@functools.lru_cache(maxsize=512)
def compile_linear(source: str) -> Pattern:
    """An RE2 pattern; PatternError where RE2 cannot read it."""
    options = re2.Options()
    options.log_errors = False
    options.max_mem = 4 << 20
    try:
        pattern: Pattern = re2.compile(source, options)
    except re2.error as error:
        raise PatternError(_reason(error)) from None
    return pattern


def _reason(error: Exception) -> str:
    detail = error.args[0] if error.args else error
    return detail.decode("utf-8", "replace") if isinstance(detail, bytes) else str(detail)


def matches_fully(source: str, text: str, limits: Limits) -> bool:
    """Does the Java pattern `source` match all of `text`? PatternError when that cannot be said."""
    if len(source) > limits.pattern_chars:
        raise PatternError(f"it is longer than {limits.pattern_chars} characters")
    test, is_linear = _test(source)
    if not is_linear and len(text) > limits.backtracking_chars:
        raise PatternError(f"patterns of this kind are only tried on up to {limits.backtracking_chars} characters")
    return test(text)


@functools.lru_cache(maxsize=512)
def _test(source: str) -> tuple[Test, bool]:
    """How to match a pattern, and whether that takes linear time."""
    try:
        pattern = compile_linear(source)
    except PatternError as error:
        linear = _nowhere(source) or _ahead(source)
        return (linear, True) if linear is not None else (_backtracking(source, error), False)
    return (lambda text: pattern.fullmatch(text) is not None), True


def _nowhere(source: str) -> Test | None:
    """`((?!x).)*`: no x anywhere, and no line break."""
    found = _NOWHERE.match(source)
    if found is None or _closing("(?!" + found[1] + ")", 0) != len(found[1]) + 3:
        return None
    try:
        inner = compile_linear(found[1])
    except PatternError:
        return None
    least = 1 if found[2] == "+" else 0
    return lambda text: len(text) >= least and "\n" not in text and not inner.search(text)


def _ahead(source: str) -> Test | None:
    """`(?!a)(?=b)rest`: rest matches all, and at the beginning b matches and a does not."""
    at = 1 if source.startswith("^") else 0
    conditions: list[tuple[Pattern, bool]] = []
    try:
        while source[at : at + 3] in ("(?!", "(?="):
            end = _closing(source, at)
            if end < 0:
                return None
            inner = compile_linear(source[at + 3 : end])
            conditions.append((inner, source[at + 2] == "="))
            at = end + 1
        rest = compile_linear(source[at:])
    except PatternError:
        return None
    if not conditions or source[at : at + 1] in ("*", "+", "?", "{"):
        return None

    def test(text: str) -> bool:
        ahead = all((inner.match(text) is not None) is wanted for inner, wanted in conditions)
        return ahead and rest.fullmatch(text) is not None

    return test


def _closing(source: str, start: int) -> int:
    """Where the parenthesis closes that opens at `start`; -1 when it does not."""
    depth, in_class, at = 0, False, start
    while at < len(source):
        char = source[at]
        if char == "\\":
            at += 1
        elif in_class:
            in_class = char != "]"
        elif char == "[":
            in_class = True
        elif char == "(":
            depth += 1
        elif char == ")":
            depth -= 1
            if depth == 0:
                return at
        at += 1
    return -1


def _backtracking(source: str, reason: PatternError) -> Test:
    try:
        pattern = re.compile(source)
    except (re.error, OverflowError, RecursionError):
        raise reason from None
    if _REPEATED_GROUP.search(source) or len(_REPEAT.findall(source)) > _MAX_REPEATS:
        raise PatternError("it mixes look-around with many repeats, which can take for ever")
    return lambda text: pattern.fullmatch(text) is not None
