"""Commands inlined, conditions decided, jobs made: from filled-in nodes to steps and jobs of the plan.

One walk serves two ends. With `deep` it compiles: commands are entered, branches whose condition is false are left
out. Without it an element is checked on its own, with Unknown for its parameters: every branch is looked at,
commands are only checked for their arguments (each is checked where it is defined), and the result is thrown away.
"""

from __future__ import annotations

from collections.abc import Mapping

from appliance.language import plan
from appliance.language.compilation import Compilation
from appliance.language.elements import ABSENT, KINDS, Element, Scope, own_scope
from appliance.language.executors import EXECUTOR_KEYS, Place, executor_place, resolve
from appliance.language.logic import holds
from appliance.language.nodes import Map, Node, Scalar, Sequence, Unknown, describe
from appliance.language.parameters import bind, check_defaults, placeholders
from appliance.language.problems import Kind
from appliance.language.schema import known_keys, map_of, one_of, text, whole_number
from appliance.language.steps import BUILTINS, read_step

JOB_KEYS = EXECUTOR_KEYS | frozenset(
    [
        "type",
        "executor",
        "steps",
        "circleci_ip_ranges",
        "retention",
        "branches",
        "max_auto_reruns",
        "key",
        "plan_name",
        "validation",
    ]
)


class Expander:
    def __init__(self, work: Compilation) -> None:
        self._work = work
        self._built: dict[int, tuple[Node | None, plan.Step | None]] = {}
        self._called: dict[object, list[plan.Step]] = {}
        self._calling: list[Element] = []

    # Steps

    def steps(self, node: Node | None, scope: Scope, depth: int = 0, deep: bool = True) -> list[plan.Step]:
        """The steps of a list of steps (templates filled in)."""
        made: list[plan.Step] = []
        if node is None or isinstance(node, Unknown):
            return made
        if isinstance(node, Map) or (isinstance(node, Scalar) and node.kind == "str"):
            message = "Steps must be a list; this is one step."
            self._work.problems.add(Kind.BAD_HABIT, node, "type", message, expected="a `-` before it")
            self._step(node, own_scope(node, scope), depth, deep, made)
            return made
        if not isinstance(node, Sequence):
            if not (isinstance(node, Scalar) and node.kind == "null"):
                message = f"Steps must be a list, not {describe(node)}."
                self._work.problems.error(node, "type", message, expected="a list of steps")
            return made
        if node.scope is None:
            for item in node.items:
                self._step(item, scope, depth, deep, made)
            return made
        # An argument: a command may stand in steps that are given to the same command without calling itself.
        calling, self._calling = self._calling, []
        try:
            for item in node.items:
                self._step(item, node.scope, depth, deep, made)
        finally:
            self._calling = calling
        return made

    def _step(self, item: Node, scope: Scope, depth: int, deep: bool, made: list[plan.Step]) -> None:
        self._work.spend_visit(item)
        if isinstance(item, Map):
            self._step_map(item, scope, depth, deep, made)
        elif isinstance(item, Scalar):
            if item.kind == "null":
                message = "This step is empty."
                self._work.problems.error(item, "empty-step", message, expected="the name of a step")
            else:
                self._named(item, None, own_scope(item, scope), depth, deep, made)
        elif isinstance(item, Sequence):
            made.extend(self.steps(item, scope, depth, deep))

    def _step_map(self, item: Map, scope: Scope, depth: int, deep: bool, made: list[plan.Step]) -> None:
        if len(item.fields) != 1:
            self._odd_step(item)
            if not item.fields:
                return
        key, value = next(item.items())
        if key.text in ("when", "unless") and isinstance(value, Map | Unknown | Scalar | Sequence):
            self._condition(key, value, scope, depth, deep, made)
        elif key.text == "steps":
            made.extend(self.steps(value, scope, depth, deep))
        else:
            self._named(key, value, scope, depth, deep, made)

    def _odd_step(self, item: Map) -> None:
        keys = [item.keys[name] for name in item.fields]
        if not keys:
            self._work.problems.error(item, "empty-step", "This step is empty.", expected="the name of a step")
            return
        message = f"A step has one key; here are {len(keys)}: {', '.join(key.text for key in keys[:4])}."
        expected = f"the arguments indented below `{keys[0].text}:`"
        self._work.problems.error(keys[1], "step-keys", message, expected=expected)

    def _condition(self, key: Scalar, value: Node, scope: Scope, depth: int, deep: bool, made: list[plan.Step]) -> None:
        problems = self._work.problems
        if isinstance(value, Unknown):
            return
        if not isinstance(value, Map) or "condition" not in value.fields or "steps" not in value.fields:
            message = f"`{key.text}` needs `condition` and `steps`."
            problems.error(key, "missing-key", message, expected="condition: …, steps: […]")
        if not isinstance(value, Map):
            return
        known_keys(value, f"`{key.text}`", ("condition", "steps"), problems)
        found = holds(self._work, value.get("condition"))
        chosen = found if key.text == "when" or found is None else not found
        if not deep or chosen is not False:
            made.extend(self.steps(value.get("steps"), scope, depth, deep))

    def _named(self, key: Scalar, value: Node | None, scope: Scope, depth: int, deep: bool, made: list[plan.Step]) -> None:
        """A step by name: a command of this scope or of an orb, else a built-in one."""
        element = scope.find("command", key.text)
        if isinstance(element, Element):
            made.extend(self._call(element, key, value, scope, depth, deep))
        elif element is ABSENT:
            return
        elif (name := self._builtin_name(key)) is not None:
            step = self._builtin(name, key, value)
            if step is not None:
                self._work.spend_step(key)
                made.append(step)
        else:
            self._unknown_step(key, scope, deep)

    def _builtin_name(self, key: Scalar) -> str | None:
        """The built-in step a key names. `save-cache` runs as `save_cache` at CircleCI, so it does here."""
        if key.text in BUILTINS:
            return key.text
        name = key.text.replace("-", "_")
        if name not in BUILTINS:
            return None
        message = f"The step is called {name}, with `_`."
        self._work.problems.add(Kind.BAD_HABIT, key, "dashed-step", message)
        return name

    def _builtin(self, name: str, key: Scalar, value: Node | None) -> plan.Step | None:
        # Anchored steps are one node in many places, and jobs share what no template touches.
        known = self._built.get(id(value)) if value is not None else None
        if known is not None and known[0] is value:
            return known[1]
        step = read_step(self._work, name, key, value)
        if value is not None:
            self._built[id(value)] = (value, step)
        return step

    def _unknown_step(self, key: Scalar, scope: Scope, deep: bool) -> None:
        choices = [*BUILTINS, "when", "unless", *scope.references("command")]
        scope.report_unknown(self._work.problems, "command", key, choices, is_reached=deep)

    def _call(
        self, element: Element, key: Scalar, value: Node | None, scope: Scope, depth: int, deep: bool
    ) -> list[plan.Step]:
        work = self._work
        arguments: dict[str, tuple[Scalar, Node]] = {}
        if isinstance(value, Map):
            arguments = {at.text: (at, node) for at, node in value.items()}
        elif isinstance(value, Unknown):
            return []
        elif value is not None and not (isinstance(value, Scalar) and value.kind == "null"):
            message = f"The arguments of the {element.title} must be a map, not {describe(value)}."
            work.problems.error(value, "type", message, expected="NAME: VALUE pairs")
        bound = bind(work, element, arguments, key, scope, is_reached=deep)
        if not deep:
            return []
        if element in self._calling or depth >= work.limits.calls:
            self._recursion(element, key)
            return []
        same = _memo(element, bound)
        known = self._called.get(same) if same is not None else None
        if known is None:
            known = self._body(element, key, bound, depth)
            if same is not None:
                self._called[same] = known
        else:
            for _ in known:
                work.spend_step(key)
        return known

    def _recursion(self, element: Element, key: Scalar) -> None:
        if element in self._calling:
            names = [called.name for called in self._calling[self._calling.index(element) :]]
            message = f"The {element.title} calls itself: {' calls '.join([*names, element.name])}."
        else:
            message = f"Commands call each other more than {self._work.limits.calls} deep."
        self._work.problems.error(key, "recursion", message)

    def _body(self, element: Element, key: Scalar, bound: Mapping[str, Node], depth: int) -> list[plan.Step]:
        with self._work.problems.through(element.title, key):
            names = element.scope.names.with_parameters(bound)
            steps = element.body.get("steps")
            filled = self._work.fill(steps, names) if steps is not None else None
            self._calling.append(element)
            try:
                return self.steps(filled, element.scope, depth + 1)
            finally:
                self._calling.pop()

    # Jobs

    def job_parts(
        self, element: Element, bound: Mapping[str, Node], at: Scalar, extra: tuple[Node | None, Node | None]
    ) -> plan.Job | None:
        """The job of a definition and its arguments, its name and place in a workflow still to be set.

        `extra` are pre-steps and post-steps with their templates filled in, bound to the scope they stand in.
        """
        with self._work.problems.through(element.title, at):
            names = element.scope.names.with_parameters(bound)
            body = self._work.fill(element.body, names)
            assert isinstance(body, Map)
            return self._job(element, body, deep=True, extra=extra)

    def _job(
        self,
        element: Element,
        body: Map,
        deep: bool,
        extra: tuple[Node | None, Node | None] = (None, None),
    ) -> plan.Job | None:
        problems = self._work.problems
        known_keys(body, "a job", JOB_KEYS, problems)
        types = tuple(plan.JobType)
        kind = plan.JobType(one_of(body.get("type"), "The type of a job", types, problems, "build") or "build")
        if kind is not plan.JobType.BUILD:
            return self._special(element, body, kind)
        if "max_auto_reruns" in body.fields:
            message = "`max_auto_reruns` belongs to a run step or to a workflow, not to a job."
            problems.error(body.keys["max_auto_reruns"], "misplaced-key", message)
        place = resolve(self._work, body, element.scope, deep)
        if place.executor is None and not place.is_unknown:
            message = f"The {element.title} does not say where it runs."
            problems.error(element.key, "executor", message, expected="docker, machine, macos or executor")
        steps = self._job_steps(element, body, deep, extra)
        self._ip_ranges(body, place)
        return plan.Job(
            name=element.name,
            executor=place.executor,
            resource_class=place.resource_class,
            parallelism=whole_number(place.parallelism, "`parallelism`", problems, 1, 1, 10_000),
            environment=place.environment,
            working_directory=place.working_directory or "~/project",
            shell=place.shell,
            steps=tuple(steps),
            cache_retention_days=self._retention(body),
        )

    def _job_steps(self, element: Element, body: Map, deep: bool, extra: tuple[Node | None, Node | None]) -> list[plan.Step]:
        node = body.get("steps")
        if node is None:
            message = f"The {element.title} has no steps."
            self._work.problems.error(element.key, "missing-key", message, expected="`steps:` with a list")
        elif isinstance(node, Sequence) and not node.items and not deep:
            message = f"The list of steps of the {element.title} is empty: it does nothing."
            self._work.problems.warning(node, "no-steps", message)
        before = self.steps(extra[0], element.scope, 0, deep)
        after = self.steps(extra[1], element.scope, 0, deep)
        return [*before, *self.steps(node, element.scope, 0, deep), *after]

    def _special(self, element: Element, body: Map, kind: plan.JobType) -> plan.Job:
        """Jobs that run nothing: approval, no-op, release, lock and unlock."""
        problems = self._work.problems
        needed = {plan.JobType.RELEASE: "plan_name", plan.JobType.LOCK: "key", plan.JobType.UNLOCK: "key"}
        name = needed.get(kind)
        if name is not None and name not in body.fields:
            message = f"A job of type {kind} needs `{name}`."
            problems.error(element.key, "missing-key", message, expected=f"`{name}:`")
        return plan.Job(
            name=element.name,
            type=kind,
            key=text(body.get("key"), "`key`", problems),
            plan_name=text(body.get("plan_name"), "`plan_name`", problems),
        )

    def _ip_ranges(self, body: Map, place: Place) -> None:
        if "circleci_ip_ranges" in body.fields and isinstance(place.executor, plan.Machine | plan.Macos):
            message = "`circleci_ip_ranges` works with docker only."
            self._work.problems.add(Kind.WARNING, body.keys["circleci_ip_ranges"], "ip-ranges", message)

    def _retention(self, body: Map) -> int | None:
        retention = map_of(body.get("retention"), "`retention`", self._work.problems)
        caches = retention.get("caches") if retention is not None else None
        if caches is None or isinstance(caches, Unknown):
            return None
        days = caches.text.removesuffix("d") if isinstance(caches, Scalar) else ""
        valid = isinstance(caches, Scalar) and caches.text.endswith("d") and days.isdecimal()
        if valid and len(days) <= 2 and 1 <= int(days) <= 30:
            return min(int(days), 15)
        message = "`retention.caches` must be a number of days."
        self._work.problems.error(caches, "retention", message, expected="1d to 15d")
        return None

    # Elements checked on their own

    def check_all(self, scope: Scope, *, is_reached: bool) -> None:
        """Look at every element of a scope and of its inline orbs, used or not. `is_reached` as `report_unknown` has it."""
        for kind in KINDS:
            for element in scope.elements[kind].values():
                self.check(element)
        for (kind, _), alias in scope.aliases.items():
            if scope.find(kind, alias.text) is None:
                choices = list(scope.references(kind))
                scope.report_unknown(self._work.problems, kind, alias, choices, is_reached=is_reached)
        for orb in scope.orbs.values():
            if orb is not None and orb.is_inline:
                self.check_all(orb, is_reached=is_reached)

    def check(self, element: Element) -> None:
        """Look for problems in an element without calling it."""
        work = self._work
        check_defaults(work, element.parameters, element.scope)
        bound = placeholders(element.parameters)
        if element.kind == "executor":
            executor_place(work, element, bound, element.key)
            return
        names = element.scope.names.with_parameters(bound)
        body = work.fill(element.body, names)
        assert isinstance(body, Map)
        if element.kind == "job":
            self._job(element, body, deep=False)
            return
        known_keys(body, "a command", ("steps",), work.problems)
        if "steps" not in body.fields:
            message = f"The {element.title} has no steps."
            work.problems.error(element.key, "missing-key", message, expected="`steps:` with a list")
        self.steps(body.get("steps"), element.scope, 0, deep=False)


def _memo(element: Element, bound: Mapping[str, Node]) -> object | None:
    """A key that is equal for calls with equal arguments; None when arguments are not plain scalars."""
    parts: list[object] = [id(element)]
    for name, node in bound.items():
        if not isinstance(node, Scalar) or node.scope is not None:
            return None
        parts.append((name, node.text, node.plain))
    return tuple(parts)
