"""Everything that can be handed to an appliance wrongly ends in a clear message, and the server goes on."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.app import running
from appliance.errors import SettingsError, StoreError
from appliance.settings import Value
from tests.engine_fixture import Engine
from tests.whole import ON_THIS_HOST, Place, Seen, house, settings_for, until

HELLO = "version: 2.1\njobs:\n  build:\n    machine: true\n    steps: [{run: echo hello}]\n"


async def goes_on(place: Place, number: int) -> None:
    """A plain push still ends green."""
    await place.commit({".circleci/config.yml": HELLO}, f"plain {number}")
    await place.push()
    assert (await place.ended(number)).statuses == {"build": "success"}


def rondo(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "appliance", *words],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(__file__).parents[2],
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", **variables},
    )


async def test_no_config_file(tmp_path: Path) -> None:
    async with house(tmp_path, ON_THIS_HOST) as (place, _):
        await place.commit({"README": "nothing here"})
        said = await place.push()
        assert "config file .circleci/config.yml could not be located on branch main" in said
        seen = await place.ended()
        assert [problem.type for problem in seen.pipeline.problems] == ["config-fetch"]
        await goes_on(place, 2)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("broken", "version: 2.1\njobs: [", "error"),
        ("empty", "", "error"),
        ("scalar", "just words", "error"),
        ("tabs", "version: 2.1\n\tjobs: {}", "error"),
        ("bomb", "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
            f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(12)
        ) + "version: 2.1\n", "error"),
        ("deep", "version: 2.1\njobs: " + "[" * 20_000, "error"),
        ("python object", "version: 2.1\njobs: !!python/object/apply:os.system [id]", "error"),
    ],
)  # fmt: skip
async def test_yaml_that_is_broken_or_a_bomb(tmp_path: Path, name: str, text: str, said: str) -> None:
    async with house(tmp_path, ON_THIS_HOST) as (place, _):
        await place.commit({".circleci/config.yml": text})
        assert said in await place.push()
        assert (await place.ended()).pipeline.state == "errored"
        await goes_on(place, 2)


async def test_a_config_larger_than_the_limit(tmp_path: Path) -> None:
    async with house(tmp_path, {**ON_THIS_HOST, "git.largest_config": 10_000}) as (place, _):
        await place.commit({".circleci/config.yml": HELLO + "# " + "x" * 20_000})
        await place.push()
        seen = await place.ended()
        assert seen.pipeline.state == "errored"
        assert "10000" in seen.pipeline.problems[0].text.replace(",", "")
        await goes_on(place, 2)


def test_two_appliances_on_one_data_folder(tmp_path: Path) -> None:
    async def both() -> str:
        async with house(tmp_path, ON_THIS_HOST):
            with pytest.raises(StoreError) as caught:
                async with running(settings_for(tmp_path / "data", ON_THIS_HOST)):
                    pass
            return str(caught.value)

    assert "another Rondo works on" in asyncio.run(both())


@pytest.mark.parametrize("door", ["web", "ssh"])
def test_a_taken_port_is_one_sentence(tmp_path: Path, door: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ports = {"RONDO_WEB_PORT": "0", "RONDO_SSH_PORT": "0", f"RONDO_{door.upper()}_PORT": str(port)}
        done = rondo("serve", "--data", str(tmp_path / "data"), **ports)
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr
    assert f"{door}.port" in done.stderr
    assert "Traceback" not in done.stderr


async def test_a_first_start_that_failed_takes_no_login_along(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(SettingsError):
        async with running(settings_for(data, {**ON_THIS_HOST, "ssh.port": taken.getsockname()[1]})):
            pass
    for is_said in (True, False):
        async with running(settings_for(data, ON_THIS_HOST)) as appliance:
            assert any("/login?token=" in line for line in appliance.greeting) is is_said


def test_wrong_settings_are_told_all_at_once(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("[web]\nprot = 1\n[jobs]\nat_once = 0\n")
    done = rondo("serve", "--config", str(path))
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert len(lines) == 2
    assert "unknown option web.prot; did you mean web.port?" in lines[0]
    assert "jobs.at_once must be at least 1" in lines[1]


def test_a_data_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    done = rondo("serve", "--data", str(tmp_path / "file" / "data"))
    assert done.returncode == 1
    assert "cannot make the data folder" in done.stderr
    assert "Traceback" not in done.stderr


def test_commands_without_a_data_folder_say_what_to_do(tmp_path: Path) -> None:
    done = rondo("user", "list", "--data", str(tmp_path))
    assert done.returncode == 1
    assert "is not a data folder of Rondo" in done.stderr


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A data folder on a disk of 24 MB."""
    folder = tmp_path / "data"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small tmpfs, which only root may")
async def test_a_full_disk_holds_jobs_up_and_loses_nothing(tmp_path: Path, small_disk: Path) -> None:
    """The sandbox is on another disk here, as containers are: its supervisor keeps the output until there is room."""
    sandboxes = tmp_path / "sandboxes"
    sandboxes.mkdir()
    (small_disk / "sandboxes").symlink_to(sandboxes)
    config = (
        "version: 2.1\njobs:\n  build:\n    machine: true\n    steps:\n"
        f"      - run: 'echo begin; until [ -e {tmp_path}/go ]; do sleep 0.05; done; seq 1 50000'\n"
        "      - run: echo end\n"
    )
    async with house(tmp_path, ON_THIS_HOST) as (place, _):
        await place.commit({".circleci/config.yml": config})
        await place.push()

        await place.said("begin")
        fill(small_disk / "ballast")
        (tmp_path / "go").touch()

        async def is_held_up() -> bool | None:
            return True if free(small_disk) == 0 and status_now(place) == "running" else None

        await until(is_held_up)
        (small_disk / "ballast").unlink()
        seen = await place.ended()
        assert seen.statuses == {"build": "success"}
        assert place.log_path(seen.steps["build"][1]).read_text() == "begin\n" + "".join(f"{i}\n" for i in range(1, 50001))
        await goes_on(place, 2)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small tmpfs, which only root may")
