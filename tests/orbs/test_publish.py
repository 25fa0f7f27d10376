"""Publishing: what an orb imports is settled by then. Importing: other people's orbs as they are."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from appliance.errors import BadRequest
from appliance.language.orb_document import check_orb, references_of
from appliance.orbs import Mirror
from appliance.orbs.chain import Chain
from appliance.orbs.nested import settle
from appliance.orbs.publish import Draft, draft, drafts_of, put_all
from appliance.orbs.registry import Registry
from appliance.store import orbs
from appliance.store.database import open_plain, transact
from tests.orbs.world import SHARED_ORBS, Library, Shop, orb

LIBRARY = Library(
    {"acme/a@1.2.3": orb("a"), "acme/b@2.0.0": orb("b"), "acme/c@HEAD": orb("c"), "acme/d@dev:x": orb("d")},
    {
        "acme/a@1": "acme/a@1.2.3",
        "acme/a@1.2": "acme/a@1.2.3",
        "acme/b@volatile": "acme/b@2.0.0",
        "acme/c@volatile": "acme/c@HEAD",
    },
)


def test_open_references_become_exact_and_nothing_else_changes() -> None:
    text = """\
version: 2.1   # acme/a@1 in a comment
orbs:
  one: acme/a@1 # acme/a@1 stays in the comment
  two: 'acme/a@1.2'
  three: &b "acme/b@volatile"
  four: *b
  five: {orbs: {inner: acme/a@1}, commands: {}}
commands:
  say:
    steps: [{run: "echo acme/a@1"}]
"""
    settled = settle(text, LIBRARY)
    assert settled.open == {}
    assert settled.text == text.replace("one: acme/a@1 ", "one: acme/a@1.2.3 ").replace(
        "'acme/a@1.2'", "'acme/a@1.2.3'"
    ).replace('"acme/b@volatile"', '"acme/b@2.0.0"').replace("inner: acme/a@1}", "inner: acme/a@1.2.3}")
    assert settle(settled.text, LIBRARY).text == settled.text


def test_all_on_one_line() -> None:
    settled = settle("version: 2.1\norbs: {x: acme/a@1, y: acme/a@1.2, z: acme/a@1.2.3}\n", LIBRARY)
    assert settled.text == "version: 2.1\norbs: {x: acme/a@1.2.3, y: acme/a@1.2.3, z: acme/a@1.2.3}\n"


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ("acme/c@volatile", "acme/c@HEAD may change"),
        ("acme/d@dev:x", "acme/d@dev:x may change"),
        ("acme/e@1", "the library lacks"),
        ('"acme/\\x61@1"', "unusual way"),
    ],
)
def test_what_cannot_be_settled_stays_and_says_why(reference: str, reason: str) -> None:
    text = f"version: 2.1\norbs: {{x: {reference}}} # acme/a@1\n"
    settled = settle(text, LIBRARY)
    assert settled.text == text
    (found,) = settled.open.values()
    assert reason in found


def test_a_number_imports_exact_versions_only_but_dev_may_import_anything() -> None:
    for nested in ("x: acme/d@dev:x", "x: acme/c@volatile"):
        text = orb("y", nested)
        checked = check_orb(text, orbs=LIBRARY)
        assert checked.is_valid
        with pytest.raises(
            BadRequest, match=r"cannot be settled: .* may change\na published version imports exact ones only"
        ):
            draft("acme/y@1.0.0", text, checked, LIBRARY)
        assert draft("acme/y@dev:1", text, checked, LIBRARY).source == text


def test_what_was_published_does_not_move_with_what_it_imports(shop: Shop) -> None:
    shop.namespace("acme")
    shop.put("acme/base@1.0.0", orb("first"))
    registry = Registry(shop.path, shop.clock, None)
    text = orb("top", "base: acme/base@1")
    made = draft("acme/top@1.0.0", text, check_orb(text, orbs=registry), registry)
    shop.put("acme/top@1.0.0", made.source)
    shop.put("acme/base@1.1.0", orb("second"))
    assert [found.text for found in references_of(registry.resolve("acme/top@1").text)] == ["acme/base@1.0.0"]


def make_mirror(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def take(shop: Shop, folder: Path) -> tuple[list[str], list[str]]:
    """Import a folder; the lines of what was done, and of what was left out."""
    found = list(drafts_of(folder, Registry(shop.path, shop.clock, None)))
    with closing(open_plain(shop.path)) as tx:
        drafts = [one for one in found if isinstance(one, Draft)]
        outcomes = transact(tx, lambda tx: put_all(tx, drafts, shop.clock.now_ms()))
    notes = [note for one in drafts for note in one.notes]
    return [outcome.line for outcome in outcomes] + notes, [one for one in found if isinstance(one, str)]


def test_a_mirror_is_imported_once(shop: Shop, tmp_path: Path) -> None:
    folder = make_mirror(
        tmp_path / "mirror",
        {
            "acme/a/1.0.0.yml": orb("1", "b: acme/b@2, gone: other/gone@1"),
            "acme/a/HEAD.yml": orb("head"),
            "acme/b/2.1.0.yml": orb("b"),
            "acme/b/2.0.0.yml": orb("b"),
            "acme/b/2.0.yml": orb("no whole number"),
            "acme/bad/1.0.0.yml": "version: 2.1\ncommands: {say: {steps: [nonsense]}}\n",
            "acme/c/dev_x.yml": orb("c"),
            "README.md": "not an orb",
        },
    )
    shop.write(lambda tx: None)
    done, left_out = take(shop, folder)
    assert done[:5] == [f"imported acme/{name}" for name in ("a@1.0.0", "a@dev:HEAD", "b@2.0.0", "b@2.1.0", "c@dev:x")]
    assert done[5:] == [
        "acme/a@1.0.0 imports other/gone@1: there is no other/gone in the mirror;"
        " the registry of this Rondo has no namespace other."
    ]
    assert len(left_out) == 2 and "2.0.yml" in left_out[0] and "nonsense" in left_out[1]
    registry = Registry(shop.path, shop.clock, None)
    assert "b: acme/b@2.1.0, gone: other/gone@1" in registry.resolve("acme/a@1").text

    (folder / "acme/b/2.0.0.yml").write_text(orb("changed"))
    done, _ = take(shop, folder)
    assert "acme/a@1.0.0 is there already" in done
    assert "acme/b@2.0.0 is there with another text, and stays as it is" in done
    assert "echo b\n" in registry.resolve("acme/b@2.0.0").text


@pytest.mark.skipif(not SHARED_ORBS.exists(), reason=f"THE PACKED PUBLIC ORBS ARE NOT HERE ({SHARED_ORBS})")
def test_every_public_orb_is_imported(shop: Shop) -> None:
    shop.write(lambda tx: None)
    done, left_out = take(shop, SHARED_ORBS)
    assert left_out == []
    count = len(list(SHARED_ORBS.rglob("*.yml")))
    assert sum(line.startswith("imported ") for line in done) == count > 0
    registry = Registry(shop.path, shop.clock, None)
    source = Chain([registry])
    for orb_name, stem, path in Mirror(SHARED_ORBS).files():
        version = "dev:HEAD" if stem == "HEAD" else stem
        checked = check_orb(registry.resolve(f"{orb_name}@{version}").text, file=str(path), orbs=source)
        assert [problem.headline() for problem in checked.problems if problem.kind == "error"] == [
            problem.headline() for problem in checked.problems if problem.code == "orb-not-found"
        ]
    with closing(open_plain(shop.path)) as tx:
        assert all(namespace.is_imported for namespace in orbs.namespaces(tx))
