"""What to ask of the Docker engine for a node: container settings as the engine's JSON. No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from appliance.executors.base import DOCKER_SOCKET, Container, DockerAccess, SandboxSpec
from appliance.executors.payload import quote

INSTANCE_LABEL = "rondo.instance"
NODE_LABEL = "rondo.node"
INDEX_LABEL = "rondo.index"  # 0 is the primary container
PRESERVE_ENTRYPOINT_LABEL = "com.circleci.preserve-entrypoint"
SMALLEST_MEMORY_BYTES = 6 << 20  # the engine refuses less


@dataclass(frozen=True)
class DockerOptions:
    """How sandboxes are made here; each has its place in the settings."""

    network: str | None = None  # of jobs, made by somebody else; None: one of our own
    network_mtu: int | None = None  # of the jobs' network; None leaves the engine's default
    primary_environment_in_steps: bool = False  # CircleCI hides `environment` of the primary container from steps
    oom_score_adj: int = 500  # jobs die before the appliance does
    processes: int = 8192  # of one container: a fork bomb stays its own trouble
    ramdisk: bool = True  # a tmpfs at /mnt/ramdisk
    pull: str = "missing"  # or "always"
    pull_report_s: float = 1.0  # between two lines of progress
    engine_patience_s: float = 60.0  # how long an engine may be away (a restart) before its sandboxes count as lost
    start_timeout_s: float = 120.0  # for the engine to create or start one container
    close_timeout_s: float = 60.0
    private_first_uid: int = 1_900_000_000  # of the 65536 user ids that private engines run under
    private_arguments: tuple[str, ...] = ()  # more options of their dockerd
    private_layers_bytes: int = 20 << 30  # what one of them may keep for the next job
    warm: int = 0  # primary containers made ahead, in all
    warm_age_s: float = 1200.0  # older ones make way for new ones
    warm_memory_floor: int = 1 << 30  # none are kept while less memory is free on the engine's host
    shared_socket: str = "/var/run/docker.sock"  # of the engine itself, for jobs that may use it
    private_start_timeout_s: float = 90.0
    private_stop_timeout_s: float = 25.0


class Begun(Protocol):
    """Somebody who has started a primary container before the executor was there. All may block until it runs."""

    @property
    def network(self) -> str:
        """What all containers are to be on."""

    def version(self) -> str | None:
        """Of the engine's API, "v1.41"; None when it did not answer."""

    def take(self, spec: SandboxSpec) -> str | None:
        """The id of a container that runs and was made for just this spec; it is the taker's then."""

    def remove(self, container_id: str) -> bool:
        """Remove what was taken, with all that runs in it. False: it could not be done."""


@dataclass(frozen=True)
class Room:
    """What the engine's host has: more cannot be given, asking for it would fail."""

    cpus: int
    memory_bytes: int


@dataclass(frozen=True)
class Image:
    """What matters of an image."""

    id: str = ""
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    preserves_entrypoint: bool = False

    @staticmethod
    def of(inspected: Mapping[str, Any]) -> Image:
        config = inspected.get("Config") or {}
        pairs = (entry.partition("=") for entry in config.get("Env") or ())
        return Image(
            id=str(inspected.get("Id", "")),
            entrypoint=tuple(config.get("Entrypoint") or ()),
            command=tuple(config.get("Cmd") or ()),
            environment={name: value for name, _, value in pairs},
            preserves_entrypoint=(config.get("Labels") or {}).get(PRESERVE_ENTRYPOINT_LABEL) == "true",
        )


def container_name(instance: str, node: str, index: int) -> str:
    return f"rondo-{instance}-{node}-{index}"


def name_pattern(instance: str, node: str | None) -> str:
    """What the engine is asked for: the names of a node's containers, or of all nodes'."""
    return f"^/?rondo-{re.escape(instance)}-{re.escape(node) if node else '.+'}-([0-9]+|docker)$"


def node_of(instance: str, names: Iterable[str]) -> str | None:
    """The node in the name of a container, as the engine lists it."""
    found = (re.fullmatch(f"/?rondo-{re.escape(instance)}-(.+)-(?:[0-9]+|docker)", name) for name in names)
    return next((each[1] for each in found if each), None)


def network_name(instance: str) -> str:
    return f"rondo-{instance}"


def network_config(instance: str, options: DockerOptions) -> dict[str, Any]:
    """One bridge for all jobs of an instance: a network each would exhaust the engine's address pools.

    Jobs cannot reach each other on it, since traffic between its containers is off; a job's own services share
    its network namespace and talk over localhost.
    """
    driver = {"com.docker.network.bridge.enable_icc": "false"}
    if options.network_mtu is not None:
        driver["com.docker.network.driver.mtu"] = str(options.network_mtu)
    return {
        "Name": network_name(instance),
        "Driver": "bridge",
        "CheckDuplicate": True,
        "Labels": {INSTANCE_LABEL: instance},
        "Options": driver,
    }


