"""What the tests of the language share: the folders of real material, pipeline values, a plan without defaults."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path

from appliance.language import Compiled, OrbDocument, Problem, compile, plan

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"  # present where the appliance is developed, not in a clone of the repository
CORPUS = SHARED / "corpus"
ORBS = SHARED / "orbs"
CASES = SHARED / "cases"
OWN_CASES = Path(__file__).parent / "cases"

VALUES: dict[str, object] = {
    "pipeline.id": "00000000-0000-0000-0000-000000000001",
    "pipeline.number": 1,
    "pipeline.project.type": "github",
    "pipeline.project.slug": "gh/acme/app",
    "pipeline.git.revision": "0123456789abcdef0123456789abcdef01234567",
    "pipeline.trigger_source": "webhook",
}
ABSENT_ORB_CODES = frozenset(["orb-not-found", "empty-orb", "unknown-orb"])


class Library:
    """Orbs from texts."""

    def __init__(self, orbs: dict[str, str]) -> None:
        self._orbs = orbs

    def resolve(self, reference: str) -> OrbDocument:
        if reference not in self._orbs:
            raise LookupError("this library does not have it.")
        return OrbDocument(self._orbs[reference], reference)


def built(source: str, **values: object) -> Compiled:
    """Compile a text with the usual pipeline values; keywords name more of them, `branch="main"`."""
    more = {f"pipeline.git.{name}": value for name, value in values.items()}
    return compile(source, values={**VALUES, **more})


def errors(problems: Iterable[Problem]) -> list[Problem]:
    return [problem for problem in problems if problem.kind == "error"]


def jobs_of(compiled: plan.Plan) -> list[plan.Job]:
    """Also those that only a schedule would start."""
    return [job for workflow in (*compiled.workflows, *compiled.scheduled) for job in workflow.jobs]


def slim(value: object) -> object:
    """A plan, or a part of it, as plain data without what has its default; steps and executors with their class."""
    if is_dataclass(value) and not isinstance(value, type):
        found: dict[str, object] = {}
        if type(value).__name__ in _NAMED:
            found["is"] = type(value).__name__
        for spec in fields(value):
            inner = getattr(value, spec.name)
            default = spec.default_factory() if spec.default_factory is not MISSING else spec.default
            if inner != default:
                found[spec.name] = slim(inner)
        return found
    if isinstance(value, tuple | list):
        return [slim(item) for item in value]
    if isinstance(value, dict):
        return {key: slim(item) for key, item in value.items()}
    return str(value) if isinstance(value, str) else value


_NAMED = frozenset(
    [
        *("Run", "Checkout", "SaveCache", "RestoreCache", "StoreArtifacts", "StoreTestResults"),
        *("PersistToWorkspace", "AttachWorkspace", "AddSshKeys", "SetupRemoteDocker", "InstallSigningBundle"),
        *("Machine", "Macos"),
    ]
)
