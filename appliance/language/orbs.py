"""The `orbs` stanza: references resolved through a callback, and every orb read into a scope of its own."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Protocol

from appliance.language.compilation import Compilation
from appliance.language.elements import KINDS, Element, ElementKind, Scope
from appliance.language.names import Names
from appliance.language.nodes import Map, Node, Scalar, Unknown, describe
from appliance.language.parameters import ALL_TYPES, EXECUTOR_TYPES, declared, reserved_names
from appliance.language.problems import Placed
from appliance.language.schema import map_of
from appliance.language.source import read

_REFERENCE = re.compile(r"[a-z0-9][a-z0-9_-]*/[a-z0-9][a-z0-9_-]*@(dev:[A-Za-z0-9._/-]+|\d+(\.\d+){0,2}|volatile)\Z")
_STANZAS: dict[ElementKind, str] = {"job": "jobs", "command": "commands", "executor": "executors"}
_ELEMENT_NAMES: dict[ElementKind, re.Pattern[str]] = {
    "command": re.compile(r"[a-z][a-z\d_/-]*\Z", re.IGNORECASE),
    "executor": re.compile(r"[a-z][a-z\d_/.-]*\Z", re.IGNORECASE),
    "job": re.compile(r".+\Z"),
}


@dataclass(frozen=True)
class OrbDocument:
    """The text of an orb and the exact version it is: `circleci/node@5.2.0`, or its URL."""

    text: str
    name: str


class OrbSource(Protocol):
    """Where orbs come from. Called while compiling, in the compiler's thread; it may block."""

    def resolve(self, reference: str) -> OrbDocument:
        """The orb for `ns/name@version` or an https URL. Raises LookupError(text) when there is none."""


