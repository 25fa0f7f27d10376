"""The tree a config is read into: scalars, sequences and maps that know where they stand.

A node is never changed once the tree is built; an anchor used ten times is one node in ten places, and what
substitution does not touch is shared between source and result; `size` counts what a walk over a node would see,
so that sharing cannot be used to make a small text into an endless walk. `templated` says that `<<` occurs in the node or
below, so whole branches can be skipped. `scope` is set on values passed as arguments: names inside them (of an
executor, of a step) mean what they mean at the caller, not in the element that receives them.

A plain (unquoted) scalar keeps its source text; `kind` reads it as YAML 1.1 would, apart from octal, sexagesimal
and dates, which nobody writes on purpose in a CI config.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from appliance.language.elements import Scope

Kind = Literal["null", "bool", "int", "float", "str"]

TRUE_WORDS = frozenset(["true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON"])
FALSE_WORDS = frozenset(["false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF"])
NULL_WORDS = frozenset(["", "~", "null", "Null", "NULL"])
_WORDS: dict[str, Kind] = {
    **dict.fromkeys(TRUE_WORDS | FALSE_WORDS, "bool"),
    **dict.fromkeys(NULL_WORDS, "null"),
}
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9_]*|0[0-9]+|0x[0-9a-fA-F]+)\Z")
_FLOAT = re.compile(r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?\Z|[-+]?[0-9]+[eE][-+]?[0-9]+\Z")
_SPECIAL_FLOATS = frozenset([".inf", "-.inf", "+.inf", ".Inf", "-.Inf", ".INF", ".nan", ".NaN", ".NAN"])


class Scalar:
    """A text with its place. `plain` texts may be numbers, booleans or null; others are strings for sure."""

    __slots__ = ("column", "file", "line", "plain", "scope", "templated", "text")
    size = 1

    def __init__(self, file: str, line: int, column: int, text: str, plain: bool, templated: bool = False) -> None:
        self.file = file
        self.line = line
        self.column = column
        self.text = text
        self.plain = plain
        self.templated = templated
        self.scope: Scope | None = None

    @property
    def kind(self) -> Kind:
        return kind_of(self.text) if self.plain else "str"

    def at(self, text: str, plain: bool = False) -> Scalar:
        """Another scalar in the same place."""
        return Scalar(self.file, self.line, self.column, text, plain)


class Sequence:
    __slots__ = ("column", "file", "items", "line", "scope", "size", "templated")

    def __init__(self, file: str, line: int, column: int, items: list[Node], templated: bool = False, size: int = 1) -> None:
        self.file = file
        self.line = line
        self.column = column
        self.items = items
        self.templated = templated
        self.size = size
        self.scope: Scope | None = None


class Map:
    """Keys in order; `keys` has the key nodes (for their places), `fields` the values."""

    __slots__ = ("column", "fields", "file", "keys", "line", "scope", "size", "templated")

    def __init__(
        self,
        file: str,
        line: int,
        column: int,
        fields: dict[str, Node],
        keys: dict[str, Scalar],
        templated: bool = False,
        size: int = 1,
    ) -> None:
        self.file = file
        self.line = line
        self.column = column
        self.fields = fields
        self.keys = keys
        self.templated = templated
        self.size = size
        self.scope: Scope | None = None

    def get(self, key: str) -> Node | None:
        return self.fields.get(key)

    def items(self) -> Iterator[tuple[Scalar, Node]]:
        for key, value in self.fields.items():
            yield self.keys[key], value

    def without(self, names: frozenset[str] | set[str]) -> Map:
        """A copy that lacks some keys."""
        fields = {key: value for key, value in self.fields.items() if key not in names}
        copy = Map(self.file, self.line, self.column, fields, self.keys, self.templated, self.size)
        copy.scope = self.scope
        return copy


class Unknown:
    """What a parameter nobody has given yet stands for, while an element is checked on its own.

    Every reader takes it as right, so an element that no workflow uses is checked by the code that compiles it.
    """

    __slots__ = ("column", "file", "line", "scope", "templated")
    size = 1

    def __init__(self, file: str, line: int, column: int) -> None:
        self.file = file
        self.line = line
        self.column = column
        self.templated = False
        self.scope: Scope | None = None


Node = Scalar | Sequence | Map | Unknown


def kind_of(text: str) -> Kind:
    """What YAML 1.1 makes of an unquoted text."""
    kind = _WORDS.get(text)
    if kind is not None:
        return kind
    first = text[0]
    if first not in "0123456789+-.":
        return "str"
    if _INTEGER.match(text):
        return "int"
    if _FLOAT.match(text) or text in _SPECIAL_FLOATS:
        return "float"
    return "str"


def integer(text: str) -> int:
    """The value of a text of kind int. Long digit strings are cut off by the caller's range checks."""
    digits = text.replace("_", "")
    if len(digits) > 40:  # int() refuses thousands of digits with an exception
        digits = digits[:40]
    return int(digits, 16) if digits.lstrip("+-")[:2].lower() == "0x" else int(digits)


def value_of(node: Node) -> object:
    """A node as plain data: what `equal` compares and `dump`ed documents hold. Unknown becomes itself."""
    if isinstance(node, Scalar):
        return _scalar_value(node)
    if isinstance(node, Sequence):
        return [value_of(item) for item in node.items]
    if isinstance(node, Map):
        return {key: value_of(value) for key, value in node.fields.items()}
    return node


def _scalar_value(node: Scalar) -> object:
    kind = node.kind
    if kind == "str":
        return node.text
    if kind == "bool":
        return node.text in TRUE_WORDS
    if kind == "int":
        return integer(node.text)
    if kind == "float":
        return _float(node.text)
    return None


def _float(text: str) -> float:
    return float(text.replace("_", "").lower().replace(".inf", "inf").replace(".nan", "nan"))


def flat(node: Sequence) -> list[Node]:
    """The items, with lists inside (from aliases) opened."""
    found: list[Node] = []
    for item in node.items:
        found.extend(flat(item) if isinstance(item, Sequence) else [item])
    return found


def has_unknown(node: Node) -> bool:
    if isinstance(node, Sequence):
        return any(map(has_unknown, node.items))
    if isinstance(node, Map):
        return any(map(has_unknown, node.fields.values()))
    return isinstance(node, Unknown)


def describe(node: Node) -> str:
    """A node's shape in words, for messages: "the number 3.9", "a list"."""
    if isinstance(node, Map):
        return "a map"
    if isinstance(node, Sequence):
        return "a list"
    if isinstance(node, Unknown):
        return "a template"
    words = {"null": "nothing", "bool": f"the boolean {node.text}"}
    if node.kind in words:
        return words[node.kind]
    short = node.text if len(node.text) <= 40 else node.text[:37] + "..."
    return f"the number {short}" if node.kind in ("int", "float") else f'"{short}"'
