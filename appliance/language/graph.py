"""The graph of a workflow: filters, `requires`, cycles, and what falls away when upstream jobs are filtered out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from appliance.language import plan
from appliance.language.compilation import Compilation
from appliance.language.invocations import Leg, Need
from appliance.language.logic import expression_holds
from appliance.language.names import Names
from appliance.language.nodes import Node, Scalar, Unknown
from appliance.language.options import Limits
from appliance.language.patterns import PatternError, matches_fully
from appliance.language.schema import known_keys, map_of, scalars


class Ref:
    """What is being built: a branch, a tag, or neither, when a config is merely looked at."""

    def __init__(self, values: Mapping[str, object]) -> None:
        self.branch = self._text(values.get("pipeline.git.branch"))
        self.tag = self._text(values.get("pipeline.git.tag"))

    @staticmethod
    def _text(value: object) -> str | None:
        return str(value) if value is not None and value != "" else None

    @property
    def is_known(self) -> bool:
        return self.branch is not None or self.tag is not None


def passes(work: Compilation, filters: Node | None, ref: Ref, names: Names) -> bool:
    """Do the filters of a job let it run for this ref? Everything does when there is no ref."""
    if isinstance(filters, Scalar) and filters.kind == "str":
        found = expression_holds(work, filters, names)
        return found is not False or not ref.is_known
    if isinstance(filters, Scalar) and filters.kind == "bool":
        return filters.text.lower() in ("true", "yes", "on") or not ref.is_known
    found_map = map_of(filters, "`filters`", work.problems)
    if found_map is None:
        return ref.tag is None or ref.branch is not None or not ref.is_known
    known_keys(found_map, "`filters`", ("branches", "tags"), work.problems)
    branches = _rules(work, found_map.get("branches"), "branches")
    tags = _rules(work, found_map.get("tags"), "tags")
    if not ref.is_known:
        return True
    if ref.branch is not None and ref.tag is not None:
        if branches is not None:
            return _allowed(work, branches, ref.branch)
        return tags is None or "ignore" not in tags or _allowed(work, tags, ref.tag)
    if ref.branch is not None:
        return branches is None or _allowed(work, branches, ref.branch)
    assert ref.tag is not None
    return tags is not None and _allowed(work, tags, ref.tag)


Rules = dict[str, list[Scalar]]


def _rules(work: Compilation, node: Node | None, what: str) -> Rules | None:
    """`only` and `ignore` with their patterns checked; None when there are none."""
    if isinstance(node, Unknown):
        return None
    found = map_of(node, f"`{what}`", work.problems)
    if found is None:
        return None
    known_keys(found, f"`{what}`", ("only", "ignore"), work.problems)
    rules: Rules = {}
    for word in ("only", "ignore"):
        if word in found.fields:
            rules[word] = _patterns(work, found.fields[word], word)
    return rules or None


def _patterns(work: Compilation, node: Node, word: str) -> list[Scalar]:
    patterns = scalars(node, f"`{word}`", work.problems)
    for pattern in patterns:
        if _is_regex(pattern.text):
            try:
                matches_fully(pattern.text[1:-1], "", work.limits)
            except PatternError as error:
                message = f"The pattern {pattern.text[:60]} cannot be used: {error}."
                work.problems.error(pattern, "pattern", message, expected="a regular expression between slashes")
    return patterns


def _is_regex(pattern: str) -> bool:
    return len(pattern) > 1 and pattern.startswith("/") and pattern.endswith("/")


def _allowed(work: Compilation, rules: Rules, name: str) -> bool:
    """`only` decides alone where it stands; else what `ignore` does not name runs."""
    if "only" in rules:
        return _any_matches(work, rules["only"], name)
    return not _any_matches(work, rules.get("ignore", []), name)


def schedule_runs_on(schedule: plan.Schedule, branch: str, limits: Limits) -> bool:
    """Whether a schedule counts on the branch whose config it stands in; without filters it does on none (spec 1.9)."""
    if schedule.branches_only is not None:
        return any(_names(pattern, branch, limits) for pattern in schedule.branches_only)
    if schedule.branches_ignore is None:
        return False
    return not any(_names(pattern, branch, limits) for pattern in schedule.branches_ignore)


def _names(pattern: str, branch: str, limits: Limits) -> bool:
    if not _is_regex(pattern):
        return pattern == branch
    try:
        return matches_fully(pattern[1:-1], branch, limits)
    except PatternError:  # of this branch only: those that are wrong for all were reported
        return False


def check_branches(work: Compilation, node: Node | None) -> None:
    """Look for problems in a `branches` filter without deciding anything."""
    _rules(work, node, "branches")


def _any_matches(work: Compilation, patterns: Iterable[Scalar], name: str) -> bool:
    return any(matches_pattern(work, pattern, name) for pattern in patterns)


def matches_pattern(work: Compilation, pattern: Scalar, name: str) -> bool:
    """A plain text matches itself; /re/ must match the whole name."""
    if not _is_regex(pattern.text):
        return pattern.text == name
    try:
        return matches_fully(pattern.text[1:-1], name, work.limits)
    except PatternError as error:
        message = f"The pattern {pattern.text[:60]} cannot be used: {error}."
        work.problems.error(pattern, "pattern", message, expected="a regular expression between slashes")
        return False


class Graph:
    """The legs of a workflow, tied together by their `requires`."""

    def __init__(self, work: Compilation, legs: list[Leg], workflow: str) -> None:
        self._work = work
        self._legs = legs
        self._workflow = workflow
        self._by_name: dict[str, Leg] = {leg.name: leg for leg in legs}
        self._by_alias: dict[str, list[Leg]] = {}
        for leg in legs:
            for alias in leg.aliases:
                self._by_alias.setdefault(alias, []).append(leg)
        self._by_key: dict[str, list[Leg]] = {}
        for leg in legs:
            self._by_key.setdefault(leg.key.text, []).append(leg)
        self._edges = 0

    def connect(self) -> None:
        """Fill in `upstream` of every leg; report names that mean nothing, and cycles."""
        for leg in self._legs:
            for need in leg.needs:
                for target in self._targets(leg, need):
                    leg.upstream.append((target, need.statuses))
                    self._edges += 1
            if self._edges > self._work.limits.requires:
                message = f"The workflow {self._workflow} has more than {self._work.limits.requires} dependencies."
                self._work.problems.error(leg.key, "too-many-requires", message)
                return
        self._report_cycle()

    def _targets(self, leg: Leg, need: Need) -> list[Leg]:
        if need.pattern is not None:
            found = [other for other in self._legs if need.pattern.fullmatch(other.name)]
            message = f"{need.name} is used outside its matrix; every job that fits is required."
            self._work.problems.warning(need.at, "requires", message)
            return found
        exact = self._by_name.get(need.name)
        visible = (None, leg.group, leg.sees)
        if exact is not None and exact.group in visible:
            return [exact]
        # The key of a job names it too, when nothing is called so: `- build: {name: b}` can be required as build.
        named = self._by_alias.get(need.name) or self._by_key.get(need.name, [])
        legs = [other for other in named if other.group in visible and other is not leg]
        if len({other.invocation for other in legs}) > 1:
            message = (
                f"Job '{leg.name}' requires '{need.name}', which is the name of {len(legs)} other jobs "
                f"in workflow '{self._workflow}'."
            )
            names = ", ".join(other.name for other in legs[:6])
            self._work.problems.error(need.at, "requires", message, expected=f"one of {names}, or own names")
            return []
        if not legs:
            self._unknown(leg, need)
        return legs

    def _unknown(self, leg: Leg, need: Need) -> None:
        inner = self._by_name.get(need.name)
        choices = [name for name in [*self._by_name, *self._by_alias] if name != leg.name]
        if inner is not None or any(other.group for other in self._by_alias.get(need.name, [])):
            message = f"{need.name} is inside a job group; only the group as a whole can be required."
        else:
            message = f"{leg.name} requires {need.name}, which is no job of the workflow {self._workflow}."
        expected = "the name of a job in this workflow"
        self._work.problems.error(need.at, "requires", message, expected=expected, word=need.name, choices=choices)

    def _report_cycle(self) -> None:
        """Walk depth first without recursion; the first way back is the cycle to report."""
        state: dict[int, int] = {}
        for start in self._legs:
            if id(start) in state:
                continue
            path: list[Leg] = []
            stack: list[tuple[Leg, int]] = [(start, 0)]
            while stack:
                leg, at = stack.pop()
                if at == 0:
                    state[id(leg)] = 1
                    path.append(leg)
                if at < len(leg.upstream):
                    stack.append((leg, at + 1))
                    target = leg.upstream[at][0]
                    seen = state.get(id(target))
                    if seen == 1:
                        self._cycle(path[path.index(target) :], leg, target)
                        return
                    if seen is None:
                        stack.append((target, 0))
                else:
                    state[id(leg)] = 2
                    path.pop()

    def _cycle(self, path: list[Leg], leg: Leg, target: Leg) -> None:
        names = " requires ".join(other.name for other in [*path, target])
        need = next((need for need in leg.needs if need.name in (target.name, *target.aliases)), None)
        at = need.at if need is not None else leg.key
        self._work.problems.error(at, "cycle", f"The jobs require each other in a circle: {names}.")

    def alive(self, ref: Ref, names: Names) -> list[Leg]:
        """The legs that run for this ref.

        A job filtered out vanishes from the `requires` of others; a job all of whose requirements have vanished
        vanishes too, and so on. Only call when there are no errors: a cycle would never settle.
        """
        passing = {id(leg) for leg in self._legs if self._passes(leg, ref, names)}
        decided: dict[int, bool] = {}
        for leg in self._upstream_first():
            keeps = id(leg) in passing
            if keeps and leg.upstream:
                keeps = any(decided[id(target)] for target, _ in leg.upstream)
            decided[id(leg)] = keeps
        for leg in self._legs:
            leg.upstream = [(target, statuses) for target, statuses in leg.upstream if decided[id(target)]]
        return [leg for leg in self._legs if decided[id(leg)]]

    def _passes(self, leg: Leg, ref: Ref, names: Names) -> bool:
        if leg.is_group_part and leg.filters is None:
            return True
        return passes(self._work, leg.filters, ref, names)

    def _upstream_first(self) -> list[Leg]:
        order: list[Leg] = []
        seen: set[int] = set()
        for start in self._legs:
            stack = [(start, False)]
            while stack:
                leg, is_done = stack.pop()
                if is_done:
                    order.append(leg)
                elif id(leg) not in seen:
                    seen.add(id(leg))
                    stack.append((leg, True))
                    stack.extend((target, False) for target, _ in leg.upstream if id(target) not in seen)
        return order


def check_filters(work: Compilation, legs: Iterable[Leg], names: Names) -> None:
    """Look for problems in filters without deciding anything."""
    nowhere = Ref({})
    for leg in legs:
        if leg.filters is not None:
            passes(work, leg.filters, nowhere, names)
