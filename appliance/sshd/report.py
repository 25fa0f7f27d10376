"""What the pusher sees: where each pipeline is, what is wrong with it, and with `-o wait` how it goes to the end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from appliance.bell import Bell
from appliance.engine.commands import Commands
from appliance.errors import printable
from appliance.model import JobStatus, PipelineId, PipelineState, Project, StepStatus
from appliance.sshd.pushes import Outcome
from appliance.store import jobs, pipelines
from appliance.store.database import Database, Tx

_MOST_LINES = 50
_LOOK_AGAIN_S = 2.0
_WAITS_LONG_S = 3.0
_LONGEST_NAME = 80
_WORDS = {
    "not_running": "waiting",
    "on_hold": "needs approval",
    "not_run": "not run",
    "timedout": "timed out",
    "infrastructure_fail": "infrastructure failure",
}  # as the pages say them
_WAITING = (JobStatus.BLOCKED, JobStatus.NOT_RUNNING, JobStatus.QUEUED)
_ENDED = (PipelineState.CREATED, PipelineState.ERRORED, PipelineState.SETUP)  # setup: nobody has continued it


@dataclass(frozen=True)
class Progress:
    """How a pipeline stands: a line for every job and workflow, by what it speaks of."""

    lines: dict[str, str]
    reasons: dict[str, str]  # why a job waits, of those that do
    topics: frozenset[str]
    is_done: bool


@dataclass
class Report:
    """Tells one pusher about one push. `tell` takes a line; `pages` is the URL of the pages."""

    db: Database
    commands: Commands
    bell: Bell
    pages: str
    project: Project
    tell: Callable[[str], Awaitable[None]]
    patience_s: float = 10.0

    async def outcomes(self, outcomes: Sequence[Outcome]) -> list[PipelineId]:
        """Tell what became of each ref; the pipelines there are. Past some lines it is brief."""
        found: list[PipelineId] = []
        loop = asyncio.get_running_loop()
        until_s = loop.time() + self.patience_s  # for all of them together
        for outcome in outcomes[:_MOST_LINES]:
            pipeline_id = await self._outcome(outcome, max(0.0, until_s - loop.time()))
            if pipeline_id is not None:
                found.append(pipeline_id)
        if len(outcomes) > _MOST_LINES:
            await self._say(f"and {len(outcomes) - _MOST_LINES} more: {self.pages}/pipelines")
        return found

    async def _outcome(self, outcome: Outcome, patience_s: float) -> PipelineId | None:
        if outcome.trigger_id is None:
            await self._say(f"skipped: {outcome.name}: {outcome.reason}")
            return None
        pipeline_id = await self.commands.pipeline_of(outcome.trigger_id, patience_s)
        if pipeline_id is None:
            await self._say(f"accepted; the pipeline will appear at {self.pages}/pipelines")
            return None
        pipeline = await self.db.read(lambda tx: pipelines.pipeline(tx, pipeline_id))
        await self._say(f"pipeline {pipeline.number} {self.pages}/pipelines/{self.project.slug}/{pipeline.number}")
        if pipeline.state is PipelineState.ERRORED:
            await self._problems(pipeline)
        return pipeline_id

    async def _problems(self, pipeline: pipelines.Pipeline) -> None:
        text = "\n".join(problem.text or problem.message for problem in pipeline.problems)
        lines = text.rstrip("\n").split("\n")
        for line in lines[:_MOST_LINES]:
            await self._say(f"  {line}")
        if len(lines) > _MOST_LINES:
            await self._say(f"  and {len(lines) - _MOST_LINES} more lines on the page")

    async def follow(self, pipeline_id: PipelineId) -> None:
        """Tell of every change until all is done. Cancelling it changes nothing but the silence."""
        told: dict[str, str] = {}
        waits_since_s: dict[str, float] = {}
        progress = await self._look(pipeline_id)
        while not progress.is_done:
            topics = progress.topics
            with self.bell.listen(*topics) as listener:
                # Rings between the last look and this block are lost; so look once more inside it.
                while not progress.is_done and progress.topics == topics:
                    progress = await self._look(pipeline_id)
                    await self._changes(told, waits_since_s, progress)
                    if not progress.is_done:
                        await listener.wait(_LOOK_AGAIN_S)
        await self._changes(told, waits_since_s, progress)

    async def _look(self, pipeline_id: PipelineId) -> Progress:
        return await self.db.read(lambda tx: progress_of(tx, pipeline_id))

    async def _changes(self, told: dict[str, str], waits_since_s: dict[str, float], progress: Progress) -> None:
        """Tell what is new. A reason to wait comes with some delay: most are over in a moment."""
        now_s = asyncio.get_running_loop().time()
        for subject, line in progress.lines.items():
            reason = progress.reasons.get(subject)
            if reason is None:
                waits_since_s.pop(subject, None)
            elif now_s - waits_since_s.setdefault(subject, now_s) >= _WAITS_LONG_S:
                line = f"{line} ({reason})"
            if told.get(subject) != line:
                told[subject] = line
                await self._say(line)

    async def _say(self, text: str) -> None:
        await self.tell(f"rondo: {printable(text)}")


def progress_of(tx: Tx, pipeline_id: PipelineId) -> Progress:
    """How a pipeline stands now. Jobs come first, then the workflows that have ended."""
    pipeline = pipelines.pipeline(tx, pipeline_id)
    workflows = pipelines.workflows_of(tx, pipeline_id)
    names = {workflow.id: f"{workflow.name}/" if len(workflows) > 1 else "" for workflow in workflows}
    lines: dict[str, str] = {}
    reasons: dict[str, str] = {}
    for job in jobs.of_pipeline(tx, pipeline_id):
        lines[f"job:{job.id}"] = f"job {names[job.workflow_id]}{job.name}: {_word(job.status)}{_why(tx, job)}"
        if job.message and job.status in _WAITING:
            reasons[f"job:{job.id}"] = _one_line(job.message)
    topics = {f"pipeline:{pipeline_id}", *lines, *(f"workflow:{workflow.id}" for workflow in workflows)}
    for workflow in workflows:
        if workflow.status.is_done:
            lines[f"workflow:{workflow.id}"] = f"workflow {workflow.name}: {_word(workflow.status)}"
    is_done = pipeline.state in _ENDED and all(workflow.status.is_done for workflow in workflows)
    if workflows and pipeline.state is PipelineState.ERRORED:
        errors = [problem.text or problem.message for problem in pipeline.problems if problem.kind == "error"]
        lines |= {f"error:{number}": line for number, line in enumerate("\n".join(errors).splitlines()[:_MOST_LINES])}
    if is_done and not workflows and pipeline.state is PipelineState.CREATED:
        lines["none"] = "no workflow has anything to do for this push"
    return Progress(lines, reasons, frozenset(topics), is_done)


def _word(status: str) -> str:
    return _WORDS.get(status, status)


def _one_line(text: str, longest: int = 500) -> str:
    """The first line that says something, with "…" where more would follow: a command without a name is one."""
    first, _, rest = text.strip().partition("\n")
    first = first.rstrip()
    is_cut = bool(rest) or len(first) > longest
    return f"{first[: longest - 1]}…" if is_cut else first


def _why(tx: Tx, job: jobs.Job) -> str:
    """Why a job does not go on, or did not end well: its own message, or its first step that failed."""
    if job.status is JobStatus.ON_HOLD:
        return " (on the pipeline's page)"
    if not job.status.is_done or job.status in (JobStatus.SUCCESS, JobStatus.CANCELED, JobStatus.NOT_RUN):
        return ""
    if job.message:
        return f" ({_one_line(job.message)})"
    for node in jobs.nodes_of(tx, job.id):
        for step in jobs.steps_of(tx, job.id, node.index, node.first_position):
            if step.status in (StepStatus.FAILED, StepStatus.TIMEDOUT, StepStatus.INFRASTRUCTURE_FAIL):
                return f" ({_one_line(step.name, _LONGEST_NAME)}: {_one_line(step.message)})"
    return ""
