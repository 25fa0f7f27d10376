"""Reading typed values out of nodes, and the key tables of everything with fixed keys.

Each reader takes an Unknown (a parameter not given yet) for right and answers with its default, so the same code
compiles a job and checks one that nothing uses.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from appliance.language.nodes import (
    FALSE_WORDS,
    TRUE_WORDS,
    Map,
    Node,
    Scalar,
    Sequence,
    Unknown,
    describe,
    integer,
)
from appliance.language.problems import Kind, Problems

_MORE_TRUE = frozenset(["y", "Y", "1"])
_MORE_FALSE = frozenset(["n", "N", "0"])
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_DURATION = re.compile(r"\s*(?:(?:\d+(?:\.\d*)?|\.\d+)\s*[smh]\s*)+\Z|\s*\d+(?:\.\d*)?\s*\Z")
_DURATION_PART = re.compile(r"([\d.]+)\s*([smh]?)")
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def text(node: Node | None, what: str, problems: Problems) -> str | None:
    """A text; numbers and booleans as they are written. None for nothing, and where a problem was noted."""
    if node is None or isinstance(node, Unknown):
        return None
    if isinstance(node, Scalar):
        return None if node.plain and node.kind == "null" else node.text
    problems.error(node, "type", f"{what} must be a text, not {describe(node)}.", expected="a text")
    return None


def boolean(node: Node | None, what: str, problems: Problems, default: bool = False) -> bool:
    if node is None or isinstance(node, Unknown):
        return default
    if isinstance(node, Scalar):
        found = boolean_of(node)
        if found is not None:
            return found
        if node.kind == "null":
            return default
    problems.error(node, "type", f"{what} must be a boolean, not {describe(node)}.", expected="true or false")
    return default


def boolean_of(node: Scalar) -> bool | None:
    """The YAML 1.1 boolean a scalar is. A quoted word counts where a boolean is wanted."""
    if node.text in TRUE_WORDS or node.text in _MORE_TRUE:
        return True
    return False if node.text in FALSE_WORDS or node.text in _MORE_FALSE else None


def whole_number(node: Node | None, what: str, problems: Problems, default: int, low: int = 1, high: int = 1_000_000) -> int:
    """An integer in [low, high]; a quoted one counts too."""
    if node is None or isinstance(node, Unknown):
        return default
    if isinstance(node, Scalar):
        if node.kind == "null":
            return default
        digits = node.text.strip()
        if re.fullmatch(r"[-+]?\d+(?:\.0+)?", digits):
            number = integer(digits.partition(".")[0])
            if low <= number <= high:
                return number
            bound = f"at least {low}" if number < low else f"at most {high}"
            problems.error(node, "range", f"{what} must be {bound}.", expected=f"{low} to {high}")
            return default
    problems.error(node, "type", f"{what} must be a whole number, not {describe(node)}.", expected="an integer")
    return default


def texts(node: Node | None, what: str, problems: Problems) -> tuple[str, ...]:
    """A list of texts, or one text standing for itself."""
    return tuple(item.text for item in scalars(node, what, problems))


def scalars(node: Node | None, what: str, problems: Problems) -> list[Scalar]:
    """The same with places. Lists inside the list (from aliases) are opened."""
    if node is None or isinstance(node, Unknown):
        return []
    if isinstance(node, Scalar):
        return [] if node.kind == "null" else [node]
    if isinstance(node, Map):
        problems.error(node, "type", f"{what} must be a text or a list of texts.", expected="a list of texts")
        return []
    found: list[Scalar] = []
    for item in node.items:
        if isinstance(item, Map):
            problems.error(item, "type", f"Each of {what} must be a text, not a map.", expected="a text")
        else:
            found.extend(scalars(item, what, problems))
    return found


def duration(node: Node | None, what: str, problems: Problems, default: float) -> float:
    """Seconds of `20m`, `1.25h`, `1h30m`, or a bare number of seconds."""
    if node is None or isinstance(node, Unknown):
        return default
    if not isinstance(node, Scalar) or len(node.text) > 30 or not _DURATION.match(node.text):
        message = f"{what} must be a time span, not {describe(node)}."
        problems.error(node, "type", message, expected="a number with s, m or h, as in 20m")
        return default
    return sum(float(number) * _UNITS[unit or "s"] for number, unit in _DURATION_PART.findall(node.text))


def one_of(node: Node | None, what: str, choices: Collection[str], problems: Problems, default: str | None) -> str | None:
    word = text(node, what, problems)
    if word is None:
        return default
    if word in choices:
        return word
    assert node is not None
    expected = "one of " + ", ".join(choices)
    message = f'{what} cannot be "{word}".'
    problems.error(node, "choice", message, expected=expected, word=word, choices=choices)
    return default


def map_of(node: Node | None, what: str, problems: Problems) -> Map | None:
    """A map; None for nothing or an Unknown, and where a problem was noted."""
    if isinstance(node, Map):
        return node
    if node is None or isinstance(node, Unknown) or (isinstance(node, Scalar) and node.kind == "null"):
        return None
    problems.error(node, "type", f"{what} must be a map, not {describe(node)}.", expected="a map of keys and values")
    return None


def known_keys(node: Map, what: str, keys: Collection[str], problems: Problems) -> None:
    """Warn of keys that mean nothing. CircleCI runs configs that have them, so it is no error."""
    for key in node.fields:
        if key in keys:
            continue
        at = node.keys[key]
        if at.templated:
            continue
        message = f'"{key}" means nothing in {what} and is ignored.'
        expected = "one of " + ", ".join(sorted(keys)) if keys else "nothing here"
        problems.add(Kind.WARNING, at, "unknown-key", message, expected=expected, word=key, choices=list(keys))


def environment(node: Node | None, problems: Problems, coerce: bool) -> dict[str, str]:
    """A map of variables. Old configs also write lists of maps, lists of `KEY=value`, or one `KEY=value`."""
    found: dict[str, str] = {}
    if node is None or isinstance(node, Unknown):
        return found
    if isinstance(node, Map):
        for key, value in node.items():
            _variable(key, value, found, problems, coerce)
    elif isinstance(node, Sequence):
        for item in node.items:
            found.update(environment(item, problems, coerce))
    elif node.kind != "null":
        name, equals, value_text = node.text.partition("=")
        if equals:
            _variable(node.at(name), node.at(value_text), found, problems, coerce)
        else:
            expected = "a map of names and values"
            problems.error(node, "type", "environment must be a map of variables.", expected=expected)
    return found


def _variable(key: Scalar, value: Node, found: dict[str, str], problems: Problems, coerce: bool) -> None:
    name = key.text
    if not _VARIABLE.match(name):
        message = f'"{name}" is no name for an environment variable; a shell cannot read it.'
        problems.warning(key, "variable-name", message, expected="letters, digits and _, no digit first")
    if isinstance(value, Scalar):
        found[name] = environment_text(value, coerce)
    elif not isinstance(value, Unknown):
        message = f"The environment variable {name} must have a text for value, not {describe(value)}."
        problems.error(value, "type", message, expected="a text")


def environment_text(node: Scalar, coerce: bool) -> str:
    """What a value is at run time. With `coerce` as CircleCI (a Go program) prints it, quirks and all."""
    kind = node.kind
    if kind == "str":
        return node.text
    if kind == "null":
        return "<nil>" if coerce else ""
    if kind == "bool":
        is_true = node.text in TRUE_WORDS
        return ("1" if is_true else "0") if coerce else ("true" if is_true else "false")
    if kind == "int" and coerce:
        return _go_integer(node.text)
    return node.text


def _go_integer(digits: str) -> str:
    number = integer(digits)
    if -1_000_000 < number < 1_000_000:
        return digits if digits.lstrip("+-").isdigit() else str(number)
    value = float(number)
    shown = f"{value:.17e}"
    for precision in range(17):  # the shortest form that reads back the same
        shown = f"{value:.{precision}e}"
        if float(shown) == value:
            break
    return shown
