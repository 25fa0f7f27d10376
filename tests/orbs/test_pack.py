"""`rondo orb pack`: a folder of sources to one orb."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from appliance.errors import BadRequest
from appliance.language.compilation import Compilation
from appliance.language.nodes import Map, Node, Scalar, Sequence
from appliance.language.options import Options
from appliance.language.orb_document import check_orb
from appliance.language.source import read
from appliance.orbs.pack import pack
from tests.orbs.world import SHARED_ORBS

SCRIPT = '#!/bin/bash\ncat <<EOF\n\tindented by a tab, a blank at the end: \n  key: "<< not a template >>" # {}\nEOF\n'
ORB = """
version: 2.1
description: 'Greets: "people"'
display:
  home_url: https://example.org
orbs: {tools: acme/tools@1.0.0}
"""
GREET = """
description: |
  Greet
  somebody
parameters:
  loud: {type: boolean, default: on}
  times: {type: integer, default: 010}
  word: {type: string, default: "yes"}
  version: {type: string, default: '1.10'}
steps:
  - run: <<include(scripts/greet.sh)>>
  - run: {name: again, command: <<  include(scripts/greet.sh>>}
  - run:
      command: << include(scripts/greet.sh) >>
      environment: {TEXT: "<<include(scripts/greet.sh)>>"}
"""


def source(folder: Path, files: dict[str, str]) -> Path:
    for name, text in {"@orb.yml": ORB, **files}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def packed(folder: Path) -> dict[str, object]:
    class Texts(yaml.SafeLoader):
        """Every scalar as the text it is written as."""

    Texts.yaml_implicit_resolvers = {}
    found: dict[str, object] = yaml.load(pack(folder), Loader=Texts)
    return found


def dig(tree: object, *path: str | int) -> object:
    for key in path:
        tree = tree[key]  # type: ignore[index]
    return tree


def test_folders_and_files_become_keys(tmp_path: Path) -> None:
    root = source(
        tmp_path,
        {
            "commands/greet.yml": "steps: [checkout]",
            "commands/@shared.yml": "wave: {steps: [checkout]}",
            "commands/more/deep.yaml": "steps: [checkout]",
            "jobs/build.yml": "docker: [{image: a}]\nsteps: [greet]",
            "executors/default.yml": "docker: [{image: a}]",
            "examples/use.yml": "usage: {version: 2.1}",
            "extra.yml": "commands: {root: {steps: [checkout]}}",
            "other/thing.yml": "a: b",
            ".hidden/x.yml": "a: b",
            "commands/.hidden.yml": "a: b",
            "commands/notes.txt": "not for us",
            "commands/empty.yml": "# nothing",
            "scripts/a.sh": "echo",
        },
    )
    tree = packed(root)
    assert list(tree) == ["version", "description", "display", "orbs", "commands", "executors", "jobs", "examples"]
    assert sorted(tree["commands"]) == ["greet", "more", "root", "wave"]  # type: ignore[call-overload]
    assert dig(tree, "commands", "more", "deep", "steps") == ["checkout"]
    assert dig(tree, "jobs", "build", "steps", 0) == "greet"


def test_an_include_is_the_file_with_templates_escaped(tmp_path: Path) -> None:
    root = source(tmp_path, {"commands/greet.yml": GREET, "scripts/greet.sh": SCRIPT})
    steps = dig(packed(root), "commands", "greet", "steps")
    escaped = SCRIPT.replace("<<", "\\<<")
    assert dig(steps, 0, "run") == escaped
    assert dig(steps, 1, "run") == {"name": "again", "command": escaped}
    assert dig(steps, 2, "run") == {"command": escaped, "environment": {"TEXT": escaped}}


def test_scripts_stay_readable_blocks(tmp_path: Path) -> None:
    root = source(tmp_path, {"commands/greet.yml": GREET, "scripts/greet.sh": SCRIPT})
    text = pack(root)
    assert text.count("|\n") >= 4 and "\\n" not in text
    assert "        \tindented by a tab, a blank at the end: \n" in text


def test_scalars_are_written_as_they_were_read(tmp_path: Path) -> None:
    root = source(tmp_path, {"commands/greet.yml": GREET, "scripts/greet.sh": "x"})
    parameters = dig(packed(root), "commands", "greet", "parameters")
    assert [dig(parameters, name, "default") for name in ("loud", "times", "word", "version")] == [
        "on",
        "010",
        "yes",
        "1.10",
    ]
    read = yaml.safe_load(pack(root))["commands"]["greet"]["parameters"]
    assert read["word"]["default"] == "yes" and read["loud"]["default"] is True
    assert read["version"]["default"] == "1.10"


def test_what_is_packed_is_a_valid_orb_and_packs_to_itself(tmp_path: Path) -> None:
    files = {"commands/greet.yml": GREET, "scripts/greet.sh": SCRIPT, "jobs/go.yml": "docker: [{image: a}]\nsteps: [greet]"}
    once = pack(source(tmp_path / "one", files))
    checked = check_orb(once)
    assert [problem.message for problem in checked.problems if problem.code != "orb-not-found"] == []
    twice = pack(source(tmp_path / "two", {"@orb.yml": once}))
    assert twice == once


@pytest.mark.parametrize(
    "text",
    [
        "  leading blanks\nand more\n",
        "\n\nleading lines\n",
        "\tleading tab\nand more\n",
        "no end of line\nhere",
        "many ends\n\n\n\n",
        "trailing blanks  \n\n   \nmiddle\n \n",
        "# comment\n--- document\n... end\n",
        "wide 日本 \U0001f600 text\nnel \x85 and \u2028 here\n",
        "x: y\n- z\n'\"\n",
        "carriage\r\nreturns\r\n",
        "",
    ],
)
def test_any_script_survives(tmp_path: Path, text: str) -> None:
    root = source(tmp_path, {"commands/greet.yml": "steps: [{run: <<include(scripts/a.sh)>>}]"})
    (root / "scripts").mkdir()
    (root / "scripts/a.sh").write_bytes(text.encode())
    expected = text.replace("\r\n", "\n").replace("\r", "\n")
    assert dig(packed(root), "commands", "greet", "steps", 0, "run") == expected


def test_aliases_are_written_out(tmp_path: Path) -> None:
    shared = "one: &a {steps: [checkout]}\ntwo: *a\nthree: {<<: *a, description: x}"
    tree = packed(source(tmp_path, {"commands/@all.yml": shared}))
    assert "&" not in pack(tmp_path).replace("&&", "")
    assert dig(tree, "commands", "three") == {"description": "x", "steps": ["checkout"]}


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"commands/a.yml": "[1]"}, "a.yml:1:1: a file must hold a map, not a list"),
        ({"commands/a.yml": "a: [b"}, "not valid YAML"),
        ({"commands/a.yml": "steps: [{run: 'sh <<include(scripts/s.sh)>>'}]"}, "must be the whole text"),
        ({"commands/a.yml": "steps: [{run: '<<include(a)>><<include(b)>>'}]"}, "one file only"),
        ({"commands/a.yml": "steps: [{run: <<include(scripts/none.sh)>>}]"}, "cannot include scripts/none.sh: No such file"),
        ({"commands/a.yml": "steps: [{run: <<include(../../secret)>>}]"}, "outside of the orb's folder"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, files: dict[str, str], reason: str) -> None:
    (tmp_path / "secret").write_text("key")
    root = source(tmp_path / "src" / "orb", files)
    with pytest.raises(BadRequest) as refused:
        pack(root)
    assert reason in str(refused.value)
    assert "commands/a.yml:" in str(refused.value)


def test_an_include_does_not_follow_a_link_out(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("key")
    root = source(tmp_path / "orb", {"commands/a.yml": "steps: [{run: <<include(scripts/link)>>}]", "scripts/x": ""})
    (root / "scripts/link").symlink_to(tmp_path / "secret")
    with pytest.raises(BadRequest, match="outside"):
        pack(root)


def test_a_folder_without_its_orb_file_is_no_source(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match=r"has no @orb\.yml"):
        pack(tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(not SHARED_ORBS.exists(), reason=f"THE PACKED PUBLIC ORBS ARE NOT HERE ({SHARED_ORBS})")
def test_public_orbs_keep_every_text_and_number(tmp_path: Path) -> None:
    (tmp_path / "orb").mkdir()
    for path in sorted(SHARED_ORBS.rglob("*.yml")):
        (tmp_path / "orb" / "@orb.yml").write_bytes(path.read_bytes())
        assert tree_of(pack(tmp_path / "orb")) == tree_of(path.read_text("utf-8")), path


def tree_of(text: str) -> object:
    """What the compiler reads, without places and the order of keys; each scalar with what kind it is."""
    work = Compilation(Options(), {})
    root = read(text, "orb.yml", work.problems, work.limits)
    assert root is not None and not work.problems.has_errors
    return plain(root)


def plain(node: Node) -> object:
    if isinstance(node, Map):
        return {key.text: plain(value) for key, value in node.items()}
    if isinstance(node, Sequence):
        return [plain(item) for item in node.items]
    assert isinstance(node, Scalar)
    return node.kind, node.text
