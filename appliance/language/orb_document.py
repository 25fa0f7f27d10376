"""An orb's own file, looked at without a config that uses it: every element is checked, used or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from appliance.language.compilation import Compilation
from appliance.language.elements import Scope
from appliance.language.expand import Expander
from appliance.language.names import Names
from appliance.language.nodes import Map, Node, Scalar, describe
from appliance.language.options import Limits, Options
from appliance.language.orbs import Imports, OrbSource
from appliance.language.problems import Exhausted, Frame, Kind, Problem, Problems
from appliance.language.schema import known_keys, map_of
from appliance.language.source import read

ORB_KEYS = ("version", "description", "display", "orbs", "commands", "executors", "jobs", "examples")

# Wrong calls are warnings in a config, where CircleCI never looks at what no workflow reaches. An orb is written to be
# reached: by somebody else, later.
_WRONG_CALLS = frozenset(
    [
        "unknown-command",
        "unknown-executor",
        "unknown-job",
        "unknown-orb",
        "missing-argument",
        "unexpected-argument",
    ]
)


@dataclass(frozen=True)
class CheckedOrb:
    """What was found in an orb. `orbs` maps the references it makes to the exact versions they stood for."""

    problems: tuple[Problem, ...]
    orbs: Mapping[str, str] = field(default_factory=dict)
    left_out: int = 0  # problems beyond the limit

    @property
    def is_valid(self) -> bool:
        return all(problem.kind != "error" for problem in self.problems)

    def render(self, problem: Problem) -> str:
        """A problem with its source line and a caret."""
        return problem.render()


def check_orb(
    source: str, *, file: str = "orb.yml", orbs: OrbSource | None = None, options: Options | None = None
) -> CheckedOrb:
    """Look for every problem of an orb. Never raises for what stands in it."""
    work = Compilation(options or Options(), {})
    work.add_source(file, source)
    imports = Imports(work, orbs)
    try:
        _check_document(work, imports, source, file)
    except Exhausted:
        pass
    except RecursionError:
        work.problems.error(Frame("", file, 1, 1), "too-deep", "The orb is nested too deeply.")
    return CheckedOrb(
        problems=tuple(_as_in_orb(problem) for problem in work.problems.sorted(file, work.line_of)),
        orbs=dict(imports.resolved),
        left_out=work.problems.left_out,
    )


def _as_in_orb(problem: Problem) -> Problem:
    is_wrong_call = problem.code in _WRONG_CALLS and problem.kind is Kind.WARNING
    return replace(problem, kind=Kind.ERROR) if is_wrong_call else problem


def _check_document(work: Compilation, imports: Imports, source: str, file: str) -> None:
    root = read(source, file, work.problems, work.limits)
    if not isinstance(root, Map):
        if not work.problems.has_errors:
            text = f"An orb must be a map, not {describe(root)}." if root is not None else "The file is empty."
            at: Node | Frame = root if root is not None else Frame("", file, 1, 1)
            expected = "`version: 2.1` and commands, jobs or executors"
            work.problems.error(at, "not-an-orb", text, expected=expected)
        return
    _check_version(work, root)
    known_keys(root, "an orb", ORB_KEYS, work.problems)
    map_of(root.get("examples"), "`examples`", work.problems)
    scope = imports.scope_of(root, Scope(file, "", Names(work.values, None, None, None, is_orb=True)))
    Expander(work).check_all(scope, is_reached=True)
    imports.report_placeholders()


def _check_version(work: Compilation, root: Map) -> None:
    version = root.get("version")
    if version is None:
        text = "An orb needs a version of the language."
        work.problems.error(root, "version", text, expected="`version: 2.1`")
    elif not (isinstance(version, Scalar) and version.text == "2.1"):
        text = "Orbs are written in version 2.1 of the language."
        work.problems.error(version, "version", text, expected="`version: 2.1`")


def references_of(source: str, file: str = "orb.yml") -> list[Scalar]:
    """The references a document makes under `orbs:`, those of its inline orbs too; none when it cannot be read."""
    limits = Limits()
    root = read(source, file, Problems(limits.problems), limits)
    return _references(root, 0)


def _references(root: Node | None, depth: int) -> list[Scalar]:
    stanza = root.get("orbs") if isinstance(root, Map) else None
    if not isinstance(stanza, Map) or depth > 10:
        return []
    found: list[Scalar] = []
    for value in stanza.fields.values():
        if isinstance(value, Scalar) and value.kind == "str":
            found.append(value)
        else:
            found += _references(value, depth + 1)
    return found
