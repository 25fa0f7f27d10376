"""An orb's own file: every element is checked, with places, used or not."""

from __future__ import annotations

import pytest

from appliance.language.orb_document import check_orb, references_of
from tests.language.material import Library

GOOD = """\
version: 2.1
description: Says things
display: {home_url: https://example.org}
orbs: {tools: acme/tools@1, own: {commands: {wave: {steps: [checkout]}}}}
commands:
  say:
    parameters: {word: {type: string}}
    steps: [{run: echo << parameters.word >>}, own/wave, tools/greet]
executors:
  small: {docker: [{image: a}]}
jobs:
  talk: {executor: small, steps: [{say: {word: hi}}]}
examples:
  one: {usage: {version: 2.1}}
"""
TOOLS = Library({"acme/tools@1": "version: 2.1\ncommands: {greet: {steps: [checkout]}}\n"})


def test_a_good_orb_has_no_problem() -> None:
    checked = check_orb(GOOD, orbs=TOOLS)
    assert checked.problems == () and checked.is_valid
    assert checked.orbs == {"acme/tools@1": "acme/tools@1"}


@pytest.mark.parametrize(
    ("old", "new", "line", "column", "message"),
    [
        ("own/wave", "own/wve", 8, 48, "Cannot find a definition for a command named own/wve."),
        ("tools/greet", "tool/greet", 8, 58, "no orb is imported as tool"),
        ("executor: small", "executor: smal", 12, 20, "Cannot find a definition for an executor named smal."),
        ("{say: {word: hi}}", "{say: {wort: hi}}", 12, 42, "Unexpected argument(s): wort."),
        ("{say: {word: hi}}", "say", 12, 35, "needs the argument word"),
        ("<< parameters.word >>", "<< pipeline.parameters.x >>", 8, 27, "pipeline.parameters.x"),
        ("<< parameters.word >>", "<< parameters.wort >>", 8, 27, "wort"),
        ("acme/tools@1,", "acme/tool@1,", 4, 15, "cannot be resolved"),
        ("[{image: a}]", "{}", 10, 11, "must be a list of images"),
        ("version: 2.1\n", "version: 2\n", 1, 10, "version 2.1"),
        ("version: 2.1\n", "", 1, 1, "needs a version"),
    ],
)
def test_what_is_wrong_is_an_error_at_its_place(old: str, new: str, line: int, column: int, message: str) -> None:
    checked = check_orb(GOOD.replace(old, new, 1), file="src/orb.yml", orbs=TOOLS)
    assert not checked.is_valid
    found = [problem for problem in checked.problems if problem.kind == "error"]
    assert any(
        (one.file, one.line, one.column) == ("src/orb.yml", line, column) and message in one.message for one in found
    ), [one.headline() for one in found]
    assert "^" in checked.render(found[0])


@pytest.mark.parametrize("text", ["", "[]", "text", "a: [", "\x00", "&a [*a]", "- " * 300])
def test_what_is_no_orb_is_said(text: str) -> None:
    checked = check_orb(text)
    assert not checked.is_valid and checked.problems[0].line >= 1
    assert references_of(text) == []


def test_keys_that_mean_nothing_are_warned_of() -> None:
    checked = check_orb(GOOD + "workflows: {}\n", orbs=TOOLS)
    assert checked.is_valid
    assert [problem.code for problem in checked.problems] == ["unknown-key"]


def test_references_have_their_places_inline_orbs_too() -> None:
    text = "version: 2.1\norbs:\n  a: x/y@1\n  b: {orbs: {c: 'x/z@2'}}\n  d:\n"
    assert [(one.text, one.line, one.column) for one in references_of(text)] == [("x/y@1", 3, 6), ("x/z@2", 4, 17)]
