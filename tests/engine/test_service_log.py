"""A service's log is exact whenever its reader dies: nothing is lost, nothing doubled, and no secret gets through."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.engine.follow import StepLog
from appliance.engine.logs import LogWriter, needles
from appliance.engine.service_log import ServiceLog
from appliance.executors.base import LogMark

SECRET = "correct-horse-battery"
LINES = [f"line {number} {SECRET if number % 7 == 0 else 'plain'} end\n".encode() for number in range(600)]
WHOLE = b"".join(LINES).replace(SECRET.encode(), b"****")


def engine(after: LogMark, rng: random.Random) -> Iterator[tuple[bytes, LogMark]]:
    """Three lines share each time; chunks hold some pieces of lines, cut where the engine likes."""
    pieces = []
    for number, line in enumerate(LINES):
        at_ns, count = 1 + number // 3, (number % 3) * 2
        pieces += [(line[:9], LogMark(at_ns, count + 1)), (line[9:], LogMark(at_ns, count + 2))]
    start = next((at + 1 for at, (_, mark) in enumerate(pieces) if mark == after), 0)
    while start < len(pieces):
        some = pieces[start : start + rng.randrange(1, 30)]
        start += len(some)
        yield b"".join(text for text, _ in some), some[-1][1]


@pytest.mark.parametrize("seed", range(30))
async def test_a_reader_that_dies_anywhere_is_followed_without_a_gap_or_a_double(tmp_path: Path, seed: int) -> None:
    rng, path = random.Random(seed), tmp_path / "900000.log"
    is_over = False
    deaths = 0
    while not is_over:
        with LogWriter(path, needles([SECRET])) as writer:
            step_log = StepLog(writer, lambda: None)
            with ServiceLog(step_log, path, 1 << 20) as log:
                lives = rng.randrange(1, 12) if deaths < 15 else 10_000
                for chunk, mark in engine(log.mark, rng):
                    if not lives:
                        break
                    lives -= 1
                    await log.take(chunk, mark)
                else:
                    is_over = True
                    await log.end()
        deaths += 1
        if not is_over and rng.random() < 0.4:
            _lose_some(path.with_suffix(rng.choice([".marks", ".log", ".idx"])), rng)
    assert deaths > 3
    assert path.read_bytes() == WHOLE


def _lose_some(path: Path, rng: random.Random) -> None:
    """A power cut: what was written last is not there."""
    size = path.stat().st_size
    os.truncate(path, max(0, size - rng.randrange(0, 200)))


async def test_a_long_log_ends_with_a_word_and_is_not_read_again(tmp_path: Path) -> None:
    path = tmp_path / "900000.log"
    with LogWriter(path, needles([])) as writer, ServiceLog(StepLog(writer, lambda: None), path, 1000) as log:
        for number in range(1, 100):
            if log.is_full:
                break
            await log.take(b"x\n" * 4, LogMark(number, 4))
        await log.end()
        assert number < 6  # short lines count for what they cost
    assert path.read_text().endswith("(jobs.service_log_limit).\n")
