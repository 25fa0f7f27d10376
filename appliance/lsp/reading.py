"""A config as the editor's questions see it: its tree, its scopes, the sources and trees of the orbs it imports.

This is the first half of a compilation (spec 1.2: read, pipeline parameters, orbs, elements). The second half, which
expands everything, says what is wrong; where names come from is known before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from appliance.language import Options, OrbSource
from appliance.language.compilation import Compilation
from appliance.language.elements import Element, Scope
from appliance.language.names import Names
from appliance.language.nodes import Map, Node, Scalar
from appliance.language.orbs import Imports
from appliance.language.parameters import pipeline_parameters
from appliance.language.problems import Exhausted, Problems
from appliance.language.schema import map_of
from appliance.language.source import read

_STANZAS = {"job": "jobs", "command": "commands", "executor": "executors"}


@dataclass
class Reading:
    """One text of a config, read. `versions` has the exact name of each orb reference; `sources` all texts by name."""

    file: str
    work: Compilation
    tree: Map
    scope: Scope
    versions: Mapping[str, str]
    _trees: dict[str, Map | None] = field(default_factory=dict)

    @property
    def sources(self) -> Mapping[str, str]:
        return self.work.sources

    def lines(self, file: str) -> list[str]:
        return self.sources.get(file, "").splitlines()

    def tree_of(self, file: str) -> Map | None:
        """The root of the config, or of an orb it imports."""
        if file not in self._trees:
            self._trees[file] = self.tree if file == self.file else self._read(file)
        return self._trees[file]

    def _read(self, file: str) -> Map | None:
        limits = self.work.limits
        found = read(self.sources.get(file, ""), file, Problems(limits.problems), limits)
        return found if isinstance(found, Map) else None

    def body_of(self, element: Element) -> Map | None:
        """All that is written under an element's name, with the descriptions that the compiler has no use for."""
        root = self.tree_of(element.key.file)
        for key, body in _entries(root, _STANZAS[element.kind]):
            if (key.line, key.column) == (element.key.line, element.key.column):
                return body if isinstance(body, Map) else None
        return None


def _entries(root: Node | None, stanza: str, depth: int = 0) -> Iterator[tuple[Scalar, Node]]:
    """The entries of a stanza in a document and in its inline orbs."""
    if not isinstance(root, Map) or depth > 10:
        return
    listed = root.get(stanza)
    if isinstance(listed, Map):
        yield from listed.items()
    orbs = root.get("orbs")
    for inline in orbs.fields.values() if isinstance(orbs, Map) else ():
        yield from _entries(inline, stanza, depth + 1)


def read_config(text: str, file: str, values: Mapping[str, object], orbs: OrbSource | None) -> Reading | None:
    """The reading of a config; None when it is no YAML, or too large a thing to answer questions about."""
    work = Compilation(Options(), values)
    work.add_source(file, text)
    try:
        tree = read(text, file, work.problems, work.limits)
        if not isinstance(tree, Map):
            return None
        version = tree.get("version")
        work.templates = isinstance(version, Scalar) and version.text.strip() == "2.1"
        given = pipeline_parameters(work, tree.get("parameters"), {}, tree)
        scope = Scope(file, "", Names(work.values, given))
        imports = Imports(work, orbs)
        imports.scope_of(tree, scope)
    except (Exhausted, RecursionError):
        return None
    groups = map_of(tree.get("job-groups"), "`job-groups`", work.problems)
    for key, body in groups.items() if groups is not None else ():
        if isinstance(body, Map):
            scope.groups[key.text] = (key, body)
    return Reading(file, work, tree, scope, dict(imports.resolved))
