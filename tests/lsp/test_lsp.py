"""`rondo lsp` as an editor sees it: a process, spoken to over its standard input and output."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import pytest

from tests.lsp.client import Editor, editor

ORB = """\
version: 2.1
description: Tools for everybody
commands:
  greet:
    description: Say hello.
    parameters:
      to: {type: string, default: world, description: Whom to greet}
    steps:
      - run: echo << parameters.to >>
  odd:
    steps:
      - greet: {too: you}
executors:
  small:
    docker: [{image: "cimg/base:2024.01"}]
"""

CONFIG = """\
version: 2.1
orbs:
  tools: acme/tools@1
parameters:
  where: {type: string, default: moon, description: The place to go}
commands:
  pack:
    description: Pack things.
    parameters:
      level: {type: integer, default: 7}
      what: {type: string}
    steps:
      - run: tar -<< parameters.level >> << parameters.what >> to << pipeline.parameters.where >>
      - when:
          condition: << parameters.level >>
          steps: [checkout]
executors:
  big:
    docker: [{image: "cimg/base:2024.01"}]
jobs:
  build:
    executor: big
    steps:
      - checkout
      - pack:
          what: 🎁 all
      - tools/greet
  test:
    executor: tools/small
    parameters:
      version: {type: string, default: "1"}
    steps:
      - tools/greet: {to: you}
      - run: echo << pipeline.number >>
workflows:
  main:
    jobs:
      - build
      - test:
          name: test-<< matrix.version >>
          requires: [build]
          matrix:
            parameters:
              version: ["1", "2"]
