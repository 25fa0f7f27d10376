"""Stands where the engine's intake will be: makes pipelines of open triggers, as a test says."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from appliance.language import plan as plans
from appliance.model import JobId, JobStatus, PipelineId, PipelineState, Trigger, WorkflowId, WorkflowStatus
from appliance.store import jobs, pipelines
from appliance.store.database import Tx
from tests.sshd.world import World, owned


@dataclass
class Made:
    """What was made, in order; the status of jobs and workflows is the test's to change."""

    here: World
    pipelines: list[PipelineId] = field(default_factory=list)
    workflows: list[WorkflowId] = field(default_factory=list)
    jobs: list[JobId] = field(default_factory=list)

    async def job(self, index: int, status: JobStatus, *, ring: bool = True) -> None:
        job_id = self.jobs[index]
        await self.here.db.write(lambda tx: jobs.set_status(tx, job_id, status, 2))
        if ring:
            self.here.bell.ring(f"job:{job_id}", f"pipeline:{self.pipelines[-1]}")

    async def workflow(self, index: int, status: WorkflowStatus) -> None:
        workflow_id = self.workflows[index]
        await self.here.db.write(lambda tx: pipelines.set_workflow_status(tx, workflow_id, status, 2))
        self.here.bell.ring(f"workflow:{workflow_id}")


@contextlib.asynccontextmanager
async def intake(
    here: World,
    *,
    state: PipelineState = PipelineState.CREATED,
    problems: Sequence[pipelines.Problem] = (),
    job_names: Sequence[str] = (),
) -> AsyncIterator[Made]:
    """Every trigger becomes a pipeline with one workflow of these jobs."""
    made = Made(here)

    def take(tx: Tx) -> bool:
        found = pipelines.oldest_open_trigger(tx)
        if found is None:
            return False
        pipeline = pipelines.add_pipeline(
            tx, found.trigger, state=state, source="", compiled="", values={}, problems=problems, now_ms=1
        )
        pipelines.close_trigger(tx, found.id, pipeline.id)
        made.pipelines.append(pipeline.id)
        if job_names:
            workflow = pipelines.add_workflow(tx, pipeline.id, "build", "ada", 1)
            made.workflows.append(workflow)
            for position, name in enumerate(job_names):
                plan = plans.Job(name=name)
                made.jobs.append(jobs.add(tx, workflow, found.trigger.project_id, position, plan, JobStatus.NOT_RUNNING, 1))
        return True

    async def run() -> None:
        with here.bell.listen("triggers") as listener:
            while True:
                while await here.db.write(take):
                    here.bell.ring("pipelines")
                await listener.wait(1.0)

    async with owned(run()):
        yield made


async def triggers(here: World) -> list[Trigger]:
    """Every trigger that was ever accepted, oldest first."""

    def read(tx: Tx) -> list[Trigger]:
        return [pipelines.load_trigger(row["event"]) for row in tx.execute("SELECT event FROM triggers ORDER BY id")]

    return await here.db.read(read)
