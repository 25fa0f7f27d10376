"""One SQLite file. A transaction is one synchronous function `fn(tx)`, run whole on a connection's own thread.

Why so: two coroutines that share a connection interleave inside each other's transactions, and a task cancelled between
BEGIN and COMMIT leaves the transaction open. A function on the connection's thread can do neither: cancelling the
waiter changes nothing about the transaction, which commits or rolls back as a whole.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import aiosqlite

from appliance.errors import DiskFull, StoreError
from appliance.store.together import Together

T = TypeVar("T")
Tx = sqlite3.Connection
"""What store functions take: a connection inside a transaction, rows by name."""

_MIGRATIONS = Path(__file__).with_name("migrations")
_READERS = 2


class _Connection(aiosqlite.Connection):
    """aiosqlite's connection that also runs a whole function on its thread."""

    async def snapshot(self, fn: Callable[[Tx], T]) -> T:
        def run() -> T:
            tx = self._conn
            tx.execute("BEGIN")
            try:
                result = fn(tx)
                tx.execute("COMMIT")
            except BaseException:
                if tx.in_transaction:
                    tx.execute("ROLLBACK")
                raise
            return result

        return await self.on_thread(run)

    async def on_thread(self, fn: Callable[[], T]) -> T:
        """Run `fn` on this connection's thread. Cancelling the waiter does not stop it."""
        result: T = await self._execute(fn)  # type: ignore[no-untyped-call]
        return result

    def submit(self, fn: Callable[[], None]) -> None:
        """Have `fn` run on this connection's thread, with nobody waiting for it. Raises StoreError once it is closed."""
        if not self._running or self._connection is None:
            raise StoreError("the database is closed")
        self._tx.put_nowait((None, fn))


class Database:
    """`write` for what changes something, `read` for the rest; both take a function of a transaction."""

    def __init__(self, writer: _Connection, readers: list[_Connection]) -> None:
        self._together = Together(lambda: writer._conn, writer.submit)
        self._free: asyncio.LifoQueue[_Connection] = asyncio.LifoQueue()
        for reader in readers:
            self._free.put_nowait(reader)

    async def write(self, fn: Callable[[Tx], T]) -> T:
        """Run `fn` in a write transaction; its changes are on the disk when this returns.

        An exception from `fn` rolls back what `fn` did, and comes out here. Raises DiskFull when there is no room.
        Those that wait at the same time are committed at once, as one behind the other.
        """
        try:
            return await self._together.write(fn)
        except sqlite3.OperationalError as error:
            raise _translated(error) from error

    async def read(self, fn: Callable[[Tx], T]) -> T:
        """Run `fn` on a read-only snapshot."""
        reader = await self._free.get()
        try:
            return await reader.snapshot(fn)
        except sqlite3.OperationalError as error:
            raise _translated(error) from error
        finally:
            self._free.put_nowait(reader)


@asynccontextmanager
async def open_database(path: Path) -> AsyncIterator[Database]:
    """The database in `path`, made and migrated if need be; closed at the end of the block."""
    connections = [await _connect(path, read_only=False)]
    try:
        await connections[0].on_thread(lambda: migrate(connections[0]._conn))
        for _ in range(_READERS):
            connections.append(await _connect(path, read_only=True))
        yield Database(connections[0], connections[1:])
    finally:
        for connection in reversed(connections):
            await connection.close()


def open_plain(path: Path) -> Tx:
    """A plain connection for the command line, migrated; use `with transaction(tx):`."""
    connection = _sqlite(path, read_only=False)
    _prepare(connection, read_only=False)
    migrate(connection)
    return connection


def open_to_read(path: Path) -> Tx:
    """A plain connection that cannot write, for whoever asks from a thread of its own."""
    connection = _sqlite(path, read_only=True)
    _prepare(connection, read_only=True)
    return connection


def transact(tx: Tx, fn: Callable[[Tx], T]) -> T:
    """`Database.write` for a plain connection."""
    tx.execute("BEGIN IMMEDIATE")
    try:
        result = fn(tx)
    except BaseException:
        tx.execute("ROLLBACK")
        raise
    tx.execute("COMMIT")
    return result


async def _connect(path: Path, *, read_only: bool) -> _Connection:
    connection = _Connection(lambda: _sqlite(path, read_only=read_only), iter_chunk_size=64)
    await connection
    await connection.on_thread(lambda: _prepare(connection._conn, read_only))
    return connection


def _sqlite(path: Path, *, read_only: bool) -> Tx:
    mode = "ro" if read_only else "rwc"
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None)


def _prepare(connection: Tx, read_only: bool) -> None:
    # busy_timeout first: switching to WAL may itself have to wait for another process (the command line).
    connection.execute("PRAGMA busy_timeout = 10000")
    if not read_only:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")  # an answered webhook survives a power cut
    connection.execute("PRAGMA foreign_keys = ON")
    connection.row_factory = sqlite3.Row


def migrate(connection: Tx) -> None:
    """Bring the schema to the newest version: each file of `migrations/` once, in order, each in its transaction."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    steps = sorted(file.name for file in _MIGRATIONS.iterdir())
    steps = [name for name in steps if name.endswith(".sql")]
    if version > len(steps):
        raise StoreError(
            f"the database was written by a newer Rondo (schema {version}, this one knows {len(steps)}); "
            "start that one, or restore a backup"
        )
    for number, name in enumerate(steps[version:], version + 1):
        sql = (_MIGRATIONS / name).read_text("utf-8")
        try:
            connection.executescript(f"BEGIN IMMEDIATE;\n{sql}\nPRAGMA user_version = {number};\nCOMMIT;")
        except sqlite3.Error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def _translated(error: sqlite3.OperationalError) -> Exception:
    if "full" in str(error) or "disk I/O" in str(error):
        return DiskFull(f"the database cannot be written ({error}): free some room in the data folder")
    return StoreError(f"the database said: {error}")
