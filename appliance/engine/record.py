"""What is written down of one node while it runs: the ends of its steps, its own end, its logs."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from appliance.engine import moves
from appliance.engine.follow import StepLog
from appliance.engine.logs import LogWriter, Masker, Needles, needles
from appliance.engine.workshop import Facts, Workshop
from appliance.errors import DiskFull
from appliance.model import NodeStatus, StepStatus
from appliance.steps.base import Outcome
from appliance.store import jobs
from appliance.store.database import Database, Tx

log = logging.getLogger(__name__)
T = TypeVar("T")

_ROOM_AGAIN_S = 2.0  # between two looks whether a full disk has room again


@dataclass(frozen=True)
class Attempt:
    """One of the times that a step is run inside its job (spec 1.8.1, max_auto_reruns)."""

    number: int  # from 1
    at_ms: int  # not before
    offset: int  # bytes of output of those before
    message: str  # how the one before ended


class Record:
    """Ends of steps are gathered and written with the start of the next one: each transaction costs a disk write.

    To lose the gathered ones in a crash does no harm: the supervisor tells again how those commands ended.
    """

    def __init__(self, shop: Workshop, facts: Facts) -> None:
        self._shop = shop
        self._facts = facts
        self._job_id = facts.job.id
        self._index = facts.node.index
        self._made_folder: Path | None = None
        self._ended: list[moves.StepEnd] = []
        self.is_finished = False
        self._known = facts.masked
        self._writers: set[LogWriter] = set()
        self._needles = needles(self._known)
        self._masker = Masker(self._needles)

    def mask(self, text: str) -> str:
        """`text` without the job's secrets."""
        return self._masker.mask(text)

    async def recall_secrets(self) -> None:
        """A sandbox from before a restart may still say a secret that was changed or removed meanwhile."""
        sealed = await self._shop.db.read(lambda tx: jobs.secrets_of(tx, self._job_id, self._index))
        if sealed is not None:
            text = self._shop.box.open(sealed, self._purpose)
            await self._look_for(self._known | set(json.loads(text)))
            await self._write_secrets()

    async def keep_secret(self, values: set[str]) -> None:
        """Mask these too from now on, in the logs that are being written too, and after a restart."""
        await self._look_for(self._known | values)
        await self._write_secrets()

    async def _look_for(self, known: set[str]) -> None:
        self._known, self._needles = known, await asyncio.to_thread(_prepared, known)
        self._masker = Masker(self._needles)
        for writer in self._writers:
            writer.look_for(Masker(self._needles))

    async def _write_secrets(self) -> None:
        sealed = self._sealed()
        await write_when_room(self._shop.db, lambda tx: jobs.keep_secrets(tx, self._job_id, self._index, sealed))

    def _sealed(self) -> bytes | None:
        return self._shop.box.seal(json.dumps(sorted(self._known)), self._purpose) if self._known else None

    @property
    def _purpose(self) -> str:
        return f"masking/{self._job_id}/{self._index}"

    @property
    def _folder(self) -> Path:
        """Of the logs; made when it is asked for first."""
        if self._made_folder is None:
            self._made_folder = self._shop.blobs.log_folder(self._job_id, self._index)
        return self._made_folder

    def end_step(self, position: int, outcome: Outcome) -> None:
        message = self._masker.mask(outcome.message)
        self._ended.append(
            moves.StepEnd(position=position, status=outcome.status, exit_code=outcome.exit_code, message=message)
        )
        self._ring_log(position)

    async def start_step(self, position: int) -> None:
        """Write down the steps that ended, and that this one starts."""
        ended, now_ms = self._take_ended(), self._shop.clock.now_ms()
        await write_when_room(
            self._shop.db, lambda tx: moves.advance(tx, self._job_id, self._index, ended, position, now_ms)
        )
        self._shop.bell.ring(f"job:{self._job_id}")

    async def try_again(self, position: int, attempt: Attempt) -> None:
        """Write down that a step begins a later attempt: whoever comes after a crash goes on with that one."""
        message = self._masker.mask(attempt.message)
        await write_when_room(
            self._shop.db,
            lambda tx: jobs.try_step_again(
                tx, self._job_id, self._index, position, attempt.number, attempt.at_ms, attempt.offset, message
            ),
        )
        self._shop.bell.ring(f"job:{self._job_id}")

    async def opened(self, ref: str) -> None:
        """The sandbox is there, and its services with it. What its steps know is kept for a runner after a restart."""
        now_ms, sealed = self._shop.clock.now_ms(), self._sealed()

        def open_node(tx: Tx) -> None:
            moves.open_node(tx, self._job_id, self._index, ref, now_ms)
            jobs.keep_secrets(tx, self._job_id, self._index, sealed)

        await write_when_room(self._shop.db, open_node)

    async def say_of_step(self, position: int, message: str) -> None:
        """Show words about a step that runs."""
        words = self._masker.mask(message)
        await write_when_room(
            self._shop.db, lambda tx: jobs.set_step_message(tx, self._job_id, self._index, position, words)
        )
        self._shop.bell.ring(f"job:{self._job_id}")

    async def end_step_now(self, position: int, outcome: Outcome) -> None:
        """Write down the end of a step without waiting for the start of another one."""
        self.end_step(position, outcome)
        ended, now_ms = self._take_ended(), self._shop.clock.now_ms()
        await write_when_room(self._shop.db, lambda tx: moves.advance(tx, self._job_id, self._index, ended, None, now_ms))
        self._ring_log(position)
        self._shop.bell.ring(f"job:{self._job_id}")

    async def finish(self, status: NodeStatus, message: str) -> None:
        """Write down the node's end; what follows in the workflow follows in the same transaction."""
        ended, now_ms, words = self._take_ended(), self._shop.clock.now_ms(), self._masker.mask(message)
        await self._write_end(lambda tx: moves.finish_node(tx, self._job_id, self._index, status, words, ended, now_ms))
        facts = {"job": self._facts.job.number, "node": self._index, "status": str(status)}
        if status is NodeStatus.INFRASTRUCTURE_FAIL:
            log.warning("node lost", extra={**facts, "why": message})
        else:
            log.info("node finished", extra=facts)

    async def lose(self, why: str) -> None:
        """Write down that this attempt was lost; the node is started again, unless it was already."""
        ended, now_ms, restarts = self._take_ended(), self._shop.clock.now_ms(), self._shop.limits.restarts
        attempt = self._facts.node.attempt
        loss = moves.Loss(job_id=self._job_id, index=self._index, attempt=attempt, why=self._masker.mask(why))
        await self._write_end(lambda tx: moves.lose_node(tx, loss, restarts, ended, now_ms))
        self._shop.bell.ring(self._facts.node.executor)  # whoever looks after the machine looks at once
        facts = {"job": self._facts.job.number, "node": self._index, "attempt": attempt, "why": loss.why}
        log.warning("node lost", extra=facts)

    async def _write_end(self, fn: Callable[[Tx], moves.Changed]) -> None:
        changed = await write_when_room(self._shop.db, fn)
        self.is_finished = True
        self._shop.bell.ring("work", "outbox", *changed.topics())
        for row in self._facts.steps:
            self._ring_log(row.position)

    @contextmanager
    def log(self, position: int) -> Iterator[StepLog]:
        """The log of a step, to be written; going on where an earlier runner stopped."""
        with LogWriter(self._shop.blobs.log_in(self._folder, position), self._needles) as writer:
            self._writers.add(writer)
            try:
                yield StepLog(writer, lambda: self._ring_log(position))
            finally:
                self._writers.discard(writer)

    def _take_ended(self) -> list[moves.StepEnd]:
        ended, self._ended = self._ended, []
        return ended

    def _ring_log(self, position: int) -> None:
        self._shop.bell.ring(f"log:{self._job_id}/{self._index}/{position}")


def _prepared(secrets: set[str]) -> Needles:
    """A job that asks for many tokens has thousands: what the search for them needs is made in a thread."""
    found = needles(secrets)
    assert found.pattern is not None
    return found


async def write_when_room(db: Database, fn: Callable[[Tx], T]) -> T:
    """A write that waits for room on a full disk."""
    while True:
        try:
            return await db.write(fn)
        except DiskFull as error:
            log.error("a full disk holds up a job", extra={"error": str(error)})
            await asyncio.sleep(_ROOM_AGAIN_S)


def lost(error: Exception) -> Outcome:
    """The outcome of a step whose surroundings broke."""
    return Outcome(StepStatus.INFRASTRUCTURE_FAIL, message=str(error))
