"""What a config compiles to: workflows of jobs of steps, with every template gone.

Nothing here refers to parameters, orbs, commands or executors: the compiler has resolved them. The engine and
the steps read these classes; the database keeps them as JSON (`dump`, `load`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


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
