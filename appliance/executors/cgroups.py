"""What a container has taken, from its cgroup's files: a few small reads, where the engine's own answer costs it seconds.

Both layouts occur: version 1 with a folder for each controller, version 2 with one folder (also when it is mounted beside
version 1, where it has no controllers and is of no use).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from appliance.executors.base import Usage

ROOT = Path("/sys/fs/cgroup")
_CONTROLLERS = ("cpuacct", "memory", "blkio", "pids")


@dataclass(frozen=True)
class Cgroup:
    """The folder of each controller; version 2 has one for all, under ""."""

    folders: Mapping[str, Path]

    def read(self) -> Usage | None:
        """The figures; None when the cgroup has gone."""
        try:
            return _read_second(self.folders[""]) if "" in self.folders else _read_first(self.folders)
        except (OSError, ValueError, IndexError):
            return None

    def processes(self) -> list[int]:
        """Those that are in it now. Raises OSError when it has gone."""
        folder = self.folders.get("") or self.folders["memory"]
        return [int(word) for word in (folder / "cgroup.procs").read_text().split()]


def find(pid: int, container_id: str, root: Path = ROOT) -> Cgroup | None:
    """The cgroup of the container whose first process is `pid`, if that is a process of this host that we can see.

    An engine elsewhere, or in another pid namespace, tells the pid of something else: the container's id has to be in
    the path.
    """
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    except OSError:
        return None
    parts = [line.split(":", 2) for line in lines]
    paths = {name: path for _, names, path in parts for name in names.split(",") if container_id in path}
    if (root / "cgroup.controllers").exists():
        folder = root / paths.get("", "").lstrip("/")
        return Cgroup({"": folder}) if "" in paths and (folder / "cpu.stat").exists() else None
    folders = {name: root / name / paths[name].lstrip("/") for name in _CONTROLLERS if name in paths}
    has_all = all(name in folders and folders[name].is_dir() for name in ("cpuacct", "memory"))
    return Cgroup(folders) if has_all else None


def _read_first(folders: Mapping[str, Path]) -> Usage:
    memory = folders["memory"]
    written = 0
    if "blkio" in folders:
        lines = (folders["blkio"] / "blkio.throttle.io_service_bytes_recursive").read_text().splitlines()
        written = sum(int(words[2]) for words in map(str.split, lines) if len(words) == 3 and words[1] == "Write")
    return Usage(
        cpu_s=int((folders["cpuacct"] / "cpuacct.usage").read_text()) / 1e9,
        memory_bytes=_working_set(
            int((memory / "memory.usage_in_bytes").read_text()), _facts(memory / "memory.stat")["total_inactive_file"]
        ),
        written_bytes=written,
        processes=int((folders["pids"] / "pids.current").read_text()) if "pids" in folders else 0,
    )


def _read_second(folder: Path) -> Usage:
    written = 0
    io = folder / "io.stat"
    if io.exists():
        words = io.read_text().split()
        written = sum(int(word.removeprefix("wbytes=")) for word in words if word.startswith("wbytes="))
    return Usage(
        cpu_s=_facts(folder / "cpu.stat")["usage_usec"] / 1e6,
        memory_bytes=_working_set(
            int((folder / "memory.current").read_text()), _facts(folder / "memory.stat")["inactive_file"]
        ),
        written_bytes=written,
        processes=int((folder / "pids.current").read_text()),
    )


def _working_set(usage: int, inactive_file: int) -> int:
    """Without the file pages that the kernel would drop before it kills anybody."""
    return max(0, usage - inactive_file)


def _facts(file: Path) -> dict[str, int]:
    return {words[0]: int(words[1]) for words in map(str.split, file.read_text().splitlines()) if len(words) == 2}
