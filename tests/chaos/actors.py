"""Who acts on the appliance: pushers, a forge, people with buttons, and what falls down on it all."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine

from appliance.crypto import github_signature
from tests.chaos.configs import ON_THIS_HOST_ALONE, Config
from tests.chaos.machines import PATIENCE_S, Far
from tests.chaos.moments import moment
from tests.chaos.world import World
from tests.engine_fixture import EngineUnavailable, PrivateEngine
from tests.scenarios.test_doors import SECRET as HOOK_SECRET
from tests.scenarios.test_doors import delivery
from tests.whole import Place

IN_FLIGHT = 7  # workflows at the same time
_OPEN = "SELECT count(*) AS n FROM workflows WHERE stopped_at_ms IS NULL"


# Who gives work


async def pusher(world: World, name: str) -> None:
    """Commits and pushes to one project, by git or by webhook, as long as the world goes on."""
    tree, turn = world.trees[name], 0
    while not world.is_over:
        if world.rows(_OPEN)[0]["n"] >= IN_FLIGHT:
            await asyncio.sleep(0.2)
            continue
        turn += 1
        config = world.maker.make(world.chance, () if world.engine else ON_THIS_HOST_ALONE)
        await tree.commit({".circleci/config.yml": config.text}, f"{name} {turn}: {config.kind}")
        revision = (await tree.git("rev-parse", "HEAD")).strip()
        await (_deliver(world, revision) if name == "forged" else _push(world, tree, name))
        world.story.pushed[revision] = (name, config)
        await asyncio.sleep(world.chance.uniform(0.0, 1.0))


async def _push(world: World, tree: Place, name: str) -> None:
    """Until git says that it is there; the pusher's own git is killed now and then, too."""
    address = world.place.settings.integer("ssh.port")
    url = f"ssh://git@127.0.0.1:{address}/acme/{name}.git"
    while True:
        await _up(world)
        patience_s = world.chance.uniform(0.05, 0.8) if world.chance.random() < 0.2 else 30.0
        pushing = asyncio.create_task(tree.git("push", url, "main"))
        done, _ = await asyncio.wait({pushing}, timeout=patience_s)
        if done and pushing.exception() is None:
            return
        world.story.others["pushes cut off or refused"] += 1
        pushing.cancel()
        with contextlib.suppress(asyncio.CancelledError, AssertionError):
            await pushing
        await asyncio.sleep(0.2)


async def _deliver(world: World, revision: str) -> None:
    """Until it is answered; then perhaps again, under the same id or another one."""
    body, delivery_id = delivery(revision, pushed_at_s=int(time.time())), uuid.uuid4().hex

    async def send(delivery_id: str) -> int:
        heads = {"X-GitHub-Event": "push", "X-GitHub-Delivery": delivery_id, "Content-Type": "application/json"}
        heads["X-Hub-Signature-256"] = github_signature(HOOK_SECRET, body)
        return await world.ask("POST", "/hooks/github", body, **heads)

    await _up(world)
    while (status := await send(delivery_id)) != 202:
        assert status == 0 or status >= 500, f"the webhook was answered {status}"
        world.story.others["webhooks unanswered"] += 1
        await asyncio.sleep(0.2)
        await _up(world)
    for _ in range(world.chance.choice((0, 0, 1, 2))):
        world.story.others["webhooks doubled"] += 1
        await send(world.chance.choice((delivery_id, uuid.uuid4().hex)))


async def _up(world: World) -> None:
    """Nobody tries all the time while the doors are shut; a kill may come all the same."""
    while not world.is_up:  # noqa: ASYNC110 - another process's doing
        await asyncio.sleep(0.05)


async def people(world: World) -> None:
    """Approve; cancel and rerun by chance. What nobody answered is tried again, as a person would."""
    config_of: dict[str, Config] = {}
    while True:
        await asyncio.sleep(0.25)
        if not world.is_up:
            continue
        held = world.rows("SELECT id, workflow_id FROM jobs WHERE type = 'approval' AND status = 'on_hold'")
        for job in held:
            if world.is_over or world.chance.random() < 0.3:
                status = await world.ask("POST", f"/api/v2/workflow/{job['workflow_id']}/approve/{job['id']}")
                world.story.others["approvals"] += status == 202
        if world.is_over:
            continue
        config_of |= {revision: config for revision, (_, config) in world.story.pushed.items()}
        rows = world.rows(
            "SELECT workflows.id, stopped_at_ms, json_extract(pipelines.event, '$.revision') AS revision"
            " FROM workflows JOIN pipelines ON pipelines.id = pipeline_id"
        )
        theirs = [row for row in rows if (of := config_of.get(row["revision"])) is not None and of.may_cancel]
        for row in theirs:
            if row["stopped_at_ms"] is None and world.chance.random() < 0.006:
                status = await world.ask("POST", f"/api/v2/workflow/{row['id']}/cancel")
                world.story.others["cancels"] += status == 202
        over = [row["id"] for row in theirs if row["stopped_at_ms"] is not None]
        if over and world.chance.random() < 0.03:  # not each by chance: there are ever more, and pushes would starve
            wish = world.chance.choice(({"from_failed": True}, {}))
            status = await world.ask("POST", f"/api/v2/workflow/{world.chance.choice(over)}/rerun", wish)
            world.story.others["reruns"] += status == 202


# What falls down on it


