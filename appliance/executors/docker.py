"""Sandboxes on a Docker engine (or Podman's compatible socket): a primary container with the supervisor, and services.

A sandbox has no state outside the engine: everything carries the label of its instance and the name of its node, which
is the `ref`; so a restarted appliance finds, re-attaches or removes by these alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import ssl
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

import aiodocker
import aiohttp

from appliance import shim
from appliance.errors import ImageError, SandboxError, SandboxLost
from appliance.executors.base import DockerAccess, PrivateDocker, Process, Progress, SandboxSpec, Service, Usage
from appliance.executors.docker_engine import AttachTransport, Engine, attach
from appliance.executors.docker_errors import speaking_plainly, why_unreached
from appliance.executors.docker_images import have_image, inspect
from appliance.executors.docker_plan import (
    INDEX_LABEL,
    INSTANCE_LABEL,
    Begun,
    DockerOptions,
    Image,
    Room,
    container_name,
    limits,
    name_pattern,
    network_config,
    node_of,
    primary_config,
    service_config,
)
from appliance.executors.docker_private import PrivateEngines, is_engine
from appliance.executors.docker_process import start_process
from appliance.executors.docker_requests import to_the_end
from appliance.executors.docker_service import DockerService
from appliance.executors.docker_usage import Gauge
from appliance.executors.docker_warm import WarmPool, recipe_of
from appliance.executors.supervised import Pace, SupervisedSandbox, opening

if TYPE_CHECKING:
    from aiodocker.containers import DockerContainer

log = logging.getLogger(__name__)

T = TypeVar("T")

RETRY_S = 0.2
FIND_STATE = """\
for r_dir in /tmp /var/tmp /dev/shm "$HOME"; do r_dir=$r_dir/.rondo; [ -r "$r_dir/bash_env" ] && break; done"""


class DockerExecutor:
    """See `base.Executor`. `url` is unix:///path, tcp://host:port, or https://host:port with `tls`."""

    name = "docker"

    def __init__(
        self,
        instance: str,
        url: str = "unix:///var/run/docker.sock",
        *,
        options: DockerOptions | None = None,
        pace: Pace | None = None,
        tls: ssl.SSLContext | None = None,
        begun: Begun | None = None,
    ) -> None:
        self._instance = instance
        self._begun = begun
        self._taken: dict[str, str] = {}  # from those who had begun it: a node's only container
        self._engine = Engine(url, tls, None if begun is None else begun.version())
        self._options = options or DockerOptions()
        self._pace = pace or Pace()
        self._private = PrivateEngines(self._engine.docker, instance, self._options)
        self._pool = WarmPool(self._engine, instance, self._options)
        self._network_lock = asyncio.Lock()
        self._network: str | None = None
        self._room: Room | None = None

    async def open(self, spec: SandboxSpec, progress: Progress) -> DockerSandbox:
        if not spec.containers:
            raise ImageError("a docker job needs at least one image")
        try:
            async with speaking_plainly("start the containers"), self._pool.resting():
                return await self._open(spec, progress)
        except BaseException:
            await self._undo(spec.node)
            raise

    async def _open(self, spec: SandboxSpec, progress: Progress) -> DockerSandbox:
        begun = None if self._begun is None else await asyncio.to_thread(self._begun.take, spec)
        if begun is not None:
            primary, transport = self._engine.container(begun), await attach(self._engine, begun)
            if len(spec.containers) == 1 and spec.docker is not DockerAccess.PRIVATE:
                self._taken[spec.node] = begun
        else:
            primary, transport = await self._make_primary(spec, progress)
        await self._start_services(spec, primary.id)
        await progress(f"Started {', '.join(c.image for c in spec.containers)}\n".encode())
        return self._sandbox(spec.node, primary, transport)

    async def _make_primary(self, spec: SandboxSpec, progress: Progress) -> tuple[DockerContainer, AttachTransport]:
        images = await self._images(spec, progress)
        network = await self._get_network()
        try:
            return await self._start_primary(spec, images[0], network)
        except aiodocker.DockerError as problem:
            if problem.status != 404 or network not in problem.message:
                raise
            # Somebody pruned the network under us; another node may have seen it first and have a new one by now.
            if self._network == network:
                self._network = None
            return await self._start_primary(spec, images[0], await self._get_network())

    async def _start_primary(self, spec: SandboxSpec, image: Image, network: str) -> tuple[DockerContainer, AttachTransport]:
        """Attached before it starts: nothing that it says can be missed."""
        room = await self._get_room()
        text = shim.supervisor()
        config = primary_config(self._instance, spec, image, room, network, self._options, text)
        recipe = recipe_of(config, spec, image)
        if recipe is not None:
            name = container_name(self._instance, spec.node, 0)
            warm = await self._pool.take(recipe, name, limits(spec.cpus, spec.memory_bytes, room, self._options))
            if warm is not None:
                return warm
        primary = await self._create(spec, 0, config)
        transport = AttachTransport(await self._engine.attach(primary.id))
        await self._start(primary, spec, 0)
        await transport.send(opening())
        if recipe is not None:
            self._pool.note(recipe)
        return primary, transport

    async def _images(self, spec: SandboxSpec, progress: Progress) -> list[Image]:
        """Look for (or pull) all at once."""
        return await _all_of(
            have_image(self._engine.docker, container, self._options, progress) for container in spec.containers
        )

    async def _start_services(self, spec: SandboxSpec, primary_id: str) -> None:
        if len(spec.containers) == 1:
            return  # and of one that was begun the first word comes before an HTTP client is loaded
        room = await self._get_room()

        async def start(index: int) -> None:
            config = service_config(self._instance, spec, index, room, self._options, primary_id)
            await self._start(await self._create(spec, index, config), spec, index)

        await _all_of(start(index) for index in range(1, len(spec.containers)))

    async def _create(self, spec: SandboxSpec, index: int, config: dict[str, Any]) -> DockerContainer:
        name = container_name(self._instance, spec.node, index)
        containers = self._engine.docker.containers
        async with asyncio.timeout(self._options.start_timeout_s):
            try:
                return await to_the_end(containers.create(config, name=name))
            except aiodocker.DockerError as problem:
                if problem.status != 409:
                    raise
            # A leftover of this very node, from before a crash.
            await containers.container(name).delete(force=True, v=True)
            return await to_the_end(containers.create(config, name=name))

    async def _start(self, container: DockerContainer, spec: SandboxSpec, index: int) -> None:
        image = spec.containers[index].image
        try:
            async with asyncio.timeout(self._options.start_timeout_s):
                await container.start()
        except aiodocker.DockerError as problem:
            if any(words in problem.message for words in ("executable file not found", "no such file", "exec format")):
                what = "has no sh, so no job can run in it" if index == 0 else "cannot be started"
                raise ImageError(f"image {image} {what}: {problem.message}") from problem
            if "unable to find user" in problem.message or "no matching entries in passwd" in problem.message:
                raise ImageError(f"image {image} has no such user: {problem.message}") from problem
            raise

    async def _get_network(self) -> str:
        """The id of the jobs' network. Its name is no key: the engine keeps two of one name if two asked at once."""
        if self._options.network is not None:
            return self._options.network
        async with self._network_lock:
            if self._network is None:
                found = await self._networks()
                if not found:
                    await self._create_network()
                    found = await self._networks()
                self._network = found[0]
            return self._network

    async def _networks(self) -> list[str]:
        """Ours, the oldest first: so all who look choose the same."""
        labels = {"label": [f"{INSTANCE_LABEL}={self._instance}"]}
        found = await self._engine.docker.networks.list(filters=labels)
        return [network["Id"] for network in sorted(found, key=lambda each: (each["Created"], each["Id"]))]

    async def _create_network(self) -> None:
        networks = self._engine.docker.networks
        config = network_config(self._instance, self._options)
        try:
            await to_the_end(networks.create(config))
        except aiodocker.DockerError as problem:
            if "address pool" not in problem.message:
                raise
            # Dead instances left theirs. Who is just about to use one makes it again (`_open`).
            await networks.prune(filters={"label": [INSTANCE_LABEL]})
            await to_the_end(networks.create(config))

    async def _remove_networks(self) -> None:
        """The engine keeps one as long as a container is on it."""
        if self._options.network is not None:
            return
        with contextlib.suppress(aiodocker.DockerError, aiohttp.ClientError, OSError, TimeoutError):
            async with asyncio.timeout(self._options.start_timeout_s):
                for network in await self._networks():
                    await (await self._engine.docker.networks.get(network)).delete()

    async def _get_room(self) -> Room:
        if self._room is None:
            info = await self._engine.docker.system.info()
            self._room = Room(cpus=int(info["NCPU"]), memory_bytes=int(info["MemTotal"]))
        return self._room

    async def _undo(self, node: str) -> None:
        """Remove what a failed `open` left; what cannot be removed now is found by its labels later."""
        with contextlib.suppress(SandboxError, TimeoutError):
            async with asyncio.timeout(self._options.close_timeout_s):
                await self.remove(node)

    def _sandbox(self, node: str, primary: DockerContainer, transport: AttachTransport) -> DockerSandbox:
        return DockerSandbox(self, self._engine, self._instance, node, primary, transport, self._pace, self._options)

    async def reattach(self, ref: str) -> DockerSandbox:
        async with speaking_plainly(f"find sandbox {ref}"):
            for container in await self._containers(ref):
                if container["Labels"].get(INDEX_LABEL) == "0" and container["State"] == "running":
                    transport = await attach(self._engine, container.id)
                    return self._sandbox(ref, container, transport)
        raise SandboxLost(f"the container of node {ref} does not run any more")

    async def list(self) -> list[str]:
        async with speaking_plainly("list containers"):
            found = await self._containers()
        nodes = {node_of(self._instance, container["Names"]) for container in found}
        return sorted(node for node in nodes if node is not None and not self._pool.holds(node))

    @property
    def warm(self) -> int:
        """How many containers wait for a job."""
        return self._pool.ready

    async def keep_warm(self, asked: Sequence[tuple[SandboxSpec, float]] = ()) -> None:
        """Make containers ahead (`DockerOptions.warm`). Ends only by being cancelled; `close` removes what it made.

        `asked`: what was asked for before this start, and how many seconds ago.
        """
        try:
            async with speaking_plainly("look for the images used before"):
                await self._recall(asked)
        except SandboxError as problem:
            log.warning("nothing is made ahead before it is used", extra={"error": str(problem)})
        await self._pool.run()

    async def _recall(self, asked: Sequence[tuple[SandboxSpec, float]]) -> None:
        """As if those jobs had come just now, of images that are still there."""
        if not asked:
            return
        await self._engine.load()
        names = {spec.containers[0].image for spec, _ in asked}
        images = {name: await self._image(name) for name in names}
        network, room = await self._get_network(), await self._get_room()
        text = shim.supervisor()
        for spec, ago_s in asked:
            if (image := images[spec.containers[0].image]) is None:
                continue
            config = primary_config(self._instance, spec, image, room, network, self._options, text)
            if (recipe := recipe_of(config, spec, image)) is not None:
                self._pool.note(recipe, ago_s)

    async def _image(self, name: str) -> Image | None:
        try:
            return await inspect(self._engine.docker, name)
        except ImageError:
            return None

    async def remove(self, ref: str) -> None:
        if await self._give_back(ref):
            return
        async with speaking_plainly(f"remove the containers of node {ref}"):
            await self._engine.load()
            found = await self._containers(ref)
            for container in found:
                self._engine.let_go(container.id)
            # Engines first: the primary takes the volume between them along only when nobody else uses it.
            await self._private.end(found)
            await _all_of(_delete(container) for container in found if not is_engine(container))

    async def _give_back(self, ref: str) -> bool:
        """Whoever had begun the only container of a node removes it too: for that alone no HTTP client is loaded."""
        container_id = self._taken.pop(ref, None)
        if self._begun is None or container_id is None:
            return False
        self._engine.let_go(container_id)
        return await asyncio.to_thread(self._begun.remove, container_id)

    async def start_docker(self, node: str, primary: DockerContainer, want: PrivateDocker) -> str:
        async with speaking_plainly(f"start a private engine for node {node}"):
            room = limits(want.cpus, want.memory_bytes, await self._get_room(), self._options)
            return await self._private.start(primary, node, want, room)

    async def kept_layers(self) -> Sequence[str]:
        async with speaking_plainly("list volumes"):
            return await self._private.kept_layers()

    async def remove_layers(self, name: str) -> None:
        async with speaking_plainly(f"remove volume {name}"):
            await self._private.remove_layers(name)

    async def _containers(self, node: str | None = None) -> Sequence[DockerContainer]:
        """By name: one that was made ahead carries no node's label, and labels cannot be changed."""
        filters = {"label": [f"{INSTANCE_LABEL}={self._instance}"], "name": [name_pattern(self._instance, node)]}
        return await self._engine.docker.containers.list(all=1, filters=json.dumps(filters))

    async def check(self) -> str | None:
        if self._begun is not None and self._begun.version() is not None:
            return None  # it has just answered, and a run is short
        try:
            async with asyncio.timeout(self._options.start_timeout_s):
                await self._engine.docker.version()
        except (aiodocker.DockerError, aiohttp.ClientError, OSError) as problem:
            why = why_unreached(problem)
            return f"no Docker engine answers at {self._engine.url}: {why}; is it running, and may we use it?"
        return None

    async def close(self) -> None:
        """An idle appliance takes its network along: each costs the engine one of few address pools."""
        try:
            await self._pool.close()
            await self._remove_networks()
        finally:
            await self._engine.close()


