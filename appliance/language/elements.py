"""Commands, jobs and executors, and the scopes in which their names mean something.

A config is a scope, and so is every orb it imports, inline or not. Inside a scope a bare name is an element of its
own, `alias/name` one of an imported orb. An orb never sees the scope that imports it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from appliance.language.names import Names
from appliance.language.nodes import Map, Node, Scalar
from appliance.language.problems import Kind, Problems, closest

ElementKind = Literal["job", "command", "executor"]
KINDS: tuple[ElementKind, ...] = ("job", "command", "executor")


@dataclass(frozen=True)
class Parameter:
    """A declared parameter. `default` None: it must be given."""

    name: str
    type: str
    at: Scalar
    default: Node | None = None
    choices: tuple[str, ...] = ()


@dataclass(eq=False)
class Element:
    """A command, job or executor of a scope. `parameters` are read when all scopes are known."""

    kind: ElementKind
    name: str
    key: Scalar
    body: Map
    scope: Scope
    parameters: dict[str, Parameter] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """For messages: `command node/install`."""
        return f"{self.kind} {self.scope.prefix}{self.name}"


@dataclass(eq=False)
class Scope:
    """`prefix` is "" for the config itself, "node/" for an orb under the alias `node`.

    An orb that could not be had is None in `orbs`; what is asked of it is passed over in silence, because its
    absence has been reported. `aliases` are elements that are another orb's under a new name.
    """

    file: str
    prefix: str
    names: Names
    elements: dict[ElementKind, dict[str, Element]] = field(
        default_factory=lambda: {"job": {}, "command": {}, "executor": {}}
    )
    aliases: dict[tuple[ElementKind, str], Scalar] = field(default_factory=dict)
    orbs: dict[str, Scope | None] = field(default_factory=dict)
    groups: dict[str, tuple[Scalar, Map]] = field(default_factory=dict)
    is_inline: bool = False
    is_placeholder: bool = False  # `alias: {}`, to be filled in by a tool before the config is used
    missed: set[str] = field(default_factory=set)  # what was asked of a placeholder
    broken: set[tuple[ElementKind, str]] = field(default_factory=set)

    @property
    def is_orb(self) -> bool:
        return self.prefix != ""

    def find(self, kind: ElementKind, reference: str, depth: int = 0) -> Element | Absent | None:
        """The element a name means here; `ABSENT` when it would be in an orb nobody has; None when there is none."""
        own = self.elements[kind].get(reference)
        if own is not None:
            return own
        if (kind, reference) in self.broken:
            return ABSENT
        if self.is_placeholder:
            self.missed.add(reference)
            return ABSENT
        alias = self.aliases.get((kind, reference))
        if alias is not None and depth < 10:
            return self.find(kind, alias.text, depth + 1)
        orb, slash, name = reference.partition("/")
        if not slash or orb not in self.orbs:
            return None
        scope = self.orbs[orb]
        return ABSENT if scope is None else scope.find(kind, name, depth + 1)

    def references(self, kind: ElementKind) -> Iterator[str]:
        """All names that mean something here, for "did you mean"."""
        yield from self.elements[kind]
        yield from (name for of_kind, name in self.aliases if of_kind == kind)
        for alias, scope in self.orbs.items():
            if scope is not None:
                yield from (f"{alias}/{name}" for name in scope.elements[kind])

    def report_unknown(
        self, problems: Problems, kind: ElementKind, at: Scalar, choices: list[str], is_reached: bool = True
    ) -> None:
        """Say that a name means nothing here. In what nothing reaches it is a warning: CircleCI never looks there."""
        name = at.text
        orb = name.partition("/")[0]
        article = "an" if kind == "executor" else "a"
        message = f"Cannot find a definition for {article} {kind} named {name}"
        code, expected = f"unknown-{kind}", None
        if "/" in name and orb not in self.orbs:
            message += f": no orb is imported as {orb}"
            code, expected = "unknown-orb", f"an entry {orb} under `orbs:`"
            near = closest(orb, self.orbs)
            choices = [f"{near}/{name.partition('/')[2]}"] if near is not None else []
        severity = Kind.ERROR if is_reached else Kind.WARNING
        problems.add(severity, at, code, message + ".", expected=expected, word=name, choices=choices)


class Absent:
    """Stands for an element of an orb that could not be resolved."""


ABSENT = Absent()


def own_scope(node: Node, default: Scope) -> Scope:
    """Where names inside a value are looked up: at the caller that passed it, else where it stands."""
    return node.scope if node.scope is not None else default
