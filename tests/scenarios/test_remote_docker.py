"""`setup_remote_docker`: a Docker engine of the job's own, what it can reach, and that nothing of it stays behind."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import pytest

from appliance.app import Appliance
from appliance.blobs import Blobs
from appliance.clock import SystemClock
from appliance.engine.janitor import Janitor
from appliance.executors.base import DOCKER_SOCKET
from appliance.executors.docker import DockerExecutor
from appliance.settings import Value
from appliance.store import people
from tests.engine_fixture import BUSYBOX, Engine, cached_root, request_json
from tests.whole import Place, Seen, Served, house, served, until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(120)]

BUILD = """
            printf 'FROM base\\nRUN echo made > /made\\n' | docker build -t made -
            docker run --rm made cat /made"""
SETUP = """
      - setup_remote_docker: {docker_layer_caching: CACHING}
      - run: docker image inspect base >/dev/null 2>&1 || docker import /base.tar base"""


def config(*steps: str, caching: bool = False, keys: str = "") -> str:
    """A job whose image brings the docker client; it builds on the image `base`."""
    runs = "".join(f"\n      - run: |\n            {step.strip()}" for step in steps)
    setup = SETUP.replace("CACHING", str(caching).lower())
    docker = "docker: [{image: rondo-test/debian}]\n    environment: {DOCKER_BUILDKIT: '0'}"
    return f"version: 2.1\njobs:\n  build:\n    {docker}{keys}\n    steps:{setup}{runs}\n"


@pytest.fixture
async def changes(docker_engine: Engine) -> AsyncIterator[dict[str, Value]]:
    client = shutil.which("docker")
    if client is None:
        pytest.skip("there is no docker client to show to the jobs")
    mounts = (f"{client}:/usr/local/bin/docker", f"{await asyncio.to_thread(cached_root, 'busybox')}:/base.tar")
    yield {"docker.enabled": True, "docker.url": docker_engine.url, "jobs.cpus": 16.0, "jobs.mounts": mounts}


def instance(place: Place) -> str:
    return str(place.read(lambda tx: tx.execute("SELECT value FROM facts WHERE name = 'instance'").fetchone()[0]))


def volumes(engine: Engine, place: Place) -> list[str]:
    query = quote(json.dumps({"label": [f"rondo.instance={instance(place)}"]}))
    return [each["Name"] for each in request_json(engine.socket, "GET", f"/volumes?filters={query}")["Volumes"] or ()]


def containers(engine: Engine, place: Place) -> list[str]:
    query = quote(json.dumps({"label": [f"rondo.instance={instance(place)}"]}))
    return [each["Names"][0] for each in request_json(engine.socket, "GET", f"/containers/json?all=1&filters={query}")]


async def nothing_left(engine: Engine, place: Place, kept: int = 0) -> None:
    """A node's containers go just after its end was written down."""

    async def look() -> bool | None:
        left = await asyncio.to_thread(lambda: (containers(engine, place), len(volumes(engine, place)) - kept))
        return True if left == ([], 0) else None

    await until(look, 20)


async def ended(place: Place, files: dict[str, str], number: int = 1) -> Seen:
    await place.commit(files)
    await place.push()
    return await place.ended(number)


PORTS = """
            ask() { timeout 10 sh -c 'until curl -s http://localhost:8017/said; do sleep 0.1; done'; }
            docker run -d --name web -p 127.0.0.1:8017:80 base sh -c 'echo hello >/said; exec httpd -f -p 80 -h /'
            ask
            docker rm -f web
            cd "$(mktemp -d)"; echo own >said; python3 -m http.server 8017 >/dev/null 2>&1 &
            ask"""


async def test_a_job_builds_and_runs_in_an_engine_of_its_own(
    tmp_path: Path, docker_engine: Engine, changes: dict[str, Value]
) -> None:
    mine = "docker tag base mine$CIRCLE_NODE_INDEX; echo has $(docker images --format '{{.Repository}}' | sort) only"
    async with house(tmp_path, changes) as (place, _):
        text = config(BUILD, mine, PORTS, keys="\n    parallelism: 2").replace("debian}", "debian, user: circleci}")
        seen = await ended(place, {".circleci/config.yml": text})
        assert seen.statuses == {"build": "success"}, seen.logs["build"]
        assert seen.logs["build"].count("\nmade\n") == 2
        assert "has base made mine0 only" in seen.logs["build"], "and not the other node's"
        assert "has base made mine1 only" in seen.logs["build"]
        assert seen.logs["build"].count("hello\n") == 2, "a published port is on the job's localhost"
        assert seen.logs["build"].count("own\n") == 2, "as long as it is published"
        await nothing_left(docker_engine, place)


