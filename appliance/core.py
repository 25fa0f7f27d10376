"""What every appliance is made of, without doors: database, executors, engine. For the server and for runs on a laptop.

Beside `app.py` the only file that names concrete executors. The forges, and how jobs and people reach us, come from whoever
makes it.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from appliance import choices, where
from appliance.bell import Bell
from appliance.blobs import Blobs, check_room
from appliance.clock import Clock
from appliance.crypto import SecretBox, load_or_make_key
from appliance.engine import placement
from appliance.engine.commands import Commands, LiveNodes
from appliance.engine.continuation import Continuer
from appliance.engine.drafting import CONFIG_PATH, Choose, Drafter
from appliance.engine.expiry import Expiry
from appliance.engine.runner import run_node
from appliance.engine.scheduler import Scheduler
from appliance.engine.workshop import Limits, OnFailure, Workshop
from appliance.errors import BadRequest, SettingsError
from appliance.executors.base import Executor
from appliance.executors.docker_plan import Begun
from appliance.model import Project, Vcs
from appliance.orbs import shelf
from appliance.settings import Settings
from appliance.store import jobs, keys, machines
from appliance.store.database import Database, Tx, open_database
from appliance.vcs.base import Provider
from appliance.vcs.known_hosts import KnownHosts
from appliance.vcs.mirror import Identity

if TYPE_CHECKING:
    from appliance.pool import Pool
    from appliance.sshd.runners import Runners


@dataclass(frozen=True, kw_only=True)
class Core:
    """What nearly every part is made of."""

    settings: Settings
    clock: Clock
    data: Path
    db: Database
    box: SecretBox
    executors: Mapping[str, Executor]  # also of machines, which come and go
    pool: Pool | None  # of machines; None: none are wanted
    runners: Runners | None
    providers: Mapping[Vcs, Provider]
    commands: Commands
    bell: Bell
    live: LiveNodes
    blobs: Blobs
    places: placement.Places
    orbs: shelf.Shelf
    known_hosts: KnownHosts
    web_url: str
    hands: Hands


class Hands:
    """Counts the nodes that runners have in hand. Those of canceled jobs too, until their sandboxes are closed."""

    def __init__(self, bell: Bell) -> None:
        self._bell = bell
        self._count = 0

    @property
    def are_empty(self) -> bool:
        return self._count == 0

    async def hold(self, work: Awaitable[None]) -> None:
        self._count += 1
        try:
            await work
        finally:
            self._count -= 1
            self._bell.ring("hands")


@dataclass(frozen=True, kw_only=True)
class Reach:
    """How jobs and people reach us, as pipelines and logs tell it."""

    git_url: Callable[[Project], str]
    ssh_command: Callable[[int, int | None], str]
    known_hosts: Callable[[], str]  # lines of the file that jobs get
    carry_on: Callable[[bytes, str], Awaitable[tuple[int, bytes]]] | None = None  # see api.continuations.for_jobs
    on_failure: OnFailure | None = None
    has_identity: bool = True


Forges = Callable[[Settings, Path, Identity], Mapping[Vcs, Provider]]
"""Makes the providers from the settings, the data folder, and who we are to git servers."""


@asynccontextmanager
async def made(
    settings: Settings,
    clock: Clock,
    data: Path,
    *,
    forges: Forges,
    web_url: str,
    begun: Begun | None = None,
    has_machines: bool = True,
) -> AsyncIterator[Core]:
    """The core upon a locked data folder, nothing at work yet; its end closes executors and database.

    `begun` may have a container already that is going to be asked for.
    """
    for name in ("asyncssh", "aiohttp", "aiosqlite", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)
    box = SecretBox(load_or_make_key(data / "secret_key"))
    async with open_database(data / "rondo.db") as db:
        instance = await db.write(instance_id)
        known_hosts = KnownHosts(data / "known_hosts", settings.items("git.known_hosts"))
        providers = forges(settings, data, _identity(db, box, known_hosts))
        bell, live = Bell(), LiveNodes()
        skip_ci = settings.is_on("jobs.skip_ci")
        async with (
            _executors(settings, data, instance, begun) as executors,
            _machines(settings, db, box, clock, bell, instance, executors, are_wanted=has_machines) as (pool, runners),
        ):
            yield Core(
                settings=settings,
                clock=clock,
                data=data,
                db=db,
                box=box,
                executors=executors,
                pool=pool,
                runners=runners,
                providers=providers,
                commands=Commands(db, bell, clock, live, honour_skip_ci=skip_ci),
                bell=bell,
                live=live,
                blobs=Blobs(data / "blobs", settings.integer("disk.floor") // 2),
                places=where.places(settings),
                orbs=shelf.from_settings(settings, data, clock),
                known_hosts=known_hosts,
                web_url=web_url,
                hands=Hands(bell),
            )


def instance_id(tx: Tx) -> str:
    """Who we are, on everything we make outside the database."""
    tx.execute("INSERT INTO facts (name, value) VALUES ('instance', :id) ON CONFLICT DO NOTHING", {"id": uuid.uuid4().hex})
    return str(tx.execute("SELECT value FROM facts WHERE name = 'instance'").fetchone()["value"])


@asynccontextmanager
async def at_work(loops: Iterable[Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    """The loops at work beside the block. One that breaks takes the appliance down: recovery is tested."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(loop) for loop in loops]
        yield
        for task in tasks:
            task.cancel()


def trade(core: Core, reach: Reach, drafter: Drafter, resumed: list[jobs.Node]) -> list[Coroutine[Any, Any, None]]:
    """The loops that bring pipelines to their ends. `resumed`: the nodes that recovery found still running."""
    return [
        *([core.pool.run()] if core.pool is not None else []),
        _continuer(core, drafter).run(),
        _scheduler(core, _workshop(core, reach)).run(resumed),
        _expiry(core).run(),
    ]


