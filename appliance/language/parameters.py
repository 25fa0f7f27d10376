"""Parameters: declarations read, arguments checked and given to those who declared them (spec 1.4)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from appliance.language.compilation import Compilation
from appliance.language.elements import Element, Parameter, Scope
from appliance.language.names import Names
from appliance.language.nodes import (
    Map,
    Node,
    Scalar,
    Sequence,
    Unknown,
    describe,
)
from appliance.language.problems import Kind, Placed
from appliance.language.schema import boolean_of, map_of
from appliance.language.values import node_of

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*\Z")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_KEYS = frozenset(["type", "description", "default", "enum"])
PIPELINE_TYPES = ("string", "boolean", "integer", "enum")
EXECUTOR_TYPES = ("string", "boolean", "integer", "enum", "env_var_name")
ALL_TYPES = ("string", "boolean", "integer", "enum", "executor", "steps", "env_var_name")
RESERVED_OF_JOBS = frozenset(
    ["name", "requires", "context", "type", "filters", "matrix", "pre-steps", "post-steps", "serial-group", "override-with"]
)


class Untyped(str):
    """A parameter's value as typed on a command line: it takes the type that the config declares."""


def declared(work: Compilation, node: Node | None, owner: str, types: tuple[str, ...]) -> dict[str, Parameter]:
    """The parameters declared in a `parameters` map; wrong ones are reported and left out."""
    found: dict[str, Parameter] = {}
    declarations = map_of(node, f"The parameters of {owner}", work.problems)
    for key, body in declarations.items() if declarations is not None else ():
        parameter = _declaration(work, key, body, owner, types)
        if parameter is not None:
            found[key.text] = parameter
    return found


def _declaration(work: Compilation, key: Scalar, body: Node, owner: str, types: tuple[str, ...]) -> Parameter | None:
    problems = work.problems
    if not _NAME.match(key.text):
        message = f'"{key.text}" cannot be the name of a parameter.'
        problems.error(key, "bad-name", message, expected="a letter, then letters, digits, - and _")
    if not isinstance(body, Map):
        message = f"The parameter {key.text} must be a map, not {describe(body)}."
        problems.error(key, "type", message, expected="a map with a `type`")
        return Parameter(key.text, "any", key, Unknown(key.file, key.line, key.column))
    _check_keys(work, key, body)
    kind = body.get("type")
    word = kind.text if isinstance(kind, Scalar) else None
    if word not in types:
        at = kind if kind is not None else key
        message = f"The parameter {key.text} of {owner} " + (
            f"cannot have the type {word}." if word is not None else "has no type."
        )
        expected = "`type: ` and one of " + ", ".join(types)
        problems.error(at, "parameter-type", message, expected=expected, word=word, choices=types)
        word = "any"
    choices = _choices(work, key, body) if word == "enum" else ()
    return Parameter(key.text, word or "any", key, body.get("default"), choices)


def _check_keys(work: Compilation, key: Scalar, body: Map) -> None:
    for name, at in body.keys.items():
        if name not in _KEYS and name in body.fields:
            message = f'"{name}" means nothing in the declaration of the parameter {key.text}.'
            expected = "type, description, default, enum"
            work.problems.error(at, "unknown-key", message, expected=expected, word=name, choices=_KEYS)


def _choices(work: Compilation, key: Scalar, body: Map) -> tuple[str, ...]:
    listed = body.get("enum")
    if not isinstance(listed, Sequence) or not listed.items:
        at = listed if listed is not None else key
        message = f"The enum parameter {key.text} needs a list of its values."
        work.problems.error(at, "enum", message, expected="`enum: [one, two]`")
        return ()
    return tuple(item.text for item in listed.items if isinstance(item, Scalar))


def check_defaults(work: Compilation, parameters: Mapping[str, Parameter], scope: Scope) -> None:
    """Report defaults that their own declaration refuses."""
    for parameter in parameters.values():
        if parameter.default is not None and not _is_null(parameter.default):
            _default(work, parameter, scope)


def _default(work: Compilation, parameter: Parameter, scope: Scope) -> Node:
    assert parameter.default is not None
    default = work.fill(parameter.default, scope.names)
    return checked(work, parameter, default, f"The default of the parameter {parameter.name}", scope)


