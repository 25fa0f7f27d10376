"""What the text under the cursor means: an element, a workflow's job, an orb, a parameter.

A name means what its place says: `build` is a job under `workflows`, a command under `steps`. A place is known by the
way to it through the tree, after inline orbs, which are scopes of their own, have been stepped into.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from appliance.language.elements import Element, ElementKind, Parameter, Scope
from appliance.language.nodes import Map, Node, Scalar, Sequence
from appliance.language.values import PARAMETER_PREFIX
from appliance.lsp.places import Place, Template, template_at, token_at
from appliance.lsp.reading import Reading
from appliance.lsp.spots import Path, Spot, is_on, spots_before

_STANZAS: dict[str, ElementKind] = {"jobs": "job", "commands": "command", "executors": "executor"}
_LISTS_OF_STEPS = ("steps", "pre-steps", "post-steps")
_LISTS_OF_OTHER_THINGS = (
    *("jobs", "requires", "only", "ignore", "context", "exclude", "docker", "command", "entrypoint"),
    *("enum", "paths", "keys", "fingerprints", "equal", "and", "or"),
)


@dataclass(frozen=True)
class Invocation:
    """A job as a workflow calls it; `key` is what others name in `requires`."""

    key: Scalar
    body: Map | None


@dataclass(frozen=True)
class OrbUse:
    """An entry under `orbs`. `scope` None: nobody has it."""

    key: Scalar
    value: Node
    scope: Scope | None


@dataclass(frozen=True)
class ParameterUse:
    """A declared parameter. `body` is its declaration, `owner` its element, None for the pipeline's."""

    name: str
    key: Scalar
    body: Map | None
    owner: Element | None


@dataclass(frozen=True)
class Around:
    """What a place in the tree stands in: a scope, the element or the invocation, and the rest of the way."""

    scope: Scope
    path: Path
    root: Node | None
    element: Element | None
    invocation: Invocation | None


Target = Element | Invocation | OrbUse | ParameterUse


@dataclass(frozen=True)
class Use:
    """A name in the config, the stretch it takes, and what it stands for."""

    place: Place
    target: Target


@dataclass(frozen=True)
class TemplateUse:
    """A template in the config and where it stands."""

    place: Place
    template: Template
    around: Around


def template_use(reading: Reading, line: int, column: int) -> TemplateUse | None:
    """The template under the cursor, where templates mean something."""
    lines = reading.lines(reading.file)
    found = template_at(lines[line - 1], column) if reading.work.templates and 0 < line <= len(lines) else None
    if found is None:
        return None
    place = Place(reading.file, line, found.column, found.end)
    arounds = [around(reading, spot) for spot in spots_before(reading.tree, line, found.column + 2)]
    best = max(arounds, key=lambda one: one.element is not None or one.invocation is not None, default=None)
    return TemplateUse(place, found, best) if best is not None else None


def use_at(reading: Reading, line: int, column: int) -> Use | None:
    """The name under the cursor and what it stands for; inside a template the parameter that is named."""
    template = template_use(reading, line, column)
    if template is not None:
        target = parameter_of(reading, template.template.word.lstrip("/"), template.around)
        return Use(template.place, target) if target is not None else None
    lines = reading.lines(reading.file)
    for spot in spots_before(reading.tree, line, column):
        if not is_on(spot.scalar, lines, line, column):
            continue
        found = _target(reading, spot)
        if found is not None:
            at = spot.scalar
            return Use(token_at(lines, at.file, at.line, at.column), found)
    return None


# Where the cursor is


def around(reading: Reading, spot: Spot) -> Around:
    """The scope and element that a spot stands in."""
    scope, path, root = reading.scope, spot.path, reading.tree
    while len(path) > 2 and path[0] == "orbs" and isinstance(path[1], str):
        inner, inline = scope.orbs.get(path[1]), _below(root, path[:2])
        if inner is None or not isinstance(inline, Map):
            break
        scope, path, root = inner, path[2:], inline
    element = None
    if len(path) > 1 and path[0] in _STANZAS:
        element = scope.elements[_STANZAS[str(path[0])]].get(str(path[1]))
    return Around(scope, path, root, element, _invocation_around(root, path))


def _below(root: Node | None, path: Path) -> Node | None:
    node = root
    for step in path:
        if isinstance(node, Map) and isinstance(step, str):
            node = node.get(step)
        elif isinstance(node, Sequence) and isinstance(step, int) and step < len(node.items):
            node = node.items[step]
        else:
            return None
    return node


def _is_in_invocations(path: Path) -> bool:
    return len(path) > 3 and path[0] in ("workflows", "job-groups") and path[2] == "jobs" and isinstance(path[3], int)


def _invocation_around(root: Node | None, path: Path) -> Invocation | None:
    return _invocation(_below(root, path[:4])) if _is_in_invocations(path) else None


def _invocation(item: Node | None) -> Invocation | None:
    if isinstance(item, Scalar):
        return Invocation(item, None)
    for key, body in item.items() if isinstance(item, Map) else ():
        return Invocation(key, body if isinstance(body, Map) else None)
    return None


def _invocations(root: Node | None, path: Path) -> Iterator[Invocation]:
    """All invocations of the workflow that a way leads through."""
    listed = _below(root, path[:3])
    for item in listed.items if isinstance(listed, Sequence) else ():
        found = _invocation(item)
        if found is not None:
            yield found


# What stands there


