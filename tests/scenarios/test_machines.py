"""Two machines behind real OpenSSH servers: a workflow spreads over both while one is drained, one breaks, we restart."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from appliance.settings import Plain, Value
from appliance.store import jobs, machines
from tests import openssh
from tests.whole import Place, served, until

CONFIG = """
version: 2.1
jobs:
  wait:
    machine: true
    parameters: {go: {type: string}}
    steps:
      - run: echo "$HOME" > ~/notes
      - run: |
          echo begun
          until [ -e GO/<< parameters.go >> ]; do sleep 0.05; done
          cat ~/notes && echo ended
workflows:
  w:
    jobs:
"""


def config(go: Path, *names: str) -> str:
    return CONFIG.replace("GO", str(go)) + "".join(f"      - wait: {{name: {name}, go: {name}}}\n" for name in names)


def settings(tmp_path: Path, *hosts: openssh.Machine) -> Mapping[str, Value]:
    tables: dict[str, Mapping[str, Plain]] = {}
    for number, host in enumerate(hosts, 1):
        key = tmp_path / f"key{number}"
        key.write_text(host.private_key)
        tables[f"m{number}"] = {
            "address": f"{host.user}@{host.server.host}:{host.server.port}",
            "key_file": str(key),
            "host_key": host.server.host_key,
            "folder": str(host.folder),
            "arch": "amd64",
            "slots": 2,
            "cpus": 64,
            "memory": 64 << 30,
        }
    return {"machines": tables, "jobs.machine_patience": 2.0}


async def on(place: Place, number: int, name: str) -> str:
    """The machine where a job of a pipeline has begun its wait."""

    async def look() -> str | None:
        seen = place.seen(number)
        if seen is None or name not in seen.jobs or seen.logs[name].count("begun") == 0:
            return None
        node = place.read(lambda tx: jobs.node(tx, seen.jobs[name].id, 0))
        last = [step for step in seen.steps[name] if step.position >= (node.attempt - 1) * jobs.LATER]
        is_begun = any("begun" in place.log_path(step).read_text() for step in last if place.log_path(step).exists())
        return machines.name_of(node.executor) if is_begun else None

    return await until(look)


async def machine_is(place: Place, name: str, *, out: bool) -> machines.Machine:
    async def look() -> machines.Machine | None:
        machine = place.read(lambda tx: machines.by_name(tx, name))
        return machine if machine.seen_at_ms and (machine.broken_since_ms is not None) is out else None

    return await until(look)


@pytest.mark.slow
async def test_a_workflow_over_two_machines_lives_through_a_restart_a_drain_and_a_break(tmp_path: Path) -> None:
    go = tmp_path / "go"
    go.mkdir()
    with ExitStack() as stack:
        hosts = [stack.enter_context(openssh.machine(tmp_path / name)) for name in ("m1", "m2")]
        async with served(tmp_path, settings(tmp_path, *hosts)) as (place, process):
            await place.commit({".circleci/config.yml": config(go, "a", "b", "c", "d")})
            await place.push()
            where = {name: await on(place, 1, name) for name in "abcd"}
            assert sorted(where.values()) == ["m1", "m1", "m2", "m2"]
            measured = place.read(lambda tx: machines.by_name(tx, "m1")).measured
            assert measured["os"] == "linux" and measured["cpus"] >= 1

            await process.kill()
            (go / "a").touch()  # a job ends while nobody looks
            await process.start()
            for name in "bcd":
                (go / name).touch()
            seen = await place.ended(1)
            assert set(seen.statuses.values()) == {"success"}, seen.logs
            for name in "abcd":
                home = hosts[int(where[name][1:]) - 1].folder
                assert seen.logs[name].count("begun\n") == seen.logs[name].count("ended\n") == 1
                assert f"begun\n{home}/" in seen.logs[name]

            place.read(lambda tx: machines.drain(tx, "m2", 1))
            await place.commit({".circleci/config.yml": config(go, "e", "f", "g")})
            await place.push()
            first = [name for name in "efg" if await waits_or_runs(place, name) == "m1"]
            (late,) = set("efg") - set(first)
            assert place.seen(2).jobs[late].message == "waits: 2 nodes run on m1, as many as it has slots"  # type: ignore[union-attr]

            hosts[0].server.stop()
            out = await machine_is(place, "m1", out=True)
            assert "cannot connect" in out.trouble
            place.read(lambda tx: machines.undrain(tx, "m2"))
            (go / first[0]).touch()
            (go / first[1]).touch()
            (go / late).touch()
            seen = await place.ended(2)
            assert set(seen.statuses.values()) == {"success"}, seen.logs
            for name in first:
                node = place.read(lambda tx: jobs.node(tx, seen.jobs[name].id, 0))  # noqa: B023 - read at once
                assert (node.executor, node.attempt) == ("machine:m2", 2)

            assert left_on(hosts[0])
            hosts[0].server.start()
            await machine_is(place, "m1", out=False)

            async def is_swept() -> bool | None:
                return (not left_on(hosts[0]) and not left_on(hosts[1])) or None

            await until(is_swept)


async def waits_or_runs(place: Place, name: str) -> str:
    """The machine that a job of the second pipeline runs on, or "" once it says why it waits."""

    async def look() -> str | None:
        seen = place.seen(2)
        if seen is None or name not in seen.jobs:
            return None
        if seen.jobs[name].message.startswith("waits: 2 nodes"):
            return ""
        return await on(place, 2, name) if "begun" in seen.logs[name] else None

    return await until(look)


def left_on(host: openssh.Machine) -> list[str]:
    """Folders of jobs."""
    return [str(path) for path in host.folder.glob("*/*")]
