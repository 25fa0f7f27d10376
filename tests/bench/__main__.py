"""python -m tests.bench [--only NAME]... [--quick] [--out FILE]"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from tests.bench import (
    data,
    graph,
    language,
    logs,
    machine,
    memory,
    million,
    peers,
    push,
    report,
    run,
    scale,
    steps,
    throughput,
)
from tests.bench.world import Bench
from tests.engine_fixture import EngineUnavailable, running_engine


async def _scale(bench: Bench) -> list[report.Figure]:
    return [*await scale.measure(bench), *await million.measure(bench)]


MEASUREMENTS: Mapping[str, Callable[[Bench], Awaitable[list[report.Figure]]]] = {
    "push": push.measure,
    "run": run.measure,
    "peers": peers.measure,
    "steps": steps.measure,
    "machine": machine.measure,
    "throughput": throughput.measure,
    "graph": graph.measure,
    "logs": logs.measure,
    "memory": memory.measure,
    "language": language.measure,
    "data": data.measure,
    "scale": _scale,
}


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Every figure beside its floor.")
    parser.add_argument("--only", action="append", choices=list(MEASUREMENTS), help="measure this (may be repeated)")
    parser.add_argument("--quick", action="store_true", help="fewer turns: to see that it works, not to quote")
    parser.add_argument("--out", type=Path, default=Path("bench.json"), help="where the JSON goes")
    options = parser.parse_args(words)
    try:
        with running_engine() as engine, tempfile.TemporaryDirectory(prefix="rondo-bench-") as scratch:
            bench = Bench(engine, Path(scratch), options.quick, _say)
            facts = report.machine(engine)
            begin_s = time.monotonic()
            figures = asyncio.run(_measure(bench, options.only or list(MEASUREMENTS)))
            facts |= {"seconds": round(time.monotonic() - begin_s), "is_quick": options.quick}
    except EngineUnavailable as problem:
        print(f"no bench without a Docker engine: {problem}", file=sys.stderr)
        return 1
    report.write(options.out, facts, figures)
    print("\n" + ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in facts.items()) + "\n")
    print(report.table(figures))
    print(f"\n{options.out} has every sample.")
    return 0


async def _measure(bench: Bench, names: Sequence[str]) -> list[report.Figure]:
    found: list[report.Figure] = []
    for name in names:
        found += await MEASUREMENTS[name](bench)
    return found


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
