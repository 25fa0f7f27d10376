"""`<< >>` in texts: what stands in them, and putting values in their place (spec 1.3).

A text is cut into pieces once (`parse`, remembered by `Substitution`), then filled with the names in scope where it
stands (`Names`). Besides the documented forms there are sections, which many orbs use:
`<<# parameters.x >>only if x is true<</ parameters.x >>` and `<<^ parameters.x >>only if not<</ parameters.x >>`.

When one block is the whole scalar, its value takes the scalar's place with type and all: a boolean, a list of steps,
an executor's map. What has been put in is never looked at again (its `templated` is off), so a literal `<<` that came
out of `\\<<` cannot come back to life in the next command it is handed to.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from appliance.language import expression
from appliance.language.expression import UNDEFINED, ExpressionError
from appliance.language.names import Names, expression_result, is_true, lookup, report_unknown
from appliance.language.nodes import Map, Node, Scalar, Sequence, Unknown
from appliance.language.options import Limits
from appliance.language.problems import Exhausted, Placed, Problems
from appliance.language.values import node_of, text_of

_NAME = re.compile(r"(?:parameters|pipeline|matrix)\.[\w.?/\-]+\Z")
_INCLUDE = re.compile(r"include\s*\(")
_HERE_DOCUMENT = re.compile(r"[-<\"']?\s*[\"']?[A-Za-z_]+")


@dataclass(frozen=True, slots=True)
class Block:
    """`<< body >>`."""

    body: str


@dataclass(frozen=True, slots=True)
class Section:
    """`<<# name >>pieces<</ name >>`, or `<<^ name >>…` when `inverted`."""

    name: str
    inverted: bool
    pieces: tuple[Piece, ...]


Piece = str | Block | Section


@dataclass(frozen=True, slots=True)
class Broken:
    """A text that cannot be cut into pieces: why, and the words that are to blame."""

    code: str
    message: str
    snippet: str


def parse(text: str) -> tuple[Piece, ...] | Broken:
    """Cut a text into literal strings, blocks and sections."""
    pieces: list[Piece] = []
    above: list[tuple[str, bool, list[Piece], str]] = []
    at = 0
    while True:
        start = text.find("<<", at)
        if start < 0:
            if at < len(text):
                pieces.append(text[at:])
            break
        if start > at and text[start - 1] == "\\":
            pieces.append(text[at : start - 1] + "<<")
            at = start + 2
            continue
        if start > at:
            pieces.append(text[at:start])
        end = _end_of_block(text, start + 2)
        if end < 0:
            return _unclosed(text[start : start + 30])
        body = text[start + 2 : end].strip()
        at = end + 2
        if body[:1] in ("#", "^"):
            above.append((body[1:].strip(), body[0] == "^", pieces, text[start:at]))
            pieces = []
        elif body[:1] == "/":
            name = body[1:].strip()
            if not above or above[-1][0] != name:
                return Broken("section", f"<</ {name} >> closes no section.", text[start:at])
            opened, inverted, outer, _ = above.pop()
            outer.append(Section(opened, inverted, tuple(pieces)))
            pieces = outer
        else:
            pieces.append(Block(body))
    if above:
        name, _, _, snippet = above[-1]
        return Broken("section", f"The section {snippet} is not closed by <</ {name} >>.", snippet)
    return tuple(pieces)


def _end_of_block(text: str, start: int) -> int:
    """Where the `>>` is that closes a block: the first one that does not stand inside a quoted string."""
    first = end = text.find(">>", start)
    while end >= 0 and text.count('"', start, end) % 2 == 1:
        end = text.find(">>", end + 1)
    return end if end >= 0 else first


def _unclosed(snippet: str) -> Broken:
    first_line = snippet.splitlines()[0] if snippet else snippet
    message = f"Unclosed `<<` in this text: {first_line}"
    return Broken("unclosed-template", message, first_line)


def whole_block(text: str) -> str | None:
    """The body, when one block is all of a text."""
    if not (text.startswith("<<") and text.endswith(">>")):
        return None
    pieces = parse(text)
    if isinstance(pieces, Broken) or len(pieces) != 1:
        return None
    piece = pieces[0]
    return piece.body if isinstance(piece, Block) else None


Locate = Callable[[Placed, str], Placed]
"""Finds the place of a snippet of a scalar's text in its file."""