async def test_a_push_and_a_fetch_without_room_say_so_and_can_be_done_again(
    tmp_path: Path, small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with house(tmp_path, ON_THIS_HOST) as (place, _):
        await goes_on(place, 1)
        await place.commit({".circleci/config.yml": HELLO}, "without room")

        async def refused(*words: str) -> str | None:
            fill(small_disk / "ballast")  # again: what has ended meanwhile has made room
            try:
                return await place.git(*words, place.url, "main", expect=128)
            except AssertionError:
                return None

        for words in (("push", "--dry-run"), ("fetch",)):
            said = await until(lambda words=words: refused(*words))  # type: ignore[misc]
            assert f"rondo: no room for a {words[0]} in {small_disk}/pushes: free some" in said
        assert not [record for record in caplog.records if record.exc_info]
        (small_disk / "ballast").unlink()
        await place.push()
        assert (await place.ended(2)).pipeline.trigger.commit.subject == "without room"


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small tmpfs, which only root may")
async def test_below_the_floor_no_job_starts_and_it_says_why(tmp_path: Path, small_disk: Path) -> None:
    async with house(tmp_path, {**ON_THIS_HOST, "disk.floor": 12 << 20}) as (place, _):
        await place.commit({".circleci/config.yml": HELLO})
        with (small_disk / "ballast").open("wb") as ballast:
            ballast.write(b"x" * (15 << 20))
        await place.push()

        async def is_explained() -> bool | None:
            seen = place.seen()
            return True if seen and "MiB free" in seen.jobs["build"].message else None

        await until(is_explained)
        assert status_now(place) == "not_running"
        (small_disk / "ballast").unlink()
        assert (await place.ended()).statuses == {"build": "success"}


def status_now(place: Place) -> str:
    seen = place.seen()
    assert seen is not None
    return str(seen.jobs["build"].status)


def free(folder: Path) -> int:
    return os.statvfs(folder).f_bavail


def fill(path: Path) -> None:
    """Write until there is no room left."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            return


def on_docker(engine: Engine) -> dict[str, Value]:
    return {"docker.enabled": True, "docker.url": engine.url}


SLOW = """
version: 2.1
jobs:
  build:
    docker: [{image: rondo-test/busybox}]
    steps:
      - run: 'echo begin; sleep 600'
"""


async def begun(place: Place) -> Seen:
    async def look() -> Seen | None:
        seen = place.seen()
        return seen if seen and "begin\n" in seen.logs.get("build", "") else None

    return await until(look)


async def docker(engine: Engine, *words: str) -> str:
    process = await asyncio.create_subprocess_exec(
        "docker", "-H", engine.url, *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return output.decode()


@pytest.mark.docker
async def test_a_container_killed_from_outside_is_an_infrastructure_failure(tmp_path: Path, docker_engine: Engine) -> None:
    async with house(tmp_path, {**on_docker(docker_engine), **ON_THIS_HOST, "local.takes": "machine"}) as (place, _):
        await place.commit({".circleci/config.yml": SLOW})
        await place.push()
        await begun(place)
        instance = place.read(lambda tx: tx.execute("SELECT value FROM facts WHERE name = 'instance'").fetchone()[0])
        found = await docker(docker_engine, "ps", "-q", "--filter", f"label=rondo.instance={instance}")
        await docker(docker_engine, "kill", *found.split())
        seen = await place.ended()
        assert seen.statuses == {"build": "infrastructure_fail"}
        assert seen.jobs["build"].message
        await goes_on(place, 2)


@pytest.mark.docker
async def test_cancel_ends_the_container_and_runs_nothing_more(tmp_path: Path, docker_engine: Engine) -> None:
    config = SLOW + "      - run: {when: always, command: echo never}\n"
    async with house(tmp_path, on_docker(docker_engine)) as (place, appliance):
        await place.commit({".circleci/config.yml": config})
        await place.push()
        seen = await begun(place)
        from appliance.store import people

        user = place.read(lambda tx: people.by_name(tx, "tester"))
        await appliance.commands.cancel_job(seen.jobs["build"].id, user)
        instance = place.read(lambda tx: tx.execute("SELECT value FROM facts WHERE name = 'instance'").fetchone()[0])

        async def is_gone() -> bool | None:
            found = await docker(docker_engine, "ps", "-aq", "--filter", f"label=rondo.instance={instance}")
            return None if found.split() else True

        await until(is_gone)
        seen = await place.ended()
        assert seen.statuses == {"build": "canceled"}
        assert [str(step.status) for step in seen.steps["build"]] == ["success", "canceled", "skipped"]


def test_validate_reads_standard_input_and_tells_problems_as_json() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "appliance", "config", "validate", "--format", "json", "-"],
        input="version: 2.1\njobs:\n  build:\n    dokcer: []\n",
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert "docker" in json.dumps(told)
