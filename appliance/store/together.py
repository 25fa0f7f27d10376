"""Write transactions that wait for the writer at the same time share one COMMIT, and so one sync of the disk.

A sync costs as much as dozens of small transactions, and hundreds of runners write small ones. So whoever waits while
one is synced goes into the next transaction together, in the order in which they came. Each but the first, before which
there is nothing to be kept, has a savepoint of its own: one that fails is rolled back alone, and nobody hears of
success before the COMMIT that holds for all of them. What ends the transaction as a whole (a full disk, a COMMIT that
fails) is told to everybody in it, for nothing of it is kept.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")

_MOST = 200  # functions in one transaction
_LONGEST_S = 0.02  # after which nobody is let in any more: the first one waits for the last one's end


@dataclass(eq=False)
class _Write:
    fn: Callable[[sqlite3.Connection], Any]
    future: asyncio.Future[Any]
    result: Any = None
    error: BaseException | None = None


class Together:
    """`write` from one event loop; `submit` has a function run on the thread of the connection that `tx` gives."""

    def __init__(self, tx: Callable[[], sqlite3.Connection], submit: Callable[[Callable[[], None]], None]) -> None:
        self._tx = tx
        self._submit = submit
        self._waiting: deque[_Write] = deque()
        self._lock = threading.Lock()  # over the two that both threads touch: who waits, and whether somebody serves
        self._is_served = False

    async def write(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        """What `fn` gives, once it is on the disk. Cancelling the waiter does not stop it. Raises what `fn` raises."""
        loop = asyncio.get_running_loop()
        write = _Write(fn, loop.create_future())
        with self._lock:
            if not self._is_served:
                self._submit(lambda: self._serve(loop))
                self._is_served = True
            self._waiting.append(write)
        result: T = await write.future
        return result

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        """Until nobody waits. On the connection's thread, as all below."""
        while (first := self._next()) is not None:
            loop.call_soon_threadsafe(_tell, self._transaction(first))

    def _next(self) -> _Write | None:
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            self._is_served = False
            return None

    def _another(self) -> _Write | None:
        with self._lock:
            return self._waiting.popleft() if self._waiting else None

    def _transaction(self, first: _Write) -> list[_Write]:
        """One transaction of the first and those that wait behind it; what became of each stands in it.

        A first one that fails is told so alone: nobody was let in yet.
        """
        tx, joined = self._tx(), [first]
        try:
            tx.execute("BEGIN IMMEDIATE")
            until_s = time.monotonic() + _LONGEST_S
            first.result = first.fn(tx)
            while len(joined) < _MOST and time.monotonic() < until_s and (write := self._another()) is not None:
                joined.append(write)
                _one(tx, write)
            tx.execute("COMMIT")
        except BaseException as error:
            if tx.in_transaction:
                tx.execute("ROLLBACK")
            for write in joined:
                write.error = write.error or error
        return joined


def _one(tx: sqlite3.Connection, write: _Write) -> None:
    """Run a function whole or not at all. Raises only what ended the transaction with all that was in it."""
    tx.execute("SAVEPOINT one")
    try:
        write.result = write.fn(tx)
    except BaseException as error:
        if not tx.in_transaction:
            raise
        tx.execute("ROLLBACK TO one")
        write.error = error
    tx.execute("RELEASE one")


def _tell(joined: list[_Write]) -> None:
    """On the event loop's thread."""
    for write in joined:
        if write.future.done():  # its waiter was cancelled
            continue
        if write.error is None:
            write.future.set_result(write.result)
        elif isinstance(write.error, StopIteration):  # which no future can hold
            write.future.set_exception(RuntimeError("a transaction raised StopIteration"))
        else:
            write.future.set_exception(write.error)
