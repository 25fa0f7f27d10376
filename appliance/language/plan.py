"""What a config compiles to: workflows of jobs of steps, with every template gone.

Nothing here refers to parameters, orbs, commands or executors: the compiler has resolved them. The engine and
the steps read these classes; the database keeps them as JSON (`dump`, `load`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from enum import StrEnum
from functools import cache
from typing import Any


class When(StrEnum):
    """When a step runs (spec 1.8.1). Data steps that always run carry ALWAYS."""

    ON_SUCCESS = "on_success"
    ALWAYS = "always"
    ON_FAIL = "on_fail"


class JobType(StrEnum):
    """Spec 1.7."""

    BUILD = "build"
    APPROVAL = "approval"
    NO_OP = "no-op"
    RELEASE = "release"
    LOCK = "lock"
    UNLOCK = "unlock"


@dataclass(frozen=True, kw_only=True)
class Run:
    """`run` (and the deprecated `deploy`, with `only_on_first_node`), spec 1.8.1."""

    command: str
    name: str
    shell: str | None = None  # None: the job's, else the default with -eo pipefail
    environment: Mapping[str, str] = field(default_factory=dict)
    background: bool = False
    working_directory: str | None = None  # relative to the job's
    no_output_timeout_s: float = 600.0
    when: When = When.ON_SUCCESS
    max_auto_reruns: int = 0
    auto_rerun_delay_s: float = 0.0
    only_on_first_node: bool = False


@dataclass(frozen=True, kw_only=True)
class Checkout:
    name: str = "Checkout code"
    path: str = "."
    method: str = "blobless"  # blobless | full | shallow
    depth: int | None = None
    when: When = When.ON_SUCCESS


@dataclass(frozen=True, kw_only=True)
class SaveCache:
    key: str
    paths: tuple[str, ...]
    name: str = "Saving Cache"
    when: When = When.ON_SUCCESS


@dataclass(frozen=True, kw_only=True)
class RestoreCache:
    keys: tuple[str, ...]  # `key` first, then `keys`
    name: str = "Restoring Cache"
    when: When = When.ON_SUCCESS


@dataclass(frozen=True, kw_only=True)
class StoreArtifacts:
    path: str
    destination: str | None = None
    name: str = "Uploading artifacts"
    when: When = When.ALWAYS


@dataclass(frozen=True, kw_only=True)
class StoreTestResults:
    path: str
    name: str = "Uploading test results"
    when: When = When.ALWAYS


@dataclass(frozen=True, kw_only=True)
class PersistToWorkspace:
    root: str
    paths: tuple[str, ...]
    name: str = "Persisting to Workspace"
    when: When = When.ON_SUCCESS


@dataclass(frozen=True, kw_only=True)
class AttachWorkspace:
    at: str
    name: str = "Attaching Workspace"
    when: When = When.ON_SUCCESS


@dataclass(frozen=True, kw_only=True)
class AddSshKeys:
    fingerprints: tuple[str, ...] = ()  # empty: every key of the project
    name: str = "Installing additional ssh keys"
    when: When = When.ON_SUCCESS


@dataclass(frozen=True, kw_only=True)
class SetupRemoteDocker:
    docker_layer_caching: bool = False
    version: str | None = None
    name: str = "Setup a remote Docker engine"
    when: When = When.ON_SUCCESS


@dataclass(frozen=True, kw_only=True)
class InstallSigningBundle:
    name: str = "Install signing bundle"
    when: When = When.ON_SUCCESS


Step = (
    Run
    | Checkout
    | SaveCache
    | RestoreCache
    | StoreArtifacts
    | StoreTestResults
    | PersistToWorkspace
    | AttachWorkspace
    | AddSshKeys
    | SetupRemoteDocker
    | InstallSigningBundle
)


@dataclass(frozen=True, kw_only=True)
class RegistryAuth:
    """`auth` of a docker image. Values may still be `$VAR`: the only place where that is expanded at run time."""

    username: str
    password: str


@dataclass(frozen=True, kw_only=True)
class DockerImage:
    """One item of a `docker` list (spec 1.6)."""

    image: str
    name: str | None = None
    entrypoint: tuple[str, ...] | None = None
    command: tuple[str, ...] | None = None
    user: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    auth: RegistryAuth | None = None
    aws_auth: Mapping[str, str] | None = None
    gcp_auth: Mapping[str, str] | None = None


@dataclass(frozen=True, kw_only=True)
class Docker:
    """The first image is the primary container; the others are services."""

    images: tuple[DockerImage, ...]


@dataclass(frozen=True, kw_only=True)
class Machine:
    image: str | None = None  # None: `machine: true`
    docker_layer_caching: bool = False


@dataclass(frozen=True, kw_only=True)
class Macos:
    xcode: str


Executor = Docker | Machine | Macos


@dataclass(frozen=True, kw_only=True)
class Require:
    """One entry of `requires`: satisfied when the job named so in this workflow ends in one of `statuses`."""

    job: str
    statuses: tuple[str, ...] = ("success",)


@dataclass(frozen=True, kw_only=True)
class Job:
    """One job of a workflow, as it will run."""

    name: str  # unique in its workflow; what `requires`, pages and commit statuses say
    type: JobType = JobType.BUILD
    requires: tuple[Require, ...] = ()
    contexts: tuple[str, ...] = ()
    executor: Executor | None = None
    resource_class: str | None = None
    parallelism: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)
    working_directory: str = "~/project"
    shell: str | None = None
    steps: tuple[Step, ...] = ()
    cache_retention_days: int | None = None
    key: str | None = None  # lock and unlock: the serial group
    plan_name: str | None = None  # release


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """An in-config `triggers: - schedule:`. Such a workflow never runs on a push (spec 1.9)."""

    cron: str
    branches_only: tuple[str, ...] | None
    branches_ignore: tuple[str, ...] | None


@dataclass(frozen=True, kw_only=True)
class Workflow:
    name: str
    jobs: tuple[Job, ...]
    max_auto_reruns: int = 0
    schedules: tuple[Schedule, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A compiled config. `workflows` holds only those that run for this pipeline; `scheduled` those with triggers."""

    version: str
    is_setup: bool = False
    workflows: tuple[Workflow, ...] = ()
    scheduled: tuple[Workflow, ...] = ()


