"""`rondo orb` as a person uses it: a folder of sources, a registry, a lock."""

from __future__ import annotations

import io
import json
import sys
from contextlib import closing
from pathlib import Path

import pytest

from appliance import cli
from appliance.orbs.lock import read
from appliance.store.database import open_plain
from tests.orbs.world import orb

CONFIG = "version: 2.1\norbs: {tools: acme/tools@1}\njobs: {build: {docker: [{image: a}], steps: [tools/say]}}\n"


class Person:
    """Runs commands in a folder of their own, with a data folder in it."""

    def __init__(self, home: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.home = home
        self._capture = capture

    def orb(self, *words: str, code: int = 0) -> str:
        return self.run("orb", *words, code=code)

    def run(self, *words: str, code: int = 0) -> str:
        """What a command prints, both streams."""
        assert cli.run(words) == code, self._capture.readouterr()
        out, err = self._capture.readouterr()
        return out + err

    def write(self, name: str, text: str) -> str:
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return name


@pytest.fixture
def person(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Person:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RONDO_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("RONDO_CONFIG", "")
    monkeypatch.delenv("RONDO_CONFIG")
    (tmp_path / "data").mkdir()
    open_plain(tmp_path / "data" / "rondo.db").close()
    return Person(tmp_path, capsys)


def test_from_sources_to_a_published_orb(person: Person) -> None:
    person.write("src/@orb.yml", "version: 2.1\ndescription: Tools\n")
    person.write("src/commands/say.yml", "steps: [{run: <<include(scripts/say.sh)>>}]\n")
    person.write("src/scripts/say.sh", "cat <<EOF\nhello\nEOF\n")
    packed = person.orb("pack", "src")
    assert "cat \\<<EOF" in packed
    person.write("orb.yml", packed)
    assert person.orb("validate", "orb.yml") == "orb.yml is valid.\n"
    assert "there is no namespace acme; make it with `rondo orb namespace acme`" in person.orb(
        "publish", "orb.yml", "acme/tools@1.0.0", code=1
    )
    assert person.orb("namespace", "acme") == "created acme\n"
    assert person.orb("publish", "orb.yml", "acme/tools@1.0.0").startswith("published acme/tools@1.0.0, SHA-256 ")
    assert "never changes" in person.orb("publish", "orb.yml", "acme/tools@1.0.0", code=1)
    assert person.orb("source", "acme/tools") == packed == person.orb("source", "acme/tools@1.0")
    for _ in range(2):
        person.orb("publish", "orb.yml", "acme/tools@dev:new")
    assert person.orb("list") == "acme/tools  1.0.0\n"
    assert person.orb("list", "acme") == "acme/tools  1.0.0, dev:new\n"
    assert "there is no namespace acne" in person.orb("list", "acne", code=1)
    assert "has other versions of it only" in person.orb("source", "acme/tools@2", code=1)


def test_numbers_can_be_counted_and_dev_versions_promoted(person: Person) -> None:
    person.orb("namespace", "acme")
    person.write("orb.yml", orb("x"))
    for step, number in (("patch", "0.0.1"), ("minor", "0.1.0"), ("patch", "0.1.1"), ("major", "1.0.0"), ("patch", "1.0.1")):
        assert f"published acme/tools@{number}, " in person.orb("publish", "orb.yml", f"acme/tools@{step}")
    person.write("next.yml", orb("next"))
    person.orb("publish", "next.yml", "acme/tools@dev:next")
    assert "published acme/tools@1.1.0, " in person.orb("promote", "acme/tools@dev:next", "minor")
    assert "published acme/tools@5.0.0, " in person.orb("promote", "acme/tools@dev:next", "5.0.0")
    assert person.orb("source", "acme/tools@1") == orb("next")
    assert "there is no acme/tools@dev:none" in person.orb("promote", "acme/tools@dev:none", "patch", code=1)
    assert "is not NAMESPACE/NAME@dev:LABEL" in person.orb("promote", "acme/tools@1.0.0", "patch", code=1)


def test_a_faulty_orb_is_not_published(person: Person) -> None:
    person.orb("namespace", "acme")
    person.write("orb.yml", orb("x").replace("echo x", "echo << parameters.x >>"))
    said = person.orb("publish", "orb.yml", "acme/tools@1.0.0", code=1)
    assert "orb.yml:6:22: error: " in said and "^" in said
    assert "there is no orb" in person.orb("list")


def test_validate_for_editors_and_from_standard_input(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"version: 2.1\ncommands: {greet: {steps: [gret]}}\n")))
    document = json.loads(person.orb("validate", "-", "--format", "json", code=1))
    assert document["valid"] is False
    assert (document["problems"][0]["file"], document["problems"][0]["line"]) == ("<stdin>", 2)
    assert document["problems"][0]["did_you_mean"] == "greet"
    person.write("habit.yml", "version: 2.1\ncommands: {say: {steps: {run: x}}}\n")
    assert "habit.yml is valid." in person.orb("validate", "habit.yml")
    assert "habit.yml is not valid." in person.orb("validate", "--strict", "habit.yml", code=1)


