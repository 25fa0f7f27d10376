"""The SSH door: rights that are taken away, and words that are more than words."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from appliance.model import User
from appliance.store import people
from appliance.store.database import Tx
from tests.contracts.tcp_proxy import proxy_to
from tests.sshd.jobs import running_job
from tests.sshd.pipelines import intake
from tests.sshd.world import line_of, started, until, world
from tests.vcs.repos import WorkTree


def shut_out(tx: Tx, user: User) -> None:
    tx.execute("DELETE FROM members WHERE user_id = :user", {"user": user.id})


def remove(tx: Tx, user: User) -> None:
    people.remove(tx, user.id)


@pytest.mark.parametrize("take_away", [shut_out, remove])
async def test_an_open_shell_ends_with_the_right_to_it(tmp_path: Path, take_away: object) -> None:
    assert callable(take_away)
    async with world(tmp_path) as here:
        ada = await here.user("ada")
        project = await here.project(ada)
        async with running_job(here, project, tmp_path) as job:
            async with started(*here.ssh_argv(ada, str(job.number), "echo inside; exec cat")) as shell:
                assert await line_of(shell.stdout) == "inside"
                await here.db.write(lambda tx: take_away(tx, ada))
                assert await line_of(shell.stderr) == "rondo: closed: you may not be in this job any more"
                assert await line_of(shell.stdout) == ""
            again = await here.ssh(ada, str(job.number), "echo inside")
            assert again.code != 0 and again.out == ""


@pytest.mark.parametrize(
    "command",
    [
        "git-upload-archive 'acme/app.git'",
        "git-upload-pack --strict 'acme/app.git'",
        "git-upload-pack --upload-pack=touch${IFS}pwned acme/app.git",
        "git-upload-pack '../../../../etc'",
        "git-upload-pack 'acme/../acme/app.git'",
        "git-upload-pack 'acme/..'",
        "git-upload-pack '/etc/passwd'",
        "git-upload-pack '-oProxyCommand=touch pwned/app'",
        "git-receive-pack 'acme/app.git;touch pwned'",
        "git-receive-pack 'acme/app.git' 'acme/app.git'",
        'git-receive-pack "acme/$(touch pwned).git"',
        "git-receive-pack 'acme/app.git\n'",
        "scp -f /etc/passwd",
        "rsync --server --sender . /etc/",
        "sh",
    ],
)
async def test_only_two_commands_with_one_name_each(tmp_path: Path, command: str) -> None:
    async with world(tmp_path) as here:
        ada = await here.user("ada")
        await here.project(ada)
        said = await here.ssh(ada, "git", command)
        assert said.code != 0 and said.out == ""
        assert not list(tmp_path.rglob("pwned*")) and not Path("/pwned").exists()


async def test_nothing_of_the_clients_environment_arrives(tmp_path: Path) -> None:
    variables = {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "core.sshCommand",
        "GIT_CONFIG_VALUE_0": "touch${IFS}pwned",
        "GIT_PROTOCOL": "version=2:$(touch${IFS}pwned)",
        "LD_PRELOAD": "/tmp/x.so",
        "BASH_ENV": "/tmp/x.sh",
        "RONDO_PUSH": "/tmp",
    }
    options = ("-o", "SetEnv=" + " ".join(f"{name}={value}" for name, value in variables.items()))
    tree = WorkTree(tmp_path / "tree")
    tree.commit("Begin")
    async with world(tmp_path) as here, intake(here):
        ada = await here.user("ada")
        project = await here.project(ada)
        assert (await here.push(ada, tree, "main")).code == 0
        await here.ssh(ada, "git", "git-upload-pack 'acme/app.git'", options=options, data=b"0000")
        async with running_job(here, project, tmp_path) as job:
            said = await here.ssh(ada, str(job.number), "env", options=options)
        assert "GREETING" in said.out
        assert not [name for name in variables if f"{name}={variables[name]}" in said.out]
        assert not list(tmp_path.rglob("pwned*"))


async def test_a_crowd_that_says_nothing_keeps_nobody_else_out(tmp_path: Path) -> None:
    """It comes many times over while somebody else, from far away, is between two messages of a login."""

    class Silent(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            crowd.append(transport)

    crowd: list[asyncio.BaseTransport] = []
    loop = asyncio.get_running_loop()
    async with world(tmp_path) as here, proxy_to(here.port) as far:
        ada = await here.user("ada")
        far.freeze()
        async with started(*here.ssh_argv(ada, "git", options=("-o", f"Port={far.port}"))) as patient:
            await until(lambda: any(not guest.is_known for guest in here.door._guests))
            for _ in range(5):
                coming = [
                    loop.create_connection(Silent, "127.0.0.1", here.port, local_addr=("127.0.0.2", 0)) for _ in range(100)
                ]
                await asyncio.gather(*coming)
                await until(lambda: len(here.door._guests) <= 101)
            far.thaw()
            assert "Hello ada" in await line_of(patient.stderr)
        for transport in crowd:
            transport.abort()  # type: ignore[attr-defined]


async def test_a_frame_that_is_no_frame_is_not_waited_for(tmp_path: Path) -> None:
    """Of two gigabytes, before anybody has logged in."""
    async with world(tmp_path) as here, asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
        writer.write(b"SSH-2.0-x\r\n" + (0x7FFFFFFF).to_bytes(4, "big") + bytes(1 << 16))
        assert b"SSH-2.0-Rondo" in await reader.read()
        writer.close()


async def test_another_projects_repository_and_job_look_like_none(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        ada, eve = await here.user("ada"), await here.user("eve")
        project = await here.project(ada)
        await here.project(eve, repo="other")
        nothing = await here.ssh(eve, "git", "git-upload-pack 'acme/none.git'")
        hidden = await here.ssh(eve, "git", "git-upload-pack 'acme/app.git'")
        assert hidden == nothing and hidden.code != 0
        async with running_job(here, project, tmp_path) as job:
            nothing = await here.ssh(eve, str(job.number + 1), "env")
            hidden = await here.ssh(eve, str(job.number), "env")
            assert hidden.error.replace(str(job.number), "N") == nothing.error.replace(str(job.number + 1), "N")
            assert hidden.out == ""
