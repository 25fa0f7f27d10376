"""`rondo run` in a tree that somebody else has made: its files and its config reach nothing of the person who runs it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from appliance.laptop import place as places
from appliance.laptop.harmless import coloured, plain
from appliance.laptop.keeper import folder_of
from tests.cli.tree import tree_in

CONFIG = """
version: 2.1
jobs:
  "../../../beside\\e]0;owned\\a":
    machine: true
    steps:
      - run: |
          mkdir a; echo key > a/authorized_keys; printf '\\033]0;owned\\007\\033[2J\\033[31mred\\033[0m\\n'
      - store_artifacts: {path: a}
      - run: {name: "step\\e[2J", command: exit 1}
workflows:
  w: {jobs: ["../../../beside\\e]0;owned\\a"]}
"""


@pytest.mark.slow
def test_names_of_a_config_write_nothing_outside_and_move_no_terminal(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    tree = tree_in(tmp_path / "deep", CONFIG)
    before = set(tmp_path.rglob("*")) - set(tree.root.rglob("*"))
    ended = tree.run("--executor", "local", "--verbose")
    assert ended.code == 1, ended.err
    assert set(tmp_path.rglob("*")) - set(tree.root.rglob("*")) == before
    said = ended.out + ended.err
    assert "\x1b[31mred\x1b[0m" in said
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", re.sub(r"\x1b\[\d+m", "", said))
    assert list((tree.root / ".rondo" / "artifacts").rglob("authorized_keys"))


def test_a_folder_of_state_that_came_with_the_tree_is_not_used(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    (victim / "repository" / "objects").mkdir(parents=True)
    (tmp_path / "tree" / ".rondo").mkdir(parents=True)
    place = places.Place(tmp_path / "tree", tmp_path / "config.yml")
    place.state.symlink_to(victim)
    (place.own / ".gitignore").symlink_to(tmp_path / "planted")
    places.prepare(place)
    assert (victim / "repository" / "objects").is_dir() and not (tmp_path / "planted").exists()
    assert place.state.stat().st_mode & 0o777 == 0o700 and [each.name for each in place.state.iterdir()] == ["made-by-rondo"]
    (place.state / "kept").touch()
    places.prepare(place)
    assert (place.state / "kept").exists()


def test_state_that_was_copied_or_made_by_hand_begins_anew(tmp_path: Path) -> None:
    place = places.Place(tmp_path, tmp_path / "config.yml")
    place.repository.mkdir(parents=True)
    (place.repository / "config").write_text("[core]\n\tfsmonitor = touch /tmp/x\n")
    (place.state / "made-by-rondo").write_text("1\n")
    places.prepare(place)
    assert not place.repository.exists()


@pytest.mark.parametrize(
    "label", ["..", "../../x", "/etc", "a/../b", "", ".", "x" * 4000, "é" * 4000, "/".join("abcdefghijklm"), "orb/job"]
)
def test_every_name_of_a_job_has_a_folder_below(tmp_path: Path, label: str) -> None:
    folder = tmp_path / "artifacts" / folder_of(label)
    folder.mkdir(parents=True)
    assert (tmp_path / "artifacts") in folder.resolve().parents


@pytest.mark.parametrize(
    "text",
    ["\x1b]0;t\x07", "\x1b]52;c;ZXZpbA==\x07", "\x1b[2J\x1b[1A", "\x9b2J", "\x1bP1$r\x1b\\", "\x07\r", "\u202e", "\x1b"],
)
def test_no_text_moves_a_terminal(text: str) -> None:
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u202e]", plain(f"a{text}b"))
    assert coloured(f"a{text}\x1b[1;31mb".encode()).count("\x1b") == 2  # the colour, and its end
