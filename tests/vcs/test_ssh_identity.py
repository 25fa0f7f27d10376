"""The server's own fetches over SSH: with the project's checkout key, from a server whose host key is believed."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance import ssh_keys
from appliance.errors import VcsError
from appliance.model import Project, Vcs
from appliance.vcs.client import Git
from appliance.vcs.known_hosts import FORGES, KnownHosts
from appliance.vcs.mirror import Identity, Mirrors
from tests.openssh import GitServer, git_server
from tests.vcs.repos import project

PAIR = ssh_keys.generate("a test")


def mirrors(folder: Path, *given: str, private: str | None = PAIR.private) -> tuple[Mirrors, KnownHosts]:
    async def private_key(_: Project) -> str | None:
        return private

    known_hosts = KnownHosts(folder / "known hosts", given)
    made = Mirrors(Git(timeout_s=60), folder / "mirrors", Identity(private_key, known_hosts))
    made.prepare()
    return made, known_hosts


def left_lying(folder: Path, private: str = PAIR.private) -> list[Path]:
    """Files in which a private key stands."""
    piece = private.split("\n")[3].encode()
    return [path for path in folder.rglob("*") if path.is_file() and piece in path.read_bytes()]


def of(server: GitServer) -> Project:
    return project(Vcs.GIT, server.url(server.repository("private", README="hello")))


async def test_a_private_repository_is_fetched_with_the_checkout_key_which_is_gone_after(tmp_path: Path) -> None:
    async with git_server(tmp_path / "server") as server:
        private = of(server)
        mirror, known_hosts = mirrors(tmp_path / "data")
        with pytest.raises(VcsError, match=r"Permission denied.*; is its key .* known there"):
            await mirror.fetch(private, None)
        server.allow(PAIR.public)
        found = await mirror.resolve(private, branch="main", tag=None)
        assert await mirror.read_file(private, found.revision, "README", 100) == "hello"
        assert left_lying(tmp_path / "data") == []
        # Met once, the server is known: here, and to jobs.
        assert server.known_host() in known_hosts.lines() and all(line in known_hosts.lines() for line in FORGES)


async def test_another_server_in_the_place_of_a_known_one_is_refused(tmp_path: Path) -> None:
    async with git_server(tmp_path / "server") as server:
        server.allow(PAIR.public)
        private = of(server)
        stranger = server.known_host().replace(server.host_key, ssh_keys.generate("x").public)
        mirror, _ = mirrors(tmp_path / "data", stranger)
        with pytest.raises(VcsError, match=r"Host key verification failed.*; if that server has a new host key, mend"):
            await mirror.fetch(private, None)
        mirror, known_hosts = mirrors(tmp_path / "other")
        known_hosts.pinned.write_text(stranger + "\n")
        with pytest.raises(VcsError, match=r"Host key verification failed.*; if that server has a new host key, mend"):
            await mirror.fetch(private, None)
        mirror, _ = mirrors(tmp_path / "third", server.known_host())
        await mirror.fetch(private, None)


async def test_no_key_is_shown_over_other_protocols(tmp_path: Path) -> None:
    async with git_server(tmp_path / "server") as server:
        plain = project(Vcs.GIT, str(server.repository("plain", README="hello")))

        async def private_key(_: Project) -> str | None:
            raise AssertionError("nobody should ask for a key")

        mirror = Mirrors(Git(timeout_s=60), tmp_path / "m", Identity(private_key, KnownHosts(tmp_path / "known")))
        await mirror.fetch(plain, None)


def test_keys_that_a_killed_appliance_left_are_removed_at_the_next_start(tmp_path: Path) -> None:
    scratch = tmp_path / "data/mirrors/scratch"
    scratch.mkdir(parents=True)
    (scratch / ".key-abc").write_text(PAIR.private)
    assert left_lying(tmp_path)
    mirrors(tmp_path / "data")
    assert left_lying(tmp_path) == []


@pytest.mark.parametrize(
    ("url", "is_ssh"),
    [
        ("git@github.com:acme/app.git", True),
        ("ssh://git@host:2222/a.git", True),
        ("SSH://host/a", True),
        ("https://github.com/a/b.git", False),
        ("file:///srv/a.git", False),
        ("/srv/odd:name.git", False),
        ("./a:b", False),
    ],
)
def test_what_counts_as_ssh(url: str, is_ssh: bool) -> None:
    assert project(Vcs.GIT, url).is_fetched_by_ssh is is_ssh
