"""The roof: makes every part, hands each what it needs, starts them in order, and ends them in the other order.

The only file that names concrete adapters. The order of a start: the lock on the data folder, database and keys, the
executors, recovery, and only then the doors.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from appliance import choices
from appliance.api import server as web_server
from appliance.api.continuations import for_jobs
from appliance.api.parts import Addresses, Parts
from appliance.bell import Bell
from appliance.blobs import Blobs, check_room
from appliance.clock import Clock, SystemClock
from appliance.crypto import SecretBox, load_or_make_key
from appliance.engine import placement
from appliance.engine.commands import Commands, LiveNodes
from appliance.engine.continuation import Continuer
from appliance.engine.courier import Courier
from appliance.engine.drafting import Drafter
from appliance.engine.expiry import Expiry
from appliance.engine.intake import Intake
from appliance.engine.janitor import Janitor
from appliance.engine.recovery import forget_secrets, recover
from appliance.engine.retention import Retention
from appliance.engine.runner import run_node
from appliance.engine.scheduler import Scheduler
from appliance.engine.schedules import Schedules
from appliance.engine.workshop import Limits, Workshop
from appliance.executors.base import Executor
from appliance.executors.docker import DockerExecutor
from appliance.executors.docker_plan import DockerOptions
from appliance.executors.local import LocalExecutor
from appliance.model import Project, Vcs
from appliance.orbs import shelf
from appliance.pages.site import make_site
from appliance.settings import Settings
from appliance.sshd.door import Door
from appliance.start import bound, data_folder, instance_id, locked, note_addresses, notify, start_logging, url_of
from appliance.store import jobs, keys, people
from appliance.store.database import Database, Tx, open_database
from appliance.vcs.base import Provider
from appliance.vcs.client import Git
from appliance.vcs.github import GitHub
from appliance.vcs.hosted import Hosted
from appliance.vcs.known_hosts import KnownHosts
from appliance.vcs.mirror import Identity, Mirrors
from appliance.vcs.plain import PlainGit

log = logging.getLogger(__name__)


async def serve(settings: Settings) -> int:
    """Run the appliance until SIGTERM or SIGINT; a second one ends it at once. The exit code."""
    start_logging(settings)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _stop_or_exit, stop)
    async with running(settings) as appliance:
        for line in appliance.greeting:
            print(line, flush=True)
        notify("READY=1")
        await stop.wait()
        notify("STOPPING=1")
        log.info("stopping: running jobs go on and are found again at the next start; a second signal ends this now")
    return 0


def _stop_or_exit(stop: asyncio.Event) -> None:
    if stop.is_set():
        os._exit(1)  # everything we keep survives a kill; that is tested
    stop.set()


@dataclass(frozen=True)
class Appliance:
    """A running appliance, for `serve`, the demo and the tests."""

    web_url: str
    ssh_host: str
    ssh_port: int
    db: Database
    commands: Commands
    greeting: tuple[str, ...]


@asynccontextmanager
async def running(settings: Settings, clock: Clock | None = None) -> AsyncIterator[Appliance]:
    """A whole appliance, ready when the block begins, gone at its end; jobs live on in their sandboxes."""
    for name in ("asyncssh", "aiohttp", "aiosqlite", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)
    clock = clock or SystemClock()
    data = data_folder(settings)
    with locked(data), bound(settings) as listener:
        box = SecretBox(load_or_make_key(data / "secret_key"))
        async with open_database(data / "rondo.db") as db:
            instance = await db.write(instance_id)
            known_hosts = KnownHosts(data / "known_hosts", settings.items("git.known_hosts"))
            hosted, providers = _providers(settings, data, _identity(db, box, known_hosts))
            bell, live = Bell(), LiveNodes()
            skip_ci = settings.is_on("jobs.skip_ci")
            async with _executors(settings, data, instance) as executors:
                core = _Core(
                    settings=settings,
                    clock=clock,
                    data=data,
                    db=db,
                    box=box,
                    executors=executors,
                    providers=providers,
                    commands=Commands(db, bell, clock, live, honour_skip_ci=skip_ci),
                    bell=bell,
                    live=live,
                    blobs=Blobs(data / "blobs", settings.integer("disk.floor") // 2),
                    places=choices.places(settings),
                    orbs=shelf.from_settings(settings, data, clock),
                    known_hosts=known_hosts,
                    web_url=settings.text("web.url").rstrip("/") or url_of(listener, settings),
                )
                async with _started(core, hosted, listener) as appliance:
                    yield replace(appliance, greeting=await _greeting(core, appliance))


@dataclass(frozen=True, kw_only=True)
class _Core:
    """What nearly every part is made of."""

    settings: Settings
    clock: Clock
    data: Path
    db: Database
    box: SecretBox
    executors: Mapping[str, Executor]
    providers: Mapping[Vcs, Provider]
    commands: Commands
    bell: Bell
    live: LiveNodes
    blobs: Blobs
    places: placement.Places
    orbs: shelf.Shelf
    known_hosts: KnownHosts
    web_url: str


@asynccontextmanager
async def _started(core: _Core, hosted: Hosted, listener: socket.socket) -> AsyncIterator[Appliance]:
    """Every part at work, the doors last; ended in the other order."""
    door = Door(
        db=core.db,
        bell=core.bell,
        clock=core.clock,
        commands=core.commands,
        hosted=hosted,
        settings=core.settings,
        data=core.data,
        web_url=core.web_url,
    )
    async with door.listening() as ssh_port:
        addresses = Addresses(core.web_url, _ssh_name(core.settings, core.web_url), ssh_port)
        ready = asyncio.Event()
        site = make_site(_parts(core, addresses, ready))
        resumed = await recover(core.db, core.executors)
        await forget_secrets(core.db, core.blobs)
        await door.reconcile()
        note_addresses(core.data, addresses)
        async with (
            _loops(core, addresses, door.public_key, resumed),
            web_server.serving(site, listener, core.settings.number("drain.longest")),
        ):
            ready.set()
            door.open()
            log.info("ready", extra={"web": core.web_url, "ssh": f"{addresses.ssh_host}:{ssh_port}"})
            yield Appliance(core.web_url, addresses.ssh_host, ssh_port, core.db, core.commands, ())


@asynccontextmanager
async def _loops(core: _Core, addresses: Addresses, host_key: str, resumed: list[jobs.Node]) -> AsyncIterator[None]:
    """Intake, scheduler, courier and the others at work. One that breaks takes the appliance down: recovery is tested."""

    def git_url(project: Project) -> str:
        return project.public_git_url or addresses.git_url(project.org, project.repo)

    drafter = _drafter(core)
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(_intake(core, drafter, git_url).run()),
            group.create_task(_continuer(core, drafter).run()),
            group.create_task(_scheduler(core, _workshop(core, addresses, host_key, git_url)).run(resumed)),
            group.create_task(
                Courier(db=core.db, bell=core.bell, clock=core.clock, providers=core.providers, web_url=core.web_url).run()
            ),
            *(group.create_task(executor.keep_warm()) for executor in _warm_ones(core)),
            group.create_task(_janitor(core).run()),
            group.create_task(_expiry(core).run()),
            group.create_task(_schedules(core).run()),
        ]
        yield
        for task in tasks:
            task.cancel()


def _warm_ones(core: _Core) -> list[DockerExecutor]:
    """The executors that make containers ahead, if any."""
    if not core.settings.integer("docker.warm"):
        return []
    return [executor for executor in core.executors.values() if isinstance(executor, DockerExecutor)]


def _parts(core: _Core, addresses: Addresses, ready: asyncio.Event) -> Parts:
    return Parts(
        db=core.db,
        bell=core.bell,
        clock=core.clock,
        blobs=core.blobs,
        commands=core.commands,
        box=core.box,
        providers=core.providers,
        settings=core.settings,
        addresses=addresses,
        ready=ready,
    )


def _workshop(core: _Core, addresses: Addresses, host_key: str, git_url: Callable[[Project], str]) -> Workshop:
    def known_hosts() -> str:
        return f"{addresses.known_host} {host_key}\n{core.known_hosts.lines()}"

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
        ssh_command=addresses.ssh_command,
        git_url=git_url,
        known_hosts=known_hosts,
        carry_on=for_jobs(core.commands, core.settings) if core.settings.is_on("jobs.continue_by_curl") else None,
    )


def _expiry(core: _Core) -> Expiry:
    return Expiry(db=core.db, bell=core.bell, clock=core.clock, patience=choices.patience(core.settings))


def _schedules(core: _Core) -> Schedules:
    return Schedules(
        db=core.db,
        bell=core.bell,
        clock=core.clock,
        providers=core.providers,
        patience_s=core.settings.number("git.patience"),
    )


def _janitor(core: _Core) -> Janitor:
    return Janitor(
        db=core.db,
        clock=core.clock,
        blobs=core.blobs,
        executors=core.executors,
        cache_quota=core.settings.integer("caches.quota"),
        artifact_quota=core.settings.integer("artifacts.quota"),
        disk_floor=core.settings.integer("disk.floor"),
        docker_layers_days=core.settings.number("remote_docker.layers_days"),
        retention=Retention(db=core.db, blobs=core.blobs, terms=choices.terms(core.settings)),
    )


def _scheduler(core: _Core, workshop: Workshop) -> Scheduler:
    return Scheduler(
        db=core.db,
        bell=core.bell,
        clock=core.clock,
        executors=core.executors,
        places=core.places,
        machine=choices.machine(core.settings),
        bounds=choices.bounds(core.settings),
        priorities=choices.priorities(core.settings),
        run_node=lambda job_id, index: run_node(workshop, job_id, index),
        check_disk=lambda: check_room(core.data, core.settings.integer("disk.floor")),
    )


def _drafter(core: _Core) -> Drafter:
    return Drafter(
        db=core.db,
        box=core.box,
        orbs=lambda project, lock: core.orbs.source(project.org, lock),
        excuses_consumed=not core.settings.is_on("workflows.consumed_failures_count"),
    )


def _continuer(core: _Core, drafter: Drafter) -> Continuer:
    return Continuer(
        db=core.db,
        bell=core.bell,
        clock=core.clock,
        providers=core.providers,
        drafter=drafter,
        largest=core.settings.integer("git.largest_config"),
    )


def _intake(core: _Core, drafter: Drafter, git_url: Callable[[Project], str]) -> Intake:
    return Intake(
        db=core.db,
        bell=core.bell,
        clock=core.clock,
        providers=core.providers,
        drafter=drafter,
        git_url=git_url,
        largest_config=core.settings.integer("git.largest_config"),
        patience_s=core.settings.number("git.patience"),
    )


# The parts, from the settings


def _ssh_name(settings: Settings, web_url: str) -> str:
    return settings.text("ssh.name") or web_url.split("//", 1)[1].split("/")[0].rsplit(":", 1)[0].strip("[]")


@asynccontextmanager
async def _executors(settings: Settings, data: Path, instance: str) -> AsyncIterator[Mapping[str, Executor]]:
    found: dict[str, Executor] = {}
    if settings.is_on("docker.enabled"):
        options = DockerOptions(
            network_mtu=settings.integer("docker.mtu") or None,
            processes=settings.integer("docker.processes"),
            warm=settings.integer("docker.warm"),
            primary_environment_in_steps=settings.is_on("docker.environment_in_steps"),
            shared_socket=_docker_url(settings).removeprefix("unix://"),
            private_first_uid=settings.integer("remote_docker.first_uid"),
            private_arguments=settings.items("remote_docker.options"),
            private_layers_bytes=settings.integer("remote_docker.layers_limit"),
        )
        found["docker"] = DockerExecutor(instance, _docker_url(settings), options=options)
    if settings.is_on("local.enabled"):
        found["local"] = LocalExecutor(instance, data / "sandboxes")
    try:
        yield found
    finally:
        for executor in found.values():
            await executor.close()


def _docker_url(settings: Settings) -> str:
    return settings.text("docker.url") or os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"


def _identity(db: Database, box: SecretBox, known_hosts: KnownHosts) -> Identity:
    async def private_key(project: Project) -> str | None:
        key = await db.read(lambda tx: keys.preferred_checkout_key(tx, box, project.id))
        return None if key is None else key.private

    return Identity(private_key, known_hosts)


def _providers(settings: Settings, data: Path, identity: Identity) -> tuple[Hosted, Mapping[Vcs, Provider]]:
    git = Git(timeout_s=settings.number("git.timeout"))
    mirrors = Mirrors(git, data / "mirrors", identity)
    mirrors.prepare()
    hosted = Hosted(git, data)
    hosted.prepare()
    github = GitHub(mirrors, api=settings.text("github.api"), token=settings.text("github.token"))
    return hosted, {Vcs.HOSTED: hosted, Vcs.GITHUB: github, Vcs.GIT: PlainGit(mirrors)}


async def _greeting(core: _Core, appliance: Appliance) -> tuple[str, ...]:
    """What a start says; while there is nobody, how to log in. An earlier start may have failed before it could say so."""
    lines = [f"Rondo is at {appliance.web_url}, its SSH door at {appliance.ssh_host}:{appliance.ssh_port}"]
    now_ms = core.clock.now_ms()

    def first_admin(tx: Tx) -> str | None:
        if people.everybody(tx):
            return None
        admin = people.add(tx, name="admin", is_admin=True, sees_all_projects=True, now_ms=now_ms)
        return people.make_token(tx, admin.id, "link", now_ms, 24 * 3600 * 1000)

    token = await core.db.write(first_admin)
    if token is not None:
        lines += [
            f"Log in as admin, once, within a day: {appliance.web_url}/login?token={token}",
            "Then: rondo user add NAME --ssh-key FILE, rondo project create ORG/REPO",
        ]
    return tuple(lines)