def primary_config(
    instance: str, spec: SandboxSpec, image: Image, room: Room, network: str, options: DockerOptions, supervisor: str
) -> dict[str, Any]:
    """The supervisor as main process of the primary image; the image's entrypoint only where it was asked for."""
    primary = spec.containers[0]
    kept = kept_entrypoint(primary, image)
    # The path is the engine's own on its machine, whichever way we reach it.
    shared = [f"{options.shared_socket}:{DOCKER_SOCKET}"] if spec.docker is DockerAccess.SHARED else []
    environment = dict(primary.environment) if kept or options.primary_environment_in_steps else {}
    if environment and not options.primary_environment_in_steps:
        supervisor = forget(environment, image.environment) + supervisor
    return {
        **_common(instance, spec, 0, primary),
        "Entrypoint": ["sh"],
        "Cmd": ["-c", supervisor, "rondo", "-", *kept],
        "Env": _pairs(environment),
        "OpenStdin": True,
        "StdinOnce": False,
        "Tty": False,
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": {
            **limits(spec.cpus, spec.memory_bytes, room, options),
            "LogConfig": {"Type": "none", "Config": {}},
            "NetworkMode": network,
            "ExtraHosts": [f"{other.name}:127.0.0.1" for other in spec.containers[1:] if other.name],
            "Binds": [f"{mount.source}:{mount.target}:ro" for mount in spec.mounts] + shared,
            "Mounts": [socket_folder(instance)] if spec.docker is DockerAccess.PRIVATE else [],
            "Tmpfs": {"/mnt/ramdisk": "rw,exec,mode=1777"} if options.ramdisk else {},
        },
    }


def service_config(
    instance: str, spec: SandboxSpec, index: int, room: Room, options: DockerOptions, primary_id: str
) -> dict[str, Any]:
    """A service as its image wants to be, in the primary's network namespace.

    Every container of a node has the node's limits for itself, where CircleCI's share them: the engine sets no limits on
    a common parent cgroup, and only root may. A service in the primary's own cgroup works with cgroup version 1 and no
    systemd alone (version 2 wants processes in the leaves), and leaves the primary's cgroup behind when that ends first.
    Halves would fail jobs that CircleCI runs.
    """
    service = spec.containers[index]
    config: dict[str, Any] = {
        **_common(instance, spec, index, service),
        "Env": _pairs(service.environment),
        "HostConfig": {
            **limits(spec.cpus, spec.memory_bytes, room, options),
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "8m", "max-file": "2"}},
            "NetworkMode": f"container:{primary_id}",
        },
    }
    if service.entrypoint is not None:
        config["Entrypoint"] = list(service.entrypoint)
    if service.command is not None:
        config["Cmd"] = list(service.command)
    return config


def socket_folder(instance: str) -> dict[str, Any]:
    """The volume in which a private Docker engine will put its socket; without a name, so it goes with its container."""
    target = DOCKER_SOCKET.rpartition("/")[0]
    return {"Type": "volume", "Target": target, "VolumeOptions": {"Labels": {INSTANCE_LABEL: instance}}}


def kept_entrypoint(primary: Container, image: Image) -> tuple[str, ...]:
    """What runs as the main process of the primary container, () for the supervisor alone (spec 1.6)."""
    if primary.entrypoint is not None:
        return (*primary.entrypoint, *(primary.command or ()))
    if primary.command is not None:
        return (*image.entrypoint, *primary.command)
    if image.preserves_entrypoint:
        return (*image.entrypoint, *image.command)
    return ()


def forget(environment: Mapping[str, str], of_image: Mapping[str, str]) -> str:
    """Shell text: a function by which the supervisor takes the entrypoint's variables out of its own environment."""
    lines = [f"export {name}={quote(of_image[name])}" if name in of_image else f"unset {name}" for name in environment]
    return "r_forget() {\n:\n" + "\n".join(lines) + "\n}\n"


def _common(instance: str, spec: SandboxSpec, index: int, container: Container) -> dict[str, Any]:
    labels = {
        **spec.labels,
        INSTANCE_LABEL: instance,
        NODE_LABEL: spec.node,
        INDEX_LABEL: str(index),
    }
    return {"Image": container.image, "User": container.user or "", "Labels": labels}


def limits(cpus: float, memory_bytes: int, room: Room, options: DockerOptions) -> dict[str, Any]:
    """What one container may take, bounded by what there is."""
    memory = max(SMALLEST_MEMORY_BYTES, min(memory_bytes, room.memory_bytes))
    return {
        "NanoCpus": int(min(cpus, room.cpus) * 1_000_000_000),
        "Memory": memory,
        "MemorySwap": memory,  # the same number means: no swap
        "OomScoreAdj": options.oom_score_adj,
        "PidsLimit": options.processes,
    }


def _pairs(environment: Mapping[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in environment.items()]
