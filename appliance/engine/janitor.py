"""Sweeps now and then what others could not: on this host sandboxes whose removal failed, expired logins, old blobs."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

from appliance.blobs import Blobs, free_bytes
from appliance.clock import Clock, Unhurried
from appliance.engine.recovery import remove_unowned
from appliance.engine.retention import Retention
from appliance.errors import DiskFull, SandboxError
from appliance.executors.base import Executor
from appliance.store import artifacts, caches, coverage, docker_layers, people, results, workspaces
from appliance.store.database import Database, Tx

log = logging.getLogger(__name__)

_DAY_MS = 86_400_000
_ARTIFACTS_LAST_MS = 30 * _DAY_MS  # spec 2.3
_RESULTS_LAST_MS = 60 * _DAY_MS
_AT_ONCE = 100  # rows removed in one transaction: others wait for the writer meanwhile
_ROUNDS = 500  # of one sweep; the next one goes on
_IDS = {Blobs.CACHES: caches.ids, Blobs.LAYERS: workspaces.ids, Blobs.ARTIFACTS: artifacts.ids}


class Janitor:
    def __init__(
        self,
        *,
        db: Database,
        clock: Clock,
        blobs: Blobs,
        executors: Mapping[str, Executor],
        cache_quota: int,
        disk_floor: int,
        artifact_quota: int = 1 << 62,
        docker_layers_days: float = 7.0,
        every_s: float = 60.0,
        free: Callable[[], int] | None = None,
        retention: Retention | None = None,
    ) -> None:
        self._db = db
        self._clock = clock
        self._unhurried = Unhurried(clock)
        self._blobs = blobs
        self._executors = executors
        self._cache_quota = cache_quota
        self._disk_floor = disk_floor
        self._artifact_quota = artifact_quota
        self._retention = retention
        self._docker_layers_last_ms = int(docker_layers_days * _DAY_MS)
        self._every_s = every_s
        self._free = free or (lambda: free_bytes(blobs.root))
        self._strangers: set[tuple[str, str]] = set()

    async def run(self) -> None:
        """Ends only by being cancelled."""
        while True:
            await asyncio.sleep(self._every_s)
            try:
                await self.sweep_once()
            except DiskFull as error:
                log.error("a full disk holds up the janitor", extra={"error": str(error)})

    async def sweep_once(self) -> None:
        await self._db.write(lambda tx: people.drop_expired(tx, self._clock.now_ms()))
        had_doubts, now_ms = self._unhurried.doubts, self._unhurried.now_ms()
        if self._unhurried.doubts and not had_doubts:
            log.warning("the clock has jumped ahead: for a day nothing is taken to be older by that")
        await self._sweep_caches(now_ms)
        await self._forget(Blobs.LAYERS, lambda tx: workspaces.forget_older(tx, now_ms - workspaces.LAST_MS, _AT_ONCE))
        await self._forget(Blobs.ARTIFACTS, lambda tx: artifacts.forget_older(tx, now_ms - _ARTIFACTS_LAST_MS, _AT_ONCE))
        quota = self._artifact_quota
        await self._forget_over(Blobs.ARTIFACTS, lambda tx: artifacts.over(tx, quota, _AT_ONCE), artifacts.forget)
        await self._db.write(lambda tx: results.forget_older(tx, now_ms - _RESULTS_LAST_MS))
        await self._db.write(lambda tx: coverage.forget_files_older(tx, now_ms - _RESULTS_LAST_MS))
        if self._retention is not None:
            await self._retention.sweep(now_ms)
        await self._drop_strangers()
        await self._db.write(docker_layers.release_ended)
        await self._db.write(lambda tx: docker_layers.forget_older(tx, now_ms - self._docker_layers_last_ms))
        for key, executor in self._executors.items():
            await self._sweep(key, executor)

    async def _sweep_caches(self, now_ms: int) -> None:
        """Rows first, then blobs: a blob without a row is rubbish, a row without a blob would be a broken promise.

        Where the disk is nearly full and there are no caches left, the oldest logs follow them.
        """
        gone = await self._db.write(lambda tx: caches.forget_expired(tx, now_ms))
        self._drop(Blobs.CACHES, gone)
        quota = self._cache_quota
        gone += await self._forget_over(Blobs.CACHES, lambda tx: caches.over(tx, quota, _AT_ONCE), caches.forget)
        while self._free() < self._disk_floor:
            more = await self._db.write(caches.forget_least_used)
            if not more:
                if self._retention is None or not await self._retention.free_some(now_ms):
                    break
                continue
            self._drop(Blobs.CACHES, more)
            gone += more
        if gone:
            log.info("caches were thrown out", extra={"count": len(gone)})

    async def _forget(self, kind: str, forget_some: Callable[[Tx], list[str]]) -> None:
        """Forget some until there are no more; rows first, then blobs."""
        for _ in range(_ROUNDS):
            gone = await self._db.write(forget_some)
            self._drop(kind, gone)
            if len(gone) < _AT_ONCE:
                return

    async def _forget_over(
        self, kind: str, over: Callable[[Tx], list[str]], forget: Callable[[Tx, Sequence[str]], list[str]]
    ) -> list[str]:
        """Forget what is over a quota until nothing is; those that were still there."""
        gone: list[str] = []
        for _ in range(_ROUNDS):
            ids = await self._db.read(over)
            if not ids:
                break
            some = await self._db.write(lambda tx: forget(tx, ids))  # noqa: B023 - awaited at once
            self._drop(kind, some)
            gone += some
        return gone

    def _drop(self, kind: str, blob_ids: Iterable[str]) -> None:
        for blob_id in blob_ids:
            self._blobs.drop(kind, blob_id)

    async def _drop_strangers(self) -> None:
        """Blobs without a row, as a killed saver leaves them; not those that somebody has in hand. One whose row came
        between the two looks seems strange once, so only what was so at the last look too is removed.

        A part of them at a time: the ids of a million artifacts are 100 MB.
        """
        strangers: set[tuple[str, str]] = set()
        for kind, first in itertools.product(_IDS, "0123456789abcdef"):
            known = await self._db.read(lambda tx: _IDS[kind](tx, first))  # noqa: B023 - awaited at once
            names = await asyncio.to_thread(lambda kind, first: set(self._blobs.ids(kind, first)), kind, first)
            strangers |= {(kind, name) for name in names - known if not self._blobs.is_in_hand(name)}
        for kind, name in strangers & self._strangers:
            self._blobs.drop(kind, name)
        self._strangers = strangers

    async def _sweep(self, key: str, executor: Executor) -> None:
        try:
            await remove_unowned(self._db, key, executor)
            await _sweep_layers(self._db, executor)
        except SandboxError as error:
            log.warning("could not remove left-over sandboxes", extra={"executor": executor.name, "error": str(error)})


async def _sweep_layers(db: Database, executor: Executor) -> None:
    """Listed first, rows second: what a job makes between the two looks has its row by then."""
    names = await executor.kept_layers()
    known = await db.read(docker_layers.all_names) if names else set()
    for name in names:
        if name not in known:
            await executor.remove_layers(name)
