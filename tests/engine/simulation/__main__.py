"""python -m tests.engine.simulation [--worlds N] [--seed FIRST]: so many worlds, and what is wrong with them.

Besides one stream of work to a hundred worlds.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence

from tests.engine.simulation import Wrong, run_world, template
from tests.engine.simulation.streams import run_stream


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.engine.simulation")
    parser.add_argument("--worlds", type=int, default=2000, help="how many (2000)")
    parser.add_argument("--seed", type=int, default=0, help="of the first of them; the others count on from there (0)")
    options = parser.parse_args(words)
    if os.environ.get("PYTHONHASHSEED") != "0":  # the order of sets is of the world, too
        command = [sys.executable, "-m", "tests.engine.simulation", *words]
        os.execve(sys.executable, command, {**os.environ, "PYTHONHASHSEED": "0"})
    empty, began_s, found = template(), time.monotonic(), 0
    for number in range(1, options.worlds + 1):
        try:
            run_world(options.seed + number - 1, empty)
            if number % 100 == 0:
                run_stream(options.seed + number)
        except Wrong as wrong:
            found += 1
            print(f"\n{wrong}", flush=True)
        if number % 100 == 0 or number == options.worlds:
            a_minute = number / (time.monotonic() - began_s) * 60
            print(f"\r{number:,} worlds, {found} wrong, {a_minute:,.0f} a minute", end="", flush=True)
    print()
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
