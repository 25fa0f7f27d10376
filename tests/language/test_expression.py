"""String expressions against reference cases and against the rules the spec states."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from appliance.language.expression import (
    UNDEFINED,
    ExpressionError,
    Regex,
    Value,
    evaluate,
    is_truthy,
    parse,
)

SHARED = Path(__file__).parents[3] / "shared" / "cases" / "expr" / "cases.json"


def run(text: str, env: dict[str, object]) -> Value:
    def lookup(name: str) -> Value:
        value = env[name]
        if value is None:
            return UNDEFINED
        assert isinstance(value, bool | int | str)
        return value

    return evaluate(parse(text), lookup)


def mismatch(case: dict[str, object]) -> str | None:
    """What differs from the reference, or None."""
    env = case["env"]
    assert isinstance(env, dict)
    try:
        value = run(str(case["expression"]), env)
    except ExpressionError as error:
        got: dict[str, object] = {
            "errorType": error.code,
            "lexeme": error.lexeme,
            "charPos": error.position,
        }
        if error.token is not None:
            got["tokenType"] = error.token
        return None if got == case.get("error") else f"{case['expression']!r}: {got} not {case.get('error')}"
    shown: object = value
    if value is UNDEFINED:
        shown = None
    elif isinstance(value, Regex):
        shown = f"regexp:{value.source}"
    expected = case.get("value")
    same = type(shown) is type(expected) and shown == expected and is_truthy(value) is case.get("truthy")
    return None if same else f"{case['expression']!r}: {shown!r} not {case}"


@pytest.mark.skipif(not SHARED.exists(), reason="the shared expression cases are not here")
def test_every_reference_case_is_met() -> None:
    cases = json.loads(SHARED.read_text())
    assert len(cases) >= 243
    assert [text for text in map(mismatch, cases) if text is not None] == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", True),
        ('""', True),
        ('"false"', True),
        ("missing", False),
        ('missing != "main"', False),
        ("not missing", True),
        ('missing or "x"', True),
        ("not yes and no", False),
        ('branch == "main" and 10 or 1', True),
        ("branch starts-with /x/ or true", None),
        ('branch MATCHES /ma.n/ AND NOT (branch CONTAINS "x")', True),
    ],
)
def test_truth_of_expressions(text: str, expected: bool | None) -> None:
    env: dict[str, object] = {"missing": None, "yes": True, "no": False, "branch": "main"}
    if expected is None:
        with pytest.raises(ExpressionError):
            run(text, env)
    else:
        assert is_truthy(run(text, env)) is expected


def test_deep_and_long_expressions_end_in_an_answer() -> None:
    assert run(" and ".join(["1"] * 1000), {}) == 1
    with pytest.raises(ExpressionError, match="deep"):
        parse("(" * 4000 + "1" + ")" * 4000)
    with pytest.raises(ExpressionError, match="deep"):
        parse("!" * 4000 + "1")