"""


@pytest.fixture
async def hello(tmp_path: Path) -> AsyncIterator[Editor]:
    """An editor that has said hello, with a mirror that has `acme/tools`."""
    orb = tmp_path / "mirror" / "acme" / "tools" / "1.2.3.yml"
    orb.parent.mkdir(parents=True)
    orb.write_text(ORB)
    async with editor(tmp_path, "--orb-mirror", str(tmp_path / "mirror")) as found:
        await found.initialize()
        yield found


def place(text: str, needle: str, plus: int = 0, nth: int = 0) -> tuple[int, int]:
    """Line and character, both from 0, of the nth occurrence of `needle`; as UTF-16 counts them."""
    at = -1
    for _ in range(nth + 1):
        at = text.index(needle, at + 1)
    line = text.count("\n", 0, at)
    before = text[text.rfind("\n", 0, at) + 1 : at + plus]
    return line, len(before.encode("utf-16-le")) // 2


def large(jobs: int) -> str:
    """A config of so many jobs, a hundred bytes each."""
    return "version: 2.1\njobs:\n" + "".join(
        f"  j{number}: {{machine: true, steps: [{{run: echo {'x' * 60}}}]}}\n" for number in range(jobs)
    )


def stretch(found: dict[str, Any]) -> tuple[int, int, int]:
    assert found["start"]["line"] == found["end"]["line"]
    return found["start"]["line"], found["start"]["character"], found["end"]["character"]


def marked(text: str, range_: dict[str, Any]) -> str:
    """The text that a range takes."""
    line, start, end = stretch(range_)
    units = text.split("\n")[line].encode("utf-16-le")
    return units[2 * start : 2 * end].decode("utf-16-le")


def file_of(location: Any) -> Path:
    return Path(unquote(urlparse(location["uri"]).path))


# Problems


async def test_problems_come_while_typing_and_go_when_mended(hello: Editor) -> None:
    broken = CONFIG.replace("- pack:", "- pakc:").replace("requires: [build]", "requires: [biuld]")
    await hello.open(broken)
    found = {marked(broken, one["range"]): one for one in await hello.problems()}
    assert set(found) == {"pakc", "biuld"}
    assert stretch(found["pakc"]["range"])[0] == place(broken, "pakc")[0]
    assert found["pakc"]["severity"] == 1 and found["pakc"]["source"] == "rondo"
    assert 'Did you mean "pack"?' in found["pakc"]["message"]
    await hello.change(CONFIG)
    assert await hello.problems() == []
    assert await hello.leave() == 0


async def test_characters_are_counted_as_the_editor_counts_them(hello: Editor) -> None:
    broken = CONFIG.replace("🎁 all", "{🎁🎁: 1, what: << parameters.none >>}")
    await hello.open(broken)
    texts = {marked(broken, one["range"]) for one in await hello.problems()}
    assert "parameters.none" in texts


async def test_a_problem_in_an_orb_stands_where_the_config_calls_it(hello: Editor) -> None:
    broken = CONFIG.replace("- tools/greet\n", "- tools/odd\n")
    await hello.open(broken)
    (found,) = [one for one in await hello.problems() if "too" in one["message"]]
    assert stretch(found["range"])[0] in (place(broken, "- build")[0], place(broken, "tools/odd")[0])
    assert "acme/tools@1.2.3:12" in found["message"]
    trail = found["relatedInformation"]
    assert file_of(trail[0]["location"]) == hello.root / ".circleci/config.yml"
    orb = trail[-1]["location"]
    assert file_of(orb).read_text() == ORB
    assert stretch(orb["range"])[0] == place(ORB, "too: you")[0]


async def test_kinds_differ_in_severity(hello: Editor) -> None:
    twice = CONFIG + "version: 2.1\n"
    await hello.open(twice)
    (found,) = await hello.problems()
    assert (found["code"], found["severity"]) == ("duplicate-key", 3)


async def test_a_text_that_is_no_yaml_has_a_place(hello: Editor) -> None:
    await hello.open("version: 2.1\njobs: [\n")
    (found,) = await hello.problems()
    assert found["code"] == "not-yaml"
    assert await hello.at("hover", 0, 2) is None


async def test_only_configs_are_looked_at(hello: Editor) -> None:
    await hello.open("jobs: [", "docker-compose.yml")
    await hello.open("jobs: [", ".circleci/config.yml")
    assert (await hello.problems())[0]["code"] == "not-yaml"


async def test_a_closed_config_has_no_problems(hello: Editor) -> None:
    await hello.open("jobs: [")
    assert await hello.problems()
    await hello.notify("textDocument/didClose", {"textDocument": {"uri": hello.uri()}})
    assert await hello.problems() == []
    assert await hello.at("hover", 0, 1) is None


async def test_the_newest_text_has_the_last_word(hello: Editor) -> None:
    """While a large text is being compiled thirty others replace it; most of them are never looked at."""
    await hello.open(large(9_000))
    for number in range(30):
        await hello.change(f"{CONFIG}\nbroken{number}: [")
    await hello.change(CONFIG.replace("executor: big", "executor: bigg"))
    answers: list[list[dict[str, Any]]] = []
    while not answers or not any("bigg" in one["message"] for one in answers[-1]):
        answers.append(await hello.problems())
    assert len(answers) < 20
    assert await hello.leave() == 0


async def test_a_lock_file_beside_the_config_binds(hello: Editor) -> None:
    folder = hello.root / ".circleci"
    folder.mkdir()
    (folder / "orbs.lock").write_text("this is no lock file [")
    await hello.open(CONFIG)
    (found,) = await hello.problems()
    assert found["severity"] == 1 and "lock" in found["message"]


# Hover


HOVERS = (
    ("<< parameters.level", 5, ["```yaml\n7\n```", "**parameter** `level` of command pack: integer, default `7`"]),
    ("<< parameters.what", 5, ["**parameter** `what` of command pack: string, required"]),
    ("<< pipeline.parameters.where", 9, ["```yaml\nmoon\n```", "of the pipeline", "The place to go"]),
    ("<< pipeline.number", 6, ["known when a pipeline starts"]),
    ("<< matrix.version", 4, ["one of\n```yaml\n- '1'\n- '2'\n```"]),
    (
        "- pack:",
        3,
        ["**command** `pack`", "Pack things.", "- `level` (integer, default `7`)", "- `what` (string, required)"],
    ),
    ("- tools/greet", 9, ["**command** `tools/greet`", "from `acme/tools@1.2.3`", "Say hello.", "Whom to greet"]),
    ("executor: big", 11, ["**executor** `big`"]),
    ("- build", 3, ["**job** `build`"]),
    (
        "tools: acme",
        1,
        ["`acme/tools@1.2.3` (written `acme/tools@1`)", "Tools for everybody", "- commands: `greet`, `odd`"],
    ),
    ("what: 🎁", 1, ["**parameter** `what` of command pack"]),
)


async def test_hover(hello: Editor) -> None:
    await hello.open(CONFIG)
    for needle, plus, said in HOVERS:
        found = await hello.at("hover", *place(CONFIG, needle, plus))
        assert found["contents"]["kind"] == "markdown", needle
        for part in said:
            assert part in found["contents"]["value"], needle
        if needle.startswith("<<"):
            assert marked(CONFIG, found["range"]).startswith(needle)


async def test_nothing_is_said_about_nothing(hello: Editor) -> None:
    await hello.open(CONFIG)
    for line, character in [(0, 0), (0, 10), (3, 500), (10_000, 0), place(CONFIG, "- checkout", 4)]:
        assert await hello.at("hover", line, character) is None
        assert await hello.at("definition", line, character) is None


# Definitions


DEFINITIONS = (
    ("- pack:", 3, "pack:\n    description"),
    ("executor: big", 10, "big:\n    docker"),
    ("- build", 2, "build:\n    executor"),
    ("requires: [build]", 12, "build\n      - test"),
    ("<< parameters.level", 6, "level: {type"),
    ("<< pipeline.parameters.where", 9, "where: {type"),
    ("<< matrix.version", 9, 'version: ["1"'),
    ("what: 🎁", 0, "what: {type"),
    ('version: ["1"', 3, "version: {type"),
)


async def test_definition_in_the_config(hello: Editor) -> None:
    await hello.open(CONFIG)
    for needle, plus, target in DEFINITIONS:
        found = await hello.at("definition", *place(CONFIG, needle, plus))
        assert found["uri"] == hello.uri(), needle
        start = found["range"]["start"]
        assert (start["line"], start["character"]) == place(CONFIG, target), needle
        assert marked(CONFIG, found["range"]) == target.split(":")[0].split("\n")[0]


DEFINITIONS_OF_THE_ORB = (
    ("- tools/greet", 4, "greet:\n    description"),
    ("executor: tools/small", 12, "small:\n    docker"),
    ("{to: you}", 1, "to: {type"),
    ("tools: acme", 9, "version: 2.1"),
)


async def test_definition_in_an_orb(hello: Editor) -> None:
    await hello.open(CONFIG)
    for needle, plus, target in DEFINITIONS_OF_THE_ORB:
        found = await hello.at("definition", *place(CONFIG, needle, plus))
        path = file_of(found)
        assert path.name == "acme_tools@1.2.3.yml", needle
        assert path.read_text() == ORB and path.stat().st_mode & 0o777 == 0o444
        start = found["range"]["start"]
        assert (start["line"], start["character"]) == place(ORB, target), needle
    assert await hello.leave() == 0
    assert not path.exists()


async def test_definition_in_an_inline_orb_and_through_an_anchor(hello: Editor) -> None:
    text = """\
