"""Matrices: lists of values multiplied, excluded combinations left out, and the names that values make (spec 1.10.1)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

from appliance.language.compilation import Compilation
from appliance.language.names import Names
from appliance.language.nodes import Map, Node, Scalar, Sequence, Unknown, describe
from appliance.language.schema import known_keys, map_of, text


@dataclass
class Matrix:
    """`alias` is what `requires` calls all legs by; None: the name of the job."""

    combinations: list[dict[str, Node]]
    alias: str | None


def read_matrix(work: Compilation, node: Node, names: Names) -> Matrix | None:
    """The combinations of a `matrix`; None where a problem was noted."""
    found = map_of(work.fill(node, names), "`matrix`", work.problems)
    if found is None:
        return None
    known_keys(found, "`matrix`", ("parameters", "exclude", "alias"), work.problems)
    values = _parameters(work, found)
    if values is None:
        return None
    alias = text(found.get("alias"), "`alias`", work.problems)
    excluded = _excluded(work, found.get("exclude"), values)
    legs = [dict(zip(values, combination, strict=True)) for combination in itertools.product(*values.values())]
    kept = [leg for leg in legs if not any(_fits(leg, rule) for rule in excluded)]
    if not kept and all(values.values()):
        message = "The matrix excludes every combination; the job never runs."
        work.problems.warning(found, "matrix", message)
    return Matrix(kept, alias)


def _parameters(work: Compilation, found: Map) -> dict[str, list[Node]] | None:
    parameters = map_of(found.get("parameters"), "`parameters` of a matrix", work.problems)
    if parameters is None or not parameters.fields:
        message = "A matrix needs `parameters`: for each a list of values."
        work.problems.error(found, "matrix", message, expected="parameters: { NAME: [VALUE, …] }")
        return None
    values = {key.text: _values(work, key, listed) for key, listed in parameters.items()}
    count = math.prod(len(listed) for listed in values.values())
    if count > work.limits.matrix:
        message = f"The matrix has {count} combinations; {work.limits.matrix} are the limit."
        work.problems.error(parameters, "matrix", message, expected="fewer values")
        return None
    return values


def _values(work: Compilation, key: Scalar, listed: Node) -> list[Node]:
    if isinstance(listed, Sequence):
        return [item for item in listed.items if not isinstance(item, Unknown)]
    if not isinstance(listed, Unknown):
        message = f"The matrix parameter {key.text} needs a list of values, not {describe(listed)}."
        work.problems.error(listed, "matrix", message, expected="a list")
    return []


def _excluded(work: Compilation, node: Node | None, values: Mapping[str, list[Node]]) -> list[Map]:
    """The rules of `exclude`: maps of parameters and values."""
    if node is None or isinstance(node, Unknown):
        return []
    rules = []
    for item in node.items if isinstance(node, Sequence) else [node]:
        if isinstance(item, Map):
            _check_rule(work, item, values)
            rules.append(item)
        elif not isinstance(item, Unknown):
            message = f"An entry of `exclude` must be a map, not {describe(item)}."
            work.problems.error(item, "matrix", message, expected="NAME: VALUE pairs")
    return rules


def _check_rule(work: Compilation, rule: Map, values: Mapping[str, list[Node]]) -> None:
    for key, _ in rule.items():
        if key.text not in values:
            message = f"`exclude` names {key.text}, which is no parameter of the matrix."
            work.problems.error(key, "matrix", message, word=key.text, choices=values)


def _fits(leg: Mapping[str, Node], rule: Map) -> bool:
    """Does a rule name this combination? A partial rule fits all that agree in what it names."""
    if not rule.fields:
        return False
    return all(name in leg and label(leg[name]) == label(value) for name, value in rule.fields.items())


def label(node: Node) -> str:
    """A matrix value as part of a name: an executor map is its name and then its arguments."""
    if isinstance(node, Scalar):
        return node.text
    if isinstance(node, Sequence):
        return "-".join(map(label, node.items))
    if isinstance(node, Map):
        names = sorted(node.fields, key=lambda name: (name != "name", name))
        return "-".join(label(node.fields[name]) for name in names)
    return ""


def suffix(values: Mapping[str, Node]) -> str:
    """What a combination adds to the name of its job: the values, by the names of their parameters."""
    return "".join(f"-{label(values[name])}" for name in sorted(values))