class DockerSandbox(SupervisedSandbox):
    """See `base.Sandbox`."""

    def __init__(
        self,
        executor: DockerExecutor,
        engine: Engine,
        instance: str,
        node: str,
        primary: DockerContainer,
        transport: AttachTransport,
        pace: Pace,
        options: DockerOptions,
    ) -> None:
        super().__init__(transport, pace)
        self._executor = executor
        self._engine = engine
        self._instance = instance
        self._node = node
        self._primary = primary
        self._options = options
        self._gauge = Gauge(engine.docker, lambda: executor._containers(node))

    @property
    def ref(self) -> str:
        return self._node

    @property
    def _find_state(self) -> str:
        return FIND_STATE

    async def _reconnect(self) -> AttachTransport:
        """The stream broke: the container has ended, or the engine restarts and may come back with it alive."""
        deadline = asyncio.get_running_loop().time() + self._options.engine_patience_s
        while True:
            try:
                await self._check_running()
                return await attach(self._engine, self._primary.id)
            except SandboxLost:
                raise
            except SandboxError as problem:
                if asyncio.get_running_loop().time() > deadline:
                    raise SandboxLost(f"the engine stays away: {problem}") from problem
                await asyncio.sleep(RETRY_S)

    async def _check_running(self) -> None:
        async with speaking_plainly(f"look at node {self._node}"):
            try:
                state = (await self._primary.show())["State"]
            except aiodocker.DockerError as problem:
                if problem.status == 404:
                    raise SandboxLost("the container was removed from outside") from problem
                raise
        if not state["Running"]:
            how = "out of memory" if state.get("OOMKilled") else f"exit code {state.get('ExitCode')}"
            raise SandboxLost(f"the container has ended ({how}){self._last_words()}")

    def _last_words(self) -> str:
        words = self._transport.last_words if isinstance(self._transport, AttachTransport) else ""
        return f"; it said: {words}" if words else ""

    async def process(
        self,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        working_directory: str | None = None,
        tty: tuple[int, int] | None = None,
        user: str | None = None,
    ) -> Process:
        async with speaking_plainly("start a process"):
            return await start_process(
                self._engine.docker,
                self._engine.stream,
                self._primary,
                argv,
                environment=environment,
                working_directory=working_directory,
                tty=tty,
                user=user,
            )

    async def start_docker(self, want: PrivateDocker) -> str:
        return await self._executor.start_docker(self._node, self._primary, want)

    def service(self, index: int) -> Service:
        return DockerService(self._engine.docker, container_name(self._instance, self._node, index))

    async def usage(self) -> tuple[Usage, ...]:
        return await self._gauge.read()

    async def close(self) -> None:
        await self.detach()
        async with asyncio.timeout(self._options.close_timeout_s):
            await self._executor.remove(self._node)


async def _delete(container: DockerContainer) -> None:
    try:
        await container.delete(force=True, v=True)
    except aiodocker.DockerError as problem:
        # 409: somebody else is removing it already; that is as good.
        if problem.status not in (404, 409):
            raise


async def _all_of(awaitables: Iterable[Awaitable[T]]) -> list[T]:
    """All at once; the first error, after all have ended, as itself and not as a group."""
    done = await asyncio.gather(*awaitables, return_exceptions=True)
    for result in done:
        if isinstance(result, BaseException):
            raise result
    return cast(list[T], done)