def _target(reading: Reading, spot: Spot) -> Target | None:
    here = around(reading, spot)
    path, text = here.path, spot.scalar.text
    if len(path) == 2 and path[0] == "orbs" and isinstance(here.root, Map):
        return _orb(here, str(path[1]))
    if len(path) == 2 and path[0] == "parameters" and spot.is_key:
        return parameter_of(reading, PARAMETER_PREFIX + text, here)
    if len(path) == 2 and spot.is_key and here.element is not None:
        return here.element
    if _is_in_invocations(path):
        found = _in_invocation(reading, here, spot)
        if found is not None:
            return found
    if not spot.is_key and (path[-1:] == ("executor",) or path[-2:] == ("executor", "name")):
        return _element(here.scope, "executor", text)
    if len(path) == 4 and path[2] == "parameters" and spot.is_key and here.element is not None:
        return _declared(reading, here.element, text)
    return _in_steps(reading, here, spot)


def _orb(here: Around, alias: str) -> OrbUse | None:
    stanza = _below(here.root, ("orbs",))
    if not isinstance(stanza, Map) or alias not in stanza.fields:
        return None
    return OrbUse(stanza.keys[alias], stanza.fields[alias], here.scope.orbs.get(alias))


def _in_invocation(reading: Reading, here: Around, spot: Spot) -> Target | None:
    path, text = here.path, spot.scalar.text
    if len(path) == 4 or (len(path) == 5 and spot.is_key):
        found = _element(here.scope, "job", text)
        group = here.scope.groups.get(text)
        return found or (Invocation(*group) if group is not None else None)
    if len(path) > 6 and path[5] == "requires":
        return _required(here, text)
    if spot.is_key and (len(path) == 6 or path[5:-1] == ("matrix", "parameters")):
        called = _element(here.scope, "job", str(path[4]))
        return _declared(reading, called, text) if called is not None else None
    return None


def _required(here: Around, text: str) -> Target | None:
    """The invocation that goes by a name: its own `name`, its matrix's alias, or the job's."""
    for one in _invocations(here.root, here.path):
        own = one.body.get("name") if one.body is not None else None
        matrix = one.body.get("matrix") if one.body is not None else None
        alias = matrix.get("alias") if isinstance(matrix, Map) else None
        for name in (own or one.key, alias):
            if isinstance(name, Scalar) and name.text == text:
                return Invocation(name, one.body)
    return _element(here.scope, "job", text)


def _in_steps(reading: Reading, here: Around, spot: Spot) -> Target | None:
    path, text = here.path, spot.scalar.text
    if _is_step(path, spot.is_key):
        return _element(here.scope, "command", text)
    if spot.is_key and len(path) > 3 and isinstance(path[-3], int) and _is_step(path[:-1], True):
        called = _element(here.scope, "command", str(path[-2]))
        return _declared(reading, called, text) if called is not None else None
    if spot.is_key and len(path) > 1 and path[-2] == "executor":
        called = _executor_of(here)
        return _declared(reading, called, text) if called is not None else None
    return None


def _is_step(path: Path, is_key: bool) -> bool:
    """Whether a way ends at a step. A list that is none of the known ones may be an argument: a list of steps."""
    place = path[:-1] if is_key else path
    if len(place) < 2 or not isinstance(place[-1], int):
        return False
    return place[-2] in _LISTS_OF_STEPS or place[-2] not in _LISTS_OF_OTHER_THINGS


def _executor_of(here: Around) -> Element | None:
    name = _below(here.root, (*here.path[:-1], "name"))
    return _element(here.scope, "executor", name.text) if isinstance(name, Scalar) else None


def _element(scope: Scope, kind: ElementKind, reference: str) -> Element | None:
    found = scope.find(kind, reference)
    return found if isinstance(found, Element) else None


# Parameters


def parameter_of(reading: Reading, name: str, here: Around) -> ParameterUse | None:
    """The parameter that a name in a template means: the pipeline's, the element's or the matrix's."""
    if name.startswith(PARAMETER_PREFIX):
        rest = name.removeprefix(PARAMETER_PREFIX)
        stanza = reading.tree.get("parameters")
        if not isinstance(stanza, Map) or rest not in stanza.fields:
            return None
        return ParameterUse(rest, stanza.keys[rest], _map(stanza.fields[rest]), None)
    group, _, rest = name.partition(".")
    if group == "parameters" and here.element is not None:
        return _declared(reading, here.element, rest) or _declared(reading, here.element, rest.partition(".")[0])
    if group == "matrix" and here.invocation is not None:
        return _of_matrix(here.invocation, rest)
    return None


def _declared(reading: Reading, element: Element, name: str) -> ParameterUse | None:
    parameter: Parameter | None = element.parameters.get(name)
    if parameter is None:
        return None
    body = reading.body_of(element)
    declarations = body.get("parameters") if body is not None else None
    declaration = declarations.get(name) if isinstance(declarations, Map) else None
    return ParameterUse(name, parameter.at, _map(declaration), element)


def _of_matrix(invocation: Invocation, name: str) -> ParameterUse | None:
    listed = matrix_of(invocation)
    if listed is None or name not in listed.fields:
        return None
    return ParameterUse(name, listed.keys[name], None, None)


def matrix_of(invocation: Invocation) -> Map | None:
    """The `matrix.parameters` of an invocation."""
    matrix = invocation.body.get("matrix") if invocation.body is not None else None
    return _map(matrix.get("parameters")) if isinstance(matrix, Map) else None


def _map(node: Node | None) -> Map | None:
    return node if isinstance(node, Map) else None
