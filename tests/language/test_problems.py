"""What a problem shows: the place, the caret, the trail; and what "did you mean" means."""

from __future__ import annotations

from appliance.language import compile
from appliance.language.problems import Kind, Problem, closest
from tests.language.material import Library


def test_a_problem_in_an_orb_shows_the_orb_and_the_way_there() -> None:
    orb = "commands:\n  greet:\n    parameters: { a: { type: string } }\n    steps:\n      - run: echo << parameters.b >>\n"
    source = (
        "version: 2.1\norbs: { tools: acme/tools@1.0.0 }\n"
        "jobs:\n  build:\n    docker: [{ image: a }]\n    steps:\n      - tools/greet: { a: x }\n"
    )
    compiled = compile(source, orbs=Library({"acme/tools@1.0.0": orb}))
    (problem,) = compiled.problems
    assert problem.render(source) == compiled.render(problem), "a problem in an orb shows the orb's line"
    assert compiled.render(problem).splitlines() == [
        "acme/tools@1.0.0:5:22: error: Arguments referenced without declared parameters: parameters.b.",
        "  5 |       - run: echo << parameters.b >>",
        "    |                      ^",
        "  expected: a",
        "  in command tools/greet at .circleci/config.yml:7",
        "  in job build at .circleci/config.yml:4",
    ]


def test_places_inside_long_texts_are_found() -> None:
    source = (
        "version: 2.1\njobs:\n  build:\n    docker: [{ image: a }]\n    steps:\n"
        "      - run: |\n          one\n\n          two << pipeline.numbr >> three\n"
    )
    (problem,) = compile(source).problems
    assert (problem.line, problem.column, problem.did_you_mean) == (9, 18, "pipeline.number")


def test_long_lines_are_cut_around_the_caret() -> None:
    problem = Problem(kind=Kind.ERROR, code="x", message="m", file="f", line=1, column=5_001)
    shown = problem.render("a" * 5_000 + "b" + "c" * 5_000).splitlines()
    assert len(shown[1]) < 140
    assert shown[1][shown[2].index("^")] == "b"


def test_a_problem_without_its_source_still_says_all() -> None:
    problem = Problem(kind=Kind.WARNING, code="x", message="m", file="f", line=3, column=4, expected="e")
    assert problem.render(None) == "f:3:4: warning: m\n  expected: e"
    assert problem.render("one line") == "f:3:4: warning: m\n  expected: e"


def test_closest() -> None:
    assert closest("check-out", ["checkout", "run"]) == "checkout"
    assert closest("resource-class", ["resource_class"]) == "resource_class"
    assert closest("Build", ["build"]) == "build"
    assert closest("zzz", ["checkout"]) is None
    assert closest("same", ["same"]) is None


def test_the_same_problem_is_told_once() -> None:
    steps = "\n".join("      - greet" for _ in range(5))
    source = (
        "version: 2.1\ncommands:\n  greet:\n    steps: [run: echo << parameters.x >>]\n"
        f"jobs:\n  build:\n    docker: [{{ image: a }}]\n    steps:\n{steps}\n"
    )
    assert len(compile(source).problems) == 1


def test_a_tab_that_indents_is_named() -> None:
    (problem,) = compile("version: 2.1\njobs:\n  a:\n\tsteps: []\n").problems
    assert (problem.line, problem.expected) == (4, "blanks, not tabs, for indentation")


def test_lines_that_only_yaml_counts_end_in_a_problem() -> None:
    (problem,) = compile("a: {\u2028\t}}\u2028\u2028%%").problems
    assert problem.code == "not-yaml"
