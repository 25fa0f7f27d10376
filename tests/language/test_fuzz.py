"""Broken configs never raise: seeded mutations of our cases, and of the corpus where it is, end in an answer."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable

import pytest

from appliance.language import compile
from tests.language.material import CORPUS, OWN_CASES, VALUES, Library

WORDS = [
    *("<<", ">>", "<< parameters.x >>", "<<# parameters.x >>", "<</ parameters.x >>", "<< pipeline.number >>", "\\<<"),
    *("*a", "&a", "<<: *a", "null", "true", "1e9", "-1", '""', "[]", "{}", ":", "-", "?", "|", ">", "#", "%", "@"),
    *("`", "'", '"', "\t", "jobs:", "steps:", "- run:", "when:", "matrix:", "requires:", "filters:", "executor:"),
    *("parameters:", "orbs:", "version:", "type:", "<< 1 == (", "and", "/(/", "~", "!!str", "!!binary x"),
    "<< pipeline.git.branch matches /a/ >>",
]


def sources() -> list[str]:
    files = sorted(OWN_CASES.glob("*.yml")) + sorted((OWN_CASES / "orbs").glob("*.yml"))
    if CORPUS.exists():
        files += [path for path in sorted(CORPUS.rglob("config.yml")) if path.stat().st_size < 20_000][:40]
    return [path.read_text() for path in files]


def cut(text: str, rng: random.Random) -> str:
    start = rng.randrange(len(text) + 1)
    return text[:start] + text[start + rng.randrange(1, 40) :]


def insert(text: str, rng: random.Random) -> str:
    at = rng.randrange(len(text) + 1)
    return text[:at] + rng.choice(WORDS) + text[at:]


def flip(text: str, rng: random.Random) -> str:
    at = rng.randrange(len(text)) if text else 0
    return (
        text[:at]
        + chr(rng.choice([0, 9, 10, 32, 58, 60, 62, 91, 123, 0x85, 0xE9, 0x2028, 0xD800, 0x1F600]))
        + text[at + 1 :]
    )


def swap_lines(text: str, rng: random.Random) -> str:
    lines = text.splitlines(keepends=True)
    if len(lines) < 2:
        return text
    one, two = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[one], lines[two] = lines[two], lines[one]
    return "".join(lines)


def indent(text: str, rng: random.Random) -> str:
    lines = text.splitlines(keepends=True)
    if not lines:
        return text
    at = rng.randrange(len(lines))
    lines[at] = "  " + lines[at] if rng.random() < 0.5 else lines[at][2:]
    return "".join(lines)


def replace_value(text: str, rng: random.Random) -> str:
    lines = text.splitlines(keepends=True)
    at = rng.randrange(len(lines)) if lines else 0
    if lines and ":" in lines[at]:
        lines[at] = lines[at].partition(":")[0] + ": " + rng.choice(WORDS) + "\n"
    return "".join(lines)


def swap_words(text: str, rng: random.Random) -> str:
    words = list(re.finditer(r"[\w./-]+", text))
    if not words:
        return text
    target, donor = rng.choice(words), rng.choice(words)
    return text[: target.start()] + donor.group() + text[target.end() :]


def graft(text: str, rng: random.Random) -> str:
    """A value of one line put in the place of another."""
    lines = text.splitlines(keepends=True)
    pairs = [n for n, line in enumerate(lines) if ": " in line]
    if len(pairs) < 2:
        return text
    one, two = rng.choice(pairs), rng.choice(pairs)
    lines[one] = lines[one].partition(": ")[0] + ": " + lines[two].partition(": ")[2]
    return "".join(lines)


def drop_line(text: str, rng: random.Random) -> str:
    lines = text.splitlines(keepends=True)
    if lines:
        del lines[rng.randrange(len(lines))]
    return "".join(lines)


GENTLE: list[Callable[[str, random.Random], str]] = [swap_words, swap_words, graft, replace_value, drop_line]
MUTATIONS: list[Callable[[str, random.Random], str]] = [cut, insert, flip, swap_lines, indent, replace_value]


def check(text: str) -> None:
    began = time.process_time()
    orbs = Library({"acme/tools@1.0.0": text, "acme/base@2": text})
    compiled = compile(text, values={**VALUES, "pipeline.git.branch": "main"}, orbs=orbs)
    assert time.process_time() - began < 5
    lines = text.count("\n") + 2
    assert compiled.plan is not None or compiled.problems
    for problem in compiled.problems:
        assert problem.line >= 1 and problem.column >= 1
        assert problem.line <= max(lines, len(text.splitlines()) + 1) or problem.file != ".circleci/config.yml"
        assert problem.message
        compiled.render(problem)
    if compiled.plan is not None:
        compiled.process()


@pytest.mark.parametrize("seed", range(6))
def test_mutated_configs_end_in_an_answer(seed: int) -> None:
    rng = random.Random(seed)
    texts = sources()
    for _ in range(400):
        text = rng.choice(texts)
        for _ in range(rng.randrange(1, 5)):
            text = rng.choice(GENTLE if rng.random() < 0.8 else MUTATIONS)(text, rng)
        try:
            check(text)
        except Exception as error:
            raise AssertionError(f"seed {seed}: {error!r} for this config:\n{text}") from error


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "---\n",
        "# only\n",
        "\ufeffversion: 2.1\n",
        "\x00",
        "\ud800",
        "%YAML 9.9\n---\n",
        "a: !!python/object:os.system x",
    ],
)
def test_odd_files_end_in_an_answer(text: str) -> None:
    check(text)
