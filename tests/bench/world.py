"""What is measured: `rondo serve` as its own process on a real engine, fed by real pushes; and what is left is removed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from appliance.settings import Value
from tests.engine_fixture import DEBIAN, Engine, request, request_json
from tests.whole import Place, Served, served

LONGEST_S = 120.0
INSTANCE_LABEL = "rondo.instance"


@dataclass(frozen=True)
class Bench:
    """What every measurement is handed."""

    engine: Engine
    scratch: Path
    is_quick: bool
    say: Callable[[str], None]

    def turns(self, usual: int) -> range:
        """How often to measure."""
        return range(max(2, usual // 3) if self.is_quick else usual)


def echoes(count: int) -> list[str]:
    """The commands of a job of `count` steps: cheap ones, so that what is between them shows."""
    return [f"echo step {number} of {count}" for number in range(1, count + 1)]


def config(*jobs: Sequence[str]) -> str:
    """A config whose one workflow runs `jobs` side by side; each is the commands of its steps."""
    document = {
        "version": 2.1,
        "jobs": {
            f"job{number}": {
                "docker": [{"image": DEBIAN}],
                "resource_class": "small" if len(jobs) > 1 else "medium",
                "steps": [{"run": command} for command in commands],
            }
            for number, commands in enumerate(jobs, 1)
        },
        "workflows": {"all": {"jobs": [f"job{number}" for number in range(1, len(jobs) + 1)]}},
    }
    return json.dumps(document, indent=1)  # JSON is YAML


@dataclass
class Watched:
    """A furnished appliance that serves, and a view of its rows that costs it nothing."""

    place: Place
    process: Served
    rows: sqlite3.Connection
    network: str
    pushes: int = 0

    @property
    def pid(self) -> int:
        assert self.process._process is not None
        return self.process._process.pid

    async def push(self, text: str) -> int:
        """Commit a config and push it; the pipeline's number."""
        await self.commit(text)
        await self.place.push()
        return self.pushes

    async def commit(self, text: str) -> None:
        self.pushes += 1
        await self.place.commit({".circleci/config.yml": text}, f"Push {self.pushes}")

    async def run(self, *jobs: Sequence[str]) -> int:
        """Push jobs and wait for the good end of all, and for their containers to be gone."""
        number = await self.push(config(*jobs))
        await self.ended(number, len(jobs))
        return number

    async def ended(self, number: int, count: int) -> None:
        """Returns when pipeline `number` has ended well with `count` jobs."""

        def statuses() -> list[str]:
            return [row["status"] for row in self.rows.execute(_STATUSES, {"number": number})]

        def is_over() -> bool:
            found = statuses()
            assert found or not self.is_errored(number), self.place.seen(number)
            return len(found) == count and not {"blocked", "not_running", "running"} & set(found)

        await wait_until(is_over)
        assert set(statuses()) == {"success"}, (statuses(), self.process.said[-2000:])

    def is_errored(self, number: int) -> bool:
        row = self.rows.execute("SELECT state FROM pipelines WHERE number = :number", {"number": number}).fetchone()
        return row is not None and row["state"] == "errored"

    def node_ms(self, number: int) -> float:
        """From the start of a pipeline's only node to the end of its last step."""
        row = self.rows.execute(_NODE_MS, {"number": number}).fetchone()
        return float(row["ms"])

    def step_ms(self, number: int, position: int) -> float:
        row = self.rows.execute(_STEP_MS, {"number": number, "position": position}).fetchone()
        return float(row["ms"])


_JOBS = (
    " FROM jobs JOIN workflows ON workflows.id = jobs.workflow_id"
    " JOIN pipelines ON pipelines.id = workflows.pipeline_id"
)  # fmt: skip
_OF_PIPELINE = " WHERE pipelines.number = :number"
_STATUSES = f"SELECT jobs.status{_JOBS}{_OF_PIPELINE}"
_NODE_MS = (
    f"SELECT max(steps.stopped_at_ms) - min(nodes.started_at_ms) AS ms{_JOBS}"
    f" JOIN nodes ON nodes.job_id = jobs.id JOIN steps ON steps.job_id = jobs.id{_OF_PIPELINE}"
)
_STEP_MS = (
    f"SELECT steps.stopped_at_ms - steps.started_at_ms AS ms{_JOBS} JOIN steps ON steps.job_id = jobs.id"
    f"{_OF_PIPELINE} AND steps.position = :position"
)


@asynccontextmanager
async def appliance(
    bench: Bench, *, at_once: int = 8, secrets: Mapping[str, str] | None = None, is_warm: bool = True, ahead: int = 0
) -> AsyncIterator[Watched]:
    """`rondo serve` with an empty data folder; its first job has run when the block begins, so that its network is there."""
    options: dict[str, Value] = {"docker.enabled": True, "docker.url": bench.engine.url, "jobs.at_once": at_once}
    options["docker.warm"] = ahead
    options |= {"jobs.cpus": 1000.0, "jobs.memory": 1 << 42}  # what is measured is us, not our queue
    with tempfile.TemporaryDirectory(dir=bench.scratch) as folder:
        async with served(Path(folder), options, secrets) as (place, process):
            rows = sqlite3.connect(f"{(place.data / 'rondo.db').as_uri()}?mode=ro", uri=True, isolation_level=None)
            rows.row_factory = sqlite3.Row
            instance = rows.execute("SELECT value FROM facts WHERE name = 'instance'").fetchone()[0]
            with contextlib.closing(rows), nothing_left(bench.engine, instance):
                watched = Watched(place, process, rows, f"rondo-{instance}")
                if is_warm:
                    await watched.run(["true"])
                try:
                    yield watched
                finally:
                    await process.terminate()


@contextmanager
def nothing_left(engine: Engine, instance: str) -> Iterator[None]:
    """Remove containers and networks of an instance at the end."""
    try:
        yield
    finally:
        for container in containers(engine, instance):
            request(engine.socket, "DELETE", f"/containers/{container['Id']}?force=1&v=1")
        request(engine.socket, "DELETE", f"/networks/rondo-{instance}")


def containers(engine: Engine, instance: str) -> list[dict[str, Any]]:
    wanted = quote(json.dumps({"label": [f"{INSTANCE_LABEL}={instance}"]}))
    found: list[dict[str, Any]] = request_json(engine.socket, "GET", f"/containers/json?all=1&filters={wanted}")
    return found


def at_work(engine: Engine, instance: str) -> list[dict[str, Any]]:
    """Those that were not made ahead, for a job to come."""
    return [each for each in containers(engine, instance) if not _waits(each)]


async def made_ahead(bench: Bench, watched: Watched, count: int) -> None:
    """Returns when `count` containers wait for a job."""
    instance = watched.network.removeprefix("rondo-")
    await wait_until(lambda: sum(map(_waits, containers(bench.engine, instance))) >= count, every_s=0.1)


def _waits(container: dict[str, Any]) -> bool:
    return "-warm." in container["Names"][0]


async def wait_until(condition: Callable[[], bool], every_s: float = 0.01) -> None:
    """Ask until it is so."""
    async with asyncio.timeout(LONGEST_S):
        while not condition():  # noqa: ASYNC110 - the rows of another process ring no bell here
            await asyncio.sleep(every_s)


def ms_since(begin_s: float) -> float:
    return (time.perf_counter() - begin_s) * 1000
