"""Who may enter, and what the door never does, seen from the real OpenSSH client."""

from __future__ import annotations

import asyncio
import contextlib
import stat
from pathlib import Path

import asyncssh
import pytest

from appliance.errors import SettingsError, StoreError
from appliance.sshd.host_key import load_or_make_host_key
from appliance.store import people
from tests.sshd.jobs import running_job
from tests.sshd.world import run, started, until, world


async def test_a_known_key_is_greeted_and_told_what_one_can_do(tmp_path: Path) -> None:
    async with world(tmp_path, ssh__name="ci.example") as here:
        ada = await here.user("ada")
        for name in ("git", "rondo", "ada", "root"):
            said = await here.ssh(ada, name)
            assert (said.code, said.out) == (0, "")
            assert said.error.startswith("Hello ada, your key is known here.")
            assert f"git clone ssh://git@ci.example:{here.port}/ORG/REPO.git" in said.error
            assert f"ssh -p {here.port} JOB@ci.example" in said.error


async def test_an_unknown_key_is_refused_alike_for_every_name(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        await here.user("ada")
        answers = {
            (await here.ssh("stranger", name)).error.replace(name, "NAME") for name in ("git", "ada", "812", "nobody")
        }
        assert answers == {"NAME@127.0.0.1: Permission denied (publickey).\r\n"}


async def test_there_is_no_password(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        await here.user("ada")
        for method in ("password", "keyboard-interactive", "hostbased", "none", "gssapi-with-mic"):
            options = ("-o", f"PreferredAuthentications={method}", "-o", "BatchMode=no", "-o", "NumberOfPasswordPrompts=1")
            said = await here.ssh("ada", "git", options=options)
            assert said.code == 255 and "Permission denied (publickey)" in said.error


async def test_a_removed_key_gets_no_further_on_an_open_connection(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        ada = await here.user("ada")
        master = ("-o", f"ControlPath={tmp_path}/control")
        async with started(*here.ssh_argv(ada, "git", options=(*master, "-M", "-N"))):
            await until(lambda: (tmp_path / "control").exists())
            assert (await here.ssh(ada, "git", options=master)).code == 0
            await here.db.write(lambda tx: people.remove(tx, ada.id))
            said = await here.ssh(ada, "git", options=master)
            assert (said.code, said.error) == (1, "rondo: this key is not known any more\n")
        assert "Permission denied" in (await here.ssh(ada, "git")).error


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("-W", "127.0.0.1:PORT"), "stdio forwarding failed"),
        (("-N", "-R", "0:127.0.0.1:1", "-o", "ExitOnForwardFailure=yes"), "remote port forwarding failed"),
        (("-N", "-R", "/tmp/rondo-never:127.0.0.1:1", "-o", "ExitOnForwardFailure=yes"), "remote port forwarding failed"),
        (("-w", "0:0", "-N", "-o", "ExitOnForwardFailure=yes"), ""),
        (("-s",), ""),
    ],
)
async def test_nothing_is_forwarded(tmp_path: Path, options: tuple[str, ...], sentence: str) -> None:
    async with world(tmp_path) as here:
        ada = await here.user("ada", is_admin=True)
        command = ("sftp",) if options == ("-s",) else ()
        options = tuple(option.replace("PORT", str(here.port)) for option in options)  # something that would answer
        said = await here.ssh(ada, "git", *command, options=(*options, "-o", "LogLevel=INFO"))
        assert said.code != 0 and sentence in said.error and said.out == ""


