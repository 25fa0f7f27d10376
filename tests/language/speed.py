"""How fast the compiler is, beside PyYAML's C parser merely composing the same files: `python -m tests.language.speed`.

Prints a table and a line of JSON. Times are processor time, the best of a few runs, so a busy machine matters little.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path

import yaml

from appliance.language import compile
from appliance.orbs import Mirror
from tests.language.material import CORPUS, ORBS, VALUES

AIM_RATIO = 6.0
AIM_LARGEST_MS = 100.0


def best_ms(action: Callable[[], object], runs: int = 3) -> float:
    times = []
    for _ in range(runs):
        began = time.process_time()
        action()
        times.append(time.process_time() - began)
    return min(times) * 1000


def generated(jobs: int) -> str:
    """A config of jobs that require each other in a row, each with an executor, a command and templates."""
    lines = [
        "version: 2.1",
        "executors: { box: { parameters: { tag: { type: string } }, docker: [{ image: 'a:<< parameters.tag >>' }] } }",
        "commands: { say: { parameters: { it: { type: string } }, steps: [run: echo << parameters.it >>] } }",
        "jobs:",
    ]
    for n in range(jobs):
        lines += [f"  j{n}:", f"    executor: {{ name: box, tag: '{n}' }}", f"    steps: [checkout, say: {{ it: '{n}' }}]"]
    lines += ["workflows:", "  main:", "    jobs:"]
    lines += [f"      - j{n}: {{ requires: [{f'j{n - 1}' if n else ''}] }}" for n in range(jobs)]
    return "\n".join(lines)


def composed(source: str) -> None:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    with contextlib.suppress(yaml.YAMLError):
        yaml.compose(source, Loader=loader)


def compare(files: list[Path]) -> tuple[float, float]:
    """Milliseconds to compose the files, and to compile them."""
    sources = [path.read_text() for path in files]
    mirror = Mirror(ORBS)

    def compose_all() -> None:
        for source in sources:
            composed(source)

    floor = best_ms(compose_all)
    ours = best_ms(lambda: [compile(source, values=VALUES, orbs=mirror) for source in sources])
    return floor, ours


def main() -> None:
    figures: dict[str, float] = {}
    if CORPUS.exists():
        files = sorted(CORPUS.rglob("*.y*ml"))
        largest = max(files, key=lambda path: path.stat().st_size)
        for name, chosen in (("corpus", files), ("largest", [largest])):
            floor, ours = compare(chosen)
            figures[f"{name}_compose_ms"], figures[f"{name}_compile_ms"] = floor, ours
            print(
                f"{name:10} compose {floor:8.1f} ms   compile {ours:8.1f} ms   ratio {ours / floor:5.2f} (aim {AIM_RATIO})"
            )
    for jobs in (100, 1_000, 10_000):
        source = generated(jobs)
        ours = best_ms(lambda source=source: compile(source), 2)  # type: ignore[misc]
        figures[f"jobs_{jobs}_ms"] = ours
        print(f"{jobs:6} jobs {ours:8.1f} ms   {ours / jobs * 1000:6.0f} µs a job")
    print(json.dumps({name: round(value, 1) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
