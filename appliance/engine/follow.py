"""One supervised command: its output into the log, a watch over its silence and its size, and what its end means."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

from appliance.clock import Clock
from appliance.engine.logs import LogWriter
from appliance.engine.workshop import Limits
from appliance.errors import DiskFull, RondoError, SandboxError
from appliance.executors.base import Command, Exit, Sandbox
from appliance.model import StepStatus
from appliance.steps.base import Outcome

log = logging.getLogger(__name__)

_NO_ROOM = "the disk where this job runs is full: there was no room for this step, or for its output"
_LAST_WORDS_S = 5.0  # for a killed command's end to be told, when others go on to write in its name
_ROOM_AGAIN_S = 2.0  # between two looks whether a full disk has room again


class StepLog:
    """A step's log as its step writes it: rings for its readers, and waits for room on a full disk.

    The job goes on meanwhile: its supervisor keeps all that was not taken yet.
    """

    def __init__(self, writer: LogWriter, ring: Callable[[], None]) -> None:
        self.writer = writer
        self._ring = ring
        self._may_say = not writer.is_resumed

    async def say(self, text: str) -> None:
        """Words of ours; not again what stands in the log from before a restart."""
        if self._may_say:
            await self._when_room(lambda: self.writer.say(text))

    async def say_again(self, text: str) -> None:
        """Words of ours that the writer has cut off: they stood behind the last output that it is certain of."""
        self._may_say = True
        await self.say(text)

    async def interject(self, sentence: str) -> None:
        """A sentence of ours amid the output. It is not said again after a restart."""
        await self._when_room(lambda: self.writer.interject(f"\n{sentence}\n"))

    async def take(self, output: bytes) -> None:
        self._may_say = True
        await self._when_room(lambda: self.writer.write(output))

    async def end_output(self) -> None:
        self._may_say = True
        await self._when_room(self.writer.flush)

    async def _when_room(self, append: Callable[[], None]) -> None:
        while True:
            try:
                append()
            except DiskFull as error:
                log.error("a full disk holds up a log", extra={"error": str(error)})
                await asyncio.sleep(_ROOM_AGAIN_S)
            else:
                self._ring()
                return


class Follower:
    """Runs one command in a sandbox, or goes on following it where the log ends."""

    def __init__(
        self, sandbox: Sandbox, command: Command, step_log: StepLog, limits: Limits, clock: Clock, offset: int = 0
    ) -> None:
        """`offset`: bytes of output in the log that are not this command's, but of the step's attempts before."""
        self._sandbox = sandbox
        self._command = command
        self._offset = offset
        self._log = step_log
        self._limits = limits
        self._clock = clock
        self._heard_at = clock.monotonic_s()
        self._was_silent = False
        self._was_too_loud = False
        self._give_up_at = 0.0

    async def follow(self, quiet_s: float, out_of_memory: Callable[[], str]) -> Outcome:
        """Follow to the end. `quiet_s`: longest time without output, for foreground commands. `out_of_memory`: what to
        say when the kernel ended it for that.

        Raises SandboxLost and SandboxError. Cancelling leaves the command alone.
        """
        async with asyncio.TaskGroup() as group:
            guard = group.create_task(self._guard(quiet_s))
            ended = await self._copy()
            guard.cancel()
        if isinstance(ended, RondoError):
            raise ended
        return await self._outcome(ended, quiet_s, out_of_memory)

    async def _copy(self) -> Exit | RondoError:
        """Output into the log. A trouble is given back, not raised: the TaskGroup would wrap it."""
        ended: Exit | None = None
        at = self._log.writer.offset - self._offset
        try:
            async with contextlib.aclosing(self._sandbox.run(self._command, at, self._log.interject)) as output:
                async for item in output:
                    if isinstance(item, Exit):
                        ended = item
                        break
                    self._heard_at = self._clock.monotonic_s()
                    if self._was_too_loud:
                        if self._heard_at > self._give_up_at:
                            ended = Exit(137)
                            break
                        continue
                    await self._log.take(item)
                    await self._stop_when_too_loud()
            await self._log.end_output()
        except RondoError as error:
            return error
        return ended or SandboxError("the sandbox did not say how the command ended")

    async def _guard(self, quiet_s: float) -> None:
        """Stop the command when it has been silent for too long. A background one may be."""
        while not self._command.background:
            left_s = self._heard_at + quiet_s - self._clock.monotonic_s()
            if left_s <= 0:
                self._was_silent = True
                await self._kill()
                return
            await asyncio.sleep(left_s)

    async def _stop_when_too_loud(self) -> None:
        """What comes after is left out, and not listened to for ever: a job may have silenced its supervisor."""
        if self._log.writer.size > self._limits.log_bytes:
            self._was_too_loud = True
            self._give_up_at = self._clock.monotonic_s() + self._limits.grace_s + _LAST_WORDS_S
            await self._kill()

    async def _kill(self) -> None:
        with contextlib.suppress(SandboxError):  # who reads the output meets the same error
            await self._sandbox.kill(self._command.id, self._limits.grace_s)

    async def _outcome(self, ended: Exit, quiet_s: float, out_of_memory: Callable[[], str]) -> Outcome:
        if self._was_silent:
            message = f"stopped: no output for {quiet_s:g} seconds (no_output_timeout)"
            outcome = Outcome(StepStatus.TIMEDOUT, ended.code, message)
        elif self._was_too_loud:
            message = f"stopped: its log grew over {self._limits.log_bytes >> 20} MiB (jobs.log_limit)"
            outcome = Outcome(StepStatus.FAILED, ended.code, message)
        elif ended.code == 0:
            if ended.no_room:
                await self._log.say(f"\n{_NO_ROOM}\n")
            return Outcome(StepStatus.SUCCESS, 0, halts=ended.halts)
        elif ended.out_of_memory:
            outcome = Outcome(StepStatus.FAILED, ended.code, out_of_memory())
        elif ended.no_room:
            outcome = Outcome(StepStatus.FAILED, ended.code, _NO_ROOM, halts=ended.halts)
        else:
            outcome = Outcome(StepStatus.FAILED, ended.code, f"exited with code {ended.code}", halts=ended.halts)
        await self._log.say(f"\n{outcome.message}\n")
        return outcome
