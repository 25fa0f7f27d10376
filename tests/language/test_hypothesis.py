"""Whatever is thrown at the compiler, it answers with problems that have a place, and never with a traceback."""

from __future__ import annotations

import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.language import compile

WORDS = st.sampled_from(
    [
        *("version", "2.1", "jobs", "build", "docker", "image", "steps", "run", "command", "checkout", "workflows"),
        *("requires", "filters", "branches", "only", "/.*/", "matrix", "parameters", "type", "default", "enum", "when"),
        *("<< parameters.x >>", "<< pipeline.git.branch >>", "<<# parameters.x >>y<</ parameters.x >>", "\\<<", "<<"),
        *("executors", "commands", "orbs", "unless", "equal", "and", "not", "true", "yes", "010", "1e9", "~", "machine"),
    ]
)
SCALARS = st.one_of(WORDS, st.text(max_size=12), st.integers(), st.booleans(), st.none(), st.floats(allow_nan=True))
TREES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(WORDS, inner, max_size=5)),
    max_leaves=40,
)
SECTIONS = st.dictionaries(
    st.sampled_from(["jobs", "workflows", "commands", "executors", "orbs", "parameters", "job-groups", "setup"]),
    TREES,
    max_size=5,
)
BOUNDED = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)


@BOUNDED
@given(SECTIONS)
def test_any_tree_gets_an_answer(sections: dict[str, object]) -> None:
    check(json.dumps({"version": 2.1, **sections}))


@BOUNDED
@given(st.text(max_size=300))
def test_any_text_gets_an_answer(text: str) -> None:
    check(text)


@BOUNDED
@given(st.text(alphabet=" \n:-[]{}&*!|>'\"%@`,#?abc<>/.~01", max_size=200))
def test_any_punctuation_gets_an_answer(text: str) -> None:
    check("version: 2.1\n" + text)


def check(source: str) -> None:
    compiled = compile(source)
    is_error = any(problem.kind == "error" for problem in compiled.problems)
    assert (compiled.plan is None) == is_error
    for problem in compiled.problems:
        assert problem.line >= 1 and problem.column >= 1
        assert problem.message
        assert problem.render(source)
