"""The steps of one node in their turn, and the background ones beside them."""

from __future__ import annotations

import asyncio
import contextlib
import math
import posixpath
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace

from appliance import steps
from appliance.engine import environment, placement, remote_docker, rules, siblings
from appliance.engine.follow import Follower, StepLog
from appliance.engine.record import Attempt, Record, lost
from appliance.engine.workshop import Facts, Failure, Workshop
from appliance.errors import ImageError, RondoError
from appliance.executors.base import Command, DockerAccess, Sandbox
from appliance.language import plan as plans
from appliance.model import NodeStatus, StepStatus
from appliance.quantities import counted
from appliance.steps import keys
from appliance.steps.base import Data, NodeView, Outcome, Source
from appliance.store import jobs

_BACKGROUND_GRACE_S = 1.0


class Walk:
    def __init__(self, shop: Workshop, facts: Facts, sandbox: Sandbox, record: Record) -> None:
        self._shop = shop
        self._facts = facts
        self._sandbox = sandbox
        self._record = record
        self._environment = variables(shop, facts)
        self._source = _source(shop, facts)
        self._data = _data(shop, facts, record.mask)
        self._keys = replace(facts.keys, known_hosts=shop.known_hosts())
        self._in_background: list[int] = []
        self._is_ending = False
        self.current: str | None = None  # the foreground command that runs now
        self.broken_by: RondoError | None = None  # what kept the last step from ending by itself

    async def walk(self, is_stopped: Callable[[], bool]) -> tuple[NodeStatus, str]:
        """Do the steps that are left; how the node ends by them, with a word on what broke."""
        async with asyncio.TaskGroup() as background:
            status, message = await self._foreground(background, is_stopped)
            await self._end_background()
        self.current = None  # a cancel has nothing to wait for any more
        return status, message

    async def _foreground(self, background: asyncio.TaskGroup, is_stopped: Callable[[], bool]) -> tuple[NodeStatus, str]:
        statuses, is_halted = [StepStatus.SUCCESS], False
        rows = [row for row in self._facts.steps[1:] if row.kind not in (jobs.SERVICE, jobs.SSH)]
        for row, step in zip(rows, self._facts.plan.steps, strict=True):
            if row.status.is_done:
                statuses += [] if row.is_background else [row.status]
                continue
            has_failed = any(status not in (StepStatus.SUCCESS, StepStatus.SKIPPED) for status in statuses)
            if is_halted or is_stopped() or not rules.should_run(step, has_failed=has_failed):
                self._record.end_step(row.position, Outcome(StepStatus.SKIPPED))
                continue
            if row.is_background:
                await self._record.start_step(row.position)
                self._in_background.append(row.position)
                background.create_task(self._beside(row, step))
                continue
            # The row is written while the command begins. A crash before it is written finds the command under way or
            # over, and follows it as any other: the supervisor starts nothing twice.
            async with asyncio.TaskGroup() as group:
                writing = group.create_task(self._record.start_step(row.position))
                if self._in_background:  # their commands go to the supervisor first: it begins one after the other
                    await writing
                outcome = await self._step(row, step)
            self._record.end_step(row.position, outcome)
            statuses.append(outcome.status)
            await self._tell_failure(step, outcome)
            # Nothing is written down before the node's end: after a crash the step is followed again, and says it again.
            is_halted = outcome.halts
            if outcome.status is StepStatus.INFRASTRUCTURE_FAIL:
                return NodeStatus.INFRASTRUCTURE_FAIL, outcome.message
        return rules.node_status(statuses), ""

    async def _tell_failure(self, step: plans.Step, outcome: Outcome) -> None:
        if self._shop.on_failure is None or outcome.status not in (StepStatus.FAILED, StepStatus.TIMEDOUT):
            return
        of_step = step.working_directory if isinstance(step, plans.Run) else None
        failure = Failure(
            sandbox=self._sandbox,
            job=self._facts.job.name,
            index=self._facts.node.index,
            nodes=self._facts.plan.parallelism,
            step=step.name,
            message=outcome.message,
            command_id=self.current,
            working_directory=posixpath.join(self._facts.plan.working_directory, *([of_step] if of_step else [])),
        )
        self.current = None
        await self._shop.on_failure(failure)

    async def _step(self, row: jobs.Step, step: plans.Step) -> Outcome:
        """Perform a step; one that fails and may be run again is, after the pause that it asks for."""
        attempt = Attempt(row.attempt, row.attempt_at_ms or 0, row.attempt_offset, row.message)
        with self._record.log(row.position) as step_log:
            if attempt.number > 1 and step_log.writer.offset == attempt.offset:
                await step_log.say_again(f"\n{attempt.message}\n")
                await self._pause(step, attempt, step_log)
            while True:
                outcome = await self._perform(row.position, step, attempt, step_log)
                is_full = step_log.writer.size > self._shop.limits.log_bytes
                if outcome.halts or is_full or not rules.may_try_again(step, outcome.status, attempt.number):
                    return outcome
                assert isinstance(step, plans.Run)
                at_ms = self._shop.clock.now_ms() + int(step.auto_rerun_delay_s * 1000)
                attempt = Attempt(attempt.number + 1, at_ms, step_log.writer.offset, outcome.message)
                await self._record.try_again(row.position, attempt)
                await self._pause(step, attempt, step_log)

    async def _pause(self, step: plans.Step, attempt: Attempt, step_log: StepLog) -> None:
        """Until an attempt may begin. A cancel of the job ends the pause like anything else."""
        assert isinstance(step, plans.Run)
        left_s = min((attempt.at_ms - self._shop.clock.now_ms()) / 1000, step.auto_rerun_delay_s)
        whole_s = max(math.ceil(left_s), 0)
        when = f", in {counted(whole_s, 'second')}" if whole_s else ""
        await step_log.say(f"Attempt {attempt.number} of {step.max_auto_reruns + 1}{when}\n")
        self.current = None  # nothing runs that a cancel would have to stop
        await asyncio.sleep(max(0.0, left_s))

    async def _perform(self, position: int, step: plans.Step, attempt: Attempt, step_log: StepLog) -> Outcome:
        async def execute(command: Command, quiet_s: float) -> Outcome:
            if not command.background:
                self.current = command.id
            follower = Follower(self._sandbox, command, step_log, self._shop.limits, self._shop.clock, attempt.offset)
            return await follower.follow(quiet_s, out_of_memory)

        def out_of_memory() -> str:
            return placement.out_of_memory(self._facts.plan, self._shop.places, self._facts.node.memory_bytes)

        async def start_docker(keeps_layers: bool) -> str:
            return await remote_docker.start(self._shop, self._facts, self._sandbox, keeps_layers=keeps_layers)

        node = NodeView(
            sandbox=self._sandbox,
            job=self._facts.plan,
            index=self._facts.node.index,
            name=f"{self._facts.job.id}.{self._facts.node.index}",
            command_id=f"step{position}" if attempt.number == 1 else f"step{position}.{attempt.number}",
            environment=self._environment,
            source=self._source,
            data=self._data,
            keys=self._keys,
            execute=execute,
            start_docker=start_docker,
            after_others=lambda: siblings.after_others(self._shop, self._facts, step_log.say),
            say=step_log.say,
        )
        try:
            return await steps.perform(step, node)
        except ImageError as error:
            await step_log.say(f"{error}\n")
            return Outcome(StepStatus.FAILED, message=str(error))
        except RondoError as error:
            self.broken_by = error
            await step_log.say(f"{error}\n")
            return lost(error)

    async def _beside(self, row: jobs.Step, step: plans.Step) -> None:
        """A background step's failure fails nobody; at the job's end it is stopped, which is a good end."""
        outcome = await self._step(row, step)
        if self._is_ending:
            outcome = Outcome(StepStatus.SUCCESS, message="stopped at the end of the job")
        self._in_background.remove(row.position)
        self._record.end_step(row.position, outcome)

    async def _end_background(self) -> None:
        self._is_ending = True
        for position in tuple(self._in_background):
            with contextlib.suppress(RondoError):
                await self._sandbox.kill(f"step{position}", _BACKGROUND_GRACE_S)


