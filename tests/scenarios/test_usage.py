"""What jobs take is looked at while they run, on a real engine and on this host, also over a restart."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.settings import Value
from appliance.store import usage
from appliance.store.usage import Series
from tests.engine_fixture import DEBIAN, Engine
from tests.whole import ON_THIS_HOST, Place, house, served, until

BUSY_AND_BIG = """\
import time
held = bytearray(300 << 20)
end = time.monotonic() + 3
while time.monotonic() < end:
    pass
"""


def config(executor: str) -> str:
    return f"""\
version: 2.1
jobs:
  hungry:
    {executor}
    resource_class: small
    steps:
      - checkout
      - run: python3 hungry.py
workflows: {{w: {{jobs: [hungry]}}}}
"""


async def taken(place: Place) -> Series:
    """The curve as it stands in the end."""
    seen = await place.ended()
    assert seen.statuses == {"hungry": "success"}, seen.logs
    job = seen.jobs["hungry"]

    async def last() -> Series | None:
        return place.read(lambda tx: usage.of_node(tx, job.id, 0))

    return await until(last, 20)


@pytest.mark.parametrize("where", [pytest.param("docker", marks=pytest.mark.docker), "local"])
async def test_a_busy_loop_and_an_allocation_show_in_the_curve(
    tmp_path: Path, where: str, request: pytest.FixtureRequest
) -> None:
    changes: dict[str, Value] = {"jobs.sample_every": 0.3}
    if where == "docker":
        engine: Engine = request.getfixturevalue("docker_engine")
        changes |= {"docker.enabled": True, "docker.url": engine.url}
    else:
        changes |= ON_THIS_HOST
    executor = f"docker: [{{image: {DEBIAN}}}]" if where == "docker" else "machine: {image: x}"
    text = config(executor) if where == "docker" else config(executor).replace("class: small", "class: medium")
    async with house(tmp_path, changes) as (place, _):
        await place.commit({".circleci/config.yml": text, "hungry.py": BUSY_AND_BIG})
        await place.push()
        series = await taken(place)
    assert 300 << 20 < series.most_memory_bytes < 500 << 20
    assert 0.3 < series.most_cpus < 1.6
    assert 0.5 < series.cpu_s < 10
    assert len(series.points) >= 4
    assert series.lasted_s > 1.5


async def test_a_curve_goes_on_after_a_restart(tmp_path: Path) -> None:
    changes: dict[str, Value] = {**ON_THIS_HOST, "jobs.sample_every": 0.2}
    text = config("machine: {image: x}").replace("class: small", "class: medium")
    text = text.replace("python3 hungry.py", "while [ ! -e go ]; do sleep 0.1; done; python3 hungry.py")
    async with served(tmp_path, changes) as (place, process):
        await place.commit({".circleci/config.yml": text, "hungry.py": BUSY_AND_BIG})
        await place.push()

        async def step_runs() -> Path | None:
            return next(place.data.glob("sandboxes/*/home/project/hungry.py"), None)

        script = await until(step_runs)
        await process.kill()
        await process.start()
        script.with_name("go").touch()
        series = await taken(place)
    assert series.most_memory_bytes > 300 << 20
    assert 0.3 < series.most_cpus < 1.6
