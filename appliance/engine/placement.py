"""Where a job runs and how much of the machine it takes: executor or machines, containers, CPUs and memory (spec 1.6)."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from appliance.engine import spots
from appliance.engine.classes import GIB, Classes, Size
from appliance.errors import ImageError
from appliance.executors.base import Container, Credentials, DockerAccess, LogIn, Mount, SandboxSpec
from appliance.language import plan as plans


@dataclass(frozen=True, kw_only=True)
class Places:
    """What this appliance can run, from the settings."""

    has_docker: bool
    has_local: bool
    local_takes_all: bool
    local_takes_forks: bool = False
    machine_image: str
    default_class: str
    classes: Classes
    aliases: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[Mount, ...] = ()
    aws_endpoint: str = ""  # in the place of all of AWS's own
    gcp_endpoint: str = ""


@dataclass(frozen=True, kw_only=True)
class Placement:
    """An executor of this host, or the machines of the pool that may run it. Zeros: an equal share of the machine."""

    executor: str = ""
    machines: tuple[str, ...] = ()
    cpus: float
    memory_bytes: int


def place(job: plans.Job, places: Places, pool: Sequence[spots.Spot] = (), *, is_trusted: bool) -> Placement | str:
    """Where and with how much room a job runs, or a sentence why it never can.

    A machine that is one for it goes before what stands in for machines on this host, even while it takes nothing.
    What a stranger wrote runs without isolation only where somebody has allowed just that.
    """
    wanted = spots.ask(job, places.classes, places.default_class)
    closed: tuple[str, ...] = ()
    if wanted is not None:
        fitting = [spot for spot in pool if spots.takes(spot, wanted)]
        machines = tuple(spot.name for spot in fitting if is_trusted or spot.forks)
        if machines:
            share = wanted.size or Size(0, 0)
            return Placement(machines=machines, cpus=share.cpus, memory_bytes=share.memory_bytes)
        closed = tuple(spot.name for spot in fitting)
    executor = _executor(job, places, wanted)
    if executor == "local" and not is_trusted and not places.local_takes_forks:
        closed = closed or ("local.forks",)
        executor = _executor(job, replace(places, has_local=False), wanted)
    if executor.startswith("!"):
        return _why_no_fork(closed) if closed else executor[1:]
    size = _size(job, executor, places)
    if isinstance(size, str):
        return size
    return Placement(executor=executor, cpus=size.cpus, memory_bytes=size.memory_bytes)


def _why_no_fork(closed: Sequence[str]) -> str:
    """`closed`: the machines that are no places for forks, or the setting of this host."""
    switch = closed[0] if closed[0] == "local.forks" else f"machines.{closed[0]}.forks"
    return (
        "a fork's job does not run on a machine without isolation: there it could read and change what other jobs leave;"
        f" who trusts all who can open pull requests sets {switch} = true"
    )


def class_of(job: plans.Job, places: Places) -> str:
    """The name of the resource class that a job gets."""
    return job.resource_class or places.default_class


def out_of_memory(job: plans.Job, places: Places, memory_bytes: int) -> str:
    """What to say of a command that was killed for memory, and what to do about it."""
    said = f"killed: out of memory, {memory_bytes / GIB:.4g} GiB"
    name, is_machine = class_of(job, places), isinstance(job.executor, plans.Machine)
    size = places.classes.find(name, is_machine=is_machine)
    if size is not None and size.memory_bytes > memory_bytes:
        return f"{said}; that is all that this appliance has for one job (jobs.memory)"
    larger = places.classes.larger(name, is_machine=is_machine)
    return f"{said}; try resource_class: {larger}" if larger else f"{said}; there is no larger resource class here"


def _size(job: plans.Job, executor: str, places: Places) -> Size | str:
    name, is_machine = class_of(job, places), isinstance(job.executor, plans.Machine)
    if name.startswith("gpu.") and executor == "docker":
        return "a GPU job needs a machine with one, and containers here are given none"
    size = places.classes.find(name, is_machine=is_machine)
    if size is None and (job.resource_class is None or "/" in name):  # a self-hosted runner's own class
        size = places.classes.find(places.default_class, is_machine=False)
    known = ", ".join(places.classes.names(is_machine=is_machine))
    kind = "machine jobs" if is_machine else "docker jobs"
    return size or f"there is no resource class {name} for {kind} here; known are {known}"


def _executor(job: plans.Job, places: Places, wanted: spots.Ask | None) -> str:
    """Of this host; or "!" and why there is none."""
    if wanted is not None:
        has_stand_in = places.has_local or places.machine_image
        if wanted.os in spots.SYSTEMS or (wanted.is_named and not has_stand_in):
            return "!" + spots.why_none(wanted)
        if not has_stand_in:
            return (
                "!a machine job needs a machine: add one (`rondo machine add`), set docker.machine_image to an image "
                "that stands in for one, or switch on local.enabled"
            )
        return "local" if places.has_local else "docker"
    match job.executor:
        case _ if places.has_local and places.local_takes_all:
            return "local"
        case _ if places.has_docker:
            return "docker"
    return "!a docker job needs a Docker engine, and docker.enabled is off"


def spec(
    node: str,
    job: plans.Job,
    placement: Placement,
    places: Places,
    variables: Mapping[str, str],
    docker: DockerAccess = DockerAccess.NONE,
) -> SandboxSpec:
    """What to ask the executor for. `variables` fill the `$VAR`s of registry logins, the only place they may stand."""
    containers: tuple[Container, ...] = ()
    if placement.executor == "docker":
        containers = _containers(job, places, variables)
    return SandboxSpec(
        node=node,
        containers=containers,
        cpus=placement.cpus,
        memory_bytes=placement.memory_bytes,
        labels={"rondo.job": job.name},
        mounts=places.mounts,
        docker=docker,
    )


def _containers(job: plans.Job, places: Places, variables: Mapping[str, str]) -> tuple[Container, ...]:
    if not isinstance(job.executor, plans.Docker):
        return (Container(image=aliased(places.machine_image, places.aliases)),)
    return tuple(
        Container(
            image=aliased(image.image, places.aliases),
            name=image.name,
            entrypoint=image.entrypoint,
            command=image.command,
            user=image.user,
            environment=image.environment,
            log_in=_by_password(image, variables),
        )
        for image in job.executor.images
    )


def aliased(image: str, aliases: Mapping[str, str]) -> str:
    """The image that the settings put in the place of `image`; the first pattern that matches wins.

    `redis` is `redis:latest`, so the pattern `redis:*` means it too.
    """
    has_tag = ":" in image.rpartition("/")[2] or "@" in image
    names = (image,) if has_tag else (image, f"{image}:latest")
    for pattern, replacement in aliases.items():
        if any(fnmatch.fnmatchcase(name, pattern) for name in names):
            return replacement
    return image


def _by_password(image: plans.DockerImage, variables: Mapping[str, str]) -> LogIn | None:
    if (auth := image.auth) is None:
        return None

    async def log_in() -> Credentials:
        username, password = (filled(text, variables, image.image) for text in (auth.username, auth.password))
        return Credentials(username=username, password=password)

    return log_in


def filled(text: str, variables: Mapping[str, str], image: str) -> str:
    """`text` of a registry login with its `$VAR`s filled in. Raises ImageError when there is no such variable."""

    def value(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        if name not in variables:
            where = "in the project or the job's contexts (a fork's pipeline gets none of them)"
            raise ImageError(f"the login for image {image} needs ${name}, and there is no such variable {where}")
        return variables[name]

    return re.sub(r"\$(?:\{(\w+)\}|(\w+))", value, text)
