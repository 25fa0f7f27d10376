"""`rondo config validate` and `process` as a person or an editor uses them."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.cli import run as rondo
from appliance.language import compile
from tests.language.material import ROOT

GOOD = """version: 2.1
parameters:
  who: { type: string, default: world }
  loud: { type: boolean, default: false }
  copies: { type: integer, default: 1 }
orbs: { tools: acme/tools@1 }
jobs:
  build:
    docker: [{ image: a }]
    parallelism: << pipeline.parameters.copies >>
    steps:
      - tools/greet: { who: << pipeline.parameters.who >> }
      - when: { condition: << pipeline.parameters.loud >>, steps: [run: shout] }
      - run: echo << pipeline.git.branch >> << pipeline.number >>
workflows:
  main:
    jobs:
      - build: { filters: { branches: { only: main } } }
      - build: { name: release, filters: { tags: { only: /v.*/ }, branches: { ignore: /.*/ } } }
"""
ORB = """version: 2.1
commands:
  greet:
    parameters: { who: { type: string } }
    steps: [run: hello << parameters.who >>]
"""


def run(*arguments: str) -> int:
    return rondo(["config", *arguments])


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yml"
    path.write_text(GOOD)
    for version in ("1.0.0", "1.9.0", "1.10.0", "2.0.0"):
        file = tmp_path / "mirror" / "acme" / "tools" / f"{version}.yml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(ORB.replace("hello", f"hello-{version}"))
    return path


def test_validate_says_that_all_is_well(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("validate", str(config), "--orb-mirror", str(config.parent / "mirror")) == 0
    assert capsys.readouterr().out == f"{config} is valid.\n"


def test_validate_points_at_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "config.yml"
    path.write_text("version: 2.1\njobs:\n  build:\n    docker: [{ image: a }]\n    steps: [check_out, runn: ls]\n")
    assert run("validate", str(path)) == 1
    out = capsys.readouterr().out.splitlines()
    assert out[0] == (
        f'{path}:5:13: error: Cannot find a definition for a command named check_out. Did you mean "checkout"?'
    )
    assert out[1] == "  5 |     steps: [check_out, runn: ls]"
    assert out[2] == "    |             ^"
    assert out[-1] == "2 errors. The config cannot run."


def test_process_uses_parameters_values_and_refs(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mirror = str(config.parent / "mirror")
    given = ("--parameter", "who=you", "--parameter", "loud=yes", "--parameter", "copies=3")
    more = ("--pipeline-value", "pipeline.number=77", "--branch", "main")
    assert run("process", str(config), "--orb-mirror", mirror, *given, *more) == 0
    out = capsys.readouterr().out
    assert out.startswith("# Orb 'acme/tools@1' resolved to 'acme/tools@1.10.0'\nversion: 2\n")
    plan = compile(out).plan
    assert plan is not None
    (job,) = plan.workflows[0].jobs
    assert [getattr(step, "command", None) for step in job.steps] == ["hello-1.10.0 you", "shout", "echo main 77"]
    assert (job.name, job.parallelism) == ("build", 3)


def test_a_tag_runs_what_is_for_tags(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("process", str(config), "--orb-mirror", str(config.parent / "mirror"), "--tag", "v1") == 0
    plan = compile(capsys.readouterr().out).plan
    assert plan is not None
    assert [job.name for job in plan.workflows[0].jobs] == ["release"]


def test_wrong_parameters_are_problems(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mirror = str(config.parent / "mirror")
    assert run("validate", str(config), "--orb-mirror", mirror, "--parameter", "copies=many", "--parameter", "wo=x") == 1
    out = capsys.readouterr().out
    assert 'must be an integer, not "many"' in out
    assert 'Did you mean "who"?' in out


def test_problems_go_to_stderr_when_the_config_goes_to_stdout(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("process", str(config)) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "The orb acme/tools@1 cannot be resolved" in captured.err


def test_json_for_editors(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("validate", str(config), "--format", "json") == 1
    document = json.loads(capsys.readouterr().out)
    assert document["valid"] is False
    assert document["problems"][0] == {
        "kind": "error",
        "code": "orb-not-found",
        "message": "The orb acme/tools@1 cannot be resolved: no source of orbs is set up.",
        "file": str(config),
        "line": 6,
        "column": 16,
        "expected": None,
        "did_you_mean": None,
        "trail": [],
    }


def test_strict_refuses_bad_habits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "config.yml"
    path.write_text("version: 2.1\njobs:\n  build:\n    docker: [{ image: a }]\n    steps: [deploy: ls]\n")
    assert run("validate", str(path)) == 0
    assert run("validate", str(path), "--strict") == 1
    assert "deprecated" in capsys.readouterr().out


def test_standard_input(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"version: 2.1\njobs: {}\n")))
    assert run("validate", "-") == 0
    assert capsys.readouterr().out == "<stdin> is valid.\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["validate", "/nowhere/config.yml"], "cannot read /nowhere/config.yml: No such file or directory"),
        (["validate", "--parameter", "x", "CONFIG"], "--parameter wants NAME=VALUE, not x"),
        (["validate", "--orb-mirror", "/nowhere", "CONFIG"], "--orb-mirror: /nowhere is no folder"),
    ],
)
def test_wrong_use_is_one_line(arguments: list[str], message: str, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*[str(config) if word == "CONFIG" else word for word in arguments]) == 1
    assert capsys.readouterr().err == f"rondo: {message}\n"


def test_the_compiler_works_without_the_c_loader(config: Path) -> None:
    """PyYAML built without libyaml: slower, the same answers."""
    script = (
        "import sys, yaml\n"
        "del yaml.CSafeLoader, yaml.CSafeDumper\n"
        "from appliance.language import compile\n"
        "compiled = compile(sys.stdin.read())\n"
        "print([p.headline() for p in compiled.problems])\n"
        "print(compiled.process() if compiled.plan else '')\n"
    )
    source = GOOD.replace("orbs: { tools: acme/tools@1 }\n", "").replace("tools/greet: { who: ", "run: { command: ")
    source = source.replace("<< pipeline.number >>", "<< pipeline.id\t>>")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    found = subprocess.run(
        [sys.executable, "-c", script], input=source, capture_output=True, text=True, env=environment, check=True
    )
    compiled = compile(source)
    assert found.stdout == f"{[p.headline() for p in compiled.problems]}\n{compiled.process()}\n"


def test_the_mirror_knows_versions(config: Path) -> None:
    from appliance.orbs import Mirror

    mirror = Mirror(config.parent / "mirror")
    found = {ref: mirror.resolve(f"acme/tools@{ref}").name for ref in ("1", "1.9", "2.0.0", "volatile")}
    assert found == {
        "1": "acme/tools@1.10.0",
        "1.9": "acme/tools@1.9.0",
        "2.0.0": "acme/tools@2.0.0",
        "volatile": "acme/tools@2.0.0",
    }
    for missing in (
        "acme/tools@3",
        "acme/tools@1.0.1",
        "acme/other@1",
        "acme/tools@dev:../x",
        "../tools@1",
        "acme/tools@dev:x",
    ):
        with pytest.raises(LookupError):
            mirror.resolve(missing)
    (config.parent / "mirror/acme/tools/HEAD.yml").write_text(ORB)
    assert mirror.resolve("acme/tools@volatile").name == "acme/tools@HEAD"
    assert Mirror(config.parent / "mirror", head_for_missing=True).resolve("acme/tools@7").name == "acme/tools@HEAD"
