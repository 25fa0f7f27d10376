"""python -m tests.chaos [--kills N] [--seed S] [--minutes M] [--calm engine|disk|clock]... [--no-docker]"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.chaos import actors
from tests.chaos.checks import Report
from tests.chaos.run import Wish, own_engine, suffer
from tests.chaos.world import World
from tests.engine_fixture import EngineUnavailable, PrivateEngine

SHOWN = 40


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Kill an appliance again and again.")
    parser.add_argument("--kills", type=int, default=200, help="how often it is killed with SIGKILL (200)")
    parser.add_argument("--seed", type=int, help="of every choice; repeats a run as far as real time allows")
    parser.add_argument("--minutes", type=float, default=20.0, help="no more kills after this time (20)")
    parser.add_argument("--calm", action="append", default=[], choices=list(actors.WEATHER), help="leave this alone")
    parser.add_argument("--no-docker", action="store_true", help="only jobs on this host")
    options = parser.parse_args(words)
    seed = int(time.time()) % 1_000_000 if options.seed is None else options.seed
    weather = [name for name in actors.WEATHER if name not in options.calm]
    wish = Wish(options.kills, seed, options.minutes * 60, weather, say=_say)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that all that was begun is ended
    scratch = Path(tempfile.mkdtemp(prefix="rondo-chaos-"))
    began_s = time.monotonic()
    with contextlib.ExitStack() as stack:
        engine: PrivateEngine | None = None
        if not options.no_docker:
            try:
                engine = stack.enter_context(own_engine())
            except EngineUnavailable as problem:
                print(f"WITHOUT DOCKER JOBS: {problem}", file=sys.stderr)
        world, report = asyncio.run(suffer(scratch, engine, wish))
    print(table(world, report, seed, time.monotonic() - began_s))
    if report.violations:
        print(f"\n{scratch} keeps the rows, logs and what the appliance said; --seed {seed}")
        return 1
    shutil.rmtree(scratch)
    return 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def table(world: World, report: Report, seed: int, seconds: float) -> str:
    """What was done and seen, a line each."""
    story = world.story
    lines = [f"seed {seed}, {seconds:.0f} seconds", ""]
    lines += _rows("SIGKILL of the appliance", sum(story.kills.values()), sorted(story.kills.items()))
    lines += _rows("what else happened", sum(story.others.values()), sorted(story.others.items()))
    lines += _rows("looked at", None, list(report.counts.items()))
    missing = [] if world.has_own_disk else ["disk full (needs root for a small disk)"]
    missing += [] if world.has_fake_time else ["clock jumps (needs the package faketime)"]
    missing += [] if world.engine else ["jobs in containers, dockerd restarts (no engine)"]
    missing += [] if world.far else ["machines that are cut off (calm, or no sshd)"]
    lines += ["", "left out: " + "; ".join(missing), "", f"VIOLATIONS: {len(report.violations)}"]
    lines += [f"  {one}" for one in report.violations[:SHOWN]]
    return "\n".join(lines)


def _rows(head: str, total: int | None, rows: list[tuple[str, int]]) -> list[str]:
    shown = "" if total is None else f"{total:>12,}"
    return [f"{head:<44}{shown}", *(f"  {name:<42}{count:>12,}" for name, count in rows)]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
