"""YAML text -> nodes.

PyYAML's parser is used for its events only (the C one where it is there: 15 times faster); the tree is built here,
because its composer refuses what CircleCI accepts (an anchor defined again, several `<<` in one map) and its
constructor loses what we need (places, the text of numbers, the difference between `on` and `"on"`).

What is different from stock YAML, all seen in configs that run in production:
- an anchor may be defined again; from there on the new one counts;
- several merge keys in one map, and a list of maps under one: the first that has a key wins, an own key beats all;
- a TAB inside `<< >>` is a blank.

An alias shares its node, so aliases cost no memory; `Limits.nodes` bounds what a walk over the tree would see.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from appliance.language.nodes import Map, Node, Scalar, Sequence
from appliance.language.options import Limits
from appliance.language.problems import Frame, Kind, Problems

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TABBED_TEMPLATE = re.compile(r"<<[^<>\n]*\t[^<>\n]*>>")


class _Stop(Exception):
    """Reading cannot go on; the problem has been noted."""


def read(source: str, file: str, problems: Problems, limits: Limits) -> Node | None:
    """The tree of the first document of `source`; None (and a problem) when there is none to be had."""
    if len(source) > limits.source_bytes or len(source.encode("utf-8", "replace")) > limits.source_bytes:
        text = f"The file is larger than {limits.source_bytes} bytes."
        problems.error(Frame("", file, 1, 1), "too-large", text)
        return None
    builder = _Builder(file, problems, limits)
    try:
        return builder.build(_without_tabs(source))
    except _Stop:
        return None
    except yaml.YAMLError as error:
        _report(error, source, file, problems)
        return None
    except UnicodeError:
        problems.error(Frame("", file, 1, 1), "not-yaml", "The file is not UTF-8 text.")
        return None


def _without_tabs(source: str) -> str:
    if "\t" not in source:
        return source
    return _TABBED_TEMPLATE.sub(lambda found: found.group().replace("\t", " "), source)


def _report(error: yaml.YAMLError, source: str, file: str, problems: Problems) -> None:
    line, column = 1, 1
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is not None:
        line, column = mark.line + 1, mark.column + 1
    elif isinstance(error, yaml.reader.ReaderError):
        line = source.count("\n", 0, error.position) + 1
        text = f"The character U+{_code_point(error.character):04X} is not allowed in YAML."
        problems.error(Frame("", file, line, 1), "not-yaml", text, expected="printable text")
        return
    what = getattr(error, "problem", None) or "it cannot be read"
    context = getattr(error, "context", None)
    text = f"This is not valid YAML: {what}" + (f" ({context})" if context else "") + "."
    expected = None
    is_tab = "".join(source.splitlines()[line - 1 : line])[column - 1 : column] == "\t"
    if is_tab or "\\t" in what or "tab" in what:
        expected = "blanks, not tabs, for indentation"
    elif "could not find expected ':'" in what or "mapping values are not allowed" in what:
        expected = "`key: value` with right indentation; a text that holds `: ` or `#` wants quotes"
    problems.error(Frame("", file, line, column), "not-yaml", text, expected=expected)


def _code_point(character: object) -> int:
    return character if isinstance(character, int) else ord(str(character)[0])


class _Open:
    """A collection whose end has not come: its children so far, flat (key, value, key, value)."""

    __slots__ = ("anchor", "children", "column", "line", "templated", "weight")

    def __init__(self, line: int, column: int, anchor: str | None) -> None:
        self.line = line
        self.column = column
        self.anchor = anchor
        self.children: list[Node] = []
        self.weight = 1
        self.templated = False


class _Builder:
    def __init__(self, file: str, problems: Problems, limits: Limits) -> None:
        self._file = file
        self._problems = problems
        self._limits = limits
        self._anchors: dict[str, tuple[Node, int]] = {}  # with the weight of all below
        self._open: list[_Open] = []

    def build(self, source: str) -> Node | None:
        """The root of the first document."""
        root: Node | None = None
        limit = self._limits.nodes
        file, open_, anchors = self._file, self._open, self._anchors
        documents = 0
        next_event = _LOADER(source).get_event
        while True:
            event = next_event()
            kind = event.__class__
            node: Node
            weight = 1
            if kind is yaml.ScalarEvent:
                mark = event.start_mark
                text = event.value
                plain = event.implicit[0] and not event.style
                node = Scalar(file, mark.line + 1, mark.column + 1, text, plain, "<<" in text)
                if event.anchor is not None:
                    anchors[event.anchor] = (node, 1)
            elif kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent:
                self._enter(event)
                continue
            elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
                ended = open_.pop()
                is_map = kind is yaml.MappingEndEvent
                node = self._map(ended) if is_map else self._sequence(ended)
                weight = ended.weight
                if ended.anchor is not None:
                    anchors[ended.anchor] = (node, weight)
            elif kind is yaml.AliasEvent:
                node, weight = self._alias(event)
            elif kind is yaml.StreamEndEvent:
                break
            else:
                if kind is yaml.DocumentStartEvent:
                    documents += 1
                    if documents == 2:
                        self._second_document(event)
                        break
                continue
            if open_:
                top = open_[-1]
                top.children.append(node)
                top.weight += weight
                if node.templated:
                    top.templated = True
            elif root is None:
                root = node
            if weight > limit:
                text = f"With all aliases followed the file has more than {limit} values."
                self._fail(node, "too-many-values", text)
        return root

    def _enter(self, event: Any) -> None:
        mark = event.start_mark
        self._open.append(_Open(mark.line + 1, mark.column + 1, event.anchor))
        if len(self._open) > self._limits.depth:
            at = Frame("", self._file, mark.line + 1, mark.column + 1)
            self._fail(at, "too-deep", f"Collections are nested more than {self._limits.depth} deep.")

    def _fail(self, at: Node | Frame, code: str, text: str) -> None:
        self._problems.error(at, code, text)
        raise _Stop

    def _second_document(self, event: Any) -> None:
        at = Frame("", self._file, event.start_mark.line + 1, 1)
        self._problems.warning(at, "second-document", "Only the first YAML document of a file is read.")

    def _alias(self, event: Any) -> tuple[Node, int]:
        mark = event.start_mark
        at = Scalar(self._file, mark.line + 1, mark.column + 1, "", True)
        found = self._anchors.get(event.anchor)
        if found is not None:
            return found
        if any(frame.anchor == event.anchor for frame in self._open):
            self._problems.error(at, "recursive-alias", f"The alias *{event.anchor} stands inside itself.")
        else:
            self._problems.error(
                at,
                "unknown-alias",
                f"There is no anchor &{event.anchor} before this alias.",
                word=event.anchor,
                choices=self._anchors,
            )
        return at, 1

    def _sequence(self, ended: _Open) -> Sequence:
        return Sequence(self._file, ended.line, ended.column, ended.children, ended.templated, ended.weight)

    def _map(self, ended: _Open) -> Map:
        fields: dict[str, Node] = {}
        keys: dict[str, Scalar] = {}
        merges: list[Node] | None = None
        children = iter(ended.children)
        for key, value in zip(children, children, strict=True):
            if key.__class__ is not Scalar:
                self._odd_key(key)
                continue
            name = key.text
            if name == "<<" and key.plain:
                merges = merges or []
                merges.append(value)
                continue
            if name in fields:
                self._duplicate(key, keys[name])
            fields[name] = value
            keys[name] = key
        made = Map(self._file, ended.line, ended.column, fields, keys, ended.templated, ended.weight)
        if merges is not None:
            made.templated = any(key.templated for key in keys.values())
            self._merge(made, merges)
            made.templated = made.templated or any(value.templated for value in fields.values())
        return made

    def _merge(self, into: Map, merges: list[Node]) -> None:
        for value in merges:
            sources = value.items if isinstance(value, Sequence) else [value]
            for source in sources:
                if not isinstance(source, Map):
                    if isinstance(source, Scalar) and source.kind == "null":
                        continue  # an anchor on an empty value: nothing to merge
                    text = "Only a map, or a list of maps, can be merged with `<<`."
                    self._problems.error(source, "bad-merge", text, expected="`<<: *anchor`")
                    continue
                for key, field in source.fields.items():
                    if key not in into.fields:
                        into.fields[key] = field
                        into.keys[key] = source.keys[key]

    def _odd_key(self, key: Node) -> None:
        text = "A key must be a text; this one is a list or a map."
        expected = 'quotes around a text that begins with { or [, as in "{{ .Branch }}"'
        self._problems.error(key, "odd-key", text, expected=expected)

    def _duplicate(self, key: Scalar, first: Scalar) -> None:
        text = f'The key "{key.text}" stands twice in this map (first on line {first.line}); the last one counts.'
        self._problems.add(Kind.BAD_HABIT, key, "duplicate-key", text)
