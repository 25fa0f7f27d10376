"""Configs that others wrote, with their verdicts: documentation, the language server, the public JSON schema.

Each exception below has its reason. A test also fails when an exception is no longer needed.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from appliance.language import compile
from appliance.orbs import Mirror
from tests.language.material import ABSENT_ORB_CODES, CASES, ORBS, VALUES, errors

pytestmark = pytest.mark.skipif(not CASES.exists(), reason="the shared cases are not here")

CATALOGUE = "asks a registry or a catalogue of the cloud; an appliance's images and classes are its owner's"
UNUSED = "an unknown name in an element that nothing uses: CircleCI's compiler never looks there, we warn"
SERVER_EXCEPTIONS = {
    "060": "the verdict was read wrongly: the test says the image is valid",
    "061": CATALOGUE,
    "063": CATALOGUE,
    "146": CATALOGUE + " (an Xcode that is no longer offered)",
    "147": UNUSED,
    "150": "`version: 2.1,` is no version; the server looks only at the orb there",
}
SCHEMA_EXCEPTIONS = {
    "positive/contexts.json": "the schema does not see that the job is defined nowhere",
    "positive/matrix-simple.json": "the schema does not see that the job is defined nowhere",
    "positive/parallelism.json": "a bare `run` has no command",
}

NO_STEPS = "an excerpt: the job has no steps"
NO_PLACE = "an excerpt: the job says nothing of where it runs"
NO_JOBS = "an excerpt: jobs of the workflow are defined elsewhere"
PLACEHOLDER = "a placeholder where a value belongs"
DOCUMENTATION_EXCEPTIONS = {
    "009": NO_STEPS,
    "015": PLACEHOLDER,
    "017": PLACEHOLDER,
    "042": "an excerpt: the executor is defined elsewhere",
    "054": PLACEHOLDER,
    "073": PLACEHOLDER,
    "074": PLACEHOLDER,
    "085": "an excerpt: the executor is defined elsewhere",
    "116": PLACEHOLDER,
    "124": PLACEHOLDER,
    "125": PLACEHOLDER,
    "151": NO_STEPS,
    "161": PLACEHOLDER,
    "162": PLACEHOLDER,
    "318": NO_PLACE,
    "319": NO_PLACE,
    "320": NO_JOBS,
    "335": NO_STEPS,
    "348": "an excerpt: the job is empty",
    "352": "a slip: circleci/node:4.1 with a colon",
    "376": NO_JOBS,
    "384": NO_JOBS,
    "394": PLACEHOLDER,
    "395": PLACEHOLDER,
    "427": NO_JOBS,
    "433": NO_STEPS,
    "438": PLACEHOLDER,
    "483": "an excerpt: the executor and the command are defined elsewhere",
    "500": PLACEHOLDER,
    "502": PLACEHOLDER,
    "503": PLACEHOLDER,
    "504": PLACEHOLDER,
    "529": "a slip: `environment` beside `run`, not in it",
    "537": PLACEHOLDER,
    "583": PLACEHOLDER,
    "600": "an excerpt: the job is empty",
    "605": NO_STEPS,
    "618": NO_STEPS,
    "705": "an excerpt: the command has no steps",
    "706": "shown there as an example of a wrong default",
    "723": NO_STEPS,
    "730": NO_STEPS,
    "733": NO_JOBS,
}


def complaints(path: Path) -> list[str]:
    compiled = compile(path.read_text(), file=path.name, values=VALUES, orbs=Mirror(ORBS))
    return [problem.headline() for problem in errors(compiled.problems) if problem.code not in ABSENT_ORB_CODES]


def all_complaints(path: Path) -> list[str]:
    compiled = compile(path.read_text(), file=path.name, values=VALUES, orbs=Mirror(ORBS))
    return [problem.headline() for problem in errors(compiled.problems)]


def number_of(path: Path) -> str:
    found = re.match(r"\d+", path.name)
    assert found is not None
    return found.group()


def test_documentation_examples_compile() -> None:
    unexpected, needed = [], set()
    files = sorted((CASES / "docs-snippets" / "complete").iterdir())
    for path in files:
        found = complaints(path)
        if found and number_of(path) in DOCUMENTATION_EXCEPTIONS:
            needed.add(number_of(path))
        elif found:
            unexpected.append(f"{path.name}: {found}")
    assert len(files) >= 163
    assert unexpected == []
    assert sorted(DOCUMENTATION_EXCEPTIONS.keys() - needed) == [], "exceptions that are no longer needed"


def test_language_server_verdicts() -> None:
    folder = CASES / "language-server"
    wrong, needed = [], set()
    cases = json.loads((folder / "CASES.json").read_text())
    for case in cases:
        path = folder / case["file"]
        found = all_complaints(path) if case["verdict"] == "negative" else complaints(path)
        agrees = bool(found) == (case["verdict"] == "negative")
        if not agrees and number_of(path) in SERVER_EXCEPTIONS:
            needed.add(number_of(path))
        elif not agrees:
            wrong.append(f"{path.name} ({case['verdict']}): {found}")
    assert len(cases) >= 76
    assert wrong == []
    assert sorted(SERVER_EXCEPTIONS.keys() - needed) == [], "exceptions that are no longer needed"


def test_schema_verdicts() -> None:
    folder = CASES / "schemastore"
    wrong, needed = [], set()
    for path in sorted(folder.glob("*/*")):
        found = complaints(path)
        name = str(path.relative_to(folder))
        agrees = bool(found) == name.startswith("negative")
        if not agrees and name in SCHEMA_EXCEPTIONS:
            needed.add(name)
        elif not agrees:
            wrong.append(f"{name}: {found}")
    assert wrong == []
    assert sorted(SCHEMA_EXCEPTIONS.keys() - needed) == [], "exceptions that are no longer needed"


def test_the_registry_of_pipeline_values_is_known() -> None:
    from appliance.language.values import is_known

    lines = (CASES / "expr" / "pipeline-values.tsv").read_text().splitlines()
    names = [line.split("\t")[0] for line in lines if line.startswith("pipeline.")]
    assert len(names) > 80
    assert [name for name in names if not name.endswith("*") and not is_known(name, {})] == []
