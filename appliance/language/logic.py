"""Logic statements: `and`, `or`, `not`, `equal`, `matches` and plain values (spec 1.3).

What a condition is: a statement (a map), a value, or, for a whole workflow only, a bare expression in a string. The
answer is True, False or None: not known yet, because an element is being checked without its arguments.
"""

from __future__ import annotations

from collections.abc import Callable

from appliance.language import expression
from appliance.language.compilation import Compilation
from appliance.language.expression import ExpressionError
from appliance.language.names import Names, expression_result, is_true
from appliance.language.nodes import Map, Node, Scalar, Sequence, Unknown, describe, has_unknown, value_of
from appliance.language.patterns import PatternError, matches_fully
from appliance.language.problems import Frame, Kind, closest
from appliance.language.template import whole_block
from appliance.language.values import text_of

OPERATORS = ("and", "or", "not", "equal", "matches")


def holds(work: Compilation, node: Node | None, depth: int = 0) -> bool | None:
    """Is a condition (with its templates filled in) true? Wrong statements are reported and not known."""
    if node is None:
        return False
    if isinstance(node, Unknown):
        return None
    if depth > work.limits.logic_depth:
        text = f"Logic statements are nested more than {work.limits.logic_depth} deep."
        work.problems.error(node, "too-deep", text)
        return None
    if isinstance(node, Map):
        return _statement(work, node, depth)
    if isinstance(node, Sequence) and node.scope is None:  # with a scope it is a parameter of type steps
        text = "A condition cannot be a list."
        work.problems.error(node, "logic", text, expected="and:, or:, not:, equal:, matches: or a value")
        return None
    return is_true(node)


def _statement(work: Compilation, node: Map, depth: int) -> bool | None:
    if not node.fields:
        return False
    if len(node.fields) > 1:
        text = "A logic statement has exactly one operator; combine several with `and:` or `or:`."
        work.problems.error(list(node.items())[1][0], "logic", text, expected="one key")
        return None
    ((key, value),) = node.items()
    rule = _RULES.get(key.text)
    return rule(work, key, value, depth) if rule is not None else _no_operator(work, key)


def _no_operator(work: Compilation, key: Scalar) -> bool | None:
    """A map without operator is a value that is not empty: true, to CircleCI. A misspelt operator is an error."""
    text = f'"{key.text}" is no logic operator'
    expected = "one of " + ", ".join(OPERATORS)
    if closest(key.text, OPERATORS) is not None:
        work.problems.error(key, "logic", f"{text}.", expected=expected, word=key.text, choices=OPERATORS)
        return None
    work.problems.add(Kind.BAD_HABIT, key, "logic", f"{text}; such a map is always true.", expected=expected)
    return True


def _arguments(work: Compilation, key: Scalar, value: Node) -> list[Node] | None:
    if isinstance(value, Unknown):
        return None
    if isinstance(value, Sequence) and value.items:
        return value.items
    shape = "an empty list" if isinstance(value, Sequence) else describe(value)
    text = f"`{key.text}:` needs a list with at least one item, not {shape}."
    work.problems.error(value if isinstance(value, Sequence) else key, "logic", text, expected="a list")
    return None


def _and(work: Compilation, key: Scalar, value: Node, depth: int) -> bool | None:
    arguments = _arguments(work, key, value)
    if arguments is None:
        return None
    found = [holds(work, item, depth + 1) for item in arguments]
    return False if False in found else None if None in found else True


def _or(work: Compilation, key: Scalar, value: Node, depth: int) -> bool | None:
    arguments = _arguments(work, key, value)
    if arguments is None:
        return None
    found = [holds(work, item, depth + 1) for item in arguments]
    return True if True in found else None if None in found else False


def _not(work: Compilation, key: Scalar, value: Node, depth: int) -> bool | None:
    found = holds(work, value, depth + 1)
    return None if found is None else not found


def _equal(work: Compilation, key: Scalar, value: Node, depth: int) -> bool | None:
    """Deep and type-sensitive: 1, "1" and true are three things. Null and "" are one: "no branch" is either."""
    arguments = _arguments(work, key, value)
    if arguments is None or any(map(has_unknown, arguments)):
        return None
    first = _comparable(value_of(arguments[0]))
    return all(_comparable(value_of(item)) == first for item in arguments[1:])


def _comparable(value: object) -> object:
    if isinstance(value, bool):
        return ("bool", value)
    if value is None:
        return ""
    if isinstance(value, list):
        return [_comparable(item) for item in value]
    if isinstance(value, dict):
        return {key: _comparable(item) for key, item in value.items()}
    return value


def _matches(work: Compilation, key: Scalar, value: Node, depth: int) -> bool | None:
    if isinstance(value, Unknown):
        return None
    pattern = value.get("pattern") if isinstance(value, Map) else None
    subject = value.get("value") if isinstance(value, Map) else None
    if pattern is None or subject is None:
        text = "`matches:` needs a `pattern` and a `value`."
        work.problems.error(key, "logic", text, expected="matches: { pattern: …, value: … }")
        return None
    if isinstance(pattern, Unknown) or isinstance(subject, Unknown):
        return None
    if not isinstance(pattern, Scalar) or not isinstance(subject, Scalar):
        text = "The pattern and the value of `matches:` must be texts."
        work.problems.error(key, "logic", text, expected="texts")
        return None
    try:
        return matches_fully(pattern.text, text_of(subject), work.limits)
    except PatternError as error:
        text = f"This pattern cannot be used: {error}."
        work.problems.error(pattern, "pattern", text, expected="a regular expression")
        return None


_RULES: dict[str, Callable[[Compilation, Scalar, Node, int], bool | None]] = {
    "and": _and,
    "or": _or,
    "not": _not,
    "equal": _equal,
    "matches": _matches,
}


def workflow_holds(work: Compilation, node: Node, names: Names) -> bool | None:
    """The `when` or `unless` of a workflow: a logic statement, a value, or a bare expression."""
    if isinstance(node, Scalar) and node.kind == "str" and node.text.strip():
        if not node.templated:
            return expression_holds(work, node, names)
        if whole_block(node.text) is None:
            filled = work.fill(node, names)
            return expression_holds(work, filled, names) if isinstance(filled, Scalar) else None
    if isinstance(node, Map) and "condition" in node.fields and len(node.fields) == 1:
        text = "The condition of a workflow stands right below `when:`, without `condition:`."
        work.problems.error(node.keys["condition"], "logic", text, expected="a logic statement")
        return None
    return holds(work, work.fill(node, names))


def expression_holds(work: Compilation, node: Scalar, names: Names) -> bool | None:
    """The truth of a bare expression; reported, and not known, when it cannot be read."""
    try:
        value = expression_result(node.text, names, work.limits.expression_chars)
    except ExpressionError as error:
        report_expression(work, node, error, names)
        return None
    return None if value is None else expression.is_truthy(value)


def report_expression(work: Compilation, node: Scalar, error: ExpressionError, names: Names) -> None:
    """Point into the expression, at what is wrong."""
    at: Frame | Scalar = node
    if "\n" not in node.text and error.lexeme:
        start = work.locate(node, node.text)
        if isinstance(start, Frame):
            at = Frame("", start.file, start.line, start.column + error.position)
    choices = [f"pipeline.parameters.{name}" for name in names.pipeline or ()] + sorted(names.values)
    text = f"This expression is not valid: {error.message}"
    expected = 'an expression, as in pipeline.git.branch == "main"'
    work.problems.error(at, "expression", text, expected=expected, word=error.lexeme or None, choices=choices)
