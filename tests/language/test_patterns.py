"""Patterns: whole-string matches, Java's look-aheads in linear time, nothing that takes for ever."""

from __future__ import annotations

import time

import pytest

from appliance.language import Limits
from appliance.language.patterns import PatternError, matches_fully

LIMITS = Limits()


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("main", ["main"], ["main2", "a main", ""]),
        ("^release/.*$", ["release/1"], ["prerelease/1"]),
        (r"v\d+\.\d+", ["v1.20"], ["v1", "xv1.2", "v1.2\n"]),
        ("(?!main$|develop$).*", ["feature", "main2"], ["main", "develop"]),
        (r"^(?!pull/)(?!gh-pages).*$", ["a/pull/1"], ["pull/1", "gh-pages-2"]),
        ("^(?=.*fix).*x$", ["fix", "a-fixx"], ["fix-y"]),
        ("(?!a[)]b).+", ["ab", "a)c"], ["a)b", ""]),
        ("^((?!skip|wip).)*$", ["fine", ""], ["a-wip-b", "skip"]),
        ("((?!x).)+", ["ab"], ["", "axb"]),
        ("feature-(?!old).*", ["feature-new"], ["feature-old1"]),
        (r".*(?<!-beta)", ["v1"], ["v1-beta"]),
        (r"(a+)-\1", ["aa-aa"], ["aa-a"]),
    ],
)
def test_what_matches(pattern: str, yes: list[str], no: list[str]) -> None:
    assert [text for text in yes if not matches_fully(pattern, text, LIMITS)] == []
    assert [text for text in no if matches_fully(pattern, text, LIMITS)] == []


@pytest.mark.parametrize(
    "pattern",
    ["(", "[a", "*", "(?!a", "(?=x)(a|a)*b(?!c)", "(?<!x)((a+)+)+b", "x" * 1001, "(?!)" * 200 + "(", r"\2(a)"],
)
def test_what_is_refused(pattern: str) -> None:
    with pytest.raises(PatternError):
        matches_fully(pattern, "a" * 50, LIMITS)


@pytest.mark.parametrize(
    "pattern", ["(a|a)*b", "(a+)+b", "(?=a)(a|a)*b", "(?!(a|a)*b)(a+)+c", "((?!(a|a)*b).)*", "(?<!x).*a.*a.*b", r"(a*)\1a*b"]
)
def test_nothing_takes_for_ever(pattern: str) -> None:
    began = time.process_time()
    for size in (10, 200, 20_000):
        try:
            matches_fully(pattern, "a" * size, LIMITS)
        except PatternError:
            assert size > LIMITS.backtracking_chars
    assert time.process_time() - began < 10


def test_long_texts_are_refused_only_where_they_are_dangerous() -> None:
    assert matches_fully("(?!main).*", "x" * 10_000, LIMITS)
    with pytest.raises(PatternError, match="only tried on up to"):
        matches_fully("a(?!main).*", "a" * 10_000, LIMITS)
