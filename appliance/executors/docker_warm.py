"""Primary containers made ahead: a job's first output comes faster than the engine can make a container.

What takes long is to make the network namespace and to start the first process. A warm container is a whole primary one
with the supervisor waiting, made of a recipe; it belongs to nobody, has a name that says so and holds nothing of any job:
no variable, no file, no word. To take it is to rename it, which the engine does for one caller only; from then on it is
found under the name of its node like any other. It gets the limits of the job's class before the first command is sent.
It is never given back.

What cannot be changed in a running container is in the recipe, and a job whose recipe is not the very same is served as if
there were no pool. So is one whose container would run what its project says before the first step (an entrypoint that is
kept), or holds what a project says (environment), or the engine's own socket.

Who was killed leaves containers whose names nobody holds: `DockerExecutor.list` tells them like any stranger's.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiodocker
import aiohttp

from appliance.errors import SandboxError
from appliance.executors.base import DockerAccess, SandboxSpec
from appliance.executors.docker_engine import AttachTransport, Engine
from appliance.executors.docker_plan import (
    INDEX_LABEL,
    INSTANCE_LABEL,
    DockerOptions,
    Image,
    container_name,
    kept_entrypoint,
)
from appliance.executors.docker_requests import to_the_end
from appliance.executors.supervised import opening

if TYPE_CHECKING:
    from aiodocker.containers import DockerContainer

log = logging.getLogger(__name__)

WARM_LABEL = "rondo.warm"

_CHANGEABLE = ("NanoCpus", "Memory", "MemorySwap", "PidsLimit")  # in a container that runs
_WAITING = {"Memory": 256 << 20, "MemorySwap": 256 << 20, "PidsLimit": 64}  # for a supervisor with nothing to do
_LOOK_S = 15.0
_REST_S = 30.0  # after the engine could not do what was asked
_HALF_LIFE_S = 1800.0  # of a use
_FORGOTTEN = 0.25  # what is left of one use after an hour: a recipe below it is one no more
_MOST_RECIPES = 32
_SETTLED_S = 60.0  # one that is younger is not thrown out for one of another recipe


def _trouble() -> tuple[type[Exception], ...]:
    return aiodocker.DockerError, aiohttp.ClientError, OSError, TimeoutError, SandboxError


@dataclass(frozen=True)
class Recipe:
    """All that a primary container is made of but its name, labels and limits. Equal keys, equal containers."""

    key: str
    image: str
    image_id: str = field(compare=False)
    config: Mapping[str, Any] = field(compare=False, repr=False)


@dataclass(frozen=True)
class Warm:
    """One that waits."""

    name: str
    recipe: Recipe
    container: DockerContainer
    transport: AttachTransport
    made_at_s: float


def recipe_of(config: Mapping[str, Any], spec: SandboxSpec, image: Image) -> Recipe | None:
    """The recipe of a primary container with this `config`; None for one that is never made ahead."""
    primary = spec.containers[0]
    if kept_entrypoint(primary, image) or config["Env"] or spec.docker is DockerAccess.SHARED or not image.id:
        return None
    host = {name: value for name, value in config["HostConfig"].items() if name not in _CHANGEABLE}
    plain = {**config, "Image": image.id, "HostConfig": host}
    del plain["Labels"]
    key = hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
    return Recipe(key, primary.image, image.id, plain)


def wanted(uses: Mapping[str, float], size: int) -> Counter[str]:
    """How many of each recipe to have: each further one goes to the most used for those it has by then."""
    found: Counter[str] = Counter()
    for _ in range(size if uses else 0):
        found[max(uses, key=lambda key: (uses[key] / (found[key] + 1), key))] += 1
    return found


def free_memory() -> int | None:
    """What the machine could give without swapping, in bytes; None when it does not say."""
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("MemAvailable:")).split()[1]) << 10
    return None


class WarmPool:
    """The warm containers of one `DockerExecutor`. Without `options.warm` it makes none, and costs nothing."""

    def __init__(
        self, engine: Engine, instance: str, options: DockerOptions, free: Callable[[], int | None] = free_memory
    ) -> None:
        self._engine = engine
        self._instance = instance
        self._options = options
        self._free = free if engine.url.startswith("unix:") else lambda: None
        self._recipes: dict[str, Recipe] = {}
        self._uses: dict[str, tuple[float, float]] = {}  # recipe to (how much, at which time)
        self._ready: list[Warm] = []
        self._held: set[str] = set()  # the nodes in the names of all that is ours, also while it is made or taken
        self._busy = 0
        self._wake = asyncio.Event()

    @property
    def ready(self) -> int:
        """How many wait."""
        return sum(not warm.transport.has_ended for warm in self._ready)

    def holds(self, node: str) -> bool:
        """Whether a container of that name is one of the pool's."""
        return node in self._held

    @asynccontextmanager
    async def resting(self) -> AsyncIterator[None]:
        """While a job waits for its containers the engine has better to do than ours."""
        self._busy += 1
        try:
            yield
        finally:
            self._busy -= 1
            if not self._busy:
                self._wake.set()

    def note(self, recipe: Recipe, ago_s: float = 0.0) -> None:
        """A job has used it. What was made of an older image of the same name is worth nothing any more."""
        if not self._options.warm:
            return
        for other in [each for each in self._recipes.values() if each.image == recipe.image]:
            if other.image_id != recipe.image_id:
                self._forget(other)
        now_s = time.monotonic()
        self._uses[recipe.key] = (self._use(recipe.key, now_s) + 0.5 ** (ago_s / _HALF_LIFE_S), now_s)
        self._recipes[recipe.key] = recipe
        while len(self._recipes) > _MOST_RECIPES:
            self._forget(min(self._recipes.values(), key=lambda each: self._use(each.key, now_s)))

    def _forget(self, recipe: Recipe) -> None:
        self._recipes.pop(recipe.key, None)
        self._uses.pop(recipe.key, None)

    def _use(self, key: str, now_s: float) -> float:
        amount, at_s = self._uses.get(key, (0.0, now_s))
        return float(amount * 0.5 ** ((now_s - at_s) / _HALF_LIFE_S))

    async def take(
        self, recipe: Recipe, name: str, limits: Mapping[str, Any]
    ) -> tuple[DockerContainer, AttachTransport] | None:
        """A container of that recipe, with this name and these limits from now on; None when there is none."""
        while warm := next((each for each in self._ready if each.recipe == recipe), None):
            self._ready.remove(warm)
            if warm.transport.has_ended or not await self._adopt(warm, name, limits):
                await self._remove(warm)
                continue
            self.note(recipe)
            return warm.container, warm.transport
        return None

    async def _adopt(self, warm: Warm, name: str, limits: Mapping[str, Any]) -> bool:
        """The name first: whoever is killed behind it leaves a node's container, to be found like all others."""
        try:
            async with asyncio.timeout(self._options.start_timeout_s):
                try:
                    await to_the_end(warm.container.rename(name))
                finally:
                    self._held.discard(_node(warm.name))
                path = f"containers/{warm.container.id}/update"
                change = {key: limits[key] for key in _CHANGEABLE}
                await self._engine.docker._query_json(path, method="POST", data=change)
        except _trouble() as problem:
            log.warning("a container made ahead cannot be taken", extra={"container": name, "error": str(problem)})
            return False
        return True

    # --- keeping

    async def run(self) -> None:
        """Ends only by being cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await self._wake.wait()
            self._wake.clear()
            try:
                await self._tend()
            except _trouble() as problem:
                log.warning("no container can be made ahead", extra={"error": str(problem)})
                await asyncio.sleep(_REST_S)

    async def _tend(self) -> None:
        """One at a time, and none while somebody waits for the engine."""
        free = self._free()
        is_short = free is not None and free < self._options.warm_memory_floor
        for warm in [each for each in self._ready if is_short or self._is_outdated(each)]:
            await self._throw_out(warm)
        while not is_short and not self._busy and (found := self._next()) is not None:
            recipe, instead_of = found
            if instead_of is not None:
                await self._throw_out(instead_of)
            try:
                self._ready.append(await self._make(recipe))
            except aiodocker.DockerError:
                self._forget(recipe)  # its image or network has gone
                raise

    def _is_outdated(self, warm: Warm) -> bool:
        is_old = time.monotonic() - warm.made_at_s > self._options.warm_age_s
        return is_old or warm.recipe.key not in self._recipes or warm.transport.has_ended

    def _next(self) -> tuple[Recipe, Warm | None] | None:
        """What to make next, and what has to go for it; None when all is there, or what is there is too young to go."""
        now_s = time.monotonic()
        for recipe in list(self._recipes.values()):
            if self._use(recipe.key, now_s) < _FORGOTTEN:
                self._forget(recipe)
        have = Counter(warm.recipe.key for warm in self._ready)
        want = wanted({key: self._use(key, now_s) for key in self._recipes}, self._options.warm)
        missing, surplus = want - have, have - want
        if not missing:
            return None
        recipe = self._recipes[max(missing, key=lambda key: missing[key])]
        if len(self._ready) < self._options.warm:
            return recipe, None
        settled = (each for each in self._ready if surplus[each.recipe.key] and each.made_at_s < now_s - _SETTLED_S)
        instead_of = next(settled, None)
        return None if instead_of is None else (recipe, instead_of)

    async def _make(self, recipe: Recipe) -> Warm:
        node = f"warm.{secrets.token_hex(6)}"
        name = container_name(self._instance, node, 0)
        labels = {INSTANCE_LABEL: self._instance, INDEX_LABEL: "0", WARM_LABEL: "true"}
        config = {**recipe.config, "Labels": labels, "HostConfig": {**recipe.config["HostConfig"], **_WAITING}}
        docker = self._engine.docker
        self._held.add(node)
        try:
            async with asyncio.timeout(self._options.start_timeout_s):
                container = await to_the_end(docker.containers.create(config, name=name))
                transport = AttachTransport(await self._engine.attach(container.id))
                await container.start()
                await transport.send(opening())
        except BaseException:
            await self._delete(docker.containers.container(name), node)
            raise
        return Warm(name, recipe, container, transport, time.monotonic())

    async def _throw_out(self, warm: Warm) -> None:
        if warm in self._ready:  # nobody took it meanwhile
            self._ready.remove(warm)
            await self._remove(warm)

    async def _remove(self, warm: Warm) -> None:
        self._engine.let_go(warm.container.id)
        await self._delete(warm.container, _node(warm.name))

    async def _delete(self, container: DockerContainer, node: str) -> None:
        """What cannot be removed now is a stranger from here on, and the janitor's."""
        try:
            with contextlib.suppress(*_trouble()):
                async with asyncio.timeout(self._options.close_timeout_s):
                    await container.delete(force=True, v=True)
        finally:
            self._held.discard(node)

    async def close(self) -> None:
        """Remove all that nobody took."""
        ready, self._ready = self._ready, []
        await asyncio.gather(*(self._remove(warm) for warm in ready))


def _node(name: str) -> str:
    """The part of a warm container's name that stands where others have their node."""
    return name[name.rindex("-warm.") + 1 : name.rindex("-")]
