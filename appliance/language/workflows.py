"""Workflows: which run, and each made of legs tied into a graph and turned into jobs of the plan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from appliance.language import plan
from appliance.language.compilation import Compilation
from appliance.language.cron import CronError
from appliance.language.cron import parse as parse_cron
from appliance.language.elements import Element, Scope
from appliance.language.expand import Expander
from appliance.language.graph import Graph, Ref, check_branches, check_filters
from appliance.language.invocations import STATUSES, InvocationReader, Leg, Need
from appliance.language.logic import workflow_holds
from appliance.language.nodes import Map, Node, Scalar, Sequence, describe
from appliance.language.parameters import bind
from appliance.language.problems import Kind
from appliance.language.schema import known_keys, map_of, text, texts, whole_number

_WORKFLOW_KEYS = frozenset(["when", "unless", "triggers", "jobs", "max_auto_reruns"])


class Workflows:
    """Compiles the `workflows` of a config."""

    def __init__(self, work: Compilation, scope: Scope, expander: Expander, ref: Ref, is_setup: bool) -> None:
        self._work = work
        self._scope = scope
        self._expander = expander
        self._ref = ref
        self._is_setup = is_setup
        self.active: list[plan.Workflow] = []
        self._sure: set[str] = set()  # of the active ones, those that run on every branch
        self.scheduled: list[plan.Workflow] = []
        self.count = 0

    def compile(self, stanza: Map) -> None:
        for key, body in stanza.items():
            if key.text == "version" and not isinstance(body, Map):
                continue
            self.count += 1
            found = map_of(body, f"The workflow {key.text}", self._work.problems)
            if found is not None:
                self._workflow(key, found)
            elif isinstance(body, Scalar) and body.kind == "null":
                message = f"The workflow {key.text} has no jobs."
                self._work.problems.error(key, "missing-key", message, expected="`jobs:` with a list")
        running = [one.name for one in self.active if self._ref.is_known or one.name in self._sure]
        if self._is_setup and len(running) > 1:
            names = ", ".join(running)
            key = next(iter(stanza.keys.values()))
            message = f"A setup config must run exactly one workflow; here run {names}."
            self._work.problems.error(key, "setup", message, expected="`when:` on all but one")

    def implicit(self, job: Element) -> None:
        """The workflow of a config that has none: the job named `build`, with its own old-style `branches`."""
        item: Node = job.key.at("build")
        branches = job.body.get("branches")
        if branches is not None:
            filters = _map(job.key, "filters", _map(job.key, "branches", branches))
            item = _map(job.key, "build", filters)
        jobs = Sequence(job.key.file, job.key.line, job.key.column, [item])
        self._run("workflow", job.key, jobs, 0, (), is_active=True)

    def _workflow(self, key: Scalar, body: Map) -> None:
        work = self._work
        keys = _WORKFLOW_KEYS
        known_keys(body, "a workflow", keys, work.problems)
        is_active, is_sure = self._holds(body)
        reruns_node = body.get("max_auto_reruns")
        reruns = 0
        if reruns_node is not None:
            filled = work.fill(reruns_node, self._scope.names)
            reruns = whole_number(filled, "`max_auto_reruns`", work.problems, 0, 1, 5)
        schedules = self._schedules(body)
        jobs, has_triggers = body.get("jobs"), "triggers" in body.fields
        if is_active:
            self._run(key.text, key, jobs, reruns, schedules, is_active, has_triggers)
            if is_sure and not _has_filters(jobs):
                self._sure.add(key.text)
            return
        with work.problems.softly():
            self._run(key.text, key, jobs, reruns, schedules, is_active, has_triggers)

    def _holds(self, body: Map) -> tuple[bool, bool]:
        """Is the workflow's condition met, and is that sure? What is not known counts as met, so that problems show."""
        work = self._work
        if "when" in body.fields and "unless" in body.fields:
            message = "A workflow has either `when` or `unless`, not both."
            work.problems.error(body.keys["unless"], "logic", message, expected="one of them")
        holds = is_sure = True
        for word in ("when", "unless"):
            node = body.get(word)
            if node is not None:
                found = workflow_holds(work, node, self._scope.names)
                is_sure = is_sure and found is not None
                if found is not None and found is (word == "unless"):
                    holds = False
        return holds, is_sure

    def _schedules(self, body: Map) -> tuple[plan.Schedule, ...]:
        node = body.get("triggers")
        if node is None:
            return ()
        work = self._work
        node = work.fill(node, self._scope.names)
        if self._is_setup:
            message = "A setup config cannot have scheduled workflows."
            work.problems.error(body.keys["triggers"], "setup", message)
        if not isinstance(node, Sequence):
            message = f"`triggers` must be a list, not {describe(node)}."
            work.problems.error(node, "type", message, expected="`- schedule: {…}`")
            return ()
        found = []
        for item in node.items:
            schedule = item.get("schedule") if isinstance(item, Map) else None
            inner = map_of(schedule, "`schedule`", work.problems)
            if inner is None:
                work.problems.error(item, "schedule", "This trigger is no schedule.", expected="`schedule:`")
                continue
            made = self._schedule(inner)
            if made is not None:
                found.append(made)
        return tuple(found)

    def _schedule(self, node: Map) -> plan.Schedule | None:
        work = self._work
        known_keys(node, "a schedule", ("cron", "filters"), work.problems)
        cron = text(node.get("cron"), "`cron`", work.problems)
        expected = "five fields: minute, hour, day of month, month, day of week"
        if cron is None:
            work.problems.error(node.get("cron") or node, "cron", "A schedule needs `cron`.", expected=expected)
            return None
        try:
            parse_cron(cron)
        except CronError as error:
            message = f'"{cron}" is no cron line: {error}.'
            work.problems.error(node.get("cron") or node, "cron", message, expected=expected)
            return None
        filters = map_of(node.get("filters"), "`filters`", work.problems)
        branches = map_of(filters.get("branches"), "`branches`", work.problems) if filters is not None else None
        if branches is None:
            message = "A schedule without branches in its `filters` runs on no branch at CircleCI."
            work.problems.add(Kind.WARNING, node, "schedule", message, expected="filters: { branches: { only: … } }")
            return plan.Schedule(cron=cron, branches_only=None, branches_ignore=None)
        check_branches(work, branches)
        only, ignore = branches.get("only"), branches.get("ignore")
        return plan.Schedule(
            cron=cron,
            branches_only=texts(only, "`only`", work.problems) if only is not None else None,
            branches_ignore=texts(ignore, "`ignore`", work.problems) if ignore is not None else None,
        )

    def _run(
        self,
        name: str,
        key: Scalar,
        jobs: Node | None,
        reruns: int,
        schedules: tuple[plan.Schedule, ...],
        is_active: bool,
        has_triggers: bool = False,
    ) -> None:
        work = self._work
        errors_before = work.problems.error_count
        reader = InvocationReader(work, self._scope, f"workflow {name}")
        legs = self._with_groups(reader.legs(jobs, key))
        graph = Graph(work, legs, name)
        graph.connect()
        check_filters(work, legs, self._scope.names)
        made = self._jobs(legs, deep=is_active)
        if not is_active or work.problems.error_count > errors_before:
            return
        alive = graph.alive(self._ref, self._scope.names)
        finished = _with_serial_groups(alive, [_tied(leg, made[id(leg)]) for leg in alive])
        if not finished:
            return
        workflow = plan.Workflow(name=name, jobs=finished, max_auto_reruns=reruns, schedules=schedules)
        (self.scheduled if has_triggers else self.active).append(workflow)

    # job groups

    def _with_groups(self, legs: list[Leg]) -> list[Leg]:
        """Legs that invoke a job group replaced by the group's jobs between a start and an end."""
        groups = self._scope.groups
        counts = Counter(leg.key.text for leg in legs if leg.key.text in groups and not leg.type)
        if not counts:
            return legs
        found: list[Leg] = []
        for leg in legs:
            if leg.key.text not in counts or leg.type is not None:
                found.append(leg)
                continue
            if counts[leg.key.text] > 1 and not leg.is_named:
                message = f"The job group {leg.key.text} is invoked more than once; each needs a `name`."
                self._work.problems.error(leg.key, "job-group", message, expected="`name:`")
            found.extend(self._group(leg))
        return found

    def _group(self, call: Leg) -> list[Leg]:
        _, body = self._scope.groups[call.key.text]
        reader = InvocationReader(self._work, self._scope, f"job group {call.key.text}")
        inner = reader.legs(body.get("jobs"), call.key)
        start = Leg(f"{call.name}/group-start", call.key, call.invocation, type=plan.JobType.NO_OP)
        start.needs, start.filters = call.needs, call.filters
        end = Leg(f"{call.name}/group-end", call.key, call.invocation, type=plan.JobType.NO_OP)
        end.aliases = (call.name, *call.aliases)
        end.is_group_part = True
        required = {need.name for leg in inner for need in leg.needs}
        for leg in inner:
            if not leg.needs:
                leg.needs = [Need(start.name, ("success",), leg.key)]
            if not required & {leg.name, *leg.aliases}:
                end.needs.append(Need(leg.name, ("success",), leg.key))
        self._inside(call, inner, [start, end])
        legs = [start, *inner, end]
        if call.serial_group is not None:
            start.type, start.lock_key = plan.JobType.LOCK, call.serial_group
            unlock = Leg(f"{call.name}/unlock", call.key, call.invocation, type=plan.JobType.UNLOCK)
            unlock.lock_key, unlock.is_group_part = call.serial_group, True
            unlock.needs = [Need(end.name, STATUSES, call.key)]
            legs.append(unlock)
        return legs

    def _inside(self, call: Leg, inner: list[Leg], ends: list[Leg]) -> None:
        """Give the jobs of a group names of their own: the group may be invoked twice."""
        names = {leg.name: f"{call.name}/{leg.name}" for leg in inner}
        outer = {leg.name for leg in ends}
        for leg in inner:
            leg.group, leg.is_group_part = call.name, True
            leg.aliases = (*(f"{call.name}/{alias}" for alias in leg.aliases), leg.name)
            leg.name = names[leg.name]
            leg.invocation += call.invocation * 1_000_000
        for leg in [*inner, *ends]:
            if leg is ends[0]:
                continue
            for need in leg.needs:
                if need.name not in outer:
                    need.name = names.get(need.name, need.name)
        ends[1].sees = call.name

    def check_group(self, key: Scalar, body: Map) -> None:
        """Report what a definition of a job group may not have."""
        problems = self._work.problems
        scope = self._scope
        if key.text in scope.elements["job"]:
            message = f"{key.text} is both a job and a job group."
            problems.error(key, "job-group", message, expected="different names")
        for name in body.fields:
            if name == "parameters":
                problems.error(body.keys[name], "job-group", "A job group cannot have parameters.")
        known_keys(body, "a job group", ("jobs", "description", "parameters"), problems)
        reader = InvocationReader(self._work, scope, f"job group {key.text}")
        legs = reader.legs(body.get("jobs"), key)
        for leg in legs:
            if leg.key.text in scope.groups and leg.type is None:
                message = f"The job group {key.text} cannot hold the job group {leg.key.text}: groups do not nest."
                problems.error(leg.key, "job-group", message)
            if leg.serial_group is not None:
                message = "A job inside a job group cannot have a serial group; the group itself can."
                problems.error(leg.key, "job-group", message)
        names = {name for leg in legs for name in (leg.name, *leg.aliases)}
        for leg in legs:
            for need in leg.needs:
                if need.name not in names:
                    message = f"{leg.name} requires {need.name}, which is no job of the job group {key.text}."
                    problems.error(need.at, "requires", message, word=need.name, choices=names)
        check_filters(self._work, legs, scope.names)
        self._jobs(legs, deep=False)

    # jobs

    def _jobs(self, legs: Iterable[Leg], deep: bool) -> dict[int, plan.Job]:
        return {id(leg): self._job(leg, deep) for leg in legs}

    def _job(self, leg: Leg, deep: bool) -> plan.Job:
        bare = plan.Job(name=leg.name, type=leg.type or plan.JobType.NO_OP, key=leg.lock_key)
        if leg.element is None:
            return bare
        bound = bind(self._work, leg.element, leg.arguments, leg.key, self._scope)
        if not deep:
            return bare
        extra = (leg.before, leg.after)
        made = self._expander.job_parts(leg.element, bound, leg.key, extra)
        if made is None:
            return bare
        return replace(made, name=leg.name, contexts=leg.contexts)


