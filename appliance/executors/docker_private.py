"""The private Docker engine of a node (spec 1.8.4): a container beside the job's that runs `shim/private_docker.sh`.

The container carries the node's labels, so whatever ends, finds or reaps a node does so with its engine as well. It is
reached by a socket in a volume that the primary container is created with; nothing else joins the two. No image is
pulled for it: it runs the programs of the machine that the first engine is on (dockerd, containerd, runc, iptables, ip,
unshare), shown read-only.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import aiodocker

from appliance import shim
from appliance.errors import SandboxError, Unavailable
from appliance.executors.base import DOCKER_SOCKET, PrivateDocker
from appliance.executors.docker_plan import INDEX_LABEL, INSTANCE_LABEL, NODE_LABEL, DockerOptions
from appliance.executors.docker_requests import to_the_end

if TYPE_CHECKING:
    from aiodocker.containers import DockerContainer

log = logging.getLogger(__name__)

IMAGE = "rondo/private-docker:1"
ENGINE_INDEX = "1000"  # after any service, where containers are counted
SOCKET_FOLDER = DOCKER_SOCKET.rpartition("/")[0]
KEPT_LABEL = "rondo.keeps-layers"
_LAYERS_LABEL = "rondo.layers"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_READY = "ready"
_LOOK_S = 0.1
_WORDS_LIMIT = 2000


def container_name(instance: str, node: str) -> str:
    return f"rondo-{instance}-{node}-docker"


def is_engine(container: DockerContainer) -> bool:
    return str(container["Labels"].get(INDEX_LABEL)) == ENGINE_INDEX


class PrivateEngines:
    """Starts and ends them for one `DockerExecutor`. What the first engine refuses is raised as aiodocker's errors."""

    def __init__(self, docker: aiodocker.Docker, instance: str, options: DockerOptions) -> None:
        self._docker = docker
        self._instance = instance
        self._options = options
        self._image_lock = asyncio.Lock()

    async def start(self, primary: DockerContainer, node: str, want: PrivateDocker, limits: Mapping[str, Any]) -> str:
        """Returns when the engine answers, with what it had to say; also when it has been started before.

        Raises Unavailable when it does not come up, with its last words.
        """
        name = container_name(self._instance, node)
        engine = await self._found(name)
        if engine is None:
            await self._have_image()
            if want.layers is not None:
                await self._free(want.layers)
            volume = await _socket_volume(primary)
            config = engine_config(self._instance, node, want, volume, primary.id, limits, self._options)
            engine = await to_the_end(self._docker.containers.create(config, name=name))
            await engine.start()
        return await self._ready(engine)

    async def _found(self, name: str) -> DockerContainer | None:
        """The node's engine, if it runs. One that has ended makes way for another try."""
        try:
            engine = await self._docker.containers.get(name)
        except aiodocker.DockerError as problem:
            if problem.status == 404:
                return None
            raise
        if engine["State"]["Running"]:
            return engine
        await engine.delete(force=True, v=True)
        return None

    async def _free(self, volume: str) -> None:
        """End what still holds the layers: the engine of a node that is over but could not be removed, or is just going.

        Two engines on the same layers would spoil them.
        """
        labels = {"label": [f"{INSTANCE_LABEL}={self._instance}"], "volume": [volume]}
        async with asyncio.timeout(self._options.private_stop_timeout_s):
            while others := await self._docker.containers.list(all=1, filters=json.dumps(labels)):
                log.info("ending a private engine whose job is over", extra={"containers": [each.id for each in others]})
                await self.end(others)
                await asyncio.sleep(_LOOK_S)

    async def _ready(self, engine: DockerContainer) -> str:
        said = ""
        try:
            async with asyncio.timeout(self._options.private_start_timeout_s):
                while True:
                    is_running = (await engine.show())["State"]["Running"]  # asked first: nothing is said after it
                    said = "".join(await engine.log(stdout=True, stderr=True, tail=50))[-_WORDS_LIMIT:]
                    lines = said.splitlines()
                    if _READY in lines:
                        return "".join(f"{line}\n" for line in lines[: lines.index(_READY)])
                    if not is_running:
                        break
                    await asyncio.sleep(_LOOK_S)
        except TimeoutError:
            said += "it took too long to start"
        raise Unavailable(f"no private Docker engine can be had here: {said.strip() or 'it ended without a word'}")

    async def end(self, containers: Iterable[DockerContainer]) -> None:
        """Remove engines. Those that keep their layers are asked to end first, and have some seconds for it."""
        for engine in filter(is_engine, containers):
            try:
                if engine["Labels"].get(KEPT_LABEL) and engine["State"] == "running":
                    await engine.stop(t=int(self._options.private_stop_timeout_s))
                await engine.delete(force=True, v=True)
            except aiodocker.DockerError as problem:
                if problem.status not in (404, 409):  # gone, or somebody else is at it
                    raise

    async def kept_layers(self) -> Sequence[str]:
        volumes: Any = self._docker.volumes  # its methods have no types
        found = await volumes.list(filters={"label": [f"{_LAYERS_LABEL}={self._instance}"]})
        return sorted(volume["Name"] for volume in found["Volumes"] or ())

    async def remove_layers(self, name: str) -> None:
        volumes: Any = self._docker.volumes
        try:
            await (await volumes.get(name)).delete()
        except aiodocker.DockerError as problem:
            if problem.status not in (404, 409):  # 409: a job still uses it; the janitor comes again
                raise

    async def _have_image(self) -> None:
        async with self._image_lock:
            try:
                await self._docker.images.inspect(IMAGE)
            except aiodocker.DockerError as problem:
                if problem.status != 404:
                    raise
                architecture = (await self._docker.version())["Arch"]
                await self._docker.images.import_image(_image(architecture))


