"""What the editor shows over a name or a template, in short Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import yaml

from appliance.language.elements import Element
from appliance.language.names import Names
from appliance.language.nodes import Map, Node, Scalar, Sequence, Unknown, value_of
from appliance.language.options import Limits
from appliance.language.parameters import placeholders
from appliance.language.problems import Exhausted, Problems
from appliance.language.template import Substitution
from appliance.language.values import PARAMETER_PREFIX, is_known
from appliance.lsp.places import Place
from appliance.lsp.reading import Reading
from appliance.lsp.uses import (
    Around,
    Invocation,
    OrbUse,
    ParameterUse,
    TemplateUse,
    matrix_of,
    parameter_of,
    template_use,
    use_at,
)

_LONGEST = 2_000  # characters of a description or a value: a hover is no page
_MOST_LISTED = 30


@dataclass(frozen=True)
class Note:
    place: Place
    markdown: str


def note_at(reading: Reading, line: int, column: int) -> Note | None:
    """What there is to say about the text under the cursor."""
    template = template_use(reading, line, column)
    if template is not None:
        text = _template(reading, template)
        return Note(template.place, text) if text is not None else None
    use = use_at(reading, line, column)
    if use is None:
        return None
    target = use.target
    if isinstance(target, Element):
        return Note(use.place, _element(reading, target))
    if isinstance(target, OrbUse):
        return Note(use.place, _orb(reading, target))
    if isinstance(target, ParameterUse):
        return Note(use.place, _parameter(target))
    return Note(use.place, _invocation(target))


# Templates


def _template(reading: Reading, use: TemplateUse) -> str | None:
    """The value of a template as far as it is known before a pipeline runs, and the parameter it names."""
    body = use.template.body.lstrip("#^/").strip()
    parts = [part for part in (_value(reading, body, use.around), _about(reading, use)) if part]
    return "\n\n".join(parts) or None


def _about(reading: Reading, use: TemplateUse) -> str | None:
    word = use.template.word.lstrip("/")
    found = parameter_of(reading, word, use.around)
    if found is not None:
        return _parameter(found)
    if word.startswith("pipeline.") and is_known(word, reading.work.values):
        return f"**pipeline value** `{word}`: known when a pipeline starts."
    return None


def _value(reading: Reading, body: str, here: Around) -> str | None:
    if body.startswith("matrix.") and here.invocation is not None:
        listed = matrix_of(here.invocation)
        values = listed.get(body.removeprefix("matrix.")) if listed is not None else None
        return f"one of\n{_as_code(values)}" if isinstance(values, Sequence) else None
    if "pipeline." in body.replace(PARAMETER_PREFIX, ""):
        return None  # the values at hand are made up, for want of a pipeline
    found = _filled(reading, body, here)
    return _as_code(found) if found is not None else None


def _filled(reading: Reading, body: str, here: Around) -> Node | None:
    """What stands for the template once defaults are put in; None when only a caller knows."""
    problems = Problems(10)
    substitution = Substitution(problems, Limits(), lambda at, _: at)
    template = Scalar(reading.file, 1, 1, f"<< {body} >>", False, templated=True)
    try:
        names = _names(substitution, here)
        found = substitution.fill(template, names)
    except Exhausted:
        return None
    return None if isinstance(found, Unknown) or problems.has_errors else found


def _names(substitution: Substitution, here: Around) -> Names:
    """The names in scope, each parameter of the element with its default."""
    outer = here.scope.names
    if here.element is None:
        return outer
    known = placeholders(here.element.parameters)
    for name, parameter in here.element.parameters.items():
        if parameter.default is not None:
            known[name] = substitution.fill(parameter.default, outer)
    return replace(outer, parameters=known)


def _as_code(node: Node) -> str:
    """A value as YAML."""
    if isinstance(node, Scalar) and "\n" not in node.text:
        text = node.text if node.text or node.plain else '""'
    else:
        text = yaml.safe_dump(_plain(value_of(node)), sort_keys=False, allow_unicode=True)
    return f"```yaml\n{_short(text.rstrip()) or 'null'}\n```"


def _plain(value: object) -> object:
    """A value in which what is not known yet is an ellipsis."""
    if isinstance(value, list):
        return [_plain(item) for item in value[:_MOST_LISTED]]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in list(value.items())[:_MOST_LISTED]}
    return value if isinstance(value, str | int | float) or value is None else "…"


# Elements, orbs, parameters


def _element(reading: Reading, element: Element) -> str:
    body = reading.body_of(element)
    description = _text(body, "description")
    origin = f"from `{element.key.file}`" if element.key.file != reading.file else ""
    declared = body.get("parameters") if body is not None else None
    listed = [_line(name, _map(value)) for name, value in _fields(declared)]
    return _joined(f"**{element.kind}** `{element.scope.prefix}{element.name}`", origin, description, "\n".join(listed))


def _line(name: str, declaration: Map | None) -> str:
    """A parameter in one line of a list."""
    described = " ".join(_text(declaration, "description").split())
    return f"- `{name}` ({_type(declaration)})" + (f": {described}" if described else "")


def _type(declaration: Map | None) -> str:
    kind = _text(declaration, "type") or "any"
    if kind == "enum":
        choices = declaration.get("enum") if declaration is not None else None
        kind += " " + " | ".join(_inline(item) for item in choices.items) if isinstance(choices, Sequence) else ""
    default = declaration.get("default") if declaration is not None else None
    return f"{kind}, required" if default is None else f"{kind}, default {_inline(default)}"


def _inline(node: Node) -> str:
    if isinstance(node, Scalar):
        text = node.text if "\n" not in node.text else node.text.splitlines()[0] + " …"
        return f"`{text[:80]}`" if text else '`""`'
    if isinstance(node, Sequence):
        return "a list" if node.items else "`[]`"
    return "a map"


def _parameter(use: ParameterUse) -> str:
    if use.body is None:
        return f"**matrix parameter** `{use.name}`" if use.owner is None else f"**parameter** `{use.name}`"
    owner = f"of {use.owner.title}" if use.owner is not None else "of the pipeline"
    return _joined(f"**parameter** `{use.name}` {owner}: {_type(use.body)}", _text(use.body, "description"))


def _orb(reading: Reading, use: OrbUse) -> str:
    written = use.value.text if isinstance(use.value, Scalar) else "inline"
    version = reading.versions.get(written, written)
    head = f"**orb** `{use.key.text}`: `{version}`" + (f" (written `{written}`)" if version != written else "")
    if use.scope is None:
        return _joined(head, "It cannot be had here.")
    document = use.value if isinstance(use.value, Map) else reading.tree_of(use.scope.file)
    listed = [
        f"- {kind}s: {', '.join(f'`{name}`' for name in list(elements)[:_MOST_LISTED])}"
        for kind, elements in use.scope.elements.items()
        if elements
    ]
    return _joined(head, _text(document, "description"), "\n".join(listed))


def _invocation(invocation: Invocation) -> str:
    required = invocation.body.get("requires") if invocation.body is not None else None
    after = [_inline(item) for item in required.items if isinstance(item, Scalar)] if isinstance(required, Sequence) else []
    return _joined(f"**workflow job** `{invocation.key.text}`", f"after {', '.join(after)}" if after else "")


def _fields(node: Node | None) -> Iterator[tuple[str, Node]]:
    fields: Mapping[str, Node] = node.fields if isinstance(node, Map) else {}
    yield from list(fields.items())[:_MOST_LISTED]


def _text(node: Node | None, key: str) -> str:
    found = node.get(key) if isinstance(node, Map) else None
    return _short(found.text.strip()) if isinstance(found, Scalar) else ""


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[:_LONGEST] + " …"


def _map(node: Node) -> Map | None:
    return node if isinstance(node, Map) else None


def _joined(*parts: str) -> str:
    return "\n\n".join(part for part in parts if part)