@dataclass
class Imports:
    """Orbs of one compilation. `resolved` maps each reference to the exact name it had."""

    work: Compilation
    source: OrbSource | None
    resolved: dict[str, str] = field(default_factory=dict)
    _documents: dict[str, tuple[str, Map] | None] = field(default_factory=dict)
    _placeholders: list[tuple[Scalar, Scope]] = field(default_factory=list)

    def scope_of(self, root: Map, scope: Scope, depth: int = 0) -> Scope:
        """Fill `scope` with the elements and orbs of a document."""
        self._import_all(root, scope, depth)
        for kind in KINDS:
            self._elements(root, scope, kind)
        return scope

    def _import_all(self, root: Map, scope: Scope, depth: int) -> None:
        stanza = map_of(root.get("orbs"), "`orbs`", self.work.problems)
        for key, value in stanza.items() if stanza is not None else ():
            filled = value if isinstance(value, Map) else self.work.fill(value, scope.names)
            scope.orbs[key.text] = self._import(key, filled, scope, depth)

    def _import(self, key: Scalar, value: Node, scope: Scope, depth: int) -> Scope | None:
        problems = self.work.problems
        limits = self.work.limits
        if depth >= limits.orb_depth:
            problems.error(key, "orb-depth", f"Orbs import each other more than {limits.orb_depth} deep.")
            return None
        if isinstance(value, Map):
            return self._inline(key, value, scope, depth)
        if isinstance(value, Unknown):
            return None
        if not isinstance(value, Scalar):
            message = f"An orb must be a reference or a map, not {describe(value)}."
            problems.error(value, "type", message, expected="namespace/name@version")
            return None
        if value.kind == "null":
            return self._placeholder(key, scope)
        document = self._document(value.text, value)
        if document is None:
            return None
        name, root = document
        inner = Scope(name, f"{scope.prefix}{key.text}/", self._orb_names(scope))
        with problems.through(f"orb {key.text}", value):
            return self.scope_of(root, inner, depth + 1)

    def _placeholder(self, key: Scalar, scope: Scope) -> Scope:
        made = Scope(scope.file, f"{scope.prefix}{key.text}/", self._orb_names(scope), is_inline=True)
        made.is_placeholder = True
        self._placeholders.append((key, made))
        return made

    def report_placeholders(self) -> None:
        """An empty inline orb is fine as long as nobody asks anything of it."""
        for key, scope in self._placeholders:
            if scope.missed:
                names = ", ".join(sorted(scope.missed)[:5])
                message = f"The inline orb {key.text} is empty, but {names} is used from it."
                expected = "the orb itself, as a tool like orb-tools puts in before it continues a pipeline"
                self.work.problems.error(key, "empty-orb", message, expected=expected)

    def _inline(self, key: Scalar, value: Map, scope: Scope, depth: int) -> Scope:
        if not value.fields:
            return self._placeholder(key, scope)
        inner = Scope(scope.file, f"{scope.prefix}{key.text}/", self._orb_names(scope), is_inline=True)
        return self.scope_of(value, inner, depth + 1)

    def _orb_names(self, scope: Scope) -> Names:
        return Names(scope.names.values, None, None, None, is_orb=True)

    def _document(self, reference: str, at: Placed) -> tuple[str, Map] | None:
        if reference not in self._documents:
            self._documents[reference] = self._fetch(reference, at)
        return self._documents[reference]

    def _fetch(self, reference: str, at: Placed) -> tuple[str, Map] | None:
        problems = self.work.problems
        if not reference.startswith("https://") and not _REFERENCE.match(reference):
            message = f'"{reference}" is no reference to an orb.'
            expected = "namespace/name@1.2.3, @1.2, @1, @volatile or @dev:label; or an https URL"
            problems.error(at, "orb-reference", message, expected=expected)
            return None
        if len(self._documents) >= self.work.limits.orbs:
            problems.error(at, "too-many-orbs", f"More than {self.work.limits.orbs} orbs are imported.")
            return None
        if self.source is None:
            message = f"The orb {reference} cannot be resolved: no source of orbs is set up."
            problems.error(at, "orb-not-found", message)
            return None
        try:
            document = self.source.resolve(reference)
        except LookupError as error:
            reason = str(error.args[0]) if error.args else "nobody has it"
            problems.error(at, "orb-not-found", f"The orb {reference} cannot be resolved: {reason}")
            return None
        self.resolved[reference] = document.name
        self.work.add_source(document.name, document.text)
        with problems.through(f"orb {reference}", at):
            root = read(document.text, document.name, problems, self.work.limits)
            found = map_of(root, f"The orb {document.name}", problems)
        return (document.name, found) if found is not None else None

    def _elements(self, root: Map, scope: Scope, kind: ElementKind) -> None:
        stanza = map_of(root.get(_STANZAS[kind]), f"`{_STANZAS[kind]}`", self.work.problems)
        for key, body in stanza.items() if stanza is not None else ():
            if isinstance(body, Scalar) and body.kind == "str" and "/" in body.text:
                scope.aliases[kind, key.text] = body
            elif isinstance(body, Map):
                self._element(scope, kind, key, body)
            else:
                message = f"The {kind} {key.text} must be a map, not {describe(body)}."
                self.work.problems.error(key, "type", message, expected="a map")
                scope.broken.add((kind, key.text))

    def _element(self, scope: Scope, kind: ElementKind, key: Scalar, body: Map) -> None:
        work = self.work
        if not _ELEMENT_NAMES[kind].match(key.text):
            message = f'"{key.text}" cannot be the name of a {kind}.'
            expected = "a lower-case letter, then letters, digits, _ and -"
            work.problems.warning(key, "bad-name", message, expected=expected)
        element = Element(kind, key.text, key, body.without({"parameters", "description"}), scope)
        scope.elements[kind][key.text] = element
        if "parameters" in body.fields:
            types = EXECUTOR_TYPES if kind == "executor" else ALL_TYPES
            element.parameters = declared(work, body.get("parameters"), element.title, types)
            if kind == "job":
                reserved_names(work, element)