def _is_null(node: Node) -> bool:
    return isinstance(node, Scalar) and node.kind == "null"


def checked(
    work: Compilation, parameter: Parameter, node: Node, what: str, scope: Scope, severity: Kind = Kind.ERROR
) -> Node:
    """`node` as an argument: of the right type, bound to the scope of who gave it. Unknown when it is wrong."""
    if isinstance(node, Unknown):
        return node
    expected = _mismatch(parameter, node)
    if expected is not None:
        message = f"{what} must be {expected}, not {describe(node)}."
        if parameter.type == "string" and isinstance(node, Scalar):
            expected = f'quotes: "{node.text}"'
        word = node.text if isinstance(node, Scalar) else None
        work.problems.add(severity, node, "argument-type", message, expected=expected, word=word, choices=parameter.choices)
        return Unknown(node.file, node.line, node.column)
    if parameter.type == "boolean" and isinstance(node, Scalar):
        return node.at("true" if boolean_of(node) else "false", plain=True)
    if parameter.type in ("executor", "steps") and node.scope is None:
        return _bound(node, scope)
    return node


def _mismatch(parameter: Parameter, node: Node) -> str | None:
    """What was expected instead, or None when the node will do."""
    kind = parameter.type
    if kind == "any":
        return None
    if kind == "steps":
        return None if isinstance(node, Sequence) else "a list of steps"
    if kind == "executor":
        fits = isinstance(node, Scalar) and node.kind == "str"
        return None if fits or (isinstance(node, Map) and "name" in node.fields) else "the name of an executor"
    if not isinstance(node, Scalar):
        return {"boolean": "a boolean", "integer": "an integer"}.get(kind, "a text")
    if kind == "boolean":
        return None if boolean_of(node) is not None else "a boolean"  # also a quoted one, as orbs have it
    if kind == "integer":
        return None if node.kind == "int" else "an integer"
    if kind == "enum":
        listed = ", ".join(parameter.choices)
        return None if node.text in parameter.choices or not parameter.choices else f"one of {listed}"
    if kind == "env_var_name":
        return None if _VARIABLE.match(node.text) else "the name of an environment variable"
    return "a text" if node.kind in ("bool", "int", "float") else None


def _bound(node: Node, scope: Scope) -> Node:
    """A copy that remembers whose names are in it."""
    copy: Node
    if isinstance(node, Sequence):
        copy = Sequence(node.file, node.line, node.column, node.items, size=node.size)
    elif isinstance(node, Map):
        copy = Map(node.file, node.line, node.column, node.fields, node.keys, size=node.size)
    elif isinstance(node, Scalar):
        copy = node.at(node.text, node.plain)
    else:
        return node
    copy.scope = scope
    return copy


def bind(
    work: Compilation,
    element: Element,
    arguments: Mapping[str, tuple[Scalar, Node]],
    at: Placed,
    caller: Scope,
    *,
    is_reached: bool = True,
) -> dict[str, Node]:
    """Arguments for an element's parameters. Each is a value; Unknown where a problem was reported.

    Where nothing reaches the call (`is_reached`) problems are warnings: CircleCI never looks there.
    """
    severity = Kind.ERROR if is_reached else Kind.WARNING
    bound: dict[str, Node] = {}
    for name, parameter in element.parameters.items():
        given = arguments.get(name)
        if given is not None and not (_is_null(given[1]) and parameter.default is not None):
            what = f"The argument {name} of {element.title}"
            bound[name] = checked(work, parameter, given[1], what, caller, severity)
        elif parameter.default is not None:
            bound[name] = _null_or_default(work, parameter, element.scope)
        else:
            bound[name] = Unknown(at.file, at.line, at.column)
            message = f"The {element.title} needs the argument {name}."
            expected = f"{name}: ({parameter.type})"
            work.problems.add(severity, at, "missing-argument", message, expected=expected)
    for name, (key, _) in arguments.items():
        if name not in element.parameters:
            message = f"Unexpected argument(s): {name}. The {element.title} declares no such parameter."
            listed = ", ".join(element.parameters) or "no arguments"
            work.problems.add(
                severity, key, "unexpected-argument", message, expected=listed, word=name, choices=element.parameters
            )
    return bound


