"""Answers that do not end by themselves: a bounded number for each user, none outlives a shutdown or its reader."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web

from appliance.api.limits import TooMany


class Streams:
    """Those that are open now."""

    def __init__(self, per_user: int = 60) -> None:
        self._per_user = per_user
        self._open: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[object]] = set()

    @contextmanager
    def hold(self, user: str) -> Iterator[None]:
        """One stream, for as long as the block runs. Raises TooMany."""
        if self._open[user] >= self._per_user:
            raise TooMany("Too many live views are open. Close some tabs.", 5)
        task = asyncio.current_task()
        assert task is not None
        self._open[user] += 1
        self._tasks.add(task)
        try:
            yield
        finally:
            self._tasks.discard(task)
            self._open[user] -= 1
            if not self._open[user]:
                del self._open[user]

    def end_all(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()


STREAMS = web.AppKey("streams", Streams)


def has_gone(request: web.Request) -> bool:
    """Whether the reader closed the connection."""
    return request.transport is None or request.transport.is_closing()


async def send(request: web.Request, response: web.StreamResponse, data: bytes, patience_s: float) -> bool:
    """Send on, at the reader's pace; False when it has gone, or took nothing for `patience_s`."""
    try:
        async with asyncio.timeout(patience_s):
            await response.write(data)
    except ConnectionError:
        return False
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
        return False
    return True
