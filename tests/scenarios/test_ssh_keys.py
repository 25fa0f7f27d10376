"""git and ssh inside jobs, with the project's keys: real git, real OpenSSH, our own SSH door and somebody else's."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from pathlib import Path

import aiodocker
import pytest

from appliance import ssh_keys
from appliance.crypto import SecretBox, load_or_make_key
from appliance.model import Project, ProjectFlags, Trigger, TriggerKind
from appliance.settings import Value
from appliance.store import keys, people, projects
from appliance.store.database import Tx
from tests.engine_fixture import Engine
from tests.openssh import GitServer, git_server
from tests.whole import ON_THIS_HOST, Place, house, served, until

CONFIG = """
version: 2.1
jobs:
  build:
    docker: [{{image: test/debian}}]
    environment: {{GIT_SSH_COMMAND: "{ssh}"}}
    steps:
{steps}
"""


def config(*steps: str, ssh: str = "") -> str:
    text = CONFIG.format(ssh=ssh, steps="".join(f"      - {step}\n" for step in steps))
    return text if ssh else "\n".join(line for line in text.split("\n") if "GIT_SSH_COMMAND" not in line)


def run(script: str) -> str:
    return "run: |\n" + "".join(f"          {line}\n" for line in script.strip().split("\n"))


def box_of(place: Place) -> SecretBox:
    return SecretBox(load_or_make_key(place.data / "secret_key"))


def project_of(place: Place) -> Project:
    return place.read(lambda tx: projects.find(tx, "acme/app"))


def give(place: Place, pair: ssh_keys.KeyPair, host: str = "") -> None:
    box, project = box_of(place), project_of(place)
    place.read(lambda tx: keys.add_additional_key(tx, box, project.id, pair, host, 1))


def checkout_key(place: Place) -> keys.CheckoutKey:
    box, project = box_of(place), project_of(place)
    found = place.read(lambda tx: keys.preferred_checkout_key(tx, box, project.id))
    assert found is not None
    return found


def pieces_of(private: str) -> list[str]:
    """What of a key a log could betray: its lines, and base64 of them as the tools print it."""
    lines = private.strip().split("\n")[1:-1]
    whole = base64.encodebytes(private.encode()).decode().split()
    return [*(line[-20:] for line in lines), *(line for line in whole if len(line) > 20)]


GIT_AGAIN = """
git fetch -q origin && git pull -q && git ls-remote origin | sed 's/^/seen /'
stat -c 'mode %a' ~/.ssh/id_rsa ~/.ssh
! git push -q origin HEAD:refs/heads/from-the-job 2>said || exit 1
grep rondo: said
"""
SHOW = """
cat ~/.ssh/id_rsa
base64 ~/.ssh/id_rsa
base64 -w0 ~/.ssh/id_rsa
tr -d '\\n' <~/.ssh/id_rsa
"""


async def test_a_job_fetches_its_own_repository_with_a_deploy_key_that_no_log_shows(tmp_path: Path) -> None:
    async with house(tmp_path, ON_THIS_HOST) as (place, _):
        steps = config("checkout", run(GIT_AGAIN), run(SHOW), run("ssh -o BatchMode=yes git@127.0.0.1 true || true"))
        await place.commit({".circleci/config.yml": steps})
        await place.push()
        seen = await place.ended()
        assert seen.statuses == {"build": "success"}, seen.logs
        log, key = seen.logs["build"], checkout_key(place)
        assert f"seen {seen.pipeline.trigger.revision}\trefs/heads/main" in log
        assert "mode 600\nmode 700" in log and "rondo: a deploy key only reads" in log
        assert "****" in log and [piece for piece in pieces_of(key.private) if piece in log] == []
        assert key.is_preferred and key.user_id is None
        kept = [*place.data.glob("rondo.db*"), *(place.data / "blobs").rglob("*")]
        on_disk = b"".join(path.read_bytes() for path in kept if path.is_file())
        assert b"checkout_keys" in on_disk and key.private.split("\n")[4].encode() not in on_disk


async def test_every_job_of_a_project_uses_one_key_and_a_user_key_pushes(tmp_path: Path) -> None:
    async with house(tmp_path, ON_THIS_HOST) as (place, _):
        who = "-c user.name=j -c user.email=j@x.org"
        push = f"git {who} commit -q --allow-empty -m '[skip ci] made' && git push -q origin HEAD:made"
        await place.commit({".circleci/config.yml": config("checkout", run("ls ~/.ssh"))})
        await place.push()
        assert (await place.ended()).statuses == {"build": "success"}
        first = checkout_key(place)
        await place.commit({".circleci/config.yml": config("checkout", run(push))})
        await place.push()
        assert (await place.ended(2)).statuses == {"build": "failed"}  # a deploy key does not push
        assert checkout_key(place) == first
        box, project, pair = box_of(place), project_of(place), ssh_keys.generate("x")

        def add(tx: Tx) -> None:
            user = tx.execute("SELECT id FROM users WHERE name = 'tester'").fetchone()["id"]
            keys.add_checkout_key(tx, box, project.id, pair, first.created_at_ms + 1, user)

        place.read(add)
        await place.commit({".circleci/config.yml": config("checkout", run(push))}, "Again")
        await place.push()
        seen = await place.ended(3)
        assert seen.statuses == {"build": "success"}, seen.logs


async def test_a_fork_gets_no_key(tmp_path: Path) -> None:
    async with house(tmp_path, ON_THIS_HOST) as (place, appliance):
        steps = config(
            "checkout",
            run("(ls -A ~/.ssh || :) 2>&1 | sed 's/^/there is /'"),
            "add_ssh_keys",
            'add_ssh_keys: {fingerprints: ["%s"]}',
        )
        pair = ssh_keys.generate("x")
        await place.commit({".circleci/config.yml": steps % pair.md5}, "[skip ci] a fork has it")
        await place.push()
        give(place, pair, "git.example")
        project = project_of(place)
        place.read(lambda tx: projects.set_flags(tx, project.id, ProjectFlags(build_fork_prs=True)))
        trigger = Trigger(
            project_id=project.id,
            kind=TriggerKind.WEBHOOK,
            semantic_key="fork",
            branch="main",
            revision=(await place.git("rev-parse", "HEAD")).strip(),
            actor="eve",
            is_fork=True,
        )
        await appliance.commands.accept(trigger)
        seen = await place.ended()
        assert seen.statuses == {"build": "failed"}
        log = seen.logs["build"]
        assert "there is id_rsa" not in log and "A fork's pipeline gets no keys" in log
        assert "a fork's pipeline gets none of the project's SSH keys" in log and pair.md5 not in log
        assert place.read(lambda tx: keys.checkout_keys(tx, project.id)) == []


SUBMODULE = """
git -c protocol.allow=always submodule update --init
cat lib/README
ssh-add -l
grep -A2 '^Host' ~/.ssh/config
! git -C lib push -q origin HEAD:refs/heads/main-2 2>&1 || echo pushed
"""


async def with_a_submodule(place: Place, server: GitServer, host: str) -> None:
    """A repository on another server, had by an additional key, as a submodule of ours."""
    pair, other = ssh_keys.generate("lib"), ssh_keys.generate("other")
    server.allow(pair.public)
    give(place, other)
    give(place, pair, host)
    lib = server.repository("lib", README="hello from the library\n")
    steps = config(
        "checkout",
        f'add_ssh_keys: {{fingerprints: ["{pair.sha256}"]}}',
        "add_ssh_keys",
        run(SUBMODULE),
        run("cat ~/.ssh/id_rsa_*"),
    )
    await place.commit(
        {".circleci/config.yml": steps, ".gitmodules": f'[submodule "lib"]\n  path = lib\n  url = {server.url(lib, host)}\n'}
    )
    head = (await place.git("--git-dir", str(lib), "rev-parse", "main")).strip()
    await place.git("update-index", "--add", "--cacheinfo", f"160000,{head},lib")
    await place.git("-c", "user.name=x", "-c", "user.email=x@x.org", "commit", "-q", "-m", "A submodule")
    await place.push()
    seen = await place.ended()
    log = seen.logs["build"]
    assert seen.statuses == {"build": "success"}, log
    assert "hello from the library" in log and pair.sha256 in log and other.sha256 in log and "pushed" in log
    assert log.index(f"Host {host}\n") < log.index("Host *\n")
    for one in (pair, other):
        assert [piece for piece in pieces_of(one.private) if piece in log] == []


async def test_an_additional_key_brings_a_submodule_from_another_server(tmp_path: Path) -> None:
    async with git_server(tmp_path / "server") as server:
        changes = {**ON_THIS_HOST, "git.known_hosts": (server.known_host(),)}
        async with house(tmp_path, changes) as (place, _):
            await with_a_submodule(place, server, "127.0.0.1")


WAIT = "until [ -e ~/go ]; do sleep 0.05; done; [ $(ssh-add -l | wc -l) = 1 ]"


async def test_a_shell_in_the_job_and_steps_of_any_shell_have_the_agent(tmp_path: Path) -> None:
    async with house(tmp_path, ON_THIS_HOST) as (place, appliance):
        pair = ssh_keys.generate("x")
        give(place, pair, "git.example")
        plain = "run: {shell: /bin/sh, command: 'ssh-add -l | cut -d\" \" -f2'}"
        await place.commit({".circleci/config.yml": config("add_ssh_keys", plain, run(WAIT))})
        await place.push()
        options = [
            "-F",
            "none",
            "-i",
            str(place.key),
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
        ]
        argv = ["ssh", *options, "-p", str(appliance.ssh_port), "1@127.0.0.1", "ssh-add -l && touch ~/go"]

        async def look() -> str | None:
            seen = place.seen()
            if seen is None or "build" not in seen.logs or seen.logs["build"].count(pair.sha256) < 1:
                return None
            process = await asyncio.create_subprocess_exec(*argv, stdout=-1, stderr=-1, stdin=asyncio.subprocess.DEVNULL)
            said, _ = await process.communicate()
            return said.decode() if process.returncode == 0 else None

        assert pair.sha256 in await until(look)
        assert (await place.ended()).statuses == {"build": "success"}


@pytest.mark.docker
async def test_a_user_without_a_home_is_told_that_there_is_no_key(tmp_path: Path, docker_engine: Engine) -> None:
    changes: dict[str, Value] = {
        "docker.enabled": True,
        "docker.url": docker_engine.url,
        "images": {"test/debian": "rondo-test/debian"},
    }
    async with house(tmp_path, changes) as (place, _):
        steps = config("checkout").replace("image: test/debian", "image: test/debian, user: '54321'")
        steps = steps.replace("    steps:", "    working_directory: /tmp/here\n    steps:")
        await place.commit({".circleci/config.yml": steps})
        await place.push()
        seen = await place.ended()
        assert seen.statuses == {"build": "success"}, seen.logs
        assert "the checkout key could not be written\ngit cannot fetch" in seen.logs["build"]


@pytest.mark.docker
async def test_the_same_in_a_container(tmp_path: Path, docker_engine: Engine) -> None:
    host = docker_engine.host
    async with git_server(tmp_path / "server", host) as server:
        changes: dict[str, Value] = {
            "docker.enabled": True,
            "docker.url": docker_engine.url,
            "images": {"test/debian": "rondo-test/debian"},
            "ssh.host": "0.0.0.0",
            "ssh.name": host,
            "git.known_hosts": (server.known_host(host),),
        }
        async with house(tmp_path, changes) as (place, _):
            await with_a_submodule(place, server, host)
            await place.commit({".circleci/config.yml": config("checkout", run(GIT_AGAIN))}, "Fetch by itself")
            await place.push()
            seen = await place.ended(2)
            assert seen.statuses == {"build": "success"}, seen.logs["build"]
            assert "mode 600\nmode 700" in seen.logs["build"]


@pytest.mark.docker
async def test_an_address_that_no_container_reaches_is_told(tmp_path: Path, docker_engine: Engine) -> None:
    changes: dict[str, Value] = {
        "docker.enabled": True,
        "docker.url": docker_engine.url,
        "images": {"test/debian": "rondo-test/debian"},
    }
    async with house(tmp_path, changes) as (place, _):
        await place.commit({".circleci/config.yml": config("checkout")})
        await place.push()
        seen = await place.ended()
        assert seen.statuses == {"build": "success"}
        assert "git cannot fetch or push in later steps: ssh://git@127.0.0.1" in seen.logs["build"]


async def test_an_unknown_fingerprint_fails_the_step_and_names_the_known_ones(tmp_path: Path) -> None:
    async with house(tmp_path, ON_THIS_HOST) as (place, _):
        pair = ssh_keys.generate("x")
        give(place, pair, "git.example")
        await place.commit({".circleci/config.yml": config('add_ssh_keys: {fingerprints: ["SHA256:abc"]}')})
        await place.push()
        seen = await place.ended()
        assert seen.statuses == {"build": "failed"}
        assert f"this project has no SSH key SHA256:abc; its keys are: {pair.md5} (git.example)" in seen.logs["build"]


WAIT_AND_SHOW = "until [ -e ~/go ]; do sleep 0.05; done; cat ~/.ssh/id_rsa ~/.ssh/id_rsa_*"


async def test_keys_that_are_removed_while_the_server_is_down_still_show_in_no_log(tmp_path: Path) -> None:
    async with served(tmp_path, ON_THIS_HOST) as (place, process):
        pair = ssh_keys.generate("x")
        give(place, pair, "git.example")
        await place.commit(
            {".circleci/config.yml": config("checkout", "add_ssh_keys", run("echo waits"), run(WAIT_AND_SHOW))}
        )
        await place.push()

        await place.said("waits")
        await process.kill()
        first, project = checkout_key(place), project_of(place)
        place.read(lambda tx: keys.remove_checkout_key(tx, project.id, first.fingerprint))
        place.read(lambda tx: keys.remove_additional_key(tx, project.id, pair.md5, None))
        await process.start()
        (place.data / "sandboxes/1.0/home/go").touch()
        seen = await place.ended()
        assert seen.statuses == {"build": "success"} and "****" in seen.logs["build"]
        for private in (first.private, pair.private):
            assert [piece for piece in pieces_of(private) if piece in seen.logs["build"]] == []


@pytest.mark.docker
async def test_the_engine_is_told_no_key(tmp_path: Path, docker_engine: Engine) -> None:
    changes: dict[str, Value] = {
        "docker.enabled": True,
        "docker.url": docker_engine.url,
        "images": {"test/debian": "rondo-test/debian"},
    }
    async with house(tmp_path, changes) as (place, appliance):
        pair = ssh_keys.generate("x")
        give(place, pair, "git.example")
        await place.commit({".circleci/config.yml": config("checkout", "add_ssh_keys", run("echo waits; sleep 60"))})
        await place.push()

        await place.said("waits")
        key = checkout_key(place)
        described = ""
        async with aiodocker.Docker(url=docker_engine.url) as docker:
            for one in await docker.containers.list():
                with contextlib.suppress(aiodocker.DockerError):  # another test's, gone meanwhile
                    described += json.dumps([await one.show(), await one.top()])
        assert "rondo.job" in described and "sleep 60" in described
        for private in (key.private, pair.private):
            assert [line for line in private.split("\n")[3:-2] if line in described] == []
        found = place.seen()
        assert found is not None
        user = place.read(lambda tx: people.by_name(tx, "tester"))
        await appliance.commands.cancel_job(found.jobs["build"].id, user)
        await place.ended()
