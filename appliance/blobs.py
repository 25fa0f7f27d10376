"""The folder of big things: step logs today. A live log is a file that is still growing; old ones are read the same way."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from appliance.errors import DiskFull


class Blobs:
    """Files below one folder; nothing that a user wrote becomes part of a path."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def log(self, job_id: str, index: int, position: int) -> Path:
        """Where the (masked) log of a step lies; the folder is made."""
        folder = self.root / "logs" / job_id[:2] / job_id / str(index)
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{position}.log"

    def read_log(self, job_id: str, index: int, position: int, offset: int, limit_bytes: int) -> bytes:
        """At most `limit_bytes` of a log from `offset`; b"" past its end or when there is none (yet)."""
        try:
            with self.log(job_id, index, position).open("rb") as file:
                file.seek(offset)
                return file.read(limit_bytes)
        except FileNotFoundError:
            return b""

    def log_size(self, job_id: str, index: int, position: int) -> int:
        try:
            return self.log(job_id, index, position).stat().st_size
        except FileNotFoundError:
            return 0

    def drop_logs(self, job_id: str) -> None:
        """Remove every log of a job."""
        shutil.rmtree(self.root / "logs" / job_id[:2] / job_id, ignore_errors=True)


def free_bytes(folder: Path) -> int:
    """Room left for us on the disk under `folder`."""
    facts = os.statvfs(folder)
    return facts.f_bavail * facts.f_frsize


def check_room(folder: Path, floor_bytes: int) -> None:
    """Raises DiskFull when less than `floor_bytes` is free under `folder`."""
    free = free_bytes(folder)
    if free < floor_bytes:
        raise DiskFull(f"only {free >> 20} MiB free in {folder}, the floor is {floor_bytes >> 20} MiB: free some room")