def _null_or_default(work: Compilation, parameter: Parameter, scope: Scope) -> Node:
    assert parameter.default is not None
    if _is_null(parameter.default):
        return parameter.default
    return _default(work, parameter, scope)


def placeholders(parameters: Mapping[str, Parameter]) -> dict[str, Node]:
    """Unknown for every parameter: to check an element that nobody has called yet."""
    return {name: Unknown(p.at.file, p.at.line, p.at.column) for name, p in parameters.items()}


def pipeline_parameters(work: Compilation, node: Node | None, given: Mapping[str, object], root: Placed) -> dict[str, Node]:
    """The pipeline parameters of a config with the values a trigger gave them."""
    found: dict[str, Node] = {}
    parameters = declared(work, node, "the pipeline", PIPELINE_TYPES)
    for name, parameter in parameters.items():
        value: Node | None = None
        if name in given:
            value = _given(work, parameter, given[name])
        elif parameter.default is not None:
            value = _pipeline_default(work, parameter)
        else:
            message = f"The pipeline parameter {name} has no default, and the trigger gave it no value."
            work.problems.error(parameter.at, "no-default", message, expected="`default:`")
        found[name] = value or Unknown(parameter.at.file, parameter.at.line, parameter.at.column)
    _check_given(work, parameters, given, root)
    return found


def check_arguments(
    work: Compilation, parameters: Mapping[str, Parameter], given: Mapping[str, object], root: Placed
) -> None:
    """Report what a trigger may not give to a config that declares `parameters`, and nothing else."""
    for name, value in given.items():
        if name in parameters:
            _given(work, parameters[name], value)
    _check_given(work, parameters, given, root)


def _check_given(work: Compilation, parameters: Mapping[str, Parameter], given: Mapping[str, object], root: Placed) -> None:
    for name in given:
        if name not in parameters:
            message = f"Unexpected argument(s): {name}. The config declares no such pipeline parameter."
            expected = ", ".join(parameters) or "no parameters"
            work.problems.error(root, "unexpected-argument", message, expected=expected, word=name, choices=parameters)
    _check_amount(work, given, root)


def _pipeline_default(work: Compilation, parameter: Parameter) -> Node:
    assert parameter.default is not None
    default = work.fill(parameter.default, Names(work.values))
    if _is_null(default):
        return default
    what = f"The default of the pipeline parameter {parameter.name}"
    return _checked_without_scope(work, parameter, default, what)


def _checked_without_scope(work: Compilation, parameter: Parameter, node: Node, what: str) -> Node:
    return checked(work, parameter, node, what, Scope("", "", Names(work.values)))


def _given(work: Compilation, parameter: Parameter, value: object) -> Node:
    """A trigger's value; wrong ones are reported where the parameter is declared."""
    at = parameter.at
    if isinstance(value, Untyped):
        plain = parameter.type not in ("string", "enum")
        node: Node = Scalar(at.file, at.line, at.column, str(value), plain)
    elif isinstance(value, str | bool | int | float) or value is None:
        node = node_of(value, at)
    else:
        message = f"The pipeline parameter {parameter.name} was given a {type(value).__name__}."
        work.problems.error(at, "argument-type", message, expected=parameter.type)
        return Unknown(at.file, at.line, at.column)
    if value is None and parameter.default is not None:
        return _pipeline_default(work, parameter)
    what = f"The value given to the pipeline parameter {parameter.name}"
    return _checked_without_scope(work, parameter, node, what)


def _check_amount(work: Compilation, given: Mapping[str, object], root: Placed) -> None:
    limits = work.limits
    if len(given) > limits.parameters:
        message = f"More than {limits.parameters} pipeline parameters were given."
        work.problems.error(root, "too-many-parameters", message)
    for name, value in given.items():
        if isinstance(value, str) and len(value) > limits.parameter_chars:
            message = f"The value of the pipeline parameter {name} is longer than {limits.parameter_chars} characters."
            work.problems.error(root, "too-large", message)


def reserved_names(work: Compilation, element: Element) -> None:
    """A job cannot be given an argument whose name has a meaning of its own in an invocation."""
    for name, parameter in element.parameters.items():
        if name in RESERVED_OF_JOBS:
            message = f"The job parameter {name} can never be passed: `{name}` has a meaning of its own there."
            work.problems.add(Kind.BAD_HABIT, parameter.at, "reserved-name", message)
