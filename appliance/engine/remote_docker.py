"""Which Docker engine a job may use, and giving it one of its own (spec 1.8.4, 8.4)."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from appliance.engine.workshop import DockerRules, Facts, Workshop
from appliance.errors import RondoError, Unavailable
from appliance.executors.base import DockerAccess, PrivateDocker, Sandbox
from appliance.language import plan as plans
from appliance.store import docker_layers

log = logging.getLogger(__name__)

_LEAST_CPUS = 2.0
_LEAST_MEMORY_BYTES = 4 << 30  # spec 1.6: a remote engine of a small job is a medium one


@dataclass(frozen=True)
class Access:
    """`why_not` is a sentence for the step that asks for an engine and gets none."""

    kind: DockerAccess
    why_not: str = ""


def access(job: plans.Job, executor: str, project: str, rules: DockerRules, *, is_trusted: bool) -> Access:
    """The engine that a job may use. `project` is org/repo."""
    is_machine = isinstance(job.executor, plans.Machine)
    if not is_machine and not any(isinstance(step, plans.SetupRemoteDocker) for step in job.steps):
        return Access(DockerAccess.NONE)
    if executor != "docker":
        return Access(DockerAccess.NONE, "this job runs as processes of a host, not beside a Docker engine")
    if not rules.is_on or (is_machine and not rules.for_machines):
        setting = "remote_docker.machine" if rules.is_on else "remote_docker.enabled"
        return Access(DockerAccess.NONE, f"remote Docker is switched off on this appliance ({setting})")
    if not is_trusted and not rules.for_forks:
        return Access(DockerAccess.NONE, "what a stranger's fork has pushed gets no Docker engine (remote_docker.forks)")
    if is_trusted and project.lower() in rules.shared_with:
        return Access(DockerAccess.SHARED)
    return Access(DockerAccess.PRIVATE)


def access_of(shop: Workshop, facts: Facts) -> Access:
    return access(
        facts.plan, facts.node.executor, facts.project.name, shop.remote_docker, is_trusted=facts.pipeline.is_trusted
    )


async def start(shop: Workshop, facts: Facts, sandbox: Sandbox, *, keeps_layers: bool) -> str:
    """Give a node the engine it may use; what to say about it. May be repeated. Raises Unavailable."""
    found = access_of(shop, facts)
    if found.kind is DockerAccess.NONE:
        raise Unavailable(found.why_not)
    if found.kind is DockerAccess.SHARED:
        return "Using the appliance's own Docker engine, as its administrator allows this project\n"
    layers, said = None, ""
    if keeps_layers and not facts.pipeline.is_trusted:
        said = "Without layer caching: a stranger's fork neither gets nor leaves any\n"
    elif keeps_layers:
        job, index, now_ms = facts.job, facts.node.index, shop.clock.now_ms()
        layers, is_old = await shop.db.write(lambda tx: docker_layers.claim(tx, job.project_id, job.id, index, now_ms))
        said = (
            "Using the layers that an earlier job has kept\n"
            if is_old
            else "No layers are kept yet; the next job has these\n"
        )
    want = PrivateDocker(
        cpus=max(_LEAST_CPUS, facts.node.cpus), memory_bytes=max(_LEAST_MEMORY_BYTES, facts.node.memory_bytes), layers=layers
    )
    return said + await sandbox.start_docker(want)


async def start_of_machine(shop: Workshop, facts: Facts, sandbox: Sandbox) -> str:
    """A `machine` job has its engine from the start. One that cannot be had is said, and no reason to end the job."""
    machine = facts.plan.executor
    if not isinstance(machine, plans.Machine) or access_of(shop, facts).kind is not DockerAccess.PRIVATE:
        return ""
    try:
        return await start(shop, facts, sandbox, keeps_layers=machine.docker_layer_caching)
    except RondoError as error:
        return f"{error}\n"


async def release(shop: Workshop, facts: Facts) -> None:
    """After the sandbox has gone: the layers it used are free for the next job. What fails here the janitor does."""
    if not _uses_layers(facts.plan):
        return
    now_ms, kept = shop.clock.now_ms(), shop.remote_docker.kept
    try:
        await shop.db.write(lambda tx: docker_layers.release(tx, facts.job.id, facts.node.index, kept, now_ms))
    except RondoError as error:
        log.warning("could not free the layers of a job", extra={"job": facts.job.number, "error": str(error)})


def _uses_layers(job: plans.Job) -> bool:
    if isinstance(job.executor, plans.Machine):
        return job.executor.docker_layer_caching
    return any(isinstance(step, plans.SetupRemoteDocker) and step.docker_layer_caching for step in job.steps)