async def test_a_local_forward_leads_nowhere(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        ada = await here.user("ada", is_admin=True)
        socket = tmp_path / "forward"
        async with started(*here.ssh_argv(ada, "git", options=("-N", "-L", f"{socket}:{tmp_path}/nothing"))):
            await until(socket.exists)
            reader, writer = await asyncio.open_unix_connection(str(socket))
            async with asyncio.timeout(20):
                assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()


async def test_sftp_is_refused_even_for_a_job(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        ada = await here.user("ada")
        project = await here.project(ada)
        async with running_job(here, project, tmp_path) as job:
            for name in ("git", str(job.number)):
                argv = ["sftp", *here.ssh_options(ada), "-b", "/dev/null", "-P", str(here.port), f"{name}@127.0.0.1"]
                said = await run(*argv)
                assert said.code != 0


async def test_agent_and_x11_do_not_come_along(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        ada = await here.user("ada")
        project = await here.project(ada)
        async with running_job(here, project, tmp_path) as job:
            options = ("-A", "-X", "-o", "SetEnv=LD_PRELOAD=x", "-o", "SetEnv=BASH_ENV=/x")
            said = await here.ssh(ada, str(job.number), "env", options=options)
            assert said.code == 0
            names = {line.partition("=")[0] for line in said.out.splitlines()}
            assert not names & {"SSH_AUTH_SOCK", "DISPLAY", "LD_PRELOAD"}
            assert "BASH_ENV=/x" not in said.out


@pytest.mark.parametrize(
    "option",
    [
        "KexAlgorithms=diffie-hellman-group14-sha1",
        "KexAlgorithms=diffie-hellman-group14-sha256",
        "Ciphers=aes128-cbc",
        "Ciphers=3des-cbc",
        "HostKeyAlgorithms=ssh-rsa",
    ],
)
async def test_old_algorithms_are_not_spoken(tmp_path: Path, option: str) -> None:
    async with world(tmp_path) as here:
        ada = await here.user("ada")
        said = await here.ssh(ada, "git", options=("-o", option, "-o", "LogLevel=INFO"))
        assert said.code == 255 and "no matching" in said.error.lower()


async def test_modern_algorithms_are_spoken_with_strict_key_exchange(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        ada = await here.user("ada")
        said = await here.ssh(ada, "git", options=("-o", "LogLevel=DEBUG3"))
        assert said.code == 0
        assert "kex-strict-s-v00@openssh.com" in said.error  # the answer to Terrapin
        assert "server version: SSH-2.0-Rondo" in said.error or "remote software version Rondo" in said.error


async def test_the_host_key_is_private_and_stays(tmp_path: Path) -> None:
    prints = set()
    for _ in range(2):
        async with world(tmp_path) as here:
            scan = await run("ssh-keyscan", "-p", str(here.port), "127.0.0.1")
            prints.add(scan.out.split(" ", 1)[1])
    assert len(prints) == 1 and prints.pop().startswith("ssh-ed25519 ")
    assert stat.S_IMODE((tmp_path / "ssh_host_key").stat().st_mode) == 0o600


def test_a_broken_host_key_is_not_replaced_silently(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("not a key")
    with pytest.raises(StoreError, match="does not hold a host key"):
        load_or_make_host_key(tmp_path / "key")


async def test_a_taken_port_is_a_sentence(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        (tmp_path / "second").mkdir()
        with pytest.raises(SettingsError, match=f"cannot listen on 127.0.0.1:{here.port} for SSH.*choose another ssh.port"):
            async with world(tmp_path / "second", ssh__port=here.port):
                pass


async def test_sessions_of_one_user_are_counted(tmp_path: Path) -> None:
    async with world(tmp_path, ssh__sessions_per_user=2) as here:
        ada, grace = await here.user("ada"), await here.user("grace")
        project = await here.project(ada, grace)
        async with running_job(here, project, tmp_path) as job:
            waits = here.ssh_argv(ada, str(job.number), "echo there; sleep 1000")
            async with started(*waits) as one:
                assert one.stdout is not None and await one.stdout.readline() == b"there\n"
                async with started(*waits) as two:
                    assert two.stdout is not None and await two.stdout.readline() == b"there\n"
                    said = await here.ssh(ada, str(job.number), "true")
                    assert (said.code, said.error) == (1, "rondo: ada has 2 sessions open; close one first\n")
                    assert (await here.ssh(grace, str(job.number), "true")).code == 0

            async def has_room() -> bool:
                return (await here.ssh(ada, str(job.number), "true")).code == 0

            await until(has_room)


async def test_who_does_not_log_in_is_cut_off(tmp_path: Path) -> None:
    async with world(tmp_path, ssh__login_timeout=0.2) as here:
        reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
        async with asyncio.timeout(20):
            await reader.read()
        writer.close()


async def test_half_open_connections_do_not_lock_the_door(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        ada = await here.user("ada")
        crowd = [await asyncio.open_connection("127.0.0.1", here.port) for _ in range(150)]
        assert (await here.ssh(ada, "git")).code == 0
        async with asyncio.timeout(20):
            for reader, _ in crowd[:50]:  # those that have been silent the longest are gone
                with contextlib.suppress(ConnectionError):
                    await reader.read()
        for _, writer in crowd:
            writer.close()


@pytest.mark.parametrize(
    "garbage", [b"GET / HTTP/1.1\r\n\r\n", b"\x00" * 100_000, b"SSH-1.5-x\r\n", b"SSH-2.0-x\r\n" + b"\xff" * 50_000]
)
async def test_garbage_leaves_the_door_standing(tmp_path: Path, garbage: bytes) -> None:
    async with world(tmp_path) as here:
        ada = await here.user("ada")
        reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
        writer.write(garbage)
        try:
            async with asyncio.timeout(20):
                await writer.drain()
                await reader.read()
        except ConnectionError:
            pass
        writer.close()
        assert (await here.ssh(ada, "git")).code == 0


async def test_before_recovery_is_done_everybody_waits(tmp_path: Path) -> None:
    async with world(tmp_path, is_open=False) as here:
        ada = await here.user("ada")
        async with started(*here.ssh_argv(ada, "git")) as client:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    await client.wait()
            here.door.open()
            async with asyncio.timeout(20):
                assert await client.wait() == 0


async def test_asking_about_a_key_one_does_not_have_changes_nothing(tmp_path: Path) -> None:
    """A client asks whether ada's key would do, and then signs with its own."""
    async with world(tmp_path) as here:
        ada, mallory = await here.user("ada"), await here.user("mallory")
        # The first identity has no private key here: ssh may ask about it, and then has to go on to the second.
        lone = tmp_path / "lone.pub"
        lone.write_text(here.key("ada").with_suffix(".pub").read_text())
        said = await here.ssh(mallory, "git", options=("-o", f"IdentityFile={lone}", "-o", "LogLevel=DEBUG1"))
        assert "Hello mallory" in said.error, said.error
        assert f"Hello {ada.name}" not in said.error


async def test_a_key_of_a_certificate_authority_opens_nothing(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        await here.user("ada")
        here.key("stranger")
        sign = ["ssh-keygen", "-q", "-s", str(here.key("ada")), "-I", "x", "-n", "git", f"{here.key('stranger')}.pub"]
        assert (await run(*sign)).code == 0
        certificate = f"{here.key('stranger')}-cert.pub"
        said = await here.ssh("stranger", "git", options=("-o", f"CertificateFile={certificate}"))
        assert "Permission denied" in said.error


async def test_channels_on_one_connection_are_bounded(tmp_path: Path) -> None:
    async with world(tmp_path, ssh__sessions_per_user=100) as here:
        ada = await here.user("ada")
        project = await here.project(ada)
        async with running_job(here, project, tmp_path) as job:
            key = str(here.key("ada"))
            async with asyncssh.connect(
                "127.0.0.1",
                here.port,
                username=str(job.number),
                client_keys=[key],
                known_hosts=None,
                config=None,
                agent_path=None,
            ) as connection:
                opened = [await connection.create_process("sleep 1000") for _ in range(10)]
                with pytest.raises(asyncssh.ChannelOpenError):
                    await connection.create_process("true")
                assert len(opened) == 10
