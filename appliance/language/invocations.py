"""Job invocations of a workflow: arguments and keys told apart, every leg of a matrix given its name.

A *leg* is one job to be: an invocation without a matrix has one, one with a matrix has many.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from appliance.language import plan
from appliance.language.compilation import Compilation
from appliance.language.elements import ABSENT, Element, Scope
from appliance.language.matrix import read_matrix, suffix
from appliance.language.names import Names
from appliance.language.nodes import Map, Node, Scalar, Sequence, Unknown, describe, flat
from appliance.language.parameters import RESERVED_OF_JOBS
from appliance.language.problems import Kind
from appliance.language.schema import map_of, one_of, text, texts

STATUSES = ("success", "failed", "canceled", "unauthorized", "not_run")
_GROUP_KEYS = frozenset(["name", "requires", "filters", "serial-group"])
_SERIAL_GROUP = re.compile(r"[A-Za-z0-9._/-]+\Z")
_SERIAL_GROUP_CHARS = 512
_MATRIX_TEMPLATE = re.compile(r"<<\s*matrix\.[^<>]*>>")


@dataclass(eq=False)
class Need:
    """One entry of `requires`. `pattern`: it names matrix legs from outside their matrix."""

    name: str
    statuses: tuple[str, ...]
    at: Node
    pattern: re.Pattern[str] | None = None


@dataclass(eq=False)
class Leg:
    """One job to be. `element` None: there is nothing to run (approval, group ends), or nobody has it."""

    name: str
    key: Scalar
    invocation: int
    aliases: tuple[str, ...] = ()  # other names it can be required by
    element: Element | None = None
    type: plan.JobType | None = None
    arguments: dict[str, tuple[Scalar, Node]] = field(default_factory=dict)
    needs: list[Need] = field(default_factory=list)
    filters: Node | None = None
    contexts: tuple[str, ...] = ()
    before: Node | None = None
    after: Node | None = None
    serial_group: str | None = None
    group: str | None = None  # the job group invocation it is inside of; nobody outside can require it
    sees: str | None = None  # the job group whose inside it can require, being its end
    is_group_part: bool = False
    is_named: bool = False
    upstream: list[tuple[Leg, tuple[str, ...]]] = field(default_factory=list)
    lock_key: str | None = None


class InvocationReader:
    """Reads the `jobs` of one workflow, or of one job group, into legs."""

    def __init__(self, work: Compilation, scope: Scope, where: str) -> None:
        self._work = work
        self._scope = scope
        self._where = where
        self._count = 0

    def legs(self, node: Node | None, at: Scalar) -> list[Leg]:
        """The legs of a `jobs` list, in order, each with a name of its own."""
        problems = self._work.problems
        if isinstance(node, Unknown):
            return []
        if not isinstance(node, Sequence) or not node.items:
            where = node if node is not None and not isinstance(node, Scalar) else at
            shape = describe(node) if node is not None and not isinstance(node, Sequence) else "nothing"
            message = f"The {self._where} needs a list of jobs, not {shape}."
            problems.error(where, "missing-key", message, expected="`jobs:` with a list")
            return []
        legs: list[Leg] = []
        for item in flat(node):
            legs.extend(self._item(item))
        _number_doubles(legs)
        return legs

    def _item(self, item: Node) -> list[Leg]:
        problems = self._work.problems
        if isinstance(item, Scalar) and item.kind != "null":
            filled = self._work.fill(item, self._scope.names)
            if not isinstance(filled, Scalar):
                return []
            return self._invocation(filled, None)
        if not isinstance(item, Map) or not item.fields:
            if not isinstance(item, Unknown):
                message = f"A job of a workflow must be a name, or a map with one name, not {describe(item)}."
                problems.error(item, "type", message, expected="`- JOB` or `- JOB: {…}`")
            return []
        pairs = list(item.items())
        if len(pairs) > 1:
            item = self._several_keys(item, pairs)
        key, value = next(item.items())
        filled_key = self._work.fill(key, self._scope.names)
        if isinstance(filled_key, Scalar):
            key = filled_key
        return self._invocation(key, map_of(value, f"The job {key.text}", problems))

    def _several_keys(self, item: Map, pairs: list[tuple[Scalar, Node]]) -> Map:
        """`- job:` with its keys not indented below it: they are taken for its keys, as they are meant."""
        (key, first), *others = pairs
        is_slip = isinstance(first, Scalar) and first.kind == "null"
        is_slip = is_slip and all(other.text in RESERVED_OF_JOBS for other, _ in others)
        message = f"A job of a workflow has one key; here are {len(pairs)}."
        expected = f"the keys of {key.text} indented below it, each other job with a `-`"
        severity = Kind.BAD_HABIT if is_slip else Kind.ERROR
        self._work.problems.add(severity, others[0][0], "invocation-keys", message, expected=expected)
        if not is_slip:
            return item
        inner = item.without({key.text})
        return Map(item.file, item.line, item.column, {key.text: inner}, {key.text: key}, item.templated)

    def _invocation(self, key: Scalar, body: Map | None) -> list[Leg]:
        self._count += 1
        number = self._count
        matrix = body.get("matrix") if body is not None else None
        if matrix is not None and body is not None and key.text in self._scope.groups:
            self._not_for_groups(key, "matrix", body.keys["matrix"])
            body, matrix = body.without({"matrix"}), None
        if matrix is None or body is None:
            leg = self._leg(key, body, number, None)
            return [leg] if leg is not None else []
        legs = []
        rest = body.without({"matrix"})
        found = read_matrix(self._work, matrix, self._scope.names)
        for values in found.combinations if found is not None else ():
            leg = self._leg(key, rest, number, values, named=suffix(values))
            if leg is not None:
                leg.aliases = (found.alias or key.text, *leg.aliases) if found is not None else leg.aliases
                legs.append(leg)
        return legs

    def _leg(
        self,
        key: Scalar,
        body: Map | None,
        number: int,
        matrix: Mapping[str, Node] | None,
        named: str = "",
    ) -> Leg | None:
        work = self._work
        work.spend_job(key)
        needs: list[Need] = []
        if body is not None and matrix is None:
            body, needs = self._outer_matrix_needs(body)
        names: Names = self._scope.names.with_matrix(matrix)
        filled = work.fill(body, names) if body is not None else None
        fields = filled.fields if isinstance(filled, Map) else {}
        given = fields.get("name")
        name = text(given, "`name`", work.problems) if given is not None else None
        leg = Leg(name or key.text + named, key, number, is_named=bool(name))
        if isinstance(filled, Map):
            for at, value in filled.items():
                if at.text not in RESERVED_OF_JOBS:
                    leg.arguments[at.text] = (at, value)
        for parameter, value in (matrix or {}).items():
            leg.arguments.setdefault(parameter, (key, value))
        self._define(leg, fields)
        leg.needs = needs + self._needs(fields.get("requires"))
        leg.filters = fields.get("filters")
        leg.contexts = texts(fields.get("context"), "`context`", work.problems)
        leg.serial_group = self._serial_group(fields.get("serial-group"))
        leg.before = self._bound_steps(fields.get("pre-steps"))
        leg.after = self._bound_steps(fields.get("post-steps"))
        return leg

    def _bound_steps(self, node: Node | None) -> Node | None:
        if not isinstance(node, Sequence):
            return node
        bound = Sequence(node.file, node.line, node.column, node.items, size=node.size)
        bound.scope = self._scope
        return bound

    def _define(self, leg: Leg, fields: Mapping[str, Node]) -> None:
        """Find what the leg runs."""
        problems = self._work.problems
        if leg.key.text in self._scope.groups:
            self._check_group_keys(leg, fields)
            return
        kind = one_of(fields.get("type"), "The type of a job here", ("approval",), problems, None)
        if kind == "approval":
            leg.type = plan.JobType.APPROVAL
            return
        override = text(fields.get("override-with"), "`override-with`", problems)
        element = self._scope.find("job", override) if override else None
        if not isinstance(element, Element):
            element = self._scope.find("job", leg.key.text) or element
        if isinstance(element, Element):
            leg.element = element
        elif element is not ABSENT:
            self._unknown_job(leg.key)

    def _unknown_job(self, key: Scalar) -> None:
        choices = [*self._scope.references("job"), *self._scope.groups]
        self._scope.report_unknown(self._work.problems, "job", key, choices)

    def _check_group_keys(self, leg: Leg, fields: Mapping[str, Node]) -> None:
        for name, node in fields.items():
            if name not in _GROUP_KEYS:
                self._not_for_groups(leg.key, name, leg.arguments.get(name, (node, node))[0])

    def _not_for_groups(self, group: Scalar, name: str, at: Node) -> None:
        message = f"`{name}` cannot be given to the job group {group.text}."
        expected = "name, requires, filters or serial-group"
        self._work.problems.error(at, "job-group", message, expected=expected)

    def _serial_group(self, node: Node | None) -> str | None:
        group = text(node, "`serial-group`", self._work.problems)
        if group is None or node is None:
            return None
        if not _SERIAL_GROUP.match(group) or len(group) > _SERIAL_GROUP_CHARS:
            message = f'"{group[:60]}" cannot be a serial group.'
            expected = f"up to {_SERIAL_GROUP_CHARS} letters, digits, . _ / -"
            self._work.problems.error(node, "serial-group", message, expected=expected)
            return None
        return group

    # requires

    def _needs(self, node: Node | None) -> list[Need]:
        if node is None or isinstance(node, Unknown) or (isinstance(node, Scalar) and node.kind == "null"):
            return []
        items = flat(node) if isinstance(node, Sequence) else [node]
        needs: list[Need] = []
        for item in items:
            if isinstance(item, Scalar) and item.kind != "null":
                needs.append(Need(item.text, ("success",), item))
            elif isinstance(item, Map):
                for key, value in item.items():
                    needs.append(Need(key.text, self._statuses(value), key))
            elif not isinstance(item, Unknown):
                message = f"An entry of `requires` must be the name of a job, not {describe(item)}."
                self._work.problems.error(item, "type", message, expected="`- JOB` or `- JOB: STATUS`")
        return needs

    def _statuses(self, node: Node) -> tuple[str, ...]:
        words = texts(node, "The statuses of `requires`", self._work.problems)
        found: list[str] = []
        for word in words:
            if word == "terminal":
                found.extend(STATUSES)
            elif word in STATUSES:
                found.append(word)
            else:
                message = f'"{word}" is no status that a job can be required to have.'
                expected = "one of " + ", ".join([*STATUSES, "terminal"])
                self._work.problems.error(
                    node, "choice", message, expected=expected, word=word, choices=[*STATUSES, "terminal"]
                )
        return tuple(dict.fromkeys(found)) or ("success",)

    def _outer_matrix_needs(self, body: Map) -> tuple[Map, list[Need]]:
        """`requires: [build-<< matrix.os >>]` outside any matrix: every leg that fits is meant."""
        node = body.get("requires")
        if not isinstance(node, Sequence) or not node.templated:
            return body, []
        mine: list[Node] = []
        needs: list[Need] = []
        for item in node.items:
            if isinstance(item, Scalar) and item.templated and _MATRIX_TEMPLATE.search(item.text):
                parts = _MATRIX_TEMPLATE.split(item.text)
                pattern = re.compile(".+".join(map(re.escape, parts)))
                needs.append(Need(item.text, ("success",), item, pattern))
            else:
                mine.append(item)
        if not needs:
            return body, []
        made = body.without(set())
        made.fields["requires"] = Sequence(node.file, node.line, node.column, mine, node.templated)
        return made, needs


def _number_doubles(legs: list[Leg]) -> None:
    """Legs of one name become NAME-1, NAME-2, ..., and stay reachable by NAME together."""
    counts = Counter(leg.name for leg in legs)
    taken = set(counts)
    numbers: Counter[str] = Counter()
    for leg in legs:
        name = leg.name
        if counts[name] == 1:
            continue
        while True:
            numbers[name] += 1
            numbered = f"{name}-{numbers[name]}"
            if numbered not in taken:
                break
        taken.add(numbered)
        leg.aliases = (name, *leg.aliases)
        leg.name = numbered
