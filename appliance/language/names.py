"""Names in templates and expressions: what is in scope where, and what a name stands for (spec 1.3).

`pipeline.*` is in scope everywhere, `pipeline.parameters.*` in the config that declares them but in no orb,
`parameters.*` inside the element that declares them, `matrix.*` inside the invocation that has the matrix.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from appliance.language import expression
from appliance.language.expression import UNDEFINED
from appliance.language.nodes import TRUE_WORDS, Map, Node, Scalar, Sequence, Unknown, integer
from appliance.language.problems import Placed, Problems
from appliance.language.values import KNOWN, PARAMETER_PREFIX, is_known


@dataclass(frozen=True)
class Names:
    """What names mean at a place. None for a group: such names are not in scope here.

    A parameter declared but not given, while an element is checked on its own, is an Unknown in `parameters`.
    """

    values: Mapping[str, object]
    pipeline: Mapping[str, Node] | None = None
    parameters: Mapping[str, Node] | None = None
    matrix: Mapping[str, Node] | None = None
    is_orb: bool = False

    def with_parameters(self, parameters: Mapping[str, Node]) -> Names:
        return Names(self.values, self.pipeline, parameters, None, self.is_orb)

    def with_matrix(self, matrix: Mapping[str, Node] | None) -> Names:
        return Names(self.values, self.pipeline, None, matrix, self.is_orb)


def report_unknown(problems: Problems, at: Placed, name: str, names: Names) -> None:
    """Say why `name` means nothing here."""
    group, _, rest = name.partition(".")
    if name.startswith(PARAMETER_PREFIX):
        rest = name.removeprefix(PARAMETER_PREFIX)
        if names.is_orb:
            text = f"An orb cannot see the pipeline parameters of the config that uses it: {name}."
            problems.error(at, "out-of-scope", text, expected="a parameter of the element, passed by its caller")
            return
        text = f"There is no pipeline parameter {rest}."
        choices = list(names.pipeline or ())
        problems.error(at, "unknown-parameter", text, expected=_one_of(choices), word=rest, choices=choices)
    elif group == "parameters":
        if names.parameters is None:
            text = f"Arguments referenced without declared parameters: {name}. No parameters are in scope here."
            expected = "pipeline.parameters.NAME" if not names.is_orb else None
            problems.error(at, "out-of-scope", text, expected=expected)
            return
        text = f"Arguments referenced without declared parameters: {name}."
        choices = list(names.parameters)
        problems.error(at, "unknown-parameter", text, expected=_one_of(choices), word=rest, choices=choices)
    elif group == "matrix":
        choices = list(names.matrix or ())
        text = f"There is no matrix parameter {rest} here."
        expected = _one_of(choices) or "a job invocation with `matrix`"
        problems.error(at, "unknown-parameter", text, expected=expected, word=rest, choices=choices)
    else:
        text = f"There is no pipeline value {name}."
        problems.error(at, "unknown-value", text, word=name, choices=[*KNOWN, *names.values])


def _one_of(choices: list[str]) -> str | None:
    if not choices:
        return None
    shown = ", ".join(sorted(choices)[:12])
    return ("one of " if len(choices) > 1 else "") + shown + (", …" if len(choices) > 12 else "")


def lookup(name: str, names: Names) -> Node | None:
    """What a name stands for; None when it means nothing here. A null pipeline value has no place (file "")."""
    group, _, rest = name.partition(".")
    if group == "parameters":
        return _member(names.parameters, rest)
    if group == "matrix":
        return _member(names.matrix, rest)
    if group != "pipeline":
        return None
    if rest.startswith("parameters."):
        return _member(names.pipeline, name.removeprefix(PARAMETER_PREFIX))
    value = names.values.get(name)
    if value is None and not is_known(name, names.values):
        return None
    return _nowhere(value)


def _nowhere(value: object) -> Scalar:
    plain = value is None or isinstance(value, bool | int | float)
    text = "" if value is None else str(value)
    if isinstance(value, bool):
        text = "true" if value else "false"
    return Scalar("", 0, 0, text, plain)


def _member(group: Mapping[str, Node] | None, name: str) -> Node | None:
    """`name`, or a field of a map: `parameters.executor.tag`."""
    if group is None:
        return None
    found = group.get(name)
    if found is None and "." in name:
        first, _, rest = name.partition(".")
        outer = group.get(first)
        if isinstance(outer, Unknown):
            return outer
        if isinstance(outer, Map):
            return _member(outer.fields, rest)
    return found


def expression_value(node: Node) -> expression.Value:
    """A node as a value of the expression language: floats are cut to integers, null is undefined."""
    if not isinstance(node, Scalar):
        return UNDEFINED
    kind = node.kind
    if kind == "bool":
        return node.text in TRUE_WORDS
    if kind == "int":
        return integer(node.text)
    if kind == "float":
        number = float(node.text.replace("_", "")) if "n" not in node.text.lower() else 0.0
        return int(number) if abs(number) < 2**63 else 0
    return UNDEFINED if kind == "null" else node.text


def is_true(node: Node) -> bool:
    """The truth of logic statements and sections: "", 0, false, null, NaN and empty collections are false."""
    if isinstance(node, Sequence):
        return bool(node.items)
    if isinstance(node, Map):
        return bool(node.fields)
    if isinstance(node, Unknown):
        return True
    kind = node.kind
    if kind == "bool":
        return node.text in TRUE_WORDS
    if kind in ("int", "float"):
        return node.text.strip("+-0._xX") != "" and node.text.lower() != ".nan"
    return node.text != "" if kind == "str" else False


def expression_result(text: str, names: Names, most_chars: int) -> expression.Value | None:
    """What an expression comes to; None when it uses a name whose value could not be told (that was reported).

    Raises ExpressionError when it cannot be read or evaluated.
    """
    is_unknown = False

    def variable(name: str) -> expression.Value:
        nonlocal is_unknown
        found = lookup(name, names)
        if found is None:
            raise KeyError(name)
        if isinstance(found, Unknown):
            is_unknown = True
            return expression.UNDEFINED
        return expression_value(found)

    try:
        value = expression.evaluate(expression.parse(text, most_chars), variable)
    except expression.ExpressionError:
        if is_unknown:
            return None
        raise
    return None if is_unknown else value