class Substitution:
    """Fills in templates for one compilation; problems go to `problems`."""

    def __init__(self, problems: Problems, limits: Limits, locate: Locate) -> None:
        self._problems = problems
        self._limits = limits
        self._locate = locate
        self._parsed: dict[str, tuple[Piece, ...] | Broken] = {}
        self._made_bytes = 0
        self._filled = 0

    def fill(self, node: Node, names: Names) -> Node:
        """`node` with all templates filled in. Parts without any are returned as they are."""
        if not node.templated:
            return node
        if isinstance(node, Scalar):
            return self.fill_scalar(node, names)
        if isinstance(node, Sequence):
            items = [self.fill(item, names) if item.templated else item for item in node.items]
            made = Sequence(node.file, node.line, node.column, items, size=1 + sum(item.size for item in items))
            made.scope = node.scope
            self._check_size(made)
            return made
        assert isinstance(node, Map)
        return self._fill_map(node, names)

    def _fill_map(self, node: Map, names: Names) -> Map:
        fields: dict[str, Node] = {}
        keys: dict[str, Scalar] = {}
        for name, value in node.fields.items():
            key = node.keys[name]
            if key.templated:
                filled = self.fill_scalar(key, names)
                if isinstance(filled, Scalar):
                    key = filled
                    name = filled.text
            fields[name] = self.fill(value, names) if value.templated else value
            keys[name] = key
        size = 1 + sum(value.size for value in fields.values())
        made = Map(node.file, node.line, node.column, fields, keys, size=size)
        made.scope = node.scope
        self._check_size(made)
        return made

    def _check_size(self, made: Sequence | Map) -> None:
        if made.size > self._limits.filled_nodes:
            message = f"Templates make a list or map of more than {self._limits.filled_nodes} values."
            self._give_up(made, message)

    def fill_scalar(self, node: Scalar, names: Names) -> Node:
        """The value of one templated scalar: typed when one block is all of it, else a text."""
        self._filled += 1
        if self._filled > self._limits.templates:
            self._give_up(node, f"More than {self._limits.templates} templates are filled in.")
        pieces = self._pieces(node.text)
        if isinstance(pieces, Broken):
            self._report_broken(node, pieces)
            return node.at(node.text)
        if len(pieces) == 1 and isinstance(pieces[0], Block):
            found = self._value(pieces[0].body, node, names)
            return self._placed(found, node)
        text = self._text(pieces, node, names)
        if text is None:
            return Unknown(node.file, node.line, node.column)
        self._made_bytes += len(text)
        if self._made_bytes > self._limits.template_bytes:
            self._give_up(node, f"Templates make more than {self._limits.template_bytes} characters of text.")
        return node.at(text)

    @staticmethod
    def _placed(found: Node, node: Scalar) -> Node:
        """A null must stand where it is used; everything else keeps the place where it was written."""
        if isinstance(found, Scalar) and found.file == "":
            return node.at(found.text, found.plain)
        return found

    def _pieces(self, text: str) -> tuple[Piece, ...] | Broken:
        pieces = self._parsed.get(text)
        if pieces is None:
            pieces = self._parsed[text] = parse(text)
        return pieces

    def _give_up(self, node: Node, message: str) -> NoReturn:
        self._problems.error(node, "too-large", message)
        raise Exhausted

    def _text(self, pieces: tuple[Piece, ...], node: Scalar, names: Names) -> str | None:
        """The pieces as one text; None when a part is not known yet."""
        made: list[str] = []
        for piece in pieces:
            if isinstance(piece, str):
                made.append(piece)
                continue
            part = self._section(piece, node, names) if isinstance(piece, Section) else None
            if isinstance(piece, Block):
                part = self._embedded(piece, node, names)
            if part is None:
                # Go on: later pieces may hold problems worth telling.
                made = [""]
                for other in pieces[pieces.index(piece) + 1 :]:
                    self._look_at(other, node, names)
                return None
            made.append(part)
        return "".join(made)

    def _look_at(self, piece: Piece, node: Scalar, names: Names) -> None:
        if isinstance(piece, Block):
            self._value(piece.body, node, names)
        elif isinstance(piece, Section):
            self._section(piece, node, names)

    def _embedded(self, block: Block, node: Scalar, names: Names) -> str | None:
        value = self._value(block.body, node, names)
        if isinstance(value, Unknown):
            return None
        if isinstance(value, Scalar):
            return text_of(value)
        shape = "a list" if isinstance(value, Sequence) else "a map"
        at = self._locate(node, block.body)
        text = f"<< {block.body} >> is {shape} and cannot stand inside a longer text."
        self._problems.error(at, "template-type", text, expected="the template alone as the whole value")
        return ""

    def _section(self, section: Section, node: Scalar, names: Names) -> str | None:
        value = self._value(section.name, node, names)
        inner = self._text(section.pieces, node, names)
        if isinstance(value, Unknown):
            return None
        return inner if is_true(value) is not section.inverted else ""

    def _value(self, body: str, node: Scalar, names: Names) -> Node:
        if not _NAME.match(body):
            return self._expression(body, node, names)
        found = lookup(body, names)
        if found is not None:
            return found
        self._report_unknown(body, node, names)
        return Unknown(node.file, node.line, node.column)

    def _expression(self, body: str, node: Scalar, names: Names) -> Node:
        """The value of an expression in `<< >>`."""
        if not body or _INCLUDE.match(body):
            self._report_odd(body, node, None)
            return Unknown(node.file, node.line, node.column)
        try:
            value = expression_result(body, names, self._limits.expression_chars)
        except ExpressionError as error:
            self._report_odd(body, node, error)
            return Unknown(node.file, node.line, node.column)
        if value is None:
            return Unknown(node.file, node.line, node.column)
        if isinstance(value, expression.Regex):
            return node.at(value.source)
        return node_of(None if value is UNDEFINED else value, node)

    def _report_broken(self, node: Scalar, broken: Broken) -> None:
        at = self._locate(node, broken.snippet)
        expected = "`<< name >>`; write `\\<<` for a literal `<<`, as in a here-document"
        self._problems.error(at, broken.code, broken.message, expected=expected)

    def _report_odd(self, body: str, node: Scalar, error: ExpressionError | None) -> None:
        short = body if len(body) <= 60 else body[:57] + "..."
        first = short.splitlines()[0] if short else ""
        at = self._locate(node, body.splitlines()[0] if body else "<<")
        if _INCLUDE.match(body):
            text = "<<include()>> is resolved when an orb or a config is packed, not here."
            self._problems.error(at, "include", text, expected="`rondo orb pack` before publishing")
            return
        expected = "parameters.NAME, pipeline.NAME, matrix.NAME or an expression over them"
        if error is not None and error.code == "Interpreter/UNKNOWN_VARIABLE" and "." in error.lexeme:
            text = f"<< {first} >>: {error.message}"
        elif _HERE_DOCUMENT.match(body) and "pipeline." not in body and "parameters." not in body:
            text = f"<< {first} >> is not a template that can be filled in."
            expected += "; write `\\<<` for a literal `<<`, as in a here-document"
        else:
            text = f"<< {first} >> cannot be read: {error.message if error else 'it is empty.'}"
        self._problems.error(at, "bad-template", text, expected=expected)

    def _report_unknown(self, body: str, node: Scalar, names: Names) -> None:
        at = self._locate(node, body)
        report_unknown(self._problems, at, body, names)
