"""Configs of real projects: each compiles, or the only thing wrong is an orb that nobody here has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from appliance.language import compile
from appliance.language.plan import dump_job, load_job
from appliance.orbs import Mirror
from tests.language.material import ABSENT_ORB_CODES, CORPUS, ORBS, VALUES, errors, jobs_of

pytestmark = pytest.mark.skipif(not CORPUS.exists(), reason="the corpus of real configs is not here")

# Files beside the configs that are none, or are only a part of one.
NOT_CONFIGS = {
    "aws-amplify__amplify-cli@rich-2021-10-21/config.base.yml": "input of a generator: jobs lack arguments it adds",
    "filecoin-project__lotus/template.yml": "a Go text template, not YAML",
}
_VERSION = re.compile(r"^version:", re.MULTILINE)
REFS: list[dict[str, object]] = [
    {},
    {"pipeline.git.branch": "main", "pipeline.git.branch.is_default": True},
    {"pipeline.git.branch": "some/feature", "pipeline.git.branch.is_default": False},
    {"pipeline.git.tag": "v1.2.3"},
]


def configs() -> list[Path]:
    if not CORPUS.exists():
        return []
    files = sorted(path for path in CORPUS.rglob("*.y*ml") if _VERSION.search(path.read_text()))
    return [path for path in files if name_of(path) not in NOT_CONFIGS]


def name_of(path: Path) -> str:
    return str(path.relative_to(CORPUS))


@pytest.mark.parametrize("ref", REFS, ids=["no ref", "main", "feature", "tag"])
def test_every_config_compiles_or_lacks_only_orbs(ref: dict[str, object]) -> None:
    mirror = Mirror(ORBS)
    bad: list[str] = []
    absent: set[str] = set()
    count = 0
    for path in configs():
        compiled = compile(path.read_text(), file=name_of(path), values={**VALUES, **ref}, orbs=mirror)
        count += compiled.plan is not None
        for problem in errors(compiled.problems):
            if problem.code in ABSENT_ORB_CODES:
                absent.add(problem.message.split(" cannot be resolved")[0])
            else:
                bad.append(problem.headline())
        if compiled.plan is not None:
            assert all(load_job(dump_job(job)) == job for job in jobs_of(compiled.plan))
    print(f"{count} configs compile; orbs that nobody here has:")
    print("\n".join(sorted(absent)))
    assert bad == []
    assert count >= 40


def test_with_the_newest_orbs_only_interfaces_differ() -> None:
    """HEAD in place of every missing version: arguments may differ, but nothing in an orb itself is wrong."""
    mirror = Mirror(ORBS, head_for_missing=True)
    interface = {"unexpected-argument", "missing-argument", "unknown-command", "unknown-job", "unknown-executor"}
    bad = []
    for path in configs():
        compiled = compile(path.read_text(), file=name_of(path), values=VALUES, orbs=mirror)
        bad += [
            problem.headline() for problem in errors(compiled.problems) if problem.code not in ABSENT_ORB_CODES | interface
        ]
    assert bad == []


def test_processed_configs_compile_to_the_same_plan() -> None:
    mirror = Mirror(ORBS, head_for_missing=True)
    count = 0
    for path in configs():
        compiled = compile(path.read_text(), file=name_of(path), values=VALUES, orbs=mirror)
        first = compiled.plan
        if first is None:
            continue
        again = compile(compiled.process())
        assert again.plan is not None, (name_of(path), [p.headline() for p in errors(again.problems)][:3])
        assert again.plan.workflows == first.workflows, name_of(path)
        assert again.plan.scheduled == first.scheduled, name_of(path)
        count += 1
    assert count >= 40


def test_every_orb_of_the_mirror_is_sound() -> None:
    """Each packed orb, put inline, has no error of its own: all its elements are checked."""
    bad = []
    mirror = Mirror(ORBS)
    for path in sorted(ORBS.rglob("*.yml")):
        text = "\n".join(f"    {line}" for line in path.read_text().splitlines())
        source = f"version: 2.1\norbs:\n  it:\n{text}\n"
        compiled = compile(source, file=str(path.relative_to(ORBS)), values=VALUES, orbs=mirror)
        bad += [p.headline() for p in errors(compiled.problems) if p.code not in ABSENT_ORB_CODES]
    assert bad == []
