"""Bombs end in a problem, soon; the numbers come from `Limits`."""

from __future__ import annotations

import pytest

from appliance.language import Limits, Options, compile
from tests.language.material import built

JOB = "{ docker: [{ image: a }], steps: [checkout] }"


def codes(source: str, limits: Limits | None = None) -> set[str]:
    compiled = compile(source, options=Options(limits=limits or Limits()))
    assert (compiled.plan is None) == any(problem.kind == "error" for problem in compiled.problems)
    return {problem.code for problem in compiled.problems if problem.kind == "error"}


def test_a_billion_laughs() -> None:
    lines = ["version: 2.1", "a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    assert codes("\n".join(lines)) == {"too-many-values"}


def test_a_billion_laughs_by_merging() -> None:
    lines = ["version: 2.1", "a0: &a0 { k: [x, x, x, x] }"]
    for n in range(1, 40):
        entries = ", ".join(f"k{n}_{m}: *a{n - 1}" for m in range(4))
        lines.append(f"a{n}: &a{n} {{ <<: *a{n - 1}, {entries} }}")
    assert codes("\n".join(lines)) == {"too-many-values"}


def test_an_alias_inside_itself() -> None:
    assert codes("version: 2.1\na: &a [1, *a]\n") == {"recursive-alias"}


@pytest.mark.parametrize("opening", ["[", "{a: ", "- "])
def test_deep_nesting(opening: str) -> None:
    assert codes("version: 2.1\nx: " + ("\n  " if opening == "- " else "") + opening * 50_000) & {
        "too-deep",
        "not-yaml",
    }


def test_a_large_file() -> None:
    assert codes("x" * 101, Limits(source_bytes=100)) == {"too-large"}
    assert codes("ü" * 60, Limits(source_bytes=100)) == {"too-large"}


def test_commands_that_double() -> None:
    commands = "\n".join(f"  c{n}: {{ steps: [c{n + 1}, c{n + 1}] }}" for n in range(30))
    source = (
        f"version: 2.1\ncommands:\n{commands}\n  c30: {{ steps: [checkout] }}\n"
        "jobs:\n  build: { docker: [{ image: a }], steps: [c0] }\n"
    )
    assert codes(source, Limits(steps=5_000)) == {"too-many-steps"}


def test_commands_that_double_their_text() -> None:
    commands = "\n".join(
        f"  c{n}:\n    parameters: {{ t: {{ type: string }} }}\n"
        f'    steps: [c{n + 1}: {{ t: "<< parameters.t >><< parameters.t >>" }}]'
        for n in range(35)
    )
    source = (
        f"version: 2.1\ncommands:\n{commands}\n"
        "  c35:\n    parameters: { t: { type: string } }\n    steps: [run: << parameters.t >>]\n"
        "jobs:\n  build: { docker: [{ image: a }], steps: [c0: { t: xxxxxxxxxxxxxxxx }] }\n"
    )
    assert codes(source) == {"too-large"}


def test_a_matrix_that_is_too_large() -> None:
    source = (
        f"version: 2.1\njobs:\n  build: {JOB}\nworkflows:\n  main:\n    jobs:\n"
        "      - build: { matrix: { parameters: { a: &l [1,2,3,4,5,6,7,8,9], b: *l, c: *l, d: *l, e: *l, f: *l } } }\n"
    )
    assert codes(source) == {"matrix"}


def test_too_many_jobs() -> None:
    jobs = "".join("      - build\n" for _ in range(50))
    source = f"version: 2.1\njobs:\n  build: {JOB}\nworkflows:\n  main:\n    jobs:\n{jobs}"
    assert codes(source, Limits(jobs=49)) == {"too-many-jobs"}
    assert codes(source, Limits(jobs=50)) == set()


def test_an_orb_that_imports_itself() -> None:
    from tests.language.material import Library

    text = "version: 2.1\norbs: { me: acme/me@1 }\n"
    compiled = compile(text, orbs=Library({"acme/me@1": text}))
    assert {problem.code for problem in compiled.problems} == {"orb-depth"}


def test_patterns_that_backtrack_for_ever_are_refused() -> None:
    source = (
        f"version: 2.1\njobs:\n  build: {JOB}\nworkflows:\n  main:\n    jobs:\n"
        '      - build: { filters: { branches: { only: "/x(?!y)((a|a)*)*b/" } } }\n'
    )
    compiled = built(source, branch="x" + "a" * 60)
    assert {problem.code for problem in compiled.problems} == {"pattern"}


def test_many_problems_are_counted_not_kept() -> None:
    steps = "".join(f"      - nothing-{n}\n" for n in range(500))
    source = f"version: 2.1\njobs:\n  build:\n    docker: [{{ image: a }}]\n    steps:\n{steps}"
    compiled = compile(source, options=Options(limits=Limits(problems=100)))
    assert len(compiled.problems) == 100
    assert compiled.left_out == 400
    assert compiled.plan is None


def test_deep_logic() -> None:
    statement = "true"
    for _ in range(55):
        statement = f"{{ not: {statement} }}"
    step = f"{{ when: {{ condition: {statement}, steps: [checkout] }} }}"
    source = f"version: 2.1\njobs:\n  build: {{ docker: [{{ image: a }}], steps: [{step}] }}\n"
    assert codes(source) == set()
    assert codes(source, Limits(logic_depth=50)) == {"too-deep"}


def test_steps_that_double_by_being_passed_on() -> None:
    commands = "\n".join(
        f"  c{n}:\n    parameters: {{ t: {{ type: steps }} }}\n"
        f"    steps: [c{n + 1}: {{ t: [steps: << parameters.t >>, steps: << parameters.t >>] }}]"
        for n in range(35)
    )
    source = (
        f"version: 2.1\ncommands:\n{commands}\n"
        "  c35:\n    parameters: { t: { type: steps } }\n    steps: [steps: << parameters.t >>]\n"
        "jobs:\n  build: { docker: [{ image: a }], steps: [c0: { t: [] }] }\n"
    )
    assert codes(source) == {"too-large"}


def test_calls_that_are_all_different() -> None:
    commands = "\n".join(
        f"  c{n}:\n    parameters: {{ t: {{ type: string }} }}\n"
        f"    steps: [c{n + 1}: {{ t: a<< parameters.t >> }}, c{n + 1}: {{ t: b<< parameters.t >> }}]"
        for n in range(30)
    )
    source = (
        f"version: 2.1\ncommands:\n{commands}\n"
        "  c30:\n    parameters: { t: { type: string } }\n    steps: [run: << parameters.t >>]\n"
        "jobs:\n  build: { docker: [{ image: a }], steps: [c0: { t: x }] }\n"
    )
    assert codes(source, Limits(templates=10_000)) == {"too-large"}


def test_a_command_that_calls_itself_many_times() -> None:
    steps = ", ".join(["again"] * 20)
    source = (
        f"version: 2.1\ncommands:\n  again: {{ steps: [{steps}] }}\n"
        "jobs:\n  build: { docker: [{ image: a }], steps: [again] }\n"
    )
    assert codes(source) == {"recursion"}
