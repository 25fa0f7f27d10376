"""Service containers as a user sees them: a step each, with log, readiness and end; also over a restart of ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.settings import Value
from appliance.store import jobs, people
from tests.engine_fixture import BUSYBOX, DEBIAN, Engine
from tests.whole import Place, Seen, house, served, until

pytestmark = pytest.mark.docker

SECRET = "correct-horse-battery"


def on(engine: Engine) -> dict[str, Value]:
    return {"docker.enabled": True, "docker.url": engine.url}


def services_of(seen: Seen, job: str = "j") -> dict[str, jobs.Step]:
    return {step.name: step for step in seen.steps[job] if step.kind == jobs.SERVICE}


def log_of(place: Place, step: jobs.Step) -> str:
    return place.log_path(step).read_text()


async def test_services_are_steps_with_a_log_a_readiness_and_an_end(tmp_path: Path, docker_engine: Engine) -> None:
    config = f"""\
version: 2.1
jobs:
  j:
    docker:
      - image: {BUSYBOX}
      - {{image: {DEBIAN}, name: web, command: [python3, -u, -m, http.server, "8123"]}}
      - {{image: {BUSYBOX}, entrypoint: [sh, -c, "echo cannot start >&2; exit 3"]}}
      - {{image: {BUSYBOX}, entrypoint: [sh, -c, "echo the word is {SECRET}, pass it on; sleep 1000"]}}
      - {{image: {BUSYBOX}, entrypoint: [sh, -c, "yes chatter"]}}
    steps:
      - run: |
          until wget -qO- http://web:8123/ >/dev/null 2>&1; do sleep 0.1; done
          sleep 1
workflows: {{w: {{jobs: [j]}}}}
"""
    changes = {**on(docker_engine), "jobs.service_log_limit": 200_000}
    async with house(tmp_path, changes, secrets={"WORD": SECRET}) as (place, _):
        await place.commit({".circleci/config.yml": config})
        await place.push()
        seen = await place.ended()
    assert seen.statuses == {"j": "success"}, seen.logs
    assert [step.position for step in seen.steps["j"]] == [0, 1, 900_000, 900_001, 900_002, 900_003]
    web, dead, teller, chatty = seen.steps["j"][2:]
    assert (web.name, dead.name) == (f"Service web ({DEBIAN})", f"Service {BUSYBOX}")
    assert [str(step.status) for step in (web, dead, teller, chatty)] == ["success", "failed", "success", "success"]
    assert web.message.startswith("listens on 8123 after ")
    assert '"GET / HTTP/1.1" 200' in log_of(place, web)
    assert (dead.exit_code, dead.message) == (3, "ended by itself with exit code 3")
    assert log_of(place, dead) == "cannot start\n"
    assert log_of(place, teller) == "the word is ****, pass it on\n"
    said = log_of(place, chatty)
    assert said.startswith("chatter\n") and "jobs.service_log_limit" in said and len(said) < 250_000


async def test_a_services_log_is_whole_after_a_restart(tmp_path: Path, docker_engine: Engine) -> None:
    """Lines come before, while and after the appliance is away; the log has each once, and in order."""
    script = "i=0; while [ $i -lt 400 ]; do i=$((i+1)); echo line $i {secret} end; [ $((i % 20)) = 0 ] && sleep 0.1; done"
    config = f"""\
version: 2.1
jobs:
  j:
    docker:
      - image: {BUSYBOX}
      - {{image: {BUSYBOX}, entrypoint: [sh, -c, "{script.format(secret=SECRET)}"]}}
    steps:
      - run: sleep 6
workflows: {{w: {{jobs: [j]}}}}
"""
    async with served(tmp_path, on(docker_engine), secrets={"WORD": SECRET}) as (place, process):
        await place.commit({".circleci/config.yml": config})
        await place.push()

        for least in (500, 4000):

            async def has_said(least: int = least) -> bool | None:
                seen = place.seen()
                found = list(services_of(seen).values()) if seen is not None and "j" in seen.steps else []
                path = place.log_path(found[0]) if found else None
                return True if path is not None and path.exists() and path.stat().st_size > least else None

            await until(has_said, 30)
            await process.kill()
            await process.start()
        seen = await place.ended()
        (service,) = services_of(seen).values()
        assert log_of(place, service) == "".join(f"line {i} **** end\n" for i in range(1, 401))
        assert (str(service.status), service.exit_code) == ("success", 0)
    assert seen.statuses == {"j": "success"}


async def test_a_service_without_memory_says_so_and_a_cancel_stops_services(tmp_path: Path, docker_engine: Engine) -> None:
    config = f"""\
version: 2.1
jobs:
  j:
    docker:
      - image: {BUSYBOX}
      - {{image: {DEBIAN}, command: [python3, -c, "x = bytearray(2 * 10**8)"]}}
      - {{image: {BUSYBOX}, entrypoint: [sleep, "1000"]}}
    resource_class: tiny
    steps:
      - run: sleep 1000
workflows: {{w: {{jobs: [j]}}}}
"""
    changes: dict[str, Value] = {**on(docker_engine), "resource_classes": {"tiny": "1/0.1", "bigger": "1/0.25"}}
    async with house(tmp_path, changes) as (place, appliance):
        await place.commit({".circleci/config.yml": config})
        await place.push()

        async def is_dead() -> jobs.Step | None:
            seen = place.seen()
            found = [step for step in seen.steps.get("j", ()) if step.status == "failed"] if seen is not None else []
            return found[0] if found else None

        dead = await until(is_dead, 30)
        assert dead.message == "killed: out of memory, 0.1 GiB; try resource_class: bigger"
        seen = place.seen()
        assert seen is not None
        user = place.read(lambda tx: people.everybody(tx)[0])
        await appliance.commands.cancel_job(seen.jobs["j"].id, user)
        seen = await place.ended()
    assert [str(step.status) for step in seen.steps["j"][2:]] == ["failed", "canceled"]
