"""Our rules for names, held against git's own."""

from __future__ import annotations

import random
import subprocess

import pytest

from appliance.vcs.names import is_folder_name, is_ref_name

PIECES = [
    "a",
    "B9",
    ".",
    "..",
    "/",
    "//",
    "@",
    "{",
    "@{",
    "~",
    "^",
    ":",
    "?",
    "*",
    "[",
    "\\",
    " ",
    "\t",
    "-",
    ".lock",
    "é",
    "$(x)",
    "`",
]


def test_a_ref_name_is_what_git_takes_for_one() -> None:
    chance = random.Random(7)
    for _ in range(300):
        name = "refs/heads/" + "".join(chance.choice(PIECES) for _ in range(chance.randint(0, 5)))
        git = subprocess.run(["git", "check-ref-format", name], check=False).returncode == 0
        assert is_ref_name(name) == git, name


@pytest.mark.parametrize("name", ["app", "a.b", "My_App-2", "_x", "0"])
def test_plain_names_are_folders(name: str) -> None:
    assert is_folder_name(name)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a..b", ".git", "x.git", "x.lock", "-x", "a/b", "a\n", "a\0", "é", "a" * 101, "a."]
)
def test_others_are_not(name: str) -> None:
    assert not is_folder_name(name)