def of_this_host(core: Core) -> dict[str, Executor]:
    """The executors that are not machines."""
    return {key: executor for key, executor in core.executors.items() if machines.name_of(key) is None}


def _workshop(core: Core, reach: Reach) -> Workshop:
    return Workshop(
        db=core.db,
        bell=core.bell,
        clock=core.clock,
        blobs=core.blobs,
        box=core.box,
        live=core.live,
        executors=core.executors,
        providers=core.providers,
        places=core.places,
        limits=Limits(
            longest_s=core.settings.number("jobs.longest"),
            grace_s=core.settings.number("jobs.grace"),
            restarts=core.settings.integer("jobs.restarts"),
            log_bytes=core.settings.integer("jobs.log_limit"),
            hold_s=core.settings.number("ssh.hold"),
            longest_hold_s=core.settings.number("ssh.hold_longest"),
            service_log_bytes=core.settings.integer("jobs.service_log_limit"),
            sample_s=core.settings.number("jobs.sample_every"),
            data=choices.data_limits(core.settings),
        ),
        remote_docker=choices.docker_rules(core.settings),
        everywhere=core.settings.table("jobs.environment"),
        web_url=core.web_url,
        ssh_command=reach.ssh_command,
        git_url=reach.git_url,
        known_hosts=reach.known_hosts,
        carry_on=reach.carry_on,
        on_failure=reach.on_failure,
        has_identity=reach.has_identity,
    )


def _expiry(core: Core) -> Expiry:
    return Expiry(db=core.db, bell=core.bell, clock=core.clock, patience=choices.patience(core.settings))


def _scheduler(core: Core, workshop: Workshop) -> Scheduler:
    return Scheduler(
        db=core.db,
        bell=core.bell,
        clock=core.clock,
        executors=core.executors,
        places=core.places,
        machine=choices.machine(core.settings),
        pool=core.pool.spots if core.pool is not None else lambda: (),
        refresh_pool=core.pool.look_again if core.pool is not None else None,
        bounds=choices.bounds(core.settings),
        priorities=choices.priorities(core.settings),
        run_node=lambda job_id, index: core.hands.hold(run_node(workshop, job_id, index)),
        check_disk=lambda: check_room(core.data, core.settings.integer("disk.floor")),
    )


def drafter_of(core: Core, choose: Choose | None = None, file: str = CONFIG_PATH) -> Drafter:
    return Drafter(
        choose=choose,
        file=file,
        db=core.db,
        box=core.box,
        orbs=lambda project, lock: core.orbs.source(project.org, lock),
        excuses_consumed=not core.settings.is_on("workflows.consumed_failures_count"),
    )


def _continuer(core: Core, drafter: Drafter) -> Continuer:
    return Continuer(
        db=core.db,
        bell=core.bell,
        clock=core.clock,
        providers=core.providers,
        drafter=drafter,
        largest=core.settings.integer("git.largest_config"),
    )


@asynccontextmanager
async def _executors(
    settings: Settings, data: Path, instance: str, begun: Begun | None
) -> AsyncIterator[dict[str, Executor]]:
    found: dict[str, Executor] = {}
    if settings.is_on("docker.enabled"):
        from appliance.executors.docker import DockerExecutor  # its HTTP client takes long to load

        options = where.docker_options(settings, begun.network if begun is not None else None)
        found["docker"] = DockerExecutor(instance, where.docker_url(settings), options=options, begun=begun)
    if settings.is_on("local.enabled"):
        from appliance.executors.local import LocalExecutor

        found["local"] = LocalExecutor(instance, data / "sandboxes")
    try:
        yield found
    finally:
        for key, executor in found.items():
            if machines.name_of(key) is None:  # the pool closes its own
                await executor.close()


@asynccontextmanager
async def _machines(
    settings: Settings,
    db: Database,
    box: SecretBox,
    clock: Clock,
    bell: Bell,
    instance: str,
    executors: dict[str, Executor],
    *,
    are_wanted: bool,
) -> AsyncIterator[tuple[Pool | None, Runners | None]]:
    """With an executor for each machine; nobody has asked them anything yet."""
    if not are_wanted:
        yield None, None
        return
    from appliance.connections import Connections  # an SSH library takes long to load
    from appliance.pool import Pool
    from appliance.sshd.runners import Runners

    await _note_machines(settings, db, box, clock)
    runners = Runners(db, bell)
    connections = Connections(instance, box, runners, patience_s=settings.number("jobs.machine_patience"))
    pool = Pool(
        db=db,
        bell=bell,
        clock=clock,
        executors=executors,
        make=connections.executor,
        examine=connections.examine,
        why_away=runners.trouble,
    )
    runners.clear = pool.clear
    await pool.refresh()
    try:
        yield pool, runners
    finally:
        await pool.close()


async def _note_machines(settings: Settings, db: Database, box: SecretBox, clock: Clock) -> None:
    wanted = choices.machines(settings)
    try:
        await db.write(lambda tx: machines.take_settings(tx, box, wanted, clock.now_ms()))
    except BadRequest as error:
        raise SettingsError([f"machines: {error}"]) from None


def _identity(db: Database, box: SecretBox, known_hosts: KnownHosts) -> Identity:
    async def private_key(project: Project) -> str | None:
        key = await db.read(lambda tx: keys.preferred_checkout_key(tx, box, project.id))
        return None if key is None else key.private

    return Identity(private_key, known_hosts)
