"""The nouns: ids, statuses and the rows that floors hand to each other. No behaviour beyond what a noun knows of itself."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import NewType

ProjectId = NewType("ProjectId", str)
PipelineId = NewType("PipelineId", str)
WorkflowId = NewType("WorkflowId", str)
JobId = NewType("JobId", str)
UserId = NewType("UserId", str)


class PipelineState(StrEnum):
    """Spec 4.1. Never tells how the jobs went."""

    SETUP = "setup"
    PENDING = "pending"
    CREATED = "created"
    ERRORED = "errored"


class WorkflowStatus(StrEnum):
    """Spec 4.1."""

    RUNNING = "running"
    FAILING = "failing"
    ON_HOLD = "on_hold"
    QUEUED = "queued"
    SUCCESS = "success"
    FAILED = "failed"
    ERROR = "error"
    CANCELED = "canceled"
    UNAUTHORIZED = "unauthorized"
    NOT_RUN = "not_run"

    @property
    def is_done(self) -> bool:
        return self in _DONE_WORKFLOW


_DONE_WORKFLOW = frozenset(
    {
        WorkflowStatus.SUCCESS,
        WorkflowStatus.FAILED,
        WorkflowStatus.ERROR,
        WorkflowStatus.CANCELED,
        WorkflowStatus.UNAUTHORIZED,
        WorkflowStatus.NOT_RUN,
    }
)


class JobStatus(StrEnum):
    """Spec 4.1. `not_running` is "may start, waits for room"; `queued` waits for a serial group."""

    BLOCKED = "blocked"
    NOT_RUNNING = "not_running"
    QUEUED = "queued"
    ON_HOLD = "on_hold"
    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"
    TIMEDOUT = "timedout"
    CANCELED = "canceled"
    INFRASTRUCTURE_FAIL = "infrastructure_fail"
    UNAUTHORIZED = "unauthorized"
    NOT_RUN = "not_run"

    @property
    def is_done(self) -> bool:
        return self in _DONE_JOB

    @property
    def required_as(self) -> str:
        """The word by which `requires` names this end (spec 1.9): a timeout and a lost machine count as failed."""
        if self in (JobStatus.TIMEDOUT, JobStatus.INFRASTRUCTURE_FAIL):
            return "failed"
        return self.value


_DONE_JOB = frozenset(
    {
        JobStatus.SUCCESS,
        JobStatus.FAILED,
        JobStatus.TIMEDOUT,
        JobStatus.CANCELED,
        JobStatus.INFRASTRUCTURE_FAIL,
        JobStatus.UNAUTHORIZED,
        JobStatus.NOT_RUN,
    }
)


class NodeStatus(StrEnum):
    """One parallel copy of a job."""

    WAITING = "waiting"
    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"
    TIMEDOUT = "timedout"
    CANCELED = "canceled"
    INFRASTRUCTURE_FAIL = "infrastructure_fail"

    @property
    def is_done(self) -> bool:
        return self not in (NodeStatus.WAITING, NodeStatus.RUNNING)


class StepStatus(StrEnum):
    """Spec 4.1, step action (v1.1); `waiting` and `skipped` are ours."""

    WAITING = "waiting"
    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"
    TIMEDOUT = "timedout"
    CANCELED = "canceled"
    INFRASTRUCTURE_FAIL = "infrastructure_fail"
    SKIPPED = "skipped"

    @property
    def is_done(self) -> bool:
        return self not in (StepStatus.WAITING, StepStatus.RUNNING)


class Vcs(StrEnum):
    """Where a project's repository lives."""

    HOSTED = "hosted"  # pushed straight to us
    GITHUB = "github"  # GitHub or GitHub Enterprise
    GIT = "git"  # any URL git can clone; started over the API


SLUG_PREFIX: Mapping[Vcs, str] = {Vcs.HOSTED: "circleci", Vcs.GITHUB: "gh", Vcs.GIT: "circleci"}
"""The first word of a project slug, `PREFIX/ORG/REPO` (spec 6.1)."""


class TriggerKind(StrEnum):
    """What started a pipeline; the API's trigger `type` (spec 4.1)."""

    WEBHOOK = "webhook"
    API = "api"
    EXPLICIT = "explicit"
    SCHEDULE = "schedule"  # a workflow with `triggers` in the config of a branch
    SCHEDULED_PIPELINE = "scheduled_pipeline"  # a schedule of the API


@dataclass(frozen=True, kw_only=True)
class Project:
    id: ProjectId
    slug: str
    vcs: Vcs
    org: str
    repo: str
    git_url: str | None  # None for hosted ones
    default_branch: str
    created_at_ms: int

    @property
    def public_git_url(self) -> str | None:
        """`git_url` for people and jobs: it may hold a login, which is for git alone."""
        return None if self.git_url is None else public_url(self.git_url)

    @property
    def is_fetched_by_ssh(self) -> bool:
        """Whether git asks an SSH server for it: `ssh://...`, or `git@host:path`."""
        scheme, separator, _ = (self.git_url or "").partition("://")
        return scheme.lower() in ("ssh", "git+ssh", "ssh+git") if separator else ":" in scheme.partition("/")[0]

    @property
    def name(self) -> str:
        """ORG/REPO, as people say it."""
        return f"{self.org}/{self.repo}"


