"""A real `rondo runner` as a process of its own, dialling in to a real door."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from appliance.crypto import SecretBox
from appliance.machine_runner.identity import Identity
from appliance.store import machines
from appliance.store.database import Tx
from tests.sshd.world import World, until, world

ROOT = Path(__file__).parent.parent
BOX = SecretBox(b"k" * 32)


def enrol(tx: Tx, name: str, public_key: str, **more: object) -> None:
    """What `rondo machine add NAME --dials-in --key KEY` does."""
    wanted = machines.Definition(name=name, dials_in=True, runner_key=public_key, **more)  # type: ignore[arg-type]
    machines.add(tx, BOX, wanted, time.time_ns() // 1_000_000)


@dataclass
class Dialler:
    """Starts and ends runners with one folder, and so one key."""

    folder: Path
    port: int
    environment: Mapping[str, str] | None = None
    process: asyncio.subprocess.Process | None = None

    @property
    def public_key(self) -> str:
        return Identity(self.folder / "runner").public_key

    @property
    def log(self) -> Path:
        return self.folder / "runner.log"

    @property
    def said(self) -> str:
        return self.log.read_text() if self.log.exists() else ""

    async def start(self, *words: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        argv = (sys.executable, "-m", "appliance", "runner", "--server", f"127.0.0.1:{self.port}")
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *(*argv, "--folder", str(self.folder / "runner"), "--name", "box", *words),
                env={"PATH": os.environ["PATH"], **(self.environment or {"HOME": str(home)})},
                cwd=ROOT,
                stdout=log,
                stderr=log,
                stdin=asyncio.subprocess.DEVNULL,
            )

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    async def ended(self) -> int:
        assert self.process is not None
        async with asyncio.timeout(20):
            return await self.process.wait()

    async def kill(self) -> None:
        """SIGKILL, if it still runs."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
            await self.process.wait()
            self.process = None


@asynccontextmanager
async def dialler(folder: Path, port: int, environment: Mapping[str, str] | None = None) -> AsyncIterator[Dialler]:
    found = Dialler(folder, port, environment)
    try:
        yield found
    finally:
        await found.kill()


@asynccontextmanager
async def dialled_in(folder: Path) -> AsyncIterator[tuple[World, Dialler]]:
    """A door, and machine `mac` that has dialled in."""
    async with world(folder) as here, dialler(folder / "box", here.port) as box:
        await here.db.write(lambda tx: enrol(tx, "mac", box.public_key))
        await box.start()
        await welcome(here)
        yield here, box


async def welcome(here: World) -> None:
    await until(lambda: here.runners.trouble("mac") is None)