def variables(shop: Workshop, facts: Facts) -> Mapping[str, str]:
    """The environment of the user's steps."""
    built_in = environment.built_in(
        project=facts.project,
        pipeline=facts.pipeline,
        workflow=facts.workflow,
        job=facts.job,
        plan=facts.plan,
        index=facts.node.index,
        git_url=shop.git_url(facts.project),
        web_url=shop.web_url,
        has_docker=remote_docker.access_of(shop, facts).kind is not DockerAccess.NONE,
        previous_number=facts.previous_number,
    )
    own = {**built_in, **facts.tokens}
    return environment.for_steps(everywhere=shop.everywhere, secrets=facts.secrets, built_in=own, job=facts.plan)


def _data(shop: Workshop, facts: Facts, mask: Callable[[str], str]) -> Data:
    trigger = facts.pipeline.trigger
    assert facts.job.number is not None
    return Data(
        db=shop.db,
        blobs=shop.blobs,
        clock=shop.clock,
        project_id=facts.project.id,
        scope="trusted" if facts.pipeline.is_trusted else f"fork, {trigger.branch}",  # a pull request's own
        job_id=facts.job.id,
        job_number=facts.job.number,
        workspace_id=facts.workflow.workspace_id,
        mask=mask,
        limits=shop.limits.data,
    )


def _source(shop: Workshop, facts: Facts) -> Source:
    provider, project, trigger = shop.providers[facts.project.vcs], facts.project, facts.pipeline.trigger

    async def bundle() -> AsyncIterator[bytes]:
        await provider.fetch(project, trigger.revision)
        async for chunk in provider.bundle(project, trigger.revision, trigger.branch, trigger.tag):
            yield chunk

    async def archive() -> AsyncIterator[bytes]:
        await provider.fetch(project, trigger.revision)
        async for chunk in provider.archive(project, trigger.revision):
            yield chunk

    return Source(
        url=shop.git_url(project),
        revision=trigger.revision,
        branch=trigger.branch,
        tag=trigger.tag,
        bundle=bundle,
        archive=archive,
        is_out_of_reach=project.git_url is None
        and facts.node.executor != "local"
        and keys.out_of_reach(shop.git_url(project)),
    )
