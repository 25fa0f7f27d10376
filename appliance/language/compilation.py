"""What all parts of one compilation share: problems, options, the templates' names, budgets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from appliance.language.names import Names
from appliance.language.nodes import Node
from appliance.language.options import Limits, Options
from appliance.language.problems import Exhausted, Frame, Placed, Problems
from appliance.language.template import Substitution


@dataclass
class Compilation:
    options: Options
    values: Mapping[str, object]
    problems: Problems = field(init=False)
    substitution: Substitution = field(init=False)
    sources: dict[str, str] = field(default_factory=dict)  # of the config and its orbs, by file
    _split: dict[str, list[str]] = field(default_factory=dict)
    templates: bool = True  # off in version 2.0, where `<<` means nothing
    steps_left: int = field(init=False)
    visits_left: int = field(init=False)
    jobs_left: int = field(init=False)

    def __post_init__(self) -> None:
        self.problems = Problems(self.limits.problems)
        self.substitution = Substitution(self.problems, self.limits, self.locate)
        self.steps_left = self.limits.steps
        self.visits_left = self.limits.visits
        self.jobs_left = self.limits.jobs

    @property
    def limits(self) -> Limits:
        return self.options.limits

    def fill(self, node: Node, names: Names) -> Node:
        """`node` with its templates filled in."""
        if not node.templated or not self.templates:
            return node
        return self.substitution.fill(node, names)

    def spend_step(self, at: Placed) -> None:
        self.steps_left -= 1
        if self.steps_left < 0:
            self.problems.error(at, "too-many-steps", f"The config has more than {self.limits.steps} steps.")
            raise Exhausted

    def spend_visit(self, at: Placed) -> None:
        self.visits_left -= 1
        if self.visits_left < 0:
            message = f"Lists of steps in lists of steps have more than {self.limits.visits} entries."
            self.problems.error(at, "too-many-steps", message)
            raise Exhausted

    def spend_job(self, at: Placed) -> None:
        self.jobs_left -= 1
        if self.jobs_left < 0:
            self.problems.error(at, "too-many-jobs", f"The config has more than {self.limits.jobs} jobs.")
            raise Exhausted

    def add_source(self, file: str, text: str) -> None:
        self.sources[file] = text

    def locate(self, at: Placed, snippet: str) -> Placed:
        """The place of `snippet` in or below the line of `at`: templates stand deep inside long shell texts."""
        lines = self._lines(at.file)
        for number in range(at.line, min(at.line + 1_000, len(lines) + 1)):
            start = at.column - 1 if number == at.line else 0
            found = lines[number - 1].find(snippet, start)
            if found >= 0:
                return Frame("", at.file, number, found + 1)
        return at

    def line_of(self, file: str, line: int) -> str | None:
        """A line of a source, counted from 1."""
        lines = self._lines(file)
        return lines[line - 1] if 1 <= line <= len(lines) else None

    def _lines(self, file: str) -> list[str]:
        if file not in self._split:
            self._split[file] = self.sources.get(file, "").splitlines()
        return self._split[file]
