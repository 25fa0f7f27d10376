"""--shell-on-failure: a shell in the sandbox of a step that failed, at this terminal, before the job goes on."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager

from appliance.engine.entering import shell_argv, terminal_size
from appliance.engine.workshop import Failure
from appliance.errors import RondoError
from appliance.executors.base import Process
from appliance.laptop.harmless import plain
from appliance.laptop.keys import Keys
from appliance.laptop.watch import Display


class Shells:
    """One at a time: jobs that fail together wait for each other. `paused` keeps others from the keys."""

    def __init__(self, display: Display, keys: Keys, paused: Callable[[], AbstractContextManager[None]]) -> None:
        self._display = display
        self._keys = keys
        self._paused = paused
        self._turn = asyncio.Lock()

    async def open(self, failure: Failure) -> None:
        """Returns when the person leaves the shell. Trouble with it is told, and no reason for the job to end."""
        where = plain(failure.job if failure.nodes == 1 else f"{failure.job}.{failure.index}")
        async with self._turn:
            with self._paused(), self._display.suspended():
                print(f"\n{plain(f'{where}: {failure.step}: {failure.message}')}")
                print(f"a shell in the job, in {plain(failure.working_directory)}; the job goes on when you leave it (exit)")
                sys.stdout.flush()
                try:
                    code = await self._bridge(failure)
                    print(f"rondo: the shell has ended with {code}, {where} goes on")
                except RondoError as error:
                    print(f"rondo: no shell in {where}: {plain(str(error))}")
                sys.stdout.flush()

    async def _bridge(self, failure: Failure) -> int:
        environment = dict(await failure.sandbox.environment_of(failure.command_id))
        environment["TERM"] = os.environ.get("TERM", "dumb")
        argv = shell_argv(None, failure.working_directory, has_terminal=True)
        process = await failure.sandbox.process(argv, environment=environment, tty=_size())
        try:
            return await self._exchange(process)
        finally:
            await process.kill()

    async def _exchange(self, process: Process) -> int:
        typed: asyncio.Queue[bytes] = asyncio.Queue()
        resized = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGWINCH, resized.set)
        try:
            with self._keys.told(typed.put_nowait, raw=True):
                async with asyncio.TaskGroup() as group:
                    others = [
                        group.create_task(_take(process, typed)),
                        group.create_task(_follow_size(process, resized)),
                    ]
                    while data := await process.read():
                        await asyncio.to_thread(_write, data)
                    code = await process.wait()
                    for task in others:
                        task.cancel()
                    return code
        finally:
            with contextlib.suppress(NotImplementedError, ValueError):
                loop.remove_signal_handler(signal.SIGWINCH)


async def _take(process: Process, typed: asyncio.Queue[bytes]) -> None:
    while True:
        await process.write(await typed.get())


async def _follow_size(process: Process, resized: asyncio.Event) -> None:
    while True:
        await resized.wait()
        resized.clear()
        await process.resize(*_size())


def _size() -> tuple[int, int]:
    size = os.get_terminal_size(sys.stdout.fileno())
    return terminal_size(size.columns, size.lines)


def _write(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(sys.stdout.fileno(), view) :]