async def killer(world: World, kills: int, until_s: float) -> None:
    """SIGKILL at moments of every kind, SIGTERM now and then; started again at once, or after a pause."""
    while sum(world.story.kills.values()) < kills and time.monotonic() < until_s:
        what = await moment(world)
        if world.chance.random() < 0.1:
            await world.process.terminate()
            world.story.others["SIGTERM"] += 1
        else:
            world.story.kills[what] += 1
            if not await _kill(world):
                world.story.deaths.append(world.process.said[-1000:])
        if world.chance.random() < 0.25:
            await asyncio.sleep(world.chance.uniform(0.0, 1.5))
        while world.chance.random() < 0.2:
            await world.process.spawn()
            await asyncio.sleep(world.chance.uniform(0.0, 2.5))
            world.story.kills["just up" if world.is_up else "starting up, recovering"] += 1
            await _kill(world)
        await world.start()


async def _kill(world: World) -> bool:
    """False when it had ended by itself: at a start on a full disk that is no surprise."""
    try:
        await world.process.kill()
    except ProcessLookupError:
        return False
    return True


async def engine_breaker(world: World) -> None:
    """dockerd is restarted or killed; its containers live on, as its live-restore promises."""
    while not world.is_over and world.engine is not None:
        await asyncio.sleep(world.chance.uniform(12.0, 30.0))
        if world.is_over:
            return
        how = world.chance.choice((signal.SIGTERM, signal.SIGKILL))
        async with _watched(world, "engine"):
            await asyncio.to_thread(_restart, world.engine, how)
        world.story.others[f"dockerd ended by {how.name}"] += 1


def _restart(engine: PrivateEngine, how: signal.Signals) -> None:
    """Its containerd is late now and then on a busy machine: started again, as systemd does."""
    engine.stop(how)
    for _ in range(5):
        try:
            engine.start()
            return
        except EngineUnavailable:
            time.sleep(1.0)
    engine.start()


async def disk_filler(world: World) -> None:
    """The disk of the data folder is full for a while."""
    ballast = world.place.data / "ballast"
    while not world.is_over and world.has_own_disk:
        await asyncio.sleep(world.chance.uniform(6.0, 15.0))
        if world.is_over:
            return
        async with _watched(world, "disk"):
            try:
                await asyncio.to_thread(_fill, ballast.as_posix())
                await asyncio.sleep(world.chance.uniform(0.3, 3.0))
            finally:
                ballast.unlink(missing_ok=True)
        world.story.others["disk full"] += 1


def _fill(path: str) -> None:
    with open(path, "wb", buffering=0) as file, contextlib.suppress(OSError):  # noqa: PTH123
        while True:
            os.write(file.fileno(), bytes(65536))


async def clock_setter(world: World) -> None:
    """The wall clock jumps, back and forth; at the end it is what it was at its latest."""
    while not world.is_over and world.has_fake_time:
        await asyncio.sleep(world.chance.uniform(4.0, 10.0))
        world.set_clock(world.chance.randint(-1200, 1200))
        world.story.others["clock jumps"] += 1
    world.set_clock(world.latest_clock_s)


async def machine_breaker(world: World) -> None:
    """Networks to the machines are cut, on one side or on both, or fall silent; their servers and runners end."""
    far = world.far
    while not world.is_over and far is not None:
        await asyncio.sleep(world.chance.uniform(3.0, 10.0))
        if world.is_over:
            return
        what = world.chance.choice(("cut", "cut", "silent", "silent", "silent for long", "server ended", "runner killed"))
        if what == "cut":
            far.proxy.cut(half=world.chance.random() < 0.5)
            far.relay.cut()
        elif what == "silent":
            await _silence(far, world.chance.uniform(0.3, 6.0))
        elif what == "silent for long":
            async with _watched(world, "machine"):
                await _silence(far, world.chance.uniform(PATIENCE_S, 2 * PATIENCE_S))
        elif what == "server ended":
            await asyncio.to_thread(far.machine.server.stop)
            await asyncio.sleep(world.chance.uniform(0.0, 3.0))
            await asyncio.to_thread(far.machine.server.start)
        else:
            await far.dialler.kill()
            await asyncio.sleep(world.chance.uniform(0.0, 3.0))
            await far.dialler.start()
        world.story.others[f"machines: {what}"] += 1


async def _silence(far: Far, seconds: float) -> None:
    """One of the two, so that what is lost there can go to the other one."""
    for one in (far.proxy, far.relay)[:: 1 if seconds % 1 < 0.5 else -1][:1]:
        one.freeze()
        try:
            await asyncio.sleep(seconds)
        finally:
            one.thaw()


@contextlib.asynccontextmanager
async def _watched(world: World, what: str) -> AsyncIterator[None]:
    """Note which nodes live through the block: what it does to them is no fault of theirs."""
    is_over = asyncio.Event()

    async def note() -> None:
        while not is_over.is_set():
            world.touch(what)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(is_over.wait(), 0.05)

    async with asyncio.TaskGroup() as group:
        group.create_task(note())
        try:
            yield
            await asyncio.sleep(1.0)  # what is met late
        finally:
            is_over.set()
            world.touch(what)


Actor = Callable[[World], Coroutine[None, None, None]]
WEATHER: dict[str, Actor] = {
    "engine": engine_breaker,
    "disk": disk_filler,
    "clock": clock_setter,
    "machines": machine_breaker,
}