def test_private_orbs_stay_private(person: Person) -> None:
    assert person.orb("namespace", "acme", "--private-to", "Acme") == "created acme, for projects of Acme only\n"
    person.write("orb.yml", orb("x"))
    person.orb("publish", "orb.yml", "acme/tools@1.0.0")
    assert person.orb("list") == "acme/tools  1.0.0  (private to Acme)\n"
    person.write("config.yml", CONFIG)
    assert "has no orbs for this project" in person.orb("lock", "config.yml", code=1)
    assert person.orb("lock", "config.yml", "--org", "acme") == "locked 1 orbs in orbs.lock\n"
    person.orb("namespace", "open")
    person.write("top.yml", orb("y", "tools: acme/tools@1"))
    assert "has no orbs for this project" in person.orb("publish", "top.yml", "open/top@1.0.0", code=1)
    assert person.orb("publish", "top.yml", "acme/top@1.0.0")


def test_a_lock_binds_validate_and_process(person: Person) -> None:
    person.write("mirror/acme/tools/1.0.0.yml", orb("first", "base: acme/base@1"))
    person.write("mirror/acme/base/1.0.0.yml", orb("base"))
    person.write(".circleci/config.yml", CONFIG)
    mirror = ("--orb-mirror", "mirror")
    assert person.orb("lock", *mirror) == "locked 2 orbs in .circleci/orbs.lock\n"
    text = (person.home / ".circleci/orbs.lock").read_text()
    assert person.orb("lock", *mirror, "--output", "-") == text
    assert {entry.name for entry in read(text).values()} == {"acme/tools@1.0.0", "acme/base@1.0.0"}

    person.write("mirror/acme/tools/1.1.0.yml", orb("second"))
    assert "resolved to 'acme/tools@1.0.0'" in person.run("config", "process", *mirror)
    person.write("mirror/acme/base/1.0.0.yml", orb("changed"))
    said = person.run("config", "validate", *mirror, code=1)
    assert "acme/base@1.0.0 is not what .circleci/orbs.lock says" in said
    person.write("other.lock", "version = 1\n")
    assert "is not in .circleci/orbs.lock" in person.run("config", "validate", *mirror, "--lock", "other.lock", code=1)
    assert "cannot read none.lock" in person.run("config", "validate", *mirror, "--lock", "none.lock", code=1)
    (person.home / ".circleci/orbs.lock").unlink()
    assert "resolved to 'acme/tools@1.1.0'" in person.run("config", "process", *mirror)


def test_a_lock_of_several_configs(person: Person) -> None:
    person.write("mirror/acme/tools/1.0.0.yml", orb("x"))
    person.write("one.yml", CONFIG)
    person.write("two.yml", CONFIG.replace("tools@1", "tools@volatile"))
    assert person.orb("lock", "one.yml", "two.yml", "--orb-mirror", "mirror").startswith("locked 2 orbs")
    person.write("three.yml", CONFIG.replace("tools@1", "tools@2"))
    assert "nothing is locked" in person.orb("lock", "one.yml", "three.yml", "--orb-mirror", "mirror", code=1)


def test_import_says_what_it_does(person: Person) -> None:
    person.write("mirror/acme/tools/1.0.0.yml", orb("x", "gone: other/gone@1"))
    person.write("mirror/acme/tools/HEAD.yml", orb("head"))
    said = person.orb("import", "mirror")
    assert "imported acme/tools@1.0.0\nimported acme/tools@dev:HEAD\n" in said
    assert "note: acme/tools@1.0.0 imports other/gone@1: there is no other/gone in the mirror" in said
    person.write("mirror/acme/tools/1.0.0.yml", orb("changed"))
    assert "with another text" in person.orb("import", "mirror", code=1)
    assert "is no folder" in person.orb("import", "nowhere", code=1)
    with closing(open_plain(person.home / "data" / "rondo.db")) as tx:
        assert tx.execute("SELECT count(*) FROM orb_versions").fetchone()[0] == 2


def test_without_a_data_folder_only_the_registry_is_missing(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RONDO_DATA", str(person.home / "none"))
    person.write("orb.yml", orb("x"))
    assert person.orb("validate", "orb.yml") == "orb.yml is valid.\n"
    assert "is not a data folder of Rondo" in person.orb("list", code=1)
    person.write("mirror/acme/tools/1.0.0.yml", orb("x"))
    assert person.orb("source", "acme/tools", "--orb-mirror", "mirror") == orb("x")
    assert not (person.home / "none").exists()
