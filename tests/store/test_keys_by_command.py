"""`rondo project checkout-key` and `rondo project ssh-key`, as a person types them."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from appliance import ssh_keys
from appliance.cli import run
from appliance.store.database import open_plain


def test_keys_are_made_listed_and_removed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    open_plain(tmp_path / "rondo.db").close()

    def rondo(*words: str, stdin: str = "", code: int = 0) -> str:
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        assert run([*words, "--data", str(tmp_path)]) == code
        said = capsys.readouterr()
        return said.out + said.err

    said = rondo("project", "create", "acme/app", "--github", "--git-url", "git@github.com:acme/app.git")
    assert "add it to the repository's deploy keys" in said and "    ssh-ed25519 AAAA" in said
    assert "deploy-key" in rondo("project", "checkout-key", "list", "acme/app")
    assert "checkout key" not in rondo("project", "create", "acme/web", "--github")  # fetched over https
    fingerprint = rondo("project", "checkout-key", "add", "acme/app").split("\n")[0].removeprefix("made checkout key ")
    listed = rondo("project", "checkout-key", "list", "acme/app")
    assert listed.count("deploy-key") == 2 and listed.split("\n")[0].endswith(f"{fingerprint}  in use")
    rondo("project", "checkout-key", "remove", "acme/app", fingerprint)
    assert fingerprint not in rondo("project", "checkout-key", "list", "acme/app")

    pair = ssh_keys.generate("x")
    assert pair.md5 in rondo("project", "ssh-key", "add", "acme/app", "--host", "git.example", stdin=pair.private)
    assert "this is a public key" in rondo("project", "ssh-key", "add", "acme/app", stdin=pair.public, code=1)
    assert rondo("project", "ssh-key", "list", "acme/app") == f"git.example  {pair.md5}  {pair.sha256}\n"
    rondo("project", "ssh-key", "remove", "acme/app", pair.md5)
    assert rondo("project", "ssh-key", "list", "acme/app") == ""
