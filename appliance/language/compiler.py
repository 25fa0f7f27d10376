"""The order of a compilation (spec 1.2): read, version, pipeline parameters, orbs, elements, workflows."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field

from appliance.language import plan
from appliance.language.compilation import Compilation
from appliance.language.elements import Scope
from appliance.language.emit import process
from appliance.language.expand import Expander
from appliance.language.graph import Ref
from appliance.language.names import Names
from appliance.language.nodes import Map, Node, Scalar, describe
from appliance.language.options import Options
from appliance.language.orbs import Imports, OrbSource
from appliance.language.parameters import pipeline_parameters
from appliance.language.problems import Exhausted, Frame, Kind, Problem
from appliance.language.schema import boolean, map_of
from appliance.language.source import read
from appliance.language.workflows import Workflows

_VERSIONS = ("2", "2.0", "2.1")
_ONLY_2_1 = ("orbs", "commands", "executors", "parameters", "job-groups")


@dataclass(frozen=True)
class Compiled:
    """What a config came to. `plan` is None when there is any error.

    `orbs` maps each reference to the exact version it stood for; `sources` has the text of every file problems
    can point into.
    """

    plan: plan.Plan | None
    problems: tuple[Problem, ...]
    is_setup: bool = False
    orbs: Mapping[str, str] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)
    left_out: int = 0  # problems beyond the limit

    def process(self) -> str:
        """The compiled config as YAML of version 2, which compiles to the same plan. Needs a plan."""
        assert self.plan is not None, "a config with errors has no compiled form"
        return process(self.plan, self.orbs)

    def render(self, problem: Problem) -> str:
        """A problem with its source line and a caret."""
        return problem.render(self.sources.get(problem.file))


def compile(
    source: str,
    *,
    file: str = ".circleci/config.yml",
    values: Mapping[str, object] | None = None,
    parameters: Mapping[str, object] | None = None,
    orbs: OrbSource | None = None,
    options: Options | None = None,
) -> Compiled:
    """Compile a config. Never raises for what stands in it; all problems are in the answer.

    `values` are pipeline values by full name ("pipeline.git.branch"), None for null; `parameters` the pipeline
    parameters a trigger gave. Without a branch and a tag all jobs are taken to pass their filters.
    """
    work = Compilation(options or Options(), values or {})
    work.add_source(file, source)
    compiler = _Compiler(work, file, parameters or {}, orbs)
    made: plan.Plan | None = None
    try:
        made = compiler.run(source)
    except Exhausted:
        pass
    except RecursionError:
        text = "The config is nested too deeply."
        work.problems.error(Frame("", file, 1, 1), "too-deep", text)
    return Compiled(
        plan=None if work.problems.has_errors else made,
        problems=work.problems.sorted(file, work.line_of),
        is_setup=compiler.is_setup,
        orbs=compiler.resolved,
        sources=work.sources,
        left_out=work.problems.left_out,
    )


class _Compiler:
    def __init__(self, work: Compilation, file: str, parameters: Mapping[str, object], orbs: OrbSource | None) -> None:
        self._work = work
        self._file = file
        self._parameters = parameters
        self._imports = Imports(work, orbs)
        self.is_setup = False

    @functools.cached_property
    def resolved(self) -> Mapping[str, str]:
        return dict(self._imports.resolved)

    def run(self, source: str) -> plan.Plan | None:
        work = self._work
        tree = read(source, self._file, work.problems, work.limits)
        if tree is None:
            if not work.problems.has_errors:
                self._not_a_config(Frame("", self._file, 1, 1), "The file is empty.")
            return None
        if not isinstance(tree, Map):
            self._not_a_config(tree, f"A config must be a map, not {describe(tree)}.")
            return None
        version = self._version(tree)
        if version is None:
            return None
        work.templates = version == "2.1"
        if not work.templates:
            self._old_version(tree)
            tree = tree.without(set(_ONLY_2_1))
        self._setup(tree, version)
        scope = self._scope(tree)
        return self._plan(tree, scope, version)

    def _not_a_config(self, at: Node | Frame, text: str) -> None:
        expected = "`version: 2.1`, jobs and workflows"
        self._work.problems.error(at, "not-a-config", text, expected=expected)

    def _version(self, tree: Map) -> str | None:
        node = tree.get("version")
        if node is None:
            text = "The config has no `version`."
            self._work.problems.error(tree, "version", text, expected="`version: 2.1`")
            return None
        found = node.text.strip() if isinstance(node, Scalar) else None
        if found not in _VERSIONS:
            text = f"The version must be 2, 2.0 or 2.1, not {describe(node)}."
            self._work.problems.error(node, "version", text, expected="`version: 2.1`")
            return None
        return found

    def _old_version(self, tree: Map) -> None:
        for name in _ONLY_2_1:
            if name in tree.fields:
                text = f"`{name}` needs version 2.1; it is ignored here."
                at = tree.keys[name]
                self._work.problems.warning(at, "version", text, expected="`version: 2.1`")

    def _setup(self, tree: Map, version: str) -> None:
        node = tree.get("setup")
        self.is_setup = boolean(node, "`setup`", self._work.problems)
        if not self.is_setup:
            return
        at = tree.keys["setup"]
        if version != "2.1":
            text = "A setup config needs version 2.1."
            self._work.problems.error(at, "setup", text, expected="`version: 2.1`")
        if self._work.options.is_continuation:
            text = "The config that continues a pipeline cannot be a setup config itself."
            self._work.problems.error(at, "setup", text, expected="no `setup:` here")

    def _scope(self, tree: Map) -> Scope:
        work = self._work
        given = pipeline_parameters(work, tree.get("parameters"), self._parameters, tree)
        scope = Scope(self._file, "", Names(work.values, given))
        self._imports.scope_of(tree, scope)
        groups = map_of(tree.get("job-groups"), "`job-groups`", work.problems)
        for key, body in groups.items() if groups is not None else ():
            found = map_of(body, f"The job group {key.text}", work.problems)
            if found is not None:
                scope.groups[key.text] = (key, found)
        return scope

    def _plan(self, tree: Map, scope: Scope, version: str) -> plan.Plan:
        work = self._work
        expander = Expander(work)
        if work.options.check_unused:
            expander.check_all(scope, is_reached=False)
        workflows = Workflows(work, scope, expander, Ref(work.values), self.is_setup)
        for key, body in scope.groups.values():
            workflows.check_group(key, body)
        stanza = map_of(tree.get("workflows"), "`workflows`", work.problems)
        if stanza is not None:
            workflows.compile(stanza)
        self._imports.report_placeholders()
        build = scope.elements["job"].get("build")
        if build is not None and workflows.count == 0:
            workflows.implicit(build)
        elif workflows.count == 0 and scope.elements["job"]:
            text = "There is no workflow and no job named build: nothing will run."
            work.problems.add(Kind.WARNING, tree.keys.get("jobs", tree), "no-workflow", text)
        return plan.Plan(
            version=version,
            is_setup=self.is_setup,
            workflows=tuple(workflows.active),
            scheduled=tuple(workflows.scheduled),
        )
