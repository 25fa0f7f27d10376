"""The cache on disk: by digest, never trusted blindly, never in the way."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import pytest

from appliance.clock import FakeClock
from appliance.language.orbs import OrbDocument
from appliance.orbs.cache import Cache
from appliance.orbs.names import Unreachable
from appliance.store.orbs import digest_of


def nobody() -> OrbDocument:
    raise Unreachable("nobody is there.")


def kept(cache: Cache, question: str) -> str:
    return cache.answer(question, math.inf, nobody).text


def test_texts_are_kept_by_digest(tmp_path: Path) -> None:
    cache = Cache(tmp_path, FakeClock())
    for question in ("one", "two"):
        cache.keep(question, OrbDocument("same text", question))
    assert [path.name for path in (tmp_path / "texts").iterdir()] == [digest_of("same text")]
    assert kept(Cache(tmp_path, FakeClock()), "two") == "same text"


@pytest.mark.parametrize("damage", ["another text", "", "gone"])
def test_a_text_that_is_not_what_it_was_is_not_used(tmp_path: Path, damage: str) -> None:
    cache = Cache(tmp_path, FakeClock())
    cache.keep("one", OrbDocument("the text", "one"))
    text = tmp_path / "texts" / digest_of("the text")
    if damage == "gone":
        text.unlink()
    else:
        text.write_text(damage)
    with pytest.raises(Unreachable):
        kept(cache, "one")


@pytest.mark.parametrize(
    "damage", ["", "{", "[]", "null", '{"question": "one"}', '{"question": "one", "name": 1, "digest": 2, "at_ms": 3}']
)
def test_a_damaged_note_is_no_note(tmp_path: Path, damage: str) -> None:
    cache = Cache(tmp_path, FakeClock())
    cache.keep("one", OrbDocument("the text", "one"))
    (note,) = (tmp_path / "questions").iterdir()
    note.write_text(damage)
    with pytest.raises(Unreachable):
        kept(cache, "one")


def test_a_note_cannot_lead_to_another_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("the secret")
    cache = Cache(tmp_path / "cache", FakeClock())
    cache.keep("one", OrbDocument("the text", "one"))
    (note,) = (tmp_path / "cache" / "questions").iterdir()
    note.write_text(json.dumps({**json.loads(note.read_text()), "digest": "../../secret"}))
    with pytest.raises(Unreachable):
        kept(cache, "one")


def test_a_cache_that_cannot_be_written_is_not_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "questions").write_text("a file where the folder should be")
    document = OrbDocument("the text", "one")
    assert Cache(tmp_path, FakeClock()).answer("one", math.inf, lambda: document) == document


def test_the_oldest_are_forgotten_with_their_texts(tmp_path: Path) -> None:
    cache = Cache(tmp_path, FakeClock(), most=8)
    for number in range(9):
        cache.keep(f"question {number}", OrbDocument(f"text {number}", "x"))
        for note in (tmp_path / "questions").glob("*.json"):
            if json.loads(note.read_text())["question"] == f"question {number}":
                os.utime(note, (number, number))
    assert len(list((tmp_path / "questions").iterdir())) == len(list((tmp_path / "texts").iterdir())) == 6
    assert kept(cache, "question 7") == "text 7"
    with pytest.raises(Unreachable):
        kept(cache, "question 2")