# What is tried in containers of the private engine; each line must end by saying "no".
ATTACKS = """
            on() { docker run --rm "$@" 2>/dev/null; }
            on -v /:/host -v /run:/r base sh -c '
              cat "$1" "/host$1" || ls /host/work /host/home /host/var/lib/rondo || echo no
              touch /host/usr/x || echo no
              ls /r/docker.sock /r/host /r/containerd/containerd.sock || echo no' sh "$SECRET"
            on --privileged -v /dev:/d base sh -c '
              ls /d | grep -E "^(sd|vd|nvme|xvd|dm-|mem|kmsg)" || echo no
              mknod /disk b 254 0 && dd if=/disk count=1 || echo no
              echo "|/x" >/proc/sys/kernel/core_pattern || echo no
              echo 1 >/proc/sys/kernel/sysrq || echo no
              echo h >/proc/sysrq-trigger || echo no
              echo /x >/sys/kernel/uevent_helper || echo no
              mkdir /c && for g in memory pids rdma devices; do mount -t cgroup -o $g cgroup /c && break; done
              echo /x >/c/release_agent || echo no
              echo a >/c/devices.allow || echo no
              mount -t debugfs x /mnt || mount -t tracefs x /mnt || mount -t securityfs x /mnt || echo no'
            on --privileged --pid=host --net=host base sh -c '
              ps -o args | grep -v grep | grep -E "appliance|supervise|sshd" || echo no
              nsenter -t 1 -m -u -n -- cat "$1" || echo no
              grep -E " /(old|host|jail)" /proc/1/mountinfo || echo no
              ip link show | grep -E "rondotest0|br-" || echo no' sh "$SECRET"
            [ ! -e /var/run/docker.sock ] && [ ! -e /host ] && echo no"""


async def test_a_job_that_owns_its_engine_does_not_own_the_machine(
    tmp_path: Path, docker_engine: Engine, changes: dict[str, Value]
) -> None:
    secret = tmp_path / "data" / "secret_key"
    async with house(tmp_path, changes) as (place, _):
        seen = await ended(
            place, {".circleci/config.yml": config(ATTACKS, keys=f"\n    # {secret}").replace("$SECRET", str(secret))}
        )
        log = place.log_path(seen.steps["build"][-1]).read_text()
        assert seen.statuses == {"build": "success"}, log
        assert [line for line in log.splitlines() if line == "no"] == ["no"] * 17, log
        await nothing_left(docker_engine, place)
    gateway = "ip route | sed -n 's/^default via \\([^ ]*\\).*/\\1/p'"
    await docker(docker_engine, "run", "--rm", BUSYBOX, "sh", "-c", f"ping -c 1 -W 5 $({gateway})")


@pytest.mark.slow
async def test_layers_of_one_job_are_there_in_the_next_and_broken_ones_are_thrown_away(
    tmp_path: Path, docker_engine: Engine, changes: dict[str, Value]
) -> None:
    leave = "docker run -d --name left --restart always base sleep 600; docker volume create left"
    look = "echo has $(docker ps -aq) $(docker volume ls -q) only"
    async with house(tmp_path, changes) as (place, appliance):
        first = await ended(place, {".circleci/config.yml": config(BUILD, leave, caching=True)})
        assert first.statuses == {"build": "success"}, first.logs["build"]
        assert "No layers are kept yet" in first.logs["build"] and "Using cache" not in first.logs["build"]
        await nothing_left(docker_engine, place, kept=1)
        second = await ended(place, {".circleci/config.yml": config(BUILD, look, caching=True)}, 2)
        assert "Using the layers" in second.logs["build"] and "Using cache" in second.logs["build"], second.logs["build"]
        assert "has only" in second.logs["build"], "containers and volumes are each job's own"
        await nothing_left(docker_engine, place, kept=1)
        (volume,) = volumes(docker_engine, place)
        spoil = ("-v", f"{volume}:/d", BUSYBOX, "sh", "-c", "echo broken >/d/image/overlay2/repositories.json")
        await docker(docker_engine, "run", "--rm", *spoil)
        third = await ended(place, {".circleci/config.yml": config("docker images -q made", caching=True)}, 3)
        assert third.statuses == {"build": "success"}, third.logs["build"]
        assert "the kept layers could not be used, and were thrown away" in third.logs["build"]
        await nothing_left(docker_engine, place, kept=1)
        await purge(appliance, docker_engine, place)


async def docker(engine: Engine, *words: str) -> None:
    process = await asyncio.create_subprocess_exec("docker", "-H", engine.url, *words, stderr=asyncio.subprocess.PIPE)
    _, said = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 0, said


async def purge(appliance: Appliance, engine: Engine, place: Place) -> None:
    """What the janitor does within a minute of a purge."""
    await appliance.db.write(lambda tx: tx.execute("DELETE FROM docker_layers") and None)
    executor = DockerExecutor(instance(place), engine.url)
    blobs = Blobs(place.data / "blobs")
    janitor = Janitor(
        db=appliance.db, clock=SystemClock(), blobs=blobs, executors={"docker": executor}, cache_quota=0, disk_floor=0
    )
    await janitor.sweep_once()
    await executor.close()
    assert volumes(engine, place) == []