_STEP_KINDS: dict[str, type[Step]] = {
    "run": Run,
    "checkout": Checkout,
    "save_cache": SaveCache,
    "restore_cache": RestoreCache,
    "store_artifacts": StoreArtifacts,
    "store_test_results": StoreTestResults,
    "persist_to_workspace": PersistToWorkspace,
    "attach_workspace": AttachWorkspace,
    "add_ssh_keys": AddSshKeys,
    "setup_remote_docker": SetupRemoteDocker,
    "install_signing_bundle": InstallSigningBundle,
}
_EXECUTOR_KINDS: dict[str, type[Executor]] = {"docker": Docker, "machine": Machine, "macos": Macos}


def kind_of(step: Step) -> str:
    """The key by which the config names a step: `run`, `save_cache`, ..."""
    return next(kind for kind, cls in _STEP_KINDS.items() if isinstance(step, cls))


def dump_job(job: Job) -> dict[str, Any]:
    """A job as JSON values; `load_job` gives it back."""
    data = {item.name: _plain(getattr(job, item.name)) for item in fields(job)}
    data["steps"] = [{"kind": kind_of(step)} | _plain(step) for step in job.steps]
    if job.executor is not None:
        kind = next(kind for kind, cls in _EXECUTOR_KINDS.items() if isinstance(job.executor, cls))
        data["executor"] = {"kind": kind} | _plain(job.executor)
    return data


def _plain(value: Any) -> Any:
    kind: Any = type(value)
    if kind in _ATOMS:  # first, for most are
        return value
    names = _field_names(kind)
    if names is not None:
        return {name: _plain(getattr(value, name)) for name in names}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.value if isinstance(value, StrEnum) else value


_ATOMS = frozenset((str, int, float, bool, type(None)))


@cache
def _field_names(kind: type) -> tuple[str, ...] | None:
    """Those of a dataclass; kept, for `fields` takes longer than all the rest of a dump."""
    return tuple(item.name for item in fields(kind)) if is_dataclass(kind) else None


def load_job(data: Mapping[str, Any]) -> Job:
    """What `dump_job` wrote."""
    values = dict(data)
    values["type"] = JobType(values["type"])
    values["requires"] = tuple(Require(job=item["job"], statuses=tuple(item["statuses"])) for item in values["requires"])
    values["contexts"] = tuple(values["contexts"])
    values["steps"] = tuple(_load_step(step) for step in values["steps"])
    if values["executor"] is not None:
        values["executor"] = _load_executor(values["executor"])
    return Job(**values)


def _load_step(data: Mapping[str, Any]) -> Step:
    values = _tuples(data)
    values["when"] = When(values["when"])
    return _STEP_KINDS[values.pop("kind")](**values)


def _load_executor(data: Mapping[str, Any]) -> Executor:
    values = _tuples(data)
    cls = _EXECUTOR_KINDS[values.pop("kind")]
    if cls is Docker:
        return Docker(images=tuple(_load_image(image) for image in values["images"]))
    return cls(**values)


def _load_image(data: Mapping[str, Any]) -> DockerImage:
    values = _tuples(data)
    if values["auth"] is not None:
        values["auth"] = RegistryAuth(**values["auth"])
    return DockerImage(**values)


def _tuples(data: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
