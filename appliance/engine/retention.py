"""Removes what is old or over its quota: logs, whole pipelines, letters. Rows first, then files.

Nothing goes that a workflow which has not ended could need; and a pipeline stays for as long as it may be rerun, so the
settings let nobody keep them for less than that.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from appliance.blobs import Blobs
from appliance.model import JobId
from appliance.store import retention, room
from appliance.store.database import Database

log = logging.getLogger(__name__)

_REST_MS = 86_400_000  # for who reran what is old: they want to see how it ended; and its runner may still write
_PIPELINES = 4  # in one transaction: others wait for the writer meanwhile
_JOBS = 500
_ROUNDS = 100  # of one sweep; the next goes on
_PREFIXES = tuple(f"{number:02x}" for number in range(256))


@dataclass(frozen=True, kw_only=True)
class Terms:
    """For how long things are kept; 0 is for ever, and for `log_bytes` without bound."""

    pipelines_ms: int
    logs_ms: int
    log_bytes: int
    letters_ms: int


class Retention:
    def __init__(self, *, db: Database, blobs: Blobs, terms: Terms) -> None:
        self._db = db
        self._blobs = blobs
        self._terms = terms
        self._at = 0  # which part of the logs is looked through for folders without a job

    async def sweep(self, now_ms: int) -> None:
        """One round; a limited number of each kind goes."""
        await self._remove_pipelines(now_ms)
        await self._measure()
        await self._remove_logs(now_ms)
        await self._remove_strange_logs()
        if self._terms.letters_ms:
            before_ms = now_ms - self._terms.letters_ms
            await self._db.write(lambda tx: retention.forget_letters(tx, before_ms, _JOBS))

    async def free_some(self, now_ms: int) -> bool:
        """The disk is nearly full: let the oldest logs go, a limited number; whether there were any."""
        return bool(await self._let_go(await self._db.read(lambda tx: retention.oldest_logs(tx, now_ms, 50)), now_ms))

    async def _remove_pipelines(self, now_ms: int) -> None:
        if not self._terms.pipelines_ms:
            return
        before_ms, ended_before_ms, count = now_ms - self._terms.pipelines_ms, now_ms - _REST_MS, 0
        for _ in range(_ROUNDS):
            gone = await self._db.write(
                lambda tx: retention.remove_old_pipelines(tx, before_ms, ended_before_ms, _PIPELINES)
            )
            for kind, ids in ((Blobs.ARTIFACTS, gone.artifacts), (Blobs.LAYERS, gone.layers)):
                for blob_id in ids:
                    self._blobs.drop(kind, blob_id)
            await asyncio.to_thread(self._blobs.drop_logs, gone.jobs)
            count += len(gone.jobs)
            if not gone.jobs:
                break
        if count:
            log.info("old pipelines were removed", extra={"jobs": count})

    async def _measure(self) -> None:
        for _ in range(_ROUNDS):
            jobs = await self._db.read(lambda tx: retention.unmeasured(tx, _JOBS))
            if not jobs:
                return
            sizes = await asyncio.to_thread(self._blobs.log_sizes, jobs)
            await self._db.write(lambda tx: retention.note_sizes(tx, {JobId(one): size for one, size in sizes.items()}))  # noqa: B023

    async def _remove_logs(self, now_ms: int) -> None:
        """First those that are too old, then the oldest until the rest is within its quota."""
        terms, gone = self._terms, 0
        for _ in range(_ROUNDS if terms.logs_ms else 0):
            old = await self._db.read(lambda tx: retention.oldest_logs(tx, now_ms - terms.logs_ms, _JOBS))
            if not old:
                break
            gone += await self._let_go(old, now_ms)
        left = await self._db.read(room.of_logs) if terms.log_bytes else 0
        for _ in range(_ROUNDS):
            if left <= terms.log_bytes:
                break
            oldest = await self._db.read(lambda tx: retention.oldest_logs(tx, now_ms, 50))
            chosen: list[tuple[JobId, int]] = []
            for one in oldest:
                if left > terms.log_bytes:
                    chosen.append(one)
                    left -= one[1]
            if not chosen:
                break
            gone += await self._let_go(chosen, now_ms)
        if gone:
            log.info("old logs were removed", extra={"jobs": gone})

    async def _let_go(self, some: list[tuple[JobId, int]], now_ms: int) -> int:
        ids = [job_id for job_id, _ in some]
        await self._db.write(lambda tx: retention.note_removed(tx, ids, now_ms))
        await asyncio.to_thread(self._blobs.drop_logs, ids)
        return len(ids)

    async def _remove_strange_logs(self) -> None:
        """Logs without a job, as a removal leaves them that was cut short: a part of them in each sweep.

        A job's row is written before its logs, so a folder without one is nobody's.
        """
        for _ in range(16):
            prefix = _PREFIXES[self._at]
            self._at = (self._at + 1) % len(_PREFIXES)
            there = await asyncio.to_thread(self._blobs.jobs_with_logs, prefix)
            if there:
                known: set[str] = set()
                for digit in "0123456789abcdef":  # of a million jobs some hundred at a time
                    known |= await self._db.read(lambda tx: retention.known_jobs(tx, prefix + digit))  # noqa: B023
                await asyncio.to_thread(self._blobs.drop_logs, there - known)
