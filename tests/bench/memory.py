"""What `rondo serve` itself takes of memory and CPU: idle, and with twenty jobs running that are looked at."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from tests.bench.report import Aim, Figure
from tests.bench.world import Bench, Watched, appliance, config, wait_until

JOBS = 20
SETTLE_S = 3.0
CPU_S = 15.0
LIBRARIES = "import aiohttp.web, aiodocker, aiosqlite, asyncssh, jinja2, re2, yaml"
RSS = "import os; print(int(open('/proc/self/statm').read().split()[1]) * os.sysconf('SC_PAGE_SIZE'))"
RUNNING = "SELECT count(*) FROM steps WHERE position = 1 AND status = 'running'"


async def measure(bench: Bench) -> list[Figure]:
    floor = await asyncio.to_thread(_libraries_mb)
    async with appliance(bench, at_once=JOBS, is_warm=False) as watched:
        await asyncio.sleep(SETTLE_S)
        idle = rss_mb(watched.pid)
        idle_cpu = await cpu_percent(watched.pid)
        await _begin_jobs(watched)
        await asyncio.sleep(SETTLE_S)
        busy = rss_mb(watched.pid)
        busy_cpu = await cpu_percent(watched.pid)
    bench.say(f"memory: the libraries alone {floor:.0f}, idle {idle:.0f}, with {JOBS} jobs {busy:.0f} MB")
    bench.say(f"CPU of the server: idle {idle_cpu:.2f} %, with {JOBS} jobs {busy_cpu:.2f} %")
    what = "python with the libraries imported, and nothing of ours"
    return [
        Figure(
            name="memory, idle",
            unit="MB",
            samples=[idle],
            floor=what,
            floor_samples=[floor],
            aim=Aim(of="value", at_most=80),
        ),
        Figure(name=f"memory, {JOBS} jobs running", unit="MB", samples=[busy], floor=what, floor_samples=[floor]),
        Figure(
            name=f"CPU of the server, {JOBS} jobs running",
            unit="%",
            samples=[busy_cpu],
            floor="idle",
            floor_samples=[idle_cpu],
            note="of one CPU; the jobs sleep, and are looked at every two seconds (jobs.sample_every)",
        ),
    ]


def _libraries_mb() -> float:
    done = subprocess.run([sys.executable, "-c", f"{LIBRARIES}\n{RSS}"], capture_output=True, text=True, check=True)
    return int(done.stdout) / 1e6


async def _begin_jobs(watched: Watched) -> None:
    """Jobs that talk a little and then go on for longer than anybody looks."""
    await watched.push(config(*[["seq 1 1000; sleep 600"]] * JOBS))
    await wait_until(lambda: watched.rows.execute(RUNNING).fetchone()[0] == JOBS, every_s=0.1)


def rss_mb(pid: int) -> float:
    found = re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024 / 1e6


async def cpu_percent(pid: int) -> float:
    """What a process takes of one CPU, over some seconds."""

    def taken_s() -> float:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    before_s, began_s = taken_s(), time.monotonic()
    await asyncio.sleep(CPU_S)
    return 100 * (taken_s() - before_s) / (time.monotonic() - began_s)
