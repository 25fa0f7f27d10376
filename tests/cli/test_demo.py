"""`rondo demo`, as a process that a person interrupts."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from tests.whole import until

ROOT = Path(__file__).parents[2]
LONGEST_S = 90.0


@pytest.mark.parametrize(("words", "code"), [(("--once",), 130), ((), 0)])
async def test_ctrl_c_ends_the_jobs_too(tmp_path: Path, words: tuple[str, ...], code: int) -> None:
    environment = os.environ | {"TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT), "DOCKER_HOST": "tcp://127.0.0.1:1"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "appliance", "demo", *words),
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env=environment,
        start_new_session=True,
    )
    assert process.stdout is not None
    async with asyncio.timeout(LONGEST_S):
        async for line in process.stdout:
            if b"A shell in it" in line:
                break
        await until(lambda: has_tail(tmp_path))
        process.send_signal(signal.SIGINT)
        await process.stdout.read()
        assert await process.wait() == code
    assert of_folder(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


async def has_tail(folder: Path) -> bool | None:
    return True if any("tail" in words for words in of_folder(folder)) else None


def of_folder(folder: Path) -> list[list[str]]:
    """The command lines of processes that work in a folder or name it."""
    found: list[list[str]] = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = process.joinpath("cmdline").read_bytes().decode(errors="replace").split("\0")
            place = str((process / "cwd").readlink())
        except OSError:
            continue  # it has just ended
        if str(folder) in place or any(str(folder) in word for word in words):
            found.append(words)
    return found
