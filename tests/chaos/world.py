"""An appliance that is to suffer: its data folder on a small disk of its own, its projects, and what was pushed to it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import socket
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from appliance.crypto import SecretBox, load_or_make_key
from appliance.engine import moves_schedules, timetables
from appliance.model import Vcs
from appliance.settings import Value
from appliance.store import people, projects
from appliance.store.database import Tx
from tests.chaos.configs import SECRET, Config, Maker
from tests.chaos.machines import CLASS, PATIENCE_S, Far, far_machines
from tests.engine_fixture import BUSYBOX, DEBIAN, PrivateEngine
from tests.scenarios.test_doors import Forge, add_github_project
from tests.whole import ON_THIS_HOST, Place, Served, settings_for

HOSTED = ("app", "site", "tool")
DISK_BYTES = 96 << 20
LOG_BYTES = 12 << 20  # the oldest go
FAKE_TIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")
UP_S = 30.0
EVERY_MINUTE = moves_schedules.Wish(
    name="every minute",
    timetable={"per-hour": 60, "hours-of-day": list(range(24)), "days-of-week": list(timetables.WEEKDAYS)},
    branch="main",
    parameters={},
    is_system=True,
)


@dataclass
class Story:
    """What was done, and what it touched: the checks compare it with what is there in the end."""

    pushed: dict[str, tuple[str, Config]] = field(default_factory=dict)  # revision -> project and config
    kills: Counter[str] = field(default_factory=Counter)  # by what the appliance was about
    others: Counter[str] = field(default_factory=Counter)
    deaths: list[str] = field(default_factory=list)  # what the appliance said before it ended by itself, once it was up
    touched: dict[str, set[tuple[str, int]]] = field(default_factory=dict)  # "engine", "disk" -> nodes that met it


@dataclass
class World:
    scratch: Path
    place: Place
    process: Served
    maker: Maker
    chance: random.Random
    forge: Forge
    engine: PrivateEngine | None
    has_own_disk: bool
    has_fake_time: bool
    story: Story = field(default_factory=Story)
    token: str = ""
    far: Far | None = None  # machines of the pool
    is_over: bool = False  # nothing new is begun
    clock_s: int = 0  # by so much the appliance's wall clock is off
    latest_clock_s: int = 0
    trees: dict[str, Place] = field(default_factory=dict)

    def rows(self, query: str, values: Mapping[str, Any] | None = None) -> list[sqlite3.Row]:
        """A look at the rows that costs the appliance nothing."""
        uri = f"{(self.place.data / 'rondo.db').as_uri()}?mode=ro"
        with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=10, isolation_level=None)) as connection:
            connection.row_factory = sqlite3.Row
            return connection.execute(query, values or {}).fetchall()

    async def start(self) -> None:
        """Start the appliance, again and again where its disk is full, as systemd does."""
        deadline = time.monotonic() + 4 * UP_S
        while True:
            try:
                await self.process.start()
                return
            except (AssertionError, TimeoutError):
                with contextlib.suppress(ProcessLookupError):
                    await self.process.kill()
                if time.monotonic() > deadline:
                    raise
                self.story.others["starts that failed (full disk)"] += 1
                await asyncio.sleep(0.3)

    @property
    def is_up(self) -> bool:
        return (self.place.data / "web_url").exists()

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> int:
        """A request to the appliance; its status, 0 when nobody answers."""
        given = {"Circle-Token": self.token, **headers}
        data = body if isinstance(body, bytes) else None
        as_json = None if isinstance(body, bytes) else body
        try:
            url = (self.place.data / "web_url").read_text() + path
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(20)) as client,
                client.request(method, url, data=data, json=as_json, headers=given) as answer,
            ):
                await answer.read()
                return answer.status
        except (OSError, aiohttp.ClientError, TimeoutError):
            return 0

    def running(self) -> set[tuple[str, int]]:
        """The nodes that run, or may begin to at any time."""
        found = self.rows(
            "SELECT job_id, idx FROM nodes JOIN jobs ON jobs.id = nodes.job_id"
            " WHERE nodes.status = 'running' OR (nodes.status = 'waiting' AND jobs.status IN ('not_running', 'running'))"
        )
        return {(row["job_id"], row["idx"]) for row in found}

    def touch(self, what: str) -> None:
        self.story.touched.setdefault(what, set()).update(self.running())

    def now_ms(self) -> int:
        """By the appliance's wall clock."""
        return int((time.time() + self.clock_s) * 1000)

    def set_clock(self, offset_s: int) -> None:
        """From now on the appliance's wall clock is off by so much."""
        self.clock_s, self.latest_clock_s = offset_s, max(self.latest_clock_s, offset_s)
        new = self.scratch / "clock.new"
        new.write_text(f"{offset_s:+d}\n")
        new.rename(self.scratch / "clock")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def _small_disk(folder: Path) -> Iterator[bool]:
    """A disk of its own for the data folder, where we may mount one."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "rondo-chaos", str(folder)]
    has_one = os.geteuid() == 0 and subprocess.run(command, capture_output=True, check=False).returncode == 0
    try:
        yield has_one
    finally:
        if has_one:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def _options(world_engine: PrivateEngine | None, forge: Forge, scratch: Path) -> dict[str, Value]:
    options: dict[str, Value] = {
        **ON_THIS_HOST,
        "local.takes": "machine",
        "web.port": _free_port(),
        "ssh.port": _free_port(),
        "jobs.cpus": 1000.0,
        "jobs.memory": 1 << 40,
        "jobs.at_once": 6,
        "github.api": forge.url,
        "github.token": "forge-token",
        "drain.longest": 2.0,
        "retention.every": 2.0,
        "jobs.machine_patience": PATIENCE_S,
        "retention.logs_size": LOG_BYTES,
    }
    if world_engine is not None:
        options |= {"docker.enabled": True, "docker.url": f"unix://{world_engine.socket}"}
    return options


@asynccontextmanager
async def suffering(scratch: Path, engine: PrivateEngine | None, seed: int, *, has_machines: bool) -> AsyncIterator[World]:
    """A furnished appliance that runs, its machines, and the places to push from."""
    data, witness = scratch / "data", scratch / "witness"
    for folder in (data, witness, scratch / "sandboxes", scratch / "tmp"):
        folder.mkdir()
    forge = Forge()
    with _small_disk(data) as has_own_disk:
        # Jobs of this host work beside the small disk: their own files are not what is to be lost.
        (data / "sandboxes").symlink_to(scratch / "sandboxes")
        async with forge.serving(), far_machines(scratch, are_wanted=has_machines) as far:
            options = _options(engine, forge, scratch)
            options |= far.settings(int(str(options["ssh.port"]))) if far else {}
            settings = settings_for(data, options)
            place = Place(data, scratch / "work-app", settings, {"SECRET": SECRET})
            more = {"TMPDIR": str(scratch / "tmp")}
            if FAKE_TIME.exists():
                clock = {"FAKETIME_TIMESTAMP_FILE": str(scratch / "clock"), "FAKETIME_NO_CACHE": "1"}
                more |= {"LD_PRELOAD": str(FAKE_TIME), "FAKETIME_DONT_FAKE_MONOTONIC": "1", **clock}
            world = World(
                scratch=scratch,
                place=place,
                process=Served(place, more),
                maker=Maker(witness, DEBIAN if engine else "", BUSYBOX, CLASS if far else ""),
                chance=random.Random(seed),
                forge=forge,
                engine=engine,
                has_own_disk=has_own_disk,
                has_fake_time=FAKE_TIME.exists(),
                far=far,
            )
            world.set_clock(0)
            await world.process.start()
            _furnish(world)
            if far is not None:
                await far.dial_in()
            yield world


def _furnish(world: World) -> None:
    place = world.place
    place.furnish()
    box = SecretBox(load_or_make_key(place.data / "secret_key"))

    def add(tx: Tx) -> str:
        for name in HOSTED[1:]:
            project = projects.add(tx, org="acme", repo=name, vcs=Vcs.HOSTED, git_url=None, default_branch="main", now_ms=1)
            projects.set_secret(tx, box, project.id, "SECRET", SECRET, 1)
            moves_schedules.create(tx, project.id, EVERY_MINUTE, people.by_name(tx, "tester"), time.time_ns() // 1_000_000)
        return people.make_token(tx, people.by_name(tx, "tester").id, "api", 1)

    world.token = place.read(add)
    for name in HOSTED:
        world.trees[name] = Place(place.data, world.scratch / f"work-{name}", place.settings)
    forged = Place(place.data, world.scratch / "work-forged", place.settings)
    project = add_github_project(place, f"file://{forged.work}")
    place.read(lambda tx: projects.set_secret(tx, box, project.id, "SECRET", SECRET, 1))
    world.trees["forged"] = forged


def steps_of(text: str) -> list[str]:
    """For messages: the names of all jobs of a config."""
    return list(json.loads(text)["jobs"])
