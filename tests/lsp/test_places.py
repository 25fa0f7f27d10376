"""Which token stands at a place, and that no place in any text is too much for hover and definition."""

from __future__ import annotations

import re

import pytest

from appliance.lsp.definitions import definition_at
from appliance.lsp.hover import note_at
from appliance.lsp.places import template_at, token_at
from appliance.lsp.reading import read_config

# The token that begins at the ^ stands between ^ and $.
TOKENS = [
    "  - ^pack$:",
    "key: ^plain words$  # a comment",
    "key: ^http://a.b/c#d$",
    'key: ^"quoted: # text"$ # more',
    "key: ^'it''s'$, x",
    "key: [^one$, two]",
    "key: {^a$: 1}",
    "key: ^<< parameters.a >>$",
    "key: ^<< a ? b : c >>-x$",
    "run: echo << ^parameters.a$ >> more",
    "key: ^&anchor value$",
    "key: ^a, b$",
]


@pytest.mark.parametrize("text", TOKENS)
def test_a_token_ends_where_it_ends(text: str) -> None:
    start, end = text.index("^"), text.index("$") - 1
    plain = text.replace("^", "").replace("$", "")
    found = token_at([plain], "f", 1, start + 1)
    assert plain[found.column - 1 : found.end - 1] == plain[start:end]


@pytest.mark.parametrize(("line", "column"), [(1, 1), (1, 99), (9, 1), (0, 0)])
def test_where_there_is_no_token_a_character_is_taken(line: int, column: int) -> None:
    found = token_at([""], "f", line, column)
    assert (found.column, found.end) == (1, 2)


def test_a_template_is_found_from_edge_to_edge() -> None:
    text = "a << one.x >> b << two >> cat \\<<EOF"
    found = {at: one.body for at in range(1, len(text) + 2) if (one := template_at(text, at)) is not None}
    assert {at for at, body in found.items() if body == "one.x"} == set(range(3, 15))
    assert {at for at, body in found.items() if body == "two"} == set(range(17, 27))
    assert set(found.values()) == {"one.x", "two"}


ODD = """\
version: 2.1
parameters: {p: {type: boolean, default: true}, q: 5, r: {type: steps}}
orbs: {a: {}, b: {jobs: {c: 1}, orbs: {d: {commands: {e: {steps: []}}}}}, f: [1], g: "x/y@1"}
commands: {h: {parameters: {s: {type: string, default: << pipeline.parameters.p >>}}, steps: [a/x, {b/d/e: {z: 1}}]}}
jobs: {j: &j {docker: [{image: << parameters.s >>}], steps: [h, {h: {s: << parameters.none >>}}]}, k: *j, l: << x >>}
workflows: {w: {jobs: [j, {k: {requires: [j, {l: [failed]}, [m]], matrix: {parameters: {v: << y >>}}}}, 7, << matrix.v >>]}}
"""


WORDS = [found.span() for found in re.finditer(r"[a-z.]+|<<|>>", ODD)][12::8]


@pytest.mark.parametrize("start", [0, *WORDS], ids=str)
def test_no_place_is_too_much(start: int | tuple[int, int]) -> None:
    """The text as it is, and with one word another, as it is while somebody types."""
    text = ODD if isinstance(start, int) else f"{ODD[: start[0]]}zz{ODD[start[1] :]}"
    reading = read_config(text, "config.yml", {}, None)
    assert reading is not None
    for line, content in enumerate(text.splitlines(), 1):
        for column in range(1, len(content) + 3):
            note_at(reading, line, column)
            definition_at(reading, line, column)
