"""The folder of big things: logs, caches, layers, artifacts. A live log is a file that still grows; old ones read alike."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import re
import shutil
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from io import BufferedReader, FileIO
from pathlib import Path
from typing import IO

from appliance.errors import DiskFull, needing_room

_GATHER_BYTES = 1 << 20  # small chunks are gathered: each write is a hop to a thread
_MOST_PARTS = os.sysconf("SC_IOV_MAX")
_NEW = ".new"  # at the end of a blob's name while it is written
_ID = re.compile(r"[0-9a-f]{32}")
_JOB_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z-]+")


class Blobs:
    """Files below one folder; nothing that a user wrote becomes part of a path."""

    CACHES = "caches"
    LAYERS = "layers"
    ARTIFACTS = "artifacts"

    def __init__(self, root: Path, floor_bytes: int = 0) -> None:
        self.root = root
        self._floor_bytes = floor_bytes  # what blobs leave free, so that there is room for logs and rows
        self._in_hand: set[str] = set()
        root.mkdir(parents=True, exist_ok=True)

    @contextlib.contextmanager
    def hand(self) -> Iterator[Callable[[], str]]:
        """Gives ids for new blobs, which nobody sweeps away until the block ends: by then rows speak of them, or never will.

        An upload may last for hours, and what it stored has no row yet.
        """
        mine: set[str] = set()

        def new_id() -> str:
            blob_id = uuid.uuid4().hex
            mine.add(blob_id)
            self._in_hand.add(blob_id)
            return blob_id

        try:
            yield new_id
        finally:
            self._in_hand -= mine

    def is_in_hand(self, blob_id: str) -> bool:
        return blob_id in self._in_hand

    def log(self, job_id: str, index: int, position: int) -> Path:
        """Where the (masked) log of a step lies; the folder is made."""
        return self.log_in(self.log_folder(job_id, index), position)

    def log_folder(self, job_id: str, index: int) -> Path:
        """Where the logs of a node lie; made."""
        folder = self._log_path(job_id, index, 0).parent
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @staticmethod
    def log_in(folder: Path, position: int) -> Path:
        return folder / f"{position}.log"

    def _log_path(self, job_id: str, index: int, position: int) -> Path:
        return self.log_in(self.root / "logs" / job_id[:2] / job_id / str(index), position)

    def read_log(self, job_id: str, index: int, position: int, offset: int, limit_bytes: int) -> bytes:
        """At most `limit_bytes` of a log from `offset`; b"" past its end or when there is none (yet)."""
        try:
            with self._log_path(job_id, index, position).open("rb") as file:
                file.seek(offset)
                return file.read(limit_bytes)
        except FileNotFoundError:
            return b""

    def log_size(self, job_id: str, index: int, position: int) -> int:
        try:
            return self._log_path(job_id, index, position).stat().st_size
        except FileNotFoundError:
            return 0

    def log_sizes(self, job_ids: Iterable[str]) -> dict[str, int]:
        """How many bytes the logs of these jobs take."""
        return {
            job_id: sum(path.stat().st_size for path in self._logs_of(job_id).rglob("*") if path.is_file())
            for job_id in job_ids
        }

    def drop_logs(self, job_ids: Iterable[str]) -> None:
        """Remove the logs of these jobs; nothing to do where they are gone."""
        for job_id in job_ids:
            shutil.rmtree(self._logs_of(job_id), ignore_errors=True)

    def jobs_with_logs(self, prefix: str) -> set[str]:
        """The ids of jobs that have logs and begin with these two characters."""
        folder = self.root / "logs" / prefix
        return {path.name for path in folder.iterdir()} if folder.is_dir() else set()

    def node_logs(self, job_id: str, index: int) -> Path:
        """Where the logs of a node lie, if it has any."""
        return self._logs_of(job_id) / str(index)

    def _logs_of(self, job_id: str) -> Path:
        assert _JOB_ID.fullmatch(job_id), job_id
        return self.root / "logs" / job_id[:2] / job_id

    def path(self, kind: str, blob_id: str) -> Path:
        """Where a blob lies; `blob_id` is an id that we made."""
        assert _ID.fullmatch(blob_id), blob_id
        return self.root / kind / blob_id[:2] / blob_id

    async def store(self, kind: str, blob_id: str, chunks: AsyncIterator[bytes]) -> int:
        """Keep a stream as a blob; its size. Whole and on the disk when this returns, or not there at all.

        Raises DiskFull, and whatever `chunks` raises.
        """
        path = self.path(kind, blob_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(path.name + _NEW)
        try:
            with needing_room(f"{kind} below {self.root}"):
                size = await self._fill(temporary, chunks)
                temporary.rename(path)
                await asyncio.to_thread(self.settle, kind, [blob_id])
        finally:
            temporary.unlink(missing_ok=True)
        return size

    async def _fill(self, path: Path, chunks: AsyncIterator[bytes]) -> int:
        """Write a stream to the disk; its size."""
        with path.open("wb", buffering=0) as file:
            gathered: list[bytes] = []
            size = 0
            async for chunk in chunks:
                gathered.append(chunk)
                size += len(chunk)
                if size >= _GATHER_BYTES:
                    await asyncio.to_thread(self._write, file, gathered)
                    gathered, size = [], 0
            await asyncio.to_thread(self._write, file, gathered)
            await asyncio.to_thread(os.fsync, file.fileno())
            return file.tell()

    def store_file(self, kind: str, blob_id: str, content: IO[bytes]) -> None:
        """`store` for a thread; its name is on the disk only after `settle`. Raises OSError when there is no room."""
        path = self.path(kind, blob_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(path.name + _NEW)
        try:
            with temporary.open("wb", buffering=0) as file:
                while chunk := content.read(_GATHER_BYTES):
                    self._write(file, [chunk])
                os.fsync(file.fileno())
            temporary.rename(path)
        finally:
            temporary.unlink(missing_ok=True)

    def settle(self, kind: str, blob_ids: Iterable[str]) -> None:
        """Put the names of blobs on the disk: rows may speak of them from now on, whatever happens. For a thread."""
        folders = {self.path(kind, blob_id).parent for blob_id in blob_ids}
        for folder in folders:
            sync_folder(folder)
        if folders:
            sync_folder(self.root / kind)

    def _write(self, file: FileIO, parts: list[bytes]) -> None:
        """Raises OSError when the disk would be left with less than the floor: as if it were full."""
        size = sum(map(len, parts))
        if free_bytes(self.root) - size < self._floor_bytes:
            raise OSError(errno.ENOSPC, "the floor of free room is reached")
        written = os.writev(file.fileno(), parts[:_MOST_PARTS]) if parts else 0
        if written < size:  # a disk that is nearly full takes a part of it, and then says why
            _write_all(file, b"".join(parts)[written:])

    def open(self, kind: str, blob_id: str) -> BufferedReader:
        """A blob to read: to its end, also when it is dropped meanwhile. Raises FileNotFoundError when it is gone."""
        return self.path(kind, blob_id).open("rb")

    def drop(self, kind: str, blob_id: str) -> None:
        """Remove a blob, half-written or whole; nothing to do when it is gone."""
        path = self.path(kind, blob_id)
        path.unlink(missing_ok=True)
        path.with_name(path.name + _NEW).unlink(missing_ok=True)

    def ids(self, kind: str, first: str = "?") -> Iterator[str]:
        """The ids of every blob of a kind, or of those that begin with a letter; half-written ones of dead writers too."""
        for folder in (self.root / kind).glob(f"{first}?"):
            yield from (path.name.removesuffix(_NEW) for path in folder.iterdir())


def sync_folder(folder: Path) -> None:
    """Put the names in a folder on the disk, as fsync does with what is in a file."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_all(file: FileIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def free_bytes(folder: Path) -> int:
    """Room left for us on the disk under `folder`."""
    facts = os.statvfs(folder)
    return facts.f_bavail * facts.f_frsize


def check_room(folder: Path, floor_bytes: int) -> None:
    """Raises DiskFull when less than `floor_bytes` is free under `folder`."""
    free = free_bytes(folder)
    if free < floor_bytes:
        raise DiskFull(f"only {free >> 20} MiB free in {folder}, the floor is {floor_bytes >> 20} MiB: free some room")
