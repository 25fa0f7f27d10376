"""From a config's text to the draft of a pipeline: compiled in a thread, with all that there is to say about it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

from appliance import language
from appliance.crypto import SecretBox
from appliance.engine import moves
from appliance.errors import BadRequest
from appliance.language import plan as plans
from appliance.model import Occasion, PipelineId, Project
from appliance.store import continuations, pipelines, projects
from appliance.store.database import Database

CONFIG_PATH = ".circleci/config.yml"
_MOST_CONTEXTS = 100  # spec 1.13
LOCK_PATH = ".circleci/orbs.lock"


Choose = Callable[[plans.Plan], Awaitable[plans.Plan]]
"""Gives the part of a plan that is to run. Raises BadRequest when there is no such part."""


class Drafter:
    def __init__(
        self,
        *,
        db: Database,
        box: SecretBox,
        orbs: Callable[[Project, str | None], language.OrbSource],
        excuses_consumed: bool = False,
        choose: Choose | None = None,
        file: str = CONFIG_PATH,
    ) -> None:
        """`file` is what problems call the config."""
        self._db = db
        self._choose = choose
        self._file = file
        self._excuses_consumed = excuses_consumed
        self._box = box
        self._orbs = orbs
        self._compiling = asyncio.Lock()  # one config at a time: the largest ones take much memory

    async def draft(
        self,
        project: Project,
        pipeline_id: PipelineId,
        number: int,
        source: str,
        *,
        values: Mapping[str, object],
        parameters: Mapping[str, object],
        lock: str | None,
        is_continuation: bool = False,
        occasion: Occasion | None = None,
    ) -> moves.Draft:
        """Compile `source`. `lock` is the text of the orbs' lock file, `occasion` the schedule that fired."""
        flags = await self._db.read(lambda tx: projects.flags(tx, project.id))
        async with self._compiling:
            compiled = await asyncio.to_thread(
                language.compile,
                source,
                file="continuation" if is_continuation else self._file,
                values=values,
                parameters=parameters,
                orbs=self._orbs(project, lock),
                options=language.Options(is_continuation=is_continuation),
            )
        plan = compiled.plan
        said = [] if occasion is None or not occasion.lateness else [_warning(occasion.lateness)]
        if plan is not None:
            plan = _for_occasion(plan, occasion)
            said += _left_out(plan, occasion, is_continuation)
        missing = _unsupported(plan, flags.setup_workflows) if plan is not None else []
        if plan is not None and self._choose is not None:
            try:
                plan = await self._choose(plan)
            except BadRequest as error:
                missing.append(_error(str(error)))
        return moves.Draft(
            pipeline_id=pipeline_id,
            number=number,
            source=source,
            compiled=await asyncio.to_thread(compiled.process) if plan is not None else "",
            values=values,
            problems=[*_problems(compiled, source), *missing, *said],
            plan=None if missing else plan,
            key=continuations.key_of(self._box, pipeline_id),
            excuses_consumed=self._excuses_consumed,
        )


def _problems(compiled: language.Compiled, source: str) -> list[pipelines.Problem]:
    return [
        pipelines.Problem(
            type="config",
            kind=str(problem.kind),
            message=problem.message,
            line=problem.line,
            column=problem.column,
            text=problem.render(source),
        )
        for problem in compiled.problems
    ]


def errored(
    pipeline_id: PipelineId, number: int, values: Mapping[str, object], kind: str, message: str, source: str = ""
) -> moves.Draft:
    """The draft of a pipeline whose config never came to be compiled."""
    problem = pipelines.Problem(type=kind, kind="error", message=message, text=message)
    return moves.Draft(
        pipeline_id=pipeline_id, number=number, source=source, compiled="", values=values, problems=[problem], plan=None
    )


def _unsupported(plan: plans.Plan, may_set_up: bool) -> list[pipelines.Problem]:
    """What the engine does not do, or not for this project: said at once, instead of being done wrong."""
    found = []
    if plan.is_setup and not may_set_up:
        found.append("this is a setup config, and setup workflows are switched off in the settings of the project")
    named = {context for workflow in plan.workflows for job in workflow.jobs for context in job.contexts}
    if len(named) > _MOST_CONTEXTS:
        found.append(f"the jobs name {len(named)} contexts; there may be {_MOST_CONTEXTS} in a config")
    return [_error(text) for text in found]


def _for_occasion(plan: plans.Plan, occasion: Occasion | None) -> plans.Plan:
    """What runs: without the workflows that others start. All the scheduled ones stay, to be registered."""
    if occasion is None or occasion.workflow is None:
        return plan
    return replace(plan, workflows=tuple(one for one in plan.scheduled if one.name == occasion.workflow))


def _left_out(plan: plans.Plan, occasion: Occasion | None, is_continuation: bool) -> list[pipelines.Problem]:
    """What is left out without making the rest wrong: said on the pipeline, so that nobody waits for it."""
    jobs = [job for workflow in plan.workflows for job in workflow.jobs]
    found = [
        f"the schedule of workflow {workflow.name} does not start it: it stands in the config that continues a pipeline"
        for workflow in plan.scheduled
        if is_continuation
    ]
    if occasion is not None and occasion.workflow not in (None, *(workflow.name for workflow in plan.scheduled)):
        found.append(f"nothing runs: the config schedules no workflow {occasion.workflow} any more")
    found += [
        f"the release job {job.name} does nothing here and counts as successful"
        for job in jobs
        if job.type is plans.JobType.RELEASE
    ]
    return [_warning(text) for text in found]


def _error(text: str) -> pipelines.Problem:
    return pipelines.Problem(type="config", kind="error", message=text, text=text)


def _warning(text: str) -> pipelines.Problem:
    return pipelines.Problem(type="config", kind="warning", message=text, text=text)
