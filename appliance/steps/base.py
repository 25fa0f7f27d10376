"""What a step kind is: a function `perform(step, node)` that does it in the node's sandbox and says how it went.

A step speaks to a Sandbox, not to Docker, and to the log through `node`. After a restart of the appliance the step that
was under way is performed again from its beginning; what it hands to `node.execute` is then not run twice but followed
where the log ends. So everything else a step does has to bear being done twice.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass

from appliance.blobs import Blobs
from appliance.clock import Clock
from appliance.executors.base import Command, Sandbox
from appliance.language import plan as plans
from appliance.model import JobId, ProjectId, StepStatus
from appliance.store.database import Database
from appliance.store.keys import AdditionalKey, CheckoutKey


@dataclass(frozen=True)
class Outcome:
    """How a step ended."""

    status: StepStatus
    exit_code: int | None = None
    message: str = ""
    halts: bool = False  # the job asks to end here, as a success; a failed step stays failed


SUCCESS = Outcome(StepStatus.SUCCESS)


@dataclass(frozen=True, kw_only=True)
class Source:
    """The code that is being built, as the server has it: jobs need no credentials to check it out."""

    url: str
    revision: str
    branch: str | None
    tag: str | None
    bundle: Callable[[], AsyncIterator[bytes]]
    archive: Callable[[], AsyncIterator[bytes]]
    is_out_of_reach: bool = False  # the job's sandbox cannot reach `url`


@dataclass(frozen=True, kw_only=True)
class Keys:
    """The SSH keys that this job may use, with their private halves; `known_hosts` are lines for that file."""

    checkout: CheckoutKey | None = None  # only for jobs that check out
    additional: tuple[AdditionalKey, ...] = ()  # only for jobs that add them
    known_hosts: str = ""
    are_withheld: bool = False  # this pipeline may have no secrets


@dataclass(frozen=True, kw_only=True)
class DataLimits:
    """How much a job may keep; from the settings."""

    artifact_bytes: int = 3 << 30  # one file (spec 2.3)
    artifacts: int = 50_000  # files of one job, all nodes together
    artifacts_bytes: int = 20 << 30
    layer_bytes: int = 10 << 30  # what one step persists to the workspace, compressed
    workspace_bytes: int = 50 << 30  # all layers of one workflow


@dataclass(frozen=True, kw_only=True)
class Data:
    """What data steps keep things in, and for whom. `scope` keeps forks apart from the project itself."""

    db: Database
    blobs: Blobs
    clock: Clock
    project_id: ProjectId
    scope: str
    job_id: JobId
    job_number: int
    workspace_id: str
    mask: Callable[[str], str]
    """Take the job's secrets out of words that are stored elsewhere than in the log."""
    limits: DataLimits = DataLimits()


@dataclass(frozen=True, kw_only=True)
class NodeView:
    """What a step sees of the node it runs in."""

    sandbox: Sandbox
    job: plans.Job
    index: int
    name: str  # of the node, for files: other nodes may share the file system
    command_id: str  # for the one supervised command of this step
    environment: Mapping[str, str]  # of the user's steps; never given to our own helpers
    source: Source
    data: Data
    keys: Keys
    execute: Callable[[Command, float], Awaitable[Outcome]]
    """Run a supervised command with its output in the step's log; stopped after so many seconds without output."""
    start_docker: Callable[[bool], Awaitable[str]]
    """Give the node a Docker engine, with the layers of earlier jobs if so; what to say of it. Raises Unavailable."""
    after_others: Callable[[], Awaitable[str | None]]
    """Wait for the other nodes of the job; a sentence when one of them has not succeeded."""
    say: Callable[[str], Awaitable[None]]
    """Words of ours in the step's log, with their line ends."""
