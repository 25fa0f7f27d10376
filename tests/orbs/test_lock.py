"""The lock file: same bytes for same orbs, and nothing but what was locked."""

from __future__ import annotations

import pytest

from appliance.errors import BadRequest
from appliance.language import Compiled, compile
from appliance.orbs.lock import Entry, Locked, Recorder, read, write
from appliance.store.orbs import digest_of
from tests.orbs.world import Library, orb

CONFIG = "version: 2.1\norbs: {top: acme/top@1}\njobs: {build: {docker: [{image: a}], steps: [top/say]}}\n"


def library() -> Library:
    return Library(
        {"acme/top@1.0.0": orb("top", "base: acme/base@2"), "acme/base@2.0.0": orb("base")},
        {"acme/top@1": "acme/top@1.0.0", "acme/base@2": "acme/base@2.0.0"},
    )


def locked() -> str:
    recorder = Recorder(library())
    assert compile(CONFIG, orbs=recorder).plan is not None
    return write(recorder.entries)


def under(text: str, source: Library, config: str = CONFIG) -> Compiled:
    return compile(config, orbs=Locked(source, text))


def test_a_lock_names_every_orb_nested_ones_too() -> None:
    texts = library().texts
    assert read(locked()) == {
        "acme/base@2": Entry("acme/base@2.0.0", digest_of(texts["acme/base@2.0.0"])),
        "acme/top@1": Entry("acme/top@1.0.0", digest_of(texts["acme/top@1.0.0"])),
    }
    assert locked() == locked()
    assert locked().index("acme/base") < locked().index("acme/top")


def test_any_name_survives() -> None:
    entries = {"https://h/a?b=\"\\'": Entry("tab\t \x7f é", "0" * 64), "a/b@dev:x/y.z": Entry("", "")}
    assert read(write(entries)) == entries


def test_a_locked_config_keeps_its_versions() -> None:
    source = library()
    source.texts["acme/top@1.9.0"] = orb("newer")
    source.names["acme/top@1"] = "acme/top@1.9.0"
    compiled = under(locked(), source)
    assert compiled.plan is not None
    assert compiled.orbs == {"acme/top@1": "acme/top@1.0.0", "acme/base@2": "acme/base@2.0.0"}


def test_a_changed_text_is_an_error_that_names_the_orb() -> None:
    source = library()
    source.texts["acme/base@2.0.0"] += "# changed\n"
    (problem,) = under(locked(), source).problems
    assert problem.code == "orb-not-found" and problem.file == "acme/top@1.0.0"
    assert "The orb acme/base@2 cannot be resolved: acme/base@2.0.0 is not what .circleci/orbs.lock says" in problem.message
    assert "run `rondo orb lock`" in problem.message


def test_a_mutable_version_is_bound_by_its_text() -> None:
    source = Library({"acme/top@dev:x": orb("one")})
    config = CONFIG.replace("acme/top@1", "acme/top@dev:x")
    recorder = Recorder(source)
    compile(config, orbs=recorder)
    text = write(recorder.entries)
    assert under(text, source, config).plan is not None
    source.texts["acme/top@dev:x"] = orb("two")
    assert "is not what" in under(text, source, config).problems[0].message


@pytest.mark.parametrize("name", ["evil/top@1.0.0", "acme/top@2.0.0", "acme/base@2.0.0"])
def test_a_lock_cannot_make_an_orb_another_one(name: str) -> None:
    source = library()
    source.texts[name] = orb("evil")
    text = write({"acme/top@1": Entry(name, digest_of(orb("evil")))})
    assert f"says that it is {name}, which it cannot be" in under(text, source).problems[0].message


def test_an_orb_that_is_not_locked_is_an_error() -> None:
    config = CONFIG.replace("acme/top@1}", "acme/top@1, base: acme/base@2.0.0}")
    (problem,) = under(locked(), library(), config).problems
    assert "The orb acme/base@2.0.0 cannot be resolved: it is not in .circleci/orbs.lock" in problem.message
    assert (problem.line, problem.column) == (2, 31)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "version = 2\n",
        "not toml",
        "version = 1\norbs = 3\n",
        'version = 1\n[orbs."a/b@1"]\nresolved = "x"\n',
        "version = 1\n[orbs]\nx = 1\n",
    ],
)
def test_a_broken_lock_locks_everything_out(text: str) -> None:
    with pytest.raises(BadRequest):
        read(text)
    (problem,) = under(text, library()).problems
    assert "the lock file" in problem.message and problem.message.endswith(".")
    assert (
        under(text, library(), "version: 2.1\njobs: {build: {docker: [{image: a}], steps: [checkout]}}\n").plan is not None
    )
