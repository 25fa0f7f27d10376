"""Where jobs can run, from the settings: places, this host's room, the Docker engine. Light to load."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from appliance.errors import SettingsError
from appliance.executors.base import Mount
from appliance.executors.docker_plan import DockerOptions
from appliance.settings import Settings

if TYPE_CHECKING:
    from appliance.engine import placement
    from appliance.engine.classes import Classes

_USUAL_SOCKET = "unix:///var/run/docker.sock"


def places(settings: Settings) -> placement.Places:
    from appliance.engine import placement  # loads the language, which takes long

    return placement.Places(
        has_docker=settings.is_on("docker.enabled"),
        has_local=settings.is_on("local.enabled"),
        local_takes_all=settings.text("local.takes") == "all",
        local_takes_forks=settings.is_on("local.forks"),
        machine_image=settings.text("docker.machine_image"),
        default_class=settings.text("jobs.default_class"),
        classes=_classes(settings),
        aliases=settings.table("images"),
        mounts=mounts(settings),
        aws_endpoint=settings.text("aws.endpoint").rstrip("/"),
        gcp_endpoint=settings.text("gcp.endpoint").rstrip("/"),
    )


def _classes(settings: Settings) -> Classes:
    from appliance.engine.classes import Classes

    try:
        return Classes(settings.table("resource_classes"))
    except ValueError as error:
        raise SettingsError([str(error)]) from None


def mounts(settings: Settings) -> tuple[Mount, ...]:
    """Raises SettingsError."""
    return tuple(_mount(text) for text in settings.items("jobs.mounts"))


def _mount(text: str) -> Mount:
    source, _, target = text.partition(":")
    if not (source.startswith("/") and target.startswith("/")):
        raise SettingsError([f"jobs.mounts: {text!r} is not /SOURCE:/TARGET"])
    return Mount(source=source, target=target)


def room(settings: Settings) -> tuple[float, int]:
    """CPUs and bytes of memory that jobs of this host may claim."""
    memory = settings.integer("jobs.memory") or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return settings.number("jobs.cpus") or 2.0 * (os.cpu_count() or 1), memory


def docker_options(settings: Settings, network: str | None = None) -> DockerOptions:
    return DockerOptions(
        network=network,
        network_mtu=settings.integer("docker.mtu") or None,
        processes=settings.integer("docker.processes"),
        warm=settings.integer("docker.warm"),
        primary_environment_in_steps=settings.is_on("docker.environment_in_steps"),
        shared_socket=docker_url(settings).removeprefix("unix://"),
        private_first_uid=settings.integer("remote_docker.first_uid"),
        private_arguments=settings.items("remote_docker.options"),
        private_layers_bytes=settings.integer("remote_docker.layers_limit"),
    )


def docker_url(settings: Settings) -> str:
    return settings.text("docker.url") or os.environ.get("DOCKER_HOST") or _USUAL_SOCKET


def persons_docker_url(settings: Settings) -> str:
    """The engine that `docker` itself would use for this person: their context, a rootless one, the usual socket."""
    named = settings.text("docker.url") or os.environ.get("DOCKER_HOST") or _of_context(Path.home() / ".docker")
    if named:
        return named
    own = [Path(os.environ["XDG_RUNTIME_DIR"]) / "docker.sock"] if "XDG_RUNTIME_DIR" in os.environ else []
    own.append(Path.home() / ".docker/run/docker.sock")
    is_usual_there = Path(_USUAL_SOCKET.removeprefix("unix://")).exists()
    return next((f"unix://{path}" for path in own if path.exists() and not is_usual_there), _USUAL_SOCKET)


def _of_context(folder: Path) -> str:
    """The endpoint of the current context of the docker command line; "" for its default one."""
    try:
        name = os.environ.get("DOCKER_CONTEXT") or json.loads((folder / "config.json").read_text()).get("currentContext")
        if not name or name == "default":
            return ""
        import hashlib  # loads OpenSSL

        meta = folder / "contexts/meta" / hashlib.sha256(name.encode()).hexdigest() / "meta.json"
        return str(json.loads(meta.read_text())["Endpoints"]["docker"]["Host"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ""
