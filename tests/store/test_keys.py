"""SSH keys of projects: what is taken, how it is found again, and that nothing readable lies in the database."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from appliance import ssh_keys
from appliance.crypto import SecretBox
from appliance.errors import BadRequest, NotFound
from appliance.model import ProjectId, Vcs
from appliance.store import keys, people, projects
from appliance.store.database import Tx, open_plain

BOX = SecretBox(b"k" * 32)


@pytest.fixture
def tx(tmp_path: Path) -> Iterator[Tx]:
    with closing(open_plain(tmp_path / "rondo.db")) as opened:
        yield opened


def project(tx: Tx, repo: str = "app") -> ProjectId:
    return projects.add(tx, org="acme", repo=repo, vcs=Vcs.HOSTED, git_url=None, default_branch="main", now_ms=1).id


def made_by_ssh_keygen(folder: Path, *words: str) -> Path:
    path = folder / "key"
    subprocess.run(["ssh-keygen", "-q", "-f", str(path), "-C", "someone", *words], check=True, stdin=subprocess.DEVNULL)
    return path


@pytest.mark.parametrize(
    "form", [("-t", "ed25519"), ("-t", "rsa", "-b", "2048", "-m", "PEM"), ("-t", "ecdsa", "-m", "PKCS8")]
)
def test_a_key_has_the_fingerprints_that_openssh_says(tmp_path: Path, form: tuple[str, ...]) -> None:
    path = made_by_ssh_keygen(tmp_path, "-N", "", *form)
    pair = ssh_keys.read(path.read_text().replace("\n", "\r\n").strip())
    for digest, fingerprint in (("md5", f"MD5:{pair.md5}"), ("sha256", pair.sha256)):
        said = subprocess.run(
            ["ssh-keygen", "-l", "-E", digest, "-f", str(path)], capture_output=True, text=True, check=True
        )
        assert said.stdout.split()[1] == fingerprint
    assert path.with_suffix(".pub").read_text().startswith(pair.public + " ")
    assert pair.private == path.read_text()


@pytest.mark.parametrize(
    "form", [("-t", "ed25519"), ("-t", "rsa", "-b", "2048", "-m", "PEM"), ("-t", "ecdsa", "-m", "PKCS8")]
)
def test_a_key_with_a_passphrase_is_refused_with_the_reason(tmp_path: Path, form: tuple[str, ...]) -> None:
    path = made_by_ssh_keygen(tmp_path, "-N", "a passphrase", *form)
    with pytest.raises(BadRequest, match="has a passphrase"):
        ssh_keys.read(path.read_text())
    with pytest.raises(BadRequest, match="this is a public key"):
        ssh_keys.read(path.with_suffix(".pub").read_text())


@pytest.mark.parametrize("text", ["", "hello", "-----BEGIN OPENSSH PRIVATE KEY-----\nabc", "x" * 100_000, "clé", "\0"])
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(BadRequest, match="this is not a private key"):
        ssh_keys.read(text)


def test_the_newest_checkout_key_is_preferred_and_an_older_one_follows_it(tx: Tx) -> None:
    app, other = project(tx), project(tx, "other")
    first, second = ssh_keys.generate("1"), ssh_keys.generate("2")
    keys.add_checkout_key(tx, BOX, app, first, 5)
    assert keys.add_checkout_key(tx, BOX, app, second, 5).is_preferred
    assert [key.fingerprint for key in keys.checkout_keys(tx, app)] == [second.sha256, first.sha256]
    found = keys.preferred_checkout_key(tx, BOX, app)
    assert found is not None and found.private == second.private
    keys.remove_checkout_key(tx, app, second.md5.upper())
    assert [(key.fingerprint, key.is_preferred) for key in keys.checkout_keys(tx, app)] == [(first.sha256, True)]
    with pytest.raises(NotFound):
        keys.remove_checkout_key(tx, other, first.sha256)
    assert keys.preferred_checkout_key(tx, BOX, other) is None


def test_a_user_key_goes_with_its_user(tx: Tx) -> None:
    app, pair = project(tx), ssh_keys.generate("u")
    ada = people.add(tx, name="ada", is_admin=False, sees_all_projects=False, now_ms=1)
    keys.add_checkout_key(tx, BOX, app, pair, 1, ada.id)
    holder = keys.holder(tx, pair.sha256)
    assert holder is not None and holder.user == ada and holder.project.id == app
    people.remove(tx, ada.id)
    assert keys.holder(tx, pair.sha256) is None and keys.checkout_keys(tx, app) == []


def test_no_private_key_lies_readable_in_the_database_nor_opens_in_another_place(tx: Tx, tmp_path: Path) -> None:
    app, other = project(tx), project(tx, "other")
    one, two = ssh_keys.generate("1"), ssh_keys.generate("2")
    keys.add_checkout_key(tx, BOX, app, one, 1)
    keys.add_additional_key(tx, BOX, app, two, "git.example", 1)
    tx.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    held = b"".join(path.read_bytes() for path in tmp_path.glob("rondo.db*"))
    for pair in (one, two):
        assert pair.public.encode() in held or pair.sha256.encode() in held
        assert not any(line.encode() in held for line in pair.private.split("\n")[1:-2])
    tx.execute("UPDATE checkout_keys SET project_id = :other", {"other": other})
    with pytest.raises(Exception, match="cannot decrypt"):
        keys.preferred_checkout_key(tx, BOX, other)


def test_additional_keys_are_kept_by_host_and_removed_from_one_or_all(tx: Tx) -> None:
    app, pair = project(tx), ssh_keys.generate("x")
    for host in ("git.example", "", "git.example"):
        keys.add_additional_key(tx, BOX, app, pair, host, 1)
    assert sorted(key.hostname for key in keys.additional_keys(tx, app)) == ["", "git.example"]
    assert all(key.private == "" for key in keys.additional_keys(tx, app))
    assert all(key.private == pair.private for key in keys.additional_keys(tx, app, BOX))
    keys.remove_additional_key(tx, app, pair.sha256, "git.example")
    assert [key.hostname for key in keys.additional_keys(tx, app)] == [""]
    keys.remove_additional_key(tx, app, f"MD5:{pair.md5}", None)
    with pytest.raises(NotFound):
        keys.remove_additional_key(tx, app, pair.md5, None)


@pytest.mark.parametrize(
    "host", ["a b", "x\n    ProxyCommand touch /tmp/x", "!a", "-oProxyCommand=x", "a,b", "é", "x" * 300]
)
def test_a_host_that_could_say_more_in_a_config_file_is_refused(tx: Tx, host: str) -> None:
    with pytest.raises(BadRequest, match="is not a host name"):
        keys.add_additional_key(tx, BOX, project(tx), ssh_keys.generate("x"), host, 1)
