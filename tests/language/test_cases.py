"""Our own cases: `cases/NAME.yml` is a config, `cases/NAME.json` what was given with it and what comes out.

`given` may have values, parameters, orbs (reference to a file in cases/orbs) and options. `problems` is one line each:
kind, code, place, message. `plan` leaves out what has its default.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from appliance.language import Compiled, Options, compile
from appliance.language.plan import dump_job, load_job
from tests.language.material import OWN_CASES, VALUES, Library, jobs_of, slim

NAMES = sorted(path.stem for path in OWN_CASES.glob("*.yml"))


def compiled(name: str, given: dict[str, Any]) -> Compiled:
    orbs = {ref: (OWN_CASES / "orbs" / file).read_text() for ref, file in given.get("orbs", {}).items()}
    return compile(
        (OWN_CASES / f"{name}.yml").read_text(),
        file="config.yml",
        values={**VALUES, **given.get("values", {})},
        parameters=given.get("parameters", {}),
        orbs=Library(orbs),
        options=Options(**given.get("options", {})),
    )


def outcome(result: Compiled) -> dict[str, Any]:
    return {
        "problems": [line(problem) for problem in result.problems],
        "plan": slim(result.plan) if result.plan is not None else None,
    }


def line(problem: Any) -> str:
    text = f"{problem.kind} {problem.code} {problem.file}:{problem.line}:{problem.column} {problem.message}"
    if problem.did_you_mean is not None:
        text += f" Did you mean {problem.did_you_mean}?"
    if problem.expected is not None:
        text += f" Expected: {problem.expected}"
    if problem.trail:
        text += " Through: " + " > ".join(f"{frame.what} at {frame.file}:{frame.line}" for frame in problem.trail)
    return text


@pytest.mark.parametrize("name", NAMES)
def test_case(name: str, accept: bool) -> None:
    path = OWN_CASES / f"{name}.json"
    case = json.loads(path.read_text()) if path.exists() else {}
    result = compiled(name, case.get("given", {}))
    found = json.loads(json.dumps(outcome(result)))
    if accept:
        written = {key: case[key] for key in ("given",) if key in case} | found
        path.write_text(json.dumps(written, indent=2, ensure_ascii=False) + "\n")
        return
    assert found == {"problems": case.get("problems"), "plan": case.get("plan")}


@pytest.mark.parametrize("name", NAMES)
def test_plans_survive_json_and_processing(name: str) -> None:
    path = OWN_CASES / f"{name}.json"
    case = json.loads(path.read_text()) if path.exists() else {}
    result = compiled(name, case.get("given", {}))
    if result.plan is None:
        return
    for job in jobs_of(result.plan):
        assert load_job(json.loads(json.dumps(dump_job(job)))) == job
    again = compile(result.process())
    assert again.plan is not None, [problem.headline() for problem in again.problems]
    assert again.plan.workflows == result.plan.workflows
    assert again.plan.scheduled == result.plan.scheduled


def test_every_case_has_both_files() -> None:
    assert sorted(path.stem for path in OWN_CASES.glob("*.json")) == NAMES
    assert len(NAMES) >= 40
    assert all(Path(path).read_text().strip() for path in OWN_CASES.glob("*.yml"))
