"""Caches beside `tar -I 'zstd -T0'` of the same tree on the same disk, and splitting ten thousand tests under busybox."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import statistics
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from appliance.settings import Value
from tests.bench.report import Aim, Figure
from tests.bench.world import Bench
from tests.engine_fixture import DEBIAN
from tests.whole import ON_THIS_HOST, Place, Seen, served, until

FILES, MEGABYTES = 20_000, 300
TESTS = 10_000
SHM = Path("/dev/shm")  # many a disk takes ten times longer to make the files than all else takes

# Words in a random order: text that presses about as well as sources do.
_TREE = f"""
import os, random
random.seed(1)
words = [bytes(random.choices(b"abcdefghijklmnopqrstuvwxyz_(){{}};=", k=random.randint(2, 11))) for _ in range(20000)]
text = b" ".join(random.choices(words, k=6000000))
each = {MEGABYTES * 1_000_000 // FILES}
for number in range({FILES}):
    folder = os.path.expanduser(f"~/tree/{{number // 400}}/{{number // 20 % 20}}")
    os.makedirs(folder, exist_ok=True)
    at, size = random.randrange(len(text) - 3 * each), random.randrange(each // 10, 2 * each - each // 10)
    with open(f"{{folder}}/file{{number}}.js", "wb") as file:
        file.write(text[at : at + size])
"""
_TIMED = 'begin=$(date +%s%N); {command}; echo "took $(( ($(date +%s%N) - begin) / 1000 )) us"'
_PACK = _TIMED.format(command="tar -I 'zstd -T0' -C ~ -cf ~/floor.tar.zst tree")
_UNPACK = "rm -rf ~/tree\n" + _TIMED.format(command="tar -I zstd -C ~ -xf ~/floor.tar.zst") + "\nrm -rf ~/tree"


@dataclass
class _Samples:
    save: list[float] = field(default_factory=list)
    save_floor: list[float] = field(default_factory=list)
    restore: list[float] = field(default_factory=list)
    restore_floor: list[float] = field(default_factory=list)


async def measure(bench: Bench) -> list[Figure]:
    docker: Mapping[str, Value] = {"docker.enabled": True, "docker.url": bench.engine.url}
    figures = []
    memory = SHM if os.access(SHM, os.W_OK) else bench.scratch
    # An engine's disk is what it is; there the files cost far more than what is measured, so fewer turns do.
    for where, settings, folder, turns in (("here", ON_THIS_HOST, memory, 7), ("docker", docker, bench.scratch, 3)):
        figures += _figures(where, await _caches(bench, where, settings, folder, len(bench.turns(turns))))
    return [*figures, *await _splitting(bench)]


def _figures(where: str, found: _Samples) -> list[Figure]:
    floors = "tar -I 'zstd -T0'", "tar -I zstd -x"
    aim = Aim(of="ratio", at_most=1.1)
    note = f"{MEGABYTES} MB in {FILES} files"
    return [
        Figure(
            name=f"{what} a cache, {where}",
            unit="s",
            samples=samples,
            floor=f"{floor} of the same tree in the same job",
            floor_samples=floor_samples,
            aim=aim,
            note=note,
        )
        for what, samples, floor, floor_samples in (
            ("save", found.save, floors[0], found.save_floor),
            ("restore", found.restore, floors[1], found.restore_floor),
        )
    ]


async def _caches(bench: Bench, where: str, settings: Mapping[str, Value], disk: Path, turns: int) -> _Samples:
    """One job makes the tree, and then packs and unpacks it by turns with a run step and with the cache steps."""
    found = _Samples()
    with tempfile.TemporaryDirectory(dir=disk) as folder:
        async with served(Path(folder), settings) as (place, process):
            await place.commit({".circleci/config.yml": _config(turns)})
            await place.push()
            seen = await until(lambda: _ended(place), 600)
            assert seen.statuses == {"build": "success"}, (seen.logs, process.said[-2000:])
            steps = seen.steps["build"][2:]
            for turn in range(turns):
                packed, saved, unpacked, restored = steps[4 * turn : 4 * turn + 4]
                found.save_floor.append(_took_s(place, packed))
                found.save.append(_lasted_s(saved))
                found.restore_floor.append(_took_s(place, unpacked))
                found.restore.append(_lasted_s(restored))
            bench.say(f"caches {where}: {vars(found)}")
    return found


async def _ended(place: Place) -> Seen | None:
    seen = place.seen()
    is_over = seen is not None and (bool(seen.pipeline.state == "errored") or seen.jobs["build"].status.is_done)
    return seen if is_over else None


def _config(turns: int) -> str:
    steps: list[Any] = [{"run": f"python3 -c '{_TREE}'"}]
    for turn in range(turns):
        steps += [
            {"run": _PACK},
            {"save_cache": {"key": f"bench-{turn}-", "paths": ["~/tree"]}},
            {"run": _UNPACK},
            {"restore_cache": {"key": f"bench-{turn}-"}},
        ]
    job = {"docker": [{"image": DEBIAN}], "steps": steps}
    return json.dumps({"version": 2.1, "jobs": {"build": job}, "workflows": {"all": {"jobs": ["build"]}}})


def _took_s(place: Place, step: Any) -> float:
    found = re.search(r"took (\d+) us", place.log_path(step).read_text())
    assert found is not None
    return int(found[1]) / 1e6


def _lasted_s(step: Any) -> float:
    return float(step.stopped_at_ms - step.started_at_ms) / 1000


async def _splitting(bench: Bench) -> list[Figure]:
    """`circleci tests split` with nothing but busybox on the PATH."""
    aim = Aim(of="value", at_most=1)
    with tempfile.TemporaryDirectory(dir=bench.scratch) as text:
        folder = Path(text)
        _furnish(folder)
        found: dict[str, list[float]] = {"name": [], "timings": []}
        for _ in bench.turns(9):
            for by, samples in found.items():
                samples.append(await _split_s(folder, by))
    assert all(statistics.median(samples) for samples in found.values())
    return [
        Figure(name=f"split {TESTS} tests by {by}, busybox", unit="s", samples=samples, aim=aim)
        for by, samples in found.items()
    ]


def _furnish(folder: Path) -> None:
    """The command, the words of busybox, names, and what an earlier run of three tests in each file took."""
    busybox = shutil.which("busybox")
    assert busybox is not None, "install busybox"
    tools, bin_ = folder / "tools", folder / "state" / "bin"
    for each in (tools, bin_, folder / "state/task/circle-test-results"):
        each.mkdir(parents=True)
    for word in ("sh", "awk", "sort", "wc", "tr", "xargs", "stat", "cat"):
        (tools / word).symlink_to(busybox)
    source = Path(__file__).parents[2] / "appliance/shim/circleci.sh"
    (bin_ / "circleci").write_text("#!/bin/sh\n" + source.read_text())
    names = [f"spec/features/area_{number % 97}/test_{number * 7919 % 100_003}_spec.rb" for number in range(TESTS)]
    (folder / "names").write_text("\n".join(names))
    tests = [
        {
            "classname": f"C{at}",
            "file": name,
            "name": f"does {at} {case}",
            "result": "success",
            "run_time": 0.001 * (at % 777),
        }
        for at, name in enumerate(names)
        for case in range(3)
    ]
    results = folder / "state/task/circle-test-results/results.json"
    results.write_text(json.dumps({"tests": tests}, separators=(",", ":")))


async def _split_s(folder: Path, by: str) -> float:
    words = ("tests", "split", f"--split-by={by}", "--index=1", "--total=4", str(folder / "names"))
    begin_s = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        str(folder / "tools/sh"),
        str(folder / "state/bin/circleci"),
        *words,
        env={"PATH": str(folder / "tools")},
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    took_s = time.perf_counter() - begin_s
    assert process.returncode == 0 and TESTS / 5 < len(output.splitlines()) < TESTS / 3, (process.returncode, output[:500])
    return took_s
