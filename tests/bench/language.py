"""How fast the compiler is, beside PyYAML's C parser merely composing the same files; and that it grows in a line.

Real configs are measured where the shared corpus lies beside the project. Times are processor time: a busy machine
matters little.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import yaml

from appliance.language import compile
from appliance.orbs import Mirror
from tests.bench.report import Aim, Figure
from tests.bench.world import Bench
from tests.language.material import CORPUS, ORBS, VALUES


async def measure(bench: Bench) -> list[Figure]:
    figures: list[Figure] = []
    turns = 2 if bench.is_quick else 5
    if CORPUS.exists():
        files = sorted(CORPUS.rglob("*.y*ml"))
        largest = max(files, key=lambda path: path.stat().st_size)
        bench.say("language: real configs")
        figures.append(_beside_composing(f"compile {len(files)} real configs", files, turns, Aim(of="ratio", at_most=6)))
        of_largest = _beside_composing("compile the largest of them", [largest], turns, Aim(of="ratio", at_most=6))
        figures += [
            of_largest,
            Figure(name="the largest", unit="ms", samples=of_largest.samples, aim=Aim(of="value", at_most=100)),
        ]
    bench.say("language: generated configs")
    return figures + _growth(turns)


def _growth(turns: int) -> list[Figure]:
    """Microseconds a job, for ever more jobs: the floor is the smallest config's."""
    first = _each_us(100, turns)
    return [
        Figure(
            name=f"compile a job of {jobs:,}",
            unit="us",
            samples=_each_us(jobs, max(2, turns // 2)),
            floor="a job of 100",
            floor_samples=first,
            aim=Aim(of="ratio", at_most=2),
        )
        for jobs in (1_000, 10_000)
    ]


def _each_us(jobs: int, turns: int) -> list[float]:
    source = generated(jobs)
    return [_spent_ms(lambda: compile(source)) * 1000 / jobs for _ in range(turns)]


def _beside_composing(name: str, files: Sequence[Path], turns: int, aim: Aim) -> Figure:
    sources = [path.read_text() for path in files]
    mirror = Mirror(ORBS)
    ours, floor = [], []
    for _ in range(turns):
        floor.append(_spent_ms(lambda: compose_all(sources)))
        ours.append(_spent_ms(lambda: [compile(source, values=VALUES, orbs=mirror) for source in sources]))
    return Figure(name=name, unit="ms", samples=ours, floor="the C parser composing them", floor_samples=floor, aim=aim)


def _spent_ms(action: Callable[[], object]) -> float:
    began = time.process_time()
    action()
    return (time.process_time() - began) * 1000


def compose_all(sources: Sequence[str]) -> None:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    for source in sources:
        with contextlib.suppress(yaml.YAMLError):
            yaml.compose(source, Loader=loader)


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