def public_url(url: str) -> str:
    """A git URL as it may be shown: without a password, and for http without a user, which may be a token."""
    scheme, separator, rest = url.partition("://")
    before, at, host = rest.partition("/")[0].rpartition("@")
    if not separator or not at:
        return url
    user = "" if scheme.lower() in ("http", "https") else before.partition(":")[0] + at
    return f"{scheme}://{user}{host}{rest[len(before) + len(at) + len(host) :]}"


@dataclass(frozen=True, kw_only=True)
class Commit:
    """What the forge or git said about the head commit. Author and committer are claims, never used for trust."""

    subject: str = ""
    body: str = ""
    author_name: str = ""
    author_email: str = ""
    author_login: str = ""
    authored_at: str = ""
    url: str = ""


@dataclass(frozen=True, kw_only=True)
class PullRequest:
    """What the forge said of a pull request. Title and the head's names are its author's claims, never used for trust."""

    number: int
    action: str  # opened | synchronize | reopened
    title: str = ""
    url: str = ""
    is_draft: bool = False
    base_ref: str = ""
    base_revision: str = ""
    head_ref: str = ""
    head_owner: str = ""
    head_name: str = ""


SYSTEM_ACTOR = "system-actor"
"""The login of nobody: who starts what the clock starts."""


@dataclass(frozen=True, kw_only=True)
class Occasion:
    """The schedule that has fired."""

    id: str
    name: str
    workflow: str | None = None  # of the config, which alone is to run; None: all that are not scheduled
    lateness: str = ""  # a sentence, when it fired long after its time


@dataclass(frozen=True, kw_only=True)
class Trigger:
    """An event that asks for a pipeline, as a door understood and verified it.

    `semantic_key` says what it means ("push refs/heads/main BEFORE AFTER"): the same meaning under another delivery id is
    the same trigger. `delivery_id` is the forge's, and so are the words of `moment`, when it happened: they tell one event
    from another of the same meaning. One of `branch` and `tag` is set.
    """

    project_id: ProjectId
    kind: TriggerKind
    semantic_key: str
    delivery_id: str | None = None
    moment: str = ""
    branch: str | None = None
    tag: str | None = None
    revision: str
    base_revision: str | None = None
    actor: str = ""  # the forge's or our login of who did it
    actor_id: UserId | None = None  # whose rights it has: only set by a door that has verified who it was
    github_id: str = ""  # of the account `actor` at GitHub
    commit: Commit = field(default_factory=Commit)
    parameters: Mapping[str, str | int | bool] = field(default_factory=dict)
    is_fork: bool = False  # verified by the forge; decides on trust
    pull_request: PullRequest | None = None  # what is asked to be built is one
    occasion: Occasion | None = None  # a schedule asks


@dataclass(frozen=True, kw_only=True)
class ProjectFlags:
    """The settings of a project, named as in the API (spec 6.2, 7.7); the last two are ours (spec 4.3)."""

    autocancel_builds: bool = False
    build_fork_prs: bool = False
    build_prs_only: bool = False
    disable_ssh: bool = False
    forks_receive_secret_env_vars: bool = False
    oss: bool = False
    set_github_status: bool = True
    setup_workflows: bool = True
    write_settings_requires_admin: bool = False
    blocks_new_work: bool = False  # no new pipelines and reruns; what runs goes on
    is_stopped: bool = False  # nothing is built at all
    pr_only_branch_overrides: tuple[str, ...] = ()  # regular expressions

    @property
    def why_no_new_work(self) -> str:
        """Why nothing may begin in the project, as part of a sentence; "" when it may."""
        if self.is_stopped:
            return "building of this project is stopped"
        return "new work is blocked for this project" if self.blocks_new_work else ""


@dataclass(frozen=True, kw_only=True)
class User:
    id: UserId
    name: str
    is_admin: bool
    sees_all_projects: bool
    is_reader: bool = False  # for one request that only reads: sees what is of projects that are open to everybody too

    @property
    def sees_everything(self) -> bool:
        return self.is_admin or self.sees_all_projects


STRANGER = User(id=UserId("stranger"), name="", is_admin=False, sees_all_projects=False, is_reader=True)
"""Nobody who is known, where strangers may read."""


@lru_cache(maxsize=1024)
def uuid_of(kind: str, name: str) -> str:
    """A stable UUID for what others know by UUID and we by name: an organization, a person who is gone."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"rondo:{kind}:{name.lower()}"))


def organization_id(org: str) -> str:
    """There are no organizations in the store: the same name gives the same id everywhere."""
    return uuid_of("organization", org)
