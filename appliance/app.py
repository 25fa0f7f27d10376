"""The roof: a core with doors. Hands each part what it needs, starts them in order, and ends them in the other order.

The order of a start: the lock on the data folder, the core (database and keys, executors), recovery, and only then the
doors.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from appliance import choices
from appliance.api import server as web_server
from appliance.api.continuations import for_jobs
from appliance.api.parts import Addresses, Parts
from appliance.clock import Clock, SystemClock
from appliance.core import Core, Hands, Reach, at_work, drafter_of, made, of_this_host, trade
from appliance.engine.commands import Commands
from appliance.engine.recovery import adopt_secrets, recover
from appliance.executors.base import Executor
from appliance.model import Vcs
from appliance.pages.site import make_site
from appliance.service import load_late, notify, start_logging
from appliance.settings import Settings
from appliance.sshd.door import Door
from appliance.start import bound, data_folder, locked, note_addresses, url_of
from appliance.store import people
from appliance.store.database import Database, Tx
from appliance.upkeep import upkeep
from appliance.vcs.base import Provider
from appliance.vcs.client import Git
from appliance.vcs.github import GitHub
from appliance.vcs.hosted import Hosted
from appliance.vcs.mirror import Identity, Mirrors
from appliance.vcs.plain import PlainGit

log = logging.getLogger(__name__)

_LET_GO_S = 5.0  # more than it takes when all answers


async def serve(settings: Settings, options: str = "") -> int:
    """Run the appliance until SIGTERM or SIGINT; a second one ends it at once. The exit code.

    `options` are those of this command, for the commands that it proposes.
    """
    start_logging(settings.text("log.level"))
    load_late()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _stop_or_exit, stop)
    async with running(settings, options=options) as appliance:
        for line in appliance.greeting:
            print(line, flush=True)
        notify("READY=1")
        await stop.wait()
        notify("STOPPING=1")
        log.info("stopping: running jobs go on and are found again at the next start; a second signal ends this now")
        loop.call_later(settings.number("drain.longest") + _LET_GO_S, _end_now)
    return 0


def _end_now() -> None:
    """What is to be let go of may be a machine or an engine that does not answer."""
    log.warning("stopped without an answer of all that jobs run on; the next start cleans up there")
    os._exit(0)


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
    hands: Hands
    executors: Mapping[str, Executor]  # of this host
    greeting: tuple[str, ...]


@asynccontextmanager
async def running(settings: Settings, clock: Clock | None = None, *, options: str = "") -> AsyncIterator[Appliance]:
    """A whole appliance, ready when the block begins, gone at its end; jobs live on in their sandboxes."""
    data = data_folder(settings)
    with locked(data), bound(settings) as listener:
        web_url = settings.text("web.url").rstrip("/") or url_of(listener, settings)
        async with (
            made(settings, clock or SystemClock(), data, forges=_providers, web_url=web_url) as core,
            _started(core, listener) as appliance,
        ):
            yield replace(appliance, greeting=await _greeting(core, appliance, options))


@asynccontextmanager
async def _started(core: Core, listener: socket.socket) -> AsyncIterator[Appliance]:
    """Every part at work, the doors last; ended in the other order."""
    hosted = core.providers[Vcs.HOSTED]
    assert isinstance(hosted, Hosted) and core.runners is not None
    door = Door(
        db=core.db,
        bell=core.bell,
        clock=core.clock,
        commands=core.commands,
        hosted=hosted,
        settings=core.settings,
        data=core.data,
        web_url=core.web_url,
        runners=core.runners,
    )
    async with door.listening() as ssh_port:
        addresses = Addresses(core.web_url, _ssh_name(core.settings, core.web_url), ssh_port)
        ready = asyncio.Event()
        site = make_site(_parts(core, addresses, ready))
        resumed = await recover(core.db, of_this_host(core))
        await adopt_secrets(core.db, core.blobs, resumed)
        await door.reconcile()
        note_addresses(core.data, addresses)
        reach, drafter = _reach(core, addresses, door.public_key), drafter_of(core)
        async with (
            at_work((*trade(core, reach, drafter, resumed), *upkeep(core, reach, drafter), door.catch_up())),
            web_server.serving(site, listener, core.settings.number("drain.longest")),
        ):
            ready.set()
            door.open()
            log.info("ready", extra={"web": core.web_url, "ssh": f"{addresses.ssh_host}:{ssh_port}"})
            yield Appliance(
                core.web_url,
                addresses.ssh_host,
                ssh_port,
                core.db,
                core.commands,
                core.hands,
                of_this_host(core),
                (),
            )


def _reach(core: Core, addresses: Addresses, host_key: str) -> Reach:
    return Reach(
        git_url=lambda project: project.public_git_url or addresses.git_url(project.org, project.repo),
        ssh_command=addresses.ssh_command,
        known_hosts=lambda: f"{addresses.known_host} {host_key}\n{core.known_hosts.lines()}",
        carry_on=for_jobs(core.commands, core.settings) if core.settings.is_on("jobs.continue_by_curl") else None,
    )


def _parts(core: Core, addresses: Addresses, ready: asyncio.Event) -> Parts:
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
        here=choices.machine(core.settings),
        ready=ready,
    )


# The parts, from the settings


def _ssh_name(settings: Settings, web_url: str) -> str:
    return settings.text("ssh.name") or web_url.split("//", 1)[1].split("/")[0].rsplit(":", 1)[0].strip("[]")


def _providers(settings: Settings, data: Path, identity: Identity) -> Mapping[Vcs, Provider]:
    git = Git(timeout_s=settings.number("git.timeout"))
    mirrors = Mirrors(git, data / "mirrors", identity)
    mirrors.prepare()
    hosted = Hosted(git, data)
    hosted.prepare()
    github = GitHub(mirrors, api=settings.text("github.api"), token=settings.text("github.token"))
    return {Vcs.HOSTED: hosted, Vcs.GITHUB: github, Vcs.GIT: PlainGit(mirrors)}


async def _greeting(core: Core, appliance: Appliance, options: str) -> tuple[str, ...]:
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
            f"Then: rondo user add NAME --ssh-key FILE{options}, rondo project create ORG/REPO{options}",
        ]
    return tuple(lines)
