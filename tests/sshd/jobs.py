"""Running jobs for tests of the shell door: rows in the database, and a real sandbox of this host."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from appliance.engine.commands import LiveNode
from appliance.executors.base import Command, Executor, Sandbox, SandboxSpec
from appliance.executors.local import LocalExecutor
from appliance.language import plan as plans
from appliance.model import JobId, JobStatus, PipelineState, Project, Trigger, TriggerKind
from appliance.store import jobs, pipelines
from appliance.store.database import Tx
from tests.sshd.world import World

DIRECTORY = "~/project"


@dataclass(frozen=True)
class RunningJob:
    id: JobId
    number: int
    sandbox: Sandbox
    executor: Executor


async def add_job(
    here: World, project: Project, *, is_fork: bool = False, contexts: tuple[str, ...] = ()
) -> tuple[JobId, int]:
    """A job's row, with its pipeline and workflow; the id and the number."""
    trigger = Trigger(
        project_id=project.id,
        kind=TriggerKind.WEBHOOK,
        semantic_key=f"push of {project.name}",
        branch="main",
        revision="1" * 40,
        is_fork=is_fork,
    )

    def add(tx: Tx) -> tuple[JobId, int]:
        pipeline = pipelines.add_pipeline(
            tx, trigger, state=PipelineState.CREATED, source="", compiled="", values={}, problems=(), now_ms=1
        )
        workflow = pipelines.add_workflow(tx, pipeline.id, "build", "ada", 1)
        job_id = jobs.add(tx, workflow, project.id, 0, plans.Job(name="test", contexts=contexts), JobStatus.RUNNING, 1)
        number = jobs.by_id(tx, job_id).number
        assert number is not None
        return job_id, number

    return await here.db.write(add)


@contextlib.asynccontextmanager
async def running_job(
    here: World,
    project: Project,
    folder: Path,
    *,
    is_fork: bool = False,
    directory: str = DIRECTORY,
    contexts: tuple[str, ...] = (),
) -> AsyncIterator[RunningJob]:
    """A job whose only step has exported something, as the runner shows it to the doors."""
    job_id, number = await add_job(here, project, is_fork=is_fork, contexts=contexts)
    executor = LocalExecutor("test", folder / "sandboxes")
    sandbox = await executor.open(SandboxSpec(node=f"{number}.0"), quiet)
    try:
        async with shown(here, job_id, sandbox, folder, directory=directory):
            yield RunningJob(job_id, number, sandbox, executor)
    finally:
        await sandbox.close()
        await executor.close()


@contextlib.asynccontextmanager
async def shown(
    here: World, job_id: JobId, sandbox: Sandbox, folder: Path, *, directory: str = DIRECTORY
) -> AsyncIterator[None]:
    """Run a step in a sandbox and show that to the doors."""
    environment = {"GREETING": "hello from the job", "BASH_ENV": str(folder / "bash_env")}
    (folder / "bash_env").write_text("export LATER='from BASH_ENV'\n")
    step = Command(id="step", script="mkdir -p deep", environment=environment, working_directory=DIRECTORY)
    async for _ in sandbox.run(step):
        pass
    with here.commands.live.show(LiveNode(job_id=job_id, index=0, sandbox=sandbox, working_directory=directory)):
        yield


async def quiet(_: bytes) -> None:
    """For progress nobody looks at."""
