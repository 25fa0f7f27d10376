"""One run of chaos: all act until enough was killed, then it is left alone, then it is looked at."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from appliance.executors.local import LocalExecutor
from tests.chaos import actors, checks
from tests.chaos.world import World, suffering
from tests.engine_fixture import (
    BUSYBOX,
    DEBIAN,
    PrivateEngine,
    add_image,
    cache_folder,
    request,
    request_json,
    require_rights,
)

SETTLE_S = 240.0
_OPEN = (
    "SELECT (SELECT count(*) FROM workflows WHERE stopped_at_ms IS NULL)"
    " + (SELECT count(*) FROM triggers WHERE state = 'open') + (SELECT count(*) FROM nodes WHERE status = 'running')"
    " + (SELECT count(*) FROM pipelines WHERE state = 'pending') AS n"
)


@dataclass(frozen=True)
class Wish:
    kills: int
    seed: int
    longest_s: float
    weather: Sequence[str] = tuple(actors.WEATHER)
    is_thorough: bool = True  # also waits for the janitor to sweep twice
    say: Callable[[str], None] = print


@contextlib.contextmanager
def own_engine(*, is_short: bool = False) -> Iterator[PrivateEngine]:
    """An engine that may be killed; other tests have theirs, and a short chaos waits for no long one.

    Raises EngineUnavailable.
    """
    require_rights()
    options = ("--live-restore", "--iptables=false", "--ip-masq=false")
    name, bridge, net = ("short-chaos", "rondochaos1", 28) if is_short else ("chaos", "rondochaos0", 31)
    engine = PrivateEngine(cache_folder() / name, bridge=bridge, subnet=f"172.{net}.0.1/16", options=options)
    with engine.owned():
        add_image(engine.socket, BUSYBOX, "busybox", ['CMD ["sh"]'])
        add_image(engine.socket, DEBIAN, "debian", ['CMD ["bash"]'])
        try:
            _empty(engine)
            yield engine
        finally:
            _empty(engine)


def _empty(engine: PrivateEngine) -> None:
    """With live-restore a container outlives the engine: what a run left that was broken off would stay for ever."""
    for container in request_json(engine.socket, "GET", "/containers/json?all=1"):
        request(engine.socket, "DELETE", f"/containers/{container['Id']}?force=1&v=1")
    request(engine.socket, "POST", "/networks/prune")
    request(engine.socket, "POST", "/volumes/prune")


async def suffer(scratch: Path, engine: PrivateEngine | None, wish: Wish) -> tuple[World, checks.Report]:
    """Everything; what was done and what is wrong."""
    report = checks.Report()
    async with suffering(scratch, engine, wish.seed, has_machines="machines" in wish.weather) as world:
        instance = world.rows("SELECT value FROM facts WHERE name = 'instance'")[0]["value"]
        try:
            await _act(world, wish)
            await _settle(world, report, wish, instance)
            await world.process.terminate()
            checks.check(world, report)
            for left in checks.left_by_the_process(world, instance, with_blobs=wish.is_thorough):
                report.wrong(f"left behind: {left}")
        finally:
            await _end(world, instance)
            (scratch / "rondo.db").write_bytes((world.place.data / "rondo.db").read_bytes())
            _keep_logs(world)
    return world, report


async def _act(world: World, wish: Wish) -> None:
    until_s = time.monotonic() + wish.longest_s
    async with asyncio.TaskGroup() as group:
        for name in world.trees:
            group.create_task(actors.pusher(world, name))
        for name in wish.weather:
            group.create_task(actors.WEATHER[name](world))
        people = group.create_task(actors.people(world))
        teller = group.create_task(_tell(world, wish))
        killer = group.create_task(actors.killer(world, wish.kills, until_s))
        await asyncio.wait({killer})
        world.is_over = True
        people.cancel()
        teller.cancel()


async def _tell(world: World, wish: Wish) -> None:
    while True:
        await asyncio.sleep(20)
        wish.say(f"{sum(world.story.kills.values())} kills, {len(world.story.pushed)} pushes, {dict(world.story.others)}")


async def _settle(world: World, report: checks.Report, wish: Wish, instance: str) -> None:
    """Left alone, everything comes to its end, and nothing stays."""
    wish.say(f"{sum(world.story.kills.values())} kills done; now it is left alone")
    people = asyncio.create_task(actors.people(world))
    deadline = time.monotonic() + SETTLE_S
    try:
        await _until_none(lambda: ["work"] if world.rows(_OPEN)[0]["n"] else [], deadline)
        await _until_none(lambda: _due(world), min(deadline, time.monotonic() + 90))
        left = await _until_none(
            lambda: list(checks.leftovers(world, instance, with_blobs=wish.is_thorough)),
            time.monotonic() + (200 if wish.is_thorough else 75),
        )
        for one in left:
            report.wrong(f"left behind: {one}")
    finally:
        people.cancel()
        await asyncio.wait({people})


def _due(world: World) -> list[str]:
    return ["letters"] if world.rows("SELECT 1 FROM outbox WHERE state = 'due' LIMIT 1") else []


async def _until_none(look: Callable[[], list[str]], deadline_s: float) -> list[str]:
    while (found := look()) and time.monotonic() < deadline_s:  # noqa: ASYNC110 - of another process
        await asyncio.sleep(0.5)
    return found


async def _end(world: World, instance: str) -> None:
    """Whatever went wrong, nothing of ours runs on."""
    process = world.process._process
    if process is not None and process.returncode is None:
        await world.process.kill()
    executor = LocalExecutor("chaos", world.scratch / "sandboxes")
    for ref in await executor.list():
        await executor.remove(ref)
    await executor.close()
    for pid, _ in checks.processes(instance):  # of jobs on machines
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _keep_logs(world: World) -> None:
    """The small disk goes; what somebody may want to read about a violation stays."""
    shutil.copytree(world.place.data / "blobs" / "logs", world.scratch / "logs", dirs_exist_ok=True)