@pytest.mark.slow
async def test_an_engine_outlives_its_killed_appliance_and_goes_with_its_job(
    tmp_path: Path, docker_engine: Engine, changes: dict[str, Value]
) -> None:
    slow = "docker tag base kept; echo waiting; sleep 600"
    async with served(tmp_path, changes) as (place, process):
        await place.commit(
            {
                ".circleci/config.yml": config(
                    "docker tag base kept; echo up; until docker inspect go; do sleep 0.1; done",
                    "docker run --rm kept echo still there",
                )
            }
        )
        await place.push()
        await says(place, 1, "\nup\n")
        engine = request_json(docker_engine.socket, "GET", f"/containers/rondo-{instance(place)}-1.0-docker/json")
        assert 0 < engine["HostConfig"]["Memory"] <= 4 << 30 and not engine["HostConfig"]["Privileged"]
        await process.kill()
        await process.start()
        go = ("exec", "-e", f"DOCKER_HOST=unix://{DOCKER_SOCKET}", f"rondo-{instance(place)}-1.0-0", "docker")
        await docker(docker_engine, *go, "tag", "base", "go")
        seen = await place.ended()
        assert seen.statuses == {"build": "success"}, seen.logs["build"]
        assert "still there" in seen.logs["build"]
        await nothing_left(docker_engine, place)
        # Killed, and what ran is over when it comes back.
        await ended_by_a_crash(place, process, config(slow, caching=True))
        await nothing_left(docker_engine, place, kept=1)
        assert (
            place.read(lambda tx: tx.execute("SELECT count(*) FROM docker_layers WHERE job_id IS NULL").fetchone()[0]) == 1
        )


async def ended_by_a_crash(place: Place, process: Served, text: str) -> None:
    await place.commit({".circleci/config.yml": text})
    await place.push()
    await says(place, 2, "\nwaiting\n")
    await process.kill()
    place.read(lambda tx: tx.execute("UPDATE nodes SET status = 'canceled' WHERE status = 'running'") and None)
    place.read(lambda tx: tx.execute("UPDATE jobs SET status = 'canceled' WHERE status = 'running'") and None)
    await process.start()


async def says(place: Place, number: int, words: str) -> None:
    async def look() -> bool | None:
        seen = place.seen(number)
        assert seen is None or not any(job.status.is_done for job in seen.jobs.values()), seen.logs
        return True if seen and words in seen.logs.get("build", "") else None

    await until(look)


async def test_a_job_is_told_why_it_gets_no_engine(tmp_path: Path, changes: dict[str, Value]) -> None:
    async with house(tmp_path, {**changes, "remote_docker.enabled": False}) as (place, _):
        seen = await ended(place, {".circleci/config.yml": config(BUILD)})
        assert seen.statuses == {"build": "failed"}
        assert "switched off on this appliance (remote_docker.enabled)" in seen.logs["build"]


async def test_a_project_that_may_share_the_engine_sees_its_own_container_in_it(
    tmp_path: Path, docker_engine: Engine, changes: dict[str, Value]
) -> None:
    async with house(tmp_path, {**changes, "remote_docker.shared_with": ("Acme/App",)}) as (place, _):
        text = config("docker ps --format '{{.Names}}'").replace("      - run: docker image inspect", "      # ")
        seen = await ended(place, {".circleci/config.yml": text})
        assert seen.statuses == {"build": "success"}, seen.logs["build"]
        assert f"rondo-{instance(place)}-1.0-0\n" in seen.logs["build"]
        await nothing_left(docker_engine, place)


async def test_a_machine_job_has_its_engine_from_the_start_and_a_cancel_takes_it_away(
    tmp_path: Path, docker_engine: Engine, changes: dict[str, Value]
) -> None:
    run = "docker version --format 'server {{.Server.Os}}'; docker import /base.tar base; docker run base sleep 600"
    text = config(run).replace("docker: [{image: rondo-test/debian}]", "machine: {image: ubuntu-2404:current}")
    async with house(tmp_path, {**changes, "docker.machine_image": "rondo-test/debian"}) as (place, appliance):
        await place.commit({".circleci/config.yml": text})
        await place.push()
        await says(place, 1, "server linux")
        seen = place.seen()
        assert seen is not None and "nothing to set up" in seen.logs["build"] and "server linux" in seen.logs["build"]
        user = await appliance.db.read(lambda tx: people.by_name(tx, "tester"))
        await appliance.commands.cancel_job(seen.jobs["build"].id, user)
        assert (await place.ended()).statuses == {"build": "canceled"}
        await nothing_left(docker_engine, place)