version: 2.1
shared: &shared
  - own/shout
orbs:
  own:
    commands:
      shout:
        parameters: {word: {type: string, default: hey}}
        steps: [{run: echo << parameters.word >>}]
jobs:
  build:
    machine: true
    steps: *shared
"""
    await hello.open(text)
    assert await hello.problems() == []
    found = await hello.at("definition", *place(text, "own/shout", 5))
    assert found["uri"] == hello.uri()
    assert (found["range"]["start"]["line"], found["range"]["start"]["character"]) == place(text, "shout:")
    hover = await hello.at("hover", *place(text, "<< parameters.word", 8))
    assert "```yaml\nhey\n```" in hover["contents"]["value"]


# What must not kill it


async def test_garbage_does_not_kill_it(hello: Editor) -> None:
    for body in (
        b"{",
        b"[1, 2]",
        b"null",
        b'"text"',
        b"\xff\xfe",
        b'{"jsonrpc": "2.0"}',
        b'{"jsonrpc": "2.0", "id": 77, "method": "textDocument/hover", "params": 5}',
        b'{"jsonrpc": "2.0", "id": 78, "method": "no/such"}',
        b'{"jsonrpc": "2.0", "method": "textDocument/didOpen", "params": {"textDocument": 1}}',
        b'{"jsonrpc": "2.0", "id": 999, "result": 1}',
    ):
        hello.send_raw(body)
    hello.stdin.write(b"no header at all\r\nContent-Length: many\r\n\r\n")
    await hello.open("jobs: [")
    assert (await hello.problems())[0]["code"] == "not-yaml"
    assert await hello.at("hover", 0, 0) is None
    assert await hello.leave() == 0


async def test_a_megabyte_does_not_kill_it(hello: Editor) -> None:
    text = large(11_000)
    assert len(text) > 1_000_000
    await hello.open(text)
    assert isinstance(await hello.problems(), list)
    hover = await hello.at("hover", 5_000, 3)
    assert "**job** `j4998`" in hover["contents"]["value"]
    await hello.change("version: 2.1\n" + "a: " + "[" * 500_000)
    assert (await hello.problems())[0]["severity"] == 1
    assert await hello.leave() == 0


# Coming and going


async def test_it_says_what_it_can(tmp_path: Path) -> None:
    async with editor(tmp_path, "--stdio") as found:
        capabilities = await found.initialize()
        assert capabilities["hoverProvider"] and capabilities["definitionProvider"]
        assert capabilities["textDocumentSync"]["change"] == 1
        assert await found.leave() == 0


async def test_leaving_without_a_goodbye_is_an_error(hello: Editor) -> None:
    await hello.notify("exit", None)
    assert await hello.ended() == 1


async def test_it_ends_with_its_editor(hello: Editor) -> None:
    hello.stdin.close()
    assert await hello.ended() == 1


async def test_a_mirror_that_is_not_there_is_said_at_once(tmp_path: Path) -> None:
    async with editor(tmp_path, "--orb-mirror", str(tmp_path / "none")) as found:
        assert await found.ended() == 1


async def test_without_pygls_one_sentence_says_what_to_do(tmp_path: Path) -> None:
    """The library is hidden by a module of its name that cannot be imported."""
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['pygls'] = None\n")
    process = await asyncio.create_subprocess_exec(
        *("/usr/bin/env", f"PYTHONPATH={tmp_path}:{Path(__file__).parents[2]}"),
        *(sys.executable, "-m", "appliance", "lsp"),
        stderr=asyncio.subprocess.PIPE,
        cwd=tmp_path,
    )
    async with asyncio.timeout(60):
        _, said = await process.communicate()
    assert process.returncode == 1
    assert (
        said.decode()
        == "rondo: the language server needs pygls: in the clone of Rondo, `.venv/bin/pip install -e '.[lsp]'`\n"
    )