def _tied(leg: Leg, job: plan.Job) -> plan.Job:
    """The job with its final `requires`: one entry for each upstream job and set of statuses."""
    entries = dict.fromkeys((target.name, statuses) for target, statuses in leg.upstream)
    if not entries:
        return job
    requires = tuple(plan.Require(job=name, statuses=statuses) for name, statuses in entries)
    return replace(job, requires=requires)


def _with_serial_groups(legs: list[Leg], jobs: list[plan.Job]) -> tuple[plan.Job, ...]:
    """A lock before and an unlock after every job in a serial group.

    What came before the job now comes before its lock; nothing waits for the unlock.
    """
    finished: list[plan.Job] = []
    for leg, job in zip(legs, jobs, strict=True):
        if leg.serial_group is None or leg.lock_key is not None or leg.is_group_part:
            finished.append(job)
            continue
        key = leg.serial_group
        lock = plan.Job(name=f"{job.name}/lock", type=plan.JobType.LOCK, key=key, requires=job.requires)
        after = (plan.Require(job=job.name, statuses=STATUSES),)
        unlock = plan.Job(name=f"{job.name}/unlock", type=plan.JobType.UNLOCK, key=key, requires=after)
        finished += [lock, replace(job, requires=(plan.Require(job=lock.name),)), unlock]
    return tuple(finished)


def _has_filters(jobs: Node | None) -> bool:
    """Whether any job of a workflow may be left out on some branch."""
    bodies = (
        [body for item in jobs.items if isinstance(item, Map) for _, body in item.items()]
        if isinstance(jobs, Sequence)
        else []
    )
    return any(isinstance(body, Map) and "filters" in body.fields for body in bodies)


def _map(at: Scalar, key: str, value: Node) -> Map:
    """A map of one key, standing at `at`."""
    return Map(at.file, at.line, at.column, {key: value}, {key: at.at(key)}, value.templated)
