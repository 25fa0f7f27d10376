"""What a process of this host and all that it started take, from /proc."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from appliance.executors.base import Usage

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_MOST = 20_000  # processes looked at


def usage_of(pid: int) -> Usage | None:
    """None when the process has gone. Children that ended count with whoever waited for them; daemons that left do not."""
    cpu, pages, written, count = 0, 0, 0, 0
    for each in _tree(pid):
        try:
            words = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        cpu += sum(int(word) for word in words[11:15])
        pages += int(words[21])
        written += _written_by(each)
        count += 1
    if not count:
        return None
    return Usage(cpu_s=cpu / _TICKS, memory_bytes=pages * _PAGE, written_bytes=written, processes=count)


def _tree(pid: int) -> Iterator[int]:
    found, todo = 0, [pid]
    while todo and found < _MOST:
        each = todo.pop()
        found += 1
        yield each
        try:
            for thread in Path(f"/proc/{each}/task").iterdir():
                todo += [int(word) for word in (thread / "children").read_text().split()]
        except OSError:
            continue


def _written_by(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    except OSError:  # another user's
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("write_bytes:")), 0)