def engine_config(
    instance: str,
    node: str,
    want: PrivateDocker,
    socket_volume: str,
    primary_id: str,
    limits: Mapping[str, Any],
    options: DockerOptions,
) -> dict[str, Any]:
    """The container of a private engine, in the job's network namespace, so that published ports are on its localhost.

    Its root needs SYS_ADMIN and NET_ADMIN to make the jail in which the job's engine is; nothing of the job ever runs
    with them. The profiles are off since they forbid to mount, also inside of the jail; containers in there get the
    private engine's own. Unlike a privileged container it sees no device of the machine.
    """
    text = shim.text("private_docker.sh")
    words = ["outer", str(options.private_first_uid), SOCKET_FOLDER, str(options.private_layers_bytes >> 10)]
    labels = {INSTANCE_LABEL: instance, NODE_LABEL: node, INDEX_LABEL: ENGINE_INDEX}
    owner = {INSTANCE_LABEL: instance}
    data: dict[str, Any] = {"Type": "volume", "Target": "/data", "VolumeOptions": {"Labels": owner}}
    if want.layers is not None:
        labels[KEPT_LABEL] = "true"
        owner[_LAYERS_LABEL] = instance
        data["Source"] = want.layers
    return {
        "Image": IMAGE,
        "Entrypoint": ["sh"],
        "Cmd": ["-c", text, "rondo", *words, *options.private_arguments],
        "Env": [f"PATH={_PATH}", f"P_TEXT={text}", f"P_PROXY={shim.text('docker_proxy.sh')}"],
        "Labels": labels,
        "HostConfig": {
            **limits,
            "Binds": ["/:/host:ro"],
            "Mounts": [data, {"Type": "volume", "Source": socket_volume, "Target": SOCKET_FOLDER}],
            "CapAdd": ["SYS_ADMIN", "NET_ADMIN"],
            "SecurityOpt": ["seccomp=unconfined", "apparmor=unconfined", "label=disable"],
            "MaskedPaths": [],  # a masked /proc may not be mounted anew in the jail
            "ReadonlyPaths": [],
            "CgroupnsMode": "private",
            "NetworkMode": f"container:{primary_id}",
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m", "max-file": "1"}},
        },
    }


async def _socket_volume(primary: DockerContainer) -> str:
    mounts: Sequence[Mapping[str, Any]] = (await primary.show())["Mounts"]
    for mount in mounts:
        if mount["Destination"] == SOCKET_FOLDER:
            return str(mount["Name"])
    raise SandboxError(f"the job's container has no {SOCKET_FOLDER}, into which a private Docker engine could be put")


def _image(architecture: str) -> bytes:
    """An image without programs, in the engine's own format: links to where those of the machine will be."""
    import tarfile  # not needed before a job asks for an engine

    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        for folder in ("data", "dev", "etc", "host", "jail", "proc", "run", "sys", "tmp"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        for link in ("bin", "lib", "lib32", "lib64", "sbin", "usr", "etc/alternatives", "etc/ld.so.cache"):
            entry = tarfile.TarInfo(link)
            entry.type, entry.linkname = tarfile.SYMTYPE, f"/host/{link}"
            tar.addfile(entry)
    digest = f"sha256:{hashlib.sha256(layer.getvalue()).hexdigest()}"
    config = {"architecture": architecture, "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": [digest]}}
    manifest = [{"Config": "config.json", "RepoTags": [IMAGE], "Layers": ["layer.tar"]}]
    files = {
        "config.json": json.dumps(config).encode(),
        "manifest.json": json.dumps(manifest).encode(),
        "layer.tar": layer.getvalue(),
    }
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return whole.getvalue()
