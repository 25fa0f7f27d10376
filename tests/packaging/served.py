"""The executable, started as a server of its own on this host."""

from __future__ import annotations

import asyncio
import os
import select
import shutil
import signal
from pathlib import Path

from appliance.executors.local import LocalExecutor
from tests.whole import Place, settings_for

START_TIMEOUT_S = 60.0
END_TIMEOUT_S = 60.0


class ServedExecutable:
    """`rondo serve` from one file, with the local executor. Everything it writes is below `folder`."""

    def __init__(self, executable: Path, folder: Path) -> None:
        self._executable = executable
        self._folder = folder
        self._log = folder / "served.log"
        self.temporary = folder / "temporary"
        self.place = Place(folder / "data", folder / "work", settings_for(folder / "data", {}), {"SECRET": "of-ada"})
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> str:
        """Returns when the doors are open: where the pages are."""
        self.temporary.mkdir(exist_ok=True)
        variables = {
            "PATH": os.environ["PATH"],
            "HOME": str(self._folder),
            "TMPDIR": str(self.temporary),
            "RONDO_DATA": str(self.place.data),
            "RONDO_WEB_PORT": "0",
            "RONDO_SSH_PORT": "0",
            "RONDO_DOCKER_ENABLED": "false",
            "RONDO_LOCAL_ENABLED": "true",
            "RONDO_DISK_FLOOR": "0",
        }
        with self._log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                self._executable,
                "serve",
                env=variables,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        assert self.process.stdout is not None
        async with asyncio.timeout(START_TIMEOUT_S):
            line = await self.process.stdout.readline()
        assert line.startswith(b"Rondo is at "), self.said
        return line.decode().split()[3].rstrip(",")

    @property
    def said(self) -> str:
        return self._log.read_text()

    @property
    def inner(self) -> int:
        """The process that is the server; `process` is the one around it."""
        assert self.process is not None
        (child,) = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(child)

    async def kill(self) -> None:
        """SIGKILL to the outer process; returns when both have ended. Its unpacked files go too, as in a clean-up."""
        assert self.process is not None
        descriptor = os.pidfd_open(self.inner)
        try:
            self.process.kill()
            readable, _, _ = await asyncio.to_thread(select.select, [descriptor], [], [], END_TIMEOUT_S)
            assert readable, "the server lives on without the process that everybody knows"
        finally:
            os.close(descriptor)
        await self.ended()
        shutil.rmtree(self.temporary)

    async def interrupt(self) -> int:
        """What Ctrl-C does: SIGINT to the whole process group; the exit code."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGINT)
        return await self.ended()

    async def ended(self) -> int:
        assert self.process is not None and self.process.stdout is not None
        async with asyncio.timeout(END_TIMEOUT_S):
            await self.process.stdout.read()
            return await self.process.wait()

    async def stop(self) -> int | None:
        """SIGTERM if it runs; the exit code. Ends the jobs as well, which would live on."""
        if self.process is None:
            return None
        if self.process.returncode is None:
            self.process.terminate()
        code = await self.ended()
        jobs = LocalExecutor("", self.place.data / "sandboxes")
        for node in await jobs.list():
            await jobs.remove(node)
        return code
