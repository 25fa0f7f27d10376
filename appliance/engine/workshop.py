"""What every runner is handed: the shared parts of the appliance, and the facts of its node."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from appliance.bell import Bell
from appliance.blobs import Blobs
from appliance.clock import Clock
from appliance.crypto import SecretBox
from appliance.engine import key_ring, placement, rights
from appliance.engine.commands import LiveNodes
from appliance.executors.base import Executor, Sandbox
from appliance.language import plan as plans
from appliance.model import JobId, Project, Vcs
from appliance.steps.base import DataLimits, Keys
from appliance.store import contexts, continuations, jobs, pipelines, projects
from appliance.store.database import Database, Tx
from appliance.vcs.base import Provider

Continue = Callable[[bytes, str], Awaitable[tuple[int, bytes]]]
"""Takes the body of a `POST /pipeline/continue` and the name of this very request; gives status and body of the answer."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A step that has just failed, in its sandbox, which is still as the step left it."""

    sandbox: Sandbox
    job: str
    index: int
    nodes: int  # that the job has
    step: str
    message: str
    command_id: str | None
    working_directory: str


OnFailure = Callable[[Failure], Awaitable[None]]
"""Is awaited before the job goes on, and cancelled with it."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """From the settings; seconds and bytes."""

    longest_s: float
    grace_s: float
    log_bytes: int
    data: DataLimits = field(default_factory=DataLimits)
    service_log_bytes: int = 16 << 20
    hold_s: float = 600.0  # a job with SSH stays open for so long when nobody is inside
    longest_hold_s: float = 7200.0
    sample_s: float = 0.0  # between two looks at what a node takes; 0: never
    restarts: int = 1  # of a node that was lost


@dataclass(frozen=True, kw_only=True)
class DockerRules:
    """From the settings: which jobs may have which Docker engine."""

    is_on: bool = True
    for_forks: bool = False
    for_machines: bool = True
    shared_with: frozenset[str] = frozenset()  # org/repo in lower case
    kept: int = 4  # how many a project's layers are kept, beyond those in use


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """What all runners share."""

    db: Database
    bell: Bell
    clock: Clock
    blobs: Blobs
    box: SecretBox
    live: LiveNodes
    executors: Mapping[str, Executor]
    providers: Mapping[Vcs, Provider]
    places: placement.Places
    limits: Limits
    remote_docker: DockerRules = DockerRules()
    everywhere: Mapping[str, str]  # environment of every job
    web_url: str
    ssh_command: Callable[[int, int], str]  # job number, node index -> what a person types, "" for no way
    git_url: Callable[[Project], str]
    carry_on: Continue | None  # continues a pipeline for a job that asks so with `curl`; None: it has to reach the API
    known_hosts: Callable[[], str]  # lines for the jobs' file of that name
    on_failure: OnFailure | None = None
    has_identity: bool = True  # there is an issuer that clouds can ask: jobs are given identity tokens


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the rows say of a node when its runner begins."""

    project: Project
    pipeline: pipelines.Pipeline
    workflow: pipelines.Workflow
    job: jobs.Job
    plan: plans.Job
    node: jobs.Node
    steps: tuple[jobs.Step, ...]  # of this attempt
    may_have_secrets: bool  # variables, contexts, keys, identity tokens: what is nobody's business but the project's
    secrets: Mapping[str, str] = field(repr=False)
    keys: Keys = field(repr=False)
    previous_number: int | None = None  # of the job before this one on its branch
    tokens: Mapping[str, str] = field(default_factory=dict, repr=False)  # `engine.oidc` fills them in

    @property
    def masked(self) -> set[str]:
        """What no log may show. A token's signature counts by itself: the rest of one may be printed in pieces."""
        tokens = self.tokens.values()
        return {*self.secrets.values(), *tokens, *map(signature, tokens), *key_ring.private_halves(self.keys)}


def signature(token: str) -> str:
    return token.rpartition(".")[2]


def facts_of(tx: Tx, box: SecretBox, job_id: JobId, index: int) -> Facts:
    """Read them. Secrets only for a pipeline that may have them, as things are now."""
    job = jobs.by_id(tx, job_id)
    workflow = pipelines.workflow(tx, job.workflow_id)
    pipeline = pipelines.pipeline(tx, workflow.pipeline_id)
    plan = jobs.plan_of(tx, job_id)
    secrets: Mapping[str, str] = {}
    may_have_secrets = rights.may_have_secrets(pipeline, projects.flags(tx, job.project_id))
    if may_have_secrets:
        # A later context overrides an earlier one, and any of them the project (spec 1.13).
        secrets = {**projects.secrets(tx, box, job.project_id), **contexts.values(tx, box, plan.contexts)}
    if workflow.is_setup:
        # Of forks too: it opens nothing but the pipeline's own second half. A secret, so that no log shows it.
        secrets = {**secrets, continuations.KEY_NAME: continuations.key_of(box, pipeline.id)}
    project, branch = projects.by_id(tx, job.project_id), pipeline.trigger.branch
    node = jobs.node(tx, job_id, index)
    before = None
    if branch is not None and job.number is not None:
        before = jobs.previous_number(tx, project.id, branch, job.number)
    return Facts(
        project=project,
        pipeline=pipeline,
        workflow=workflow,
        job=job,
        plan=plan,
        node=node,
        steps=tuple(jobs.steps_of(tx, job_id, index, node.first_position)),
        may_have_secrets=may_have_secrets,
        secrets=secrets,
        keys=key_ring.keys_of(tx, box, project, plan, may_have_secrets=may_have_secrets),
        previous_number=before,
    )
