"""Triggers, pipelines and workflows."""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from appliance.errors import NotFound
from appliance.model import (
    Commit,
    Occasion,
    PipelineId,
    PipelineState,
    ProjectId,
    PullRequest,
    Trigger,
    TriggerKind,
    UserId,
    WorkflowId,
    WorkflowStatus,
)
from appliance.store import projects
from appliance.store.database import Tx

_SAME_MEANING_MS = 10 * 60 * 1000


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What the compiler, or reading the config, had to say; `type` as in the API (spec 4.1)."""

    type: str
    kind: str  # error | deprecated | bad_habit | warning
    message: str
    line: int | None = None
    column: int | None = None
    text: str = ""  # with the caret line, for people


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    id: PipelineId
    project_id: ProjectId
    number: int
    state: PipelineState
    trigger: Trigger
    is_trusted: bool  # the forge verified that no stranger wrote it; decides on caches and shells
    may_have_secrets: bool  # what the project's settings made of that when the pipeline began; never changes
    source: str
    compiled: str
    values: Mapping[str, Any]
    problems: tuple[Problem, ...]
    created_at_ms: int
    updated_at_ms: int


@dataclass(frozen=True, kw_only=True)
class Workflow:
    id: WorkflowId
    pipeline_id: PipelineId
    name: str
    status: WorkflowStatus
    workspace_id: str
    started_by: str
    actor_id: UserId | None  # whose rights its jobs have; None: nobody's whom we know
    canceled_by: str | None
    is_setup: bool
    root_id: WorkflowId  # the first of which it is a rerun, or itself
    rerun_of: WorkflowId | None
    rerun: str  # '' | manual | automatic
    auto_rerun_number: int
    max_auto_reruns: int
    is_errored: bool  # one of its jobs could not be started
    excuses_consumed: bool  # a failure that another job requires does not fail it
    may_be_redundant: bool  # a newer pipeline of the branch may cancel it
    created_at_ms: int
    stopped_at_ms: int | None


@dataclass(frozen=True)
class OpenTrigger:
    id: int
    trigger: Trigger


def dump_trigger(trigger: Trigger) -> str:
    return json.dumps(asdict(trigger))


def load_trigger(text: str) -> Trigger:
    data = json.loads(text)
    data["kind"] = TriggerKind(data["kind"])
    data["commit"] = Commit(**data["commit"])
    if data.get("pull_request") is not None:
        data["pull_request"] = PullRequest(**data["pull_request"])
    if data.get("occasion") is not None:
        data["occasion"] = Occasion(**data["occasion"])
    return Trigger(**data)


def with_commit(trigger: Trigger, commit: Commit) -> Trigger:
    """The trigger with what git knows of its commit."""
    return replace(trigger, commit=commit)


def add_trigger(tx: Tx, trigger: Trigger, now_ms: int, *, is_skipped: bool = False) -> int | None:
    """Write a trigger down; None when the same delivery or the same meaning is there already.

    A forge's meaning is only good for a while: a branch that goes back and comes again does so under a delivery of its own.
    What happened at the same moment is the same, however late it is told by our clock.
    """
    if trigger.delivery_id is not None:
        tx.execute(
            "UPDATE triggers SET semantic_key = semantic_key || ' #' || id WHERE project_id = :project"
            " AND semantic_key = :key AND delivery_id <> :delivery AND accepted_at_ms < :before"
            " AND (:moment = '' OR coalesce(json_extract(event, '$.moment'), '') <> :moment)",
            {
                "project": trigger.project_id,
                "key": trigger.semantic_key,
                "delivery": trigger.delivery_id,
                "moment": trigger.moment,
                "before": now_ms - _SAME_MEANING_MS,
            },
        )
    row = tx.execute(
        "INSERT INTO triggers (project_id, delivery_id, semantic_key, event, state, accepted_at_ms)"
        " VALUES (:project, :delivery, :key, :event, :state, :now) ON CONFLICT DO NOTHING RETURNING id",
        {
            "project": trigger.project_id,
            "delivery": trigger.delivery_id,
            "key": trigger.semantic_key,
            "event": dump_trigger(trigger),
            "state": "skipped" if is_skipped else "open",
            "now": now_ms,
        },
    ).fetchone()
    return None if row is None else int(row["id"])


def oldest_open_trigger(tx: Tx, after: int = 0, but_of: Collection[ProjectId] = ()) -> OpenTrigger | None:
    """The first open trigger with a larger id than `after` whose project is none of `but_of`."""
    row = tx.execute(
        "SELECT id, event FROM triggers WHERE state = 'open' AND id > :after"
        " AND project_id NOT IN (SELECT value FROM json_each(:but_of)) ORDER BY id LIMIT 1",
        {"after": after, "but_of": json.dumps(list(but_of))},
    ).fetchone()
    return None if row is None else OpenTrigger(row["id"], load_trigger(row["event"]))


def close_trigger(tx: Tx, trigger_id: int, pipeline_id: PipelineId) -> None:
    tx.execute(
        "UPDATE triggers SET state = 'done', pipeline_id = :pipeline WHERE id = :id",
        {"id": trigger_id, "pipeline": pipeline_id},
    )


def is_trigger_open(tx: Tx, trigger_id: int) -> bool:
    row = tx.execute("SELECT state FROM triggers WHERE id = :id", {"id": trigger_id}).fetchone()
    return row is not None and row["state"] == "open"


def pipeline_of_trigger(tx: Tx, trigger_id: int) -> PipelineId | None:
    """The pipeline that a trigger became; None while it is still open."""
    row = tx.execute("SELECT pipeline_id FROM triggers WHERE id = :id", {"id": trigger_id}).fetchone()
    return None if row is None or row["pipeline_id"] is None else PipelineId(row["pipeline_id"])


def add_pipeline(
    tx: Tx,
    trigger: Trigger,
    *,
    state: PipelineState,
    source: str,
    compiled: str,
    values: Mapping[str, Any],
    problems: Sequence[Problem],
    now_ms: int,
    number: int | None = None,
    pipeline_id: PipelineId | None = None,
) -> Pipeline:
    """Make a pipeline. Its trust is fixed here, once: what the forge verified not to be a fork is trusted.

    A fork's may have secrets when the project's settings say so now (spec 4.3).
    """
    forks_may = projects.flags(tx, trigger.project_id).forks_receive_secret_env_vars
    pipeline = Pipeline(
        id=pipeline_id or PipelineId(str(uuid.uuid4())),
        project_id=trigger.project_id,
        number=next_number(tx, trigger.project_id) if number is None else number,
        state=state,
        trigger=trigger,
        is_trusted=not trigger.is_fork,
        may_have_secrets=not trigger.is_fork or forks_may,
        source=source,
        compiled=compiled,
        values=values,
        problems=tuple(problems),
        created_at_ms=now_ms,
        updated_at_ms=now_ms,
    )
    tx.execute(
        "INSERT INTO pipelines (id, project_id, number, state, event, branch, is_trusted, may_have_secrets,"
        " source, compiled, pipeline_values, problems, created_at_ms, updated_at_ms) VALUES (:id, :project, :number, :state,"
        " :event, :branch, :trusted, :may_have_secrets, :source, :compiled, :values, :problems, :now, :now)",
        {
            "id": pipeline.id,
            "project": pipeline.project_id,
            "number": pipeline.number,
            "state": state,
            "event": dump_trigger(trigger),
            "branch": trigger.branch,
            "trusted": pipeline.is_trusted,
            "may_have_secrets": pipeline.may_have_secrets,
            "source": source,
            "compiled": compiled,
            "values": json.dumps(dict(values)),
            "problems": json.dumps([asdict(problem) for problem in problems]),
            "now": now_ms,
        },
    )
    return pipeline


def set_config(
    tx: Tx,
    pipeline_id: PipelineId,
    state: PipelineState,
    *,
    source: str,
    compiled: str,
    problems: Sequence[Problem],
    now_ms: int,
) -> None:
    """Give a pipeline the config it is continued with; `problems` are then all of them, those of its setup too."""
    tx.execute(
        "UPDATE pipelines SET state = :state, source = :source, compiled = :compiled, problems = :problems,"
        " updated_at_ms = :now WHERE id = :id",
        {
            "id": pipeline_id,
            "state": state,
            "source": source,
            "compiled": compiled,
            "problems": json.dumps([asdict(problem) for problem in problems]),
            "now": now_ms,
        },
    )


def next_number(tx: Tx, project_id: ProjectId) -> int:
    """Take the next pipeline number of a project."""
    row = tx.execute(
        "UPDATE projects SET last_pipeline_number = last_pipeline_number + 1 WHERE id = :id RETURNING last_pipeline_number",
        {"id": project_id},
    ).fetchone()
    return int(row["last_pipeline_number"])


def _pipeline(row: sqlite3.Row) -> Pipeline:
    return Pipeline(
        id=PipelineId(row["id"]),
        project_id=ProjectId(row["project_id"]),
        number=row["number"],
        state=PipelineState(row["state"]),
        trigger=load_trigger(row["event"]),
        is_trusted=bool(row["is_trusted"]),
        may_have_secrets=bool(row["may_have_secrets"]),
        source=row["source"],
        compiled=row["compiled"],
        values=json.loads(row["pipeline_values"]),
        problems=tuple(Problem(**problem) for problem in json.loads(row["problems"])),
        created_at_ms=row["created_at_ms"],
        updated_at_ms=row["updated_at_ms"],
    )


def pipeline(tx: Tx, pipeline_id: PipelineId) -> Pipeline:
    row = tx.execute("SELECT * FROM pipelines WHERE id = :id", {"id": pipeline_id}).fetchone()
    if row is None:
        raise NotFound("Pipeline not found")
    return _pipeline(row)


def heading(tx: Tx, pipeline_id: PipelineId) -> tuple[int, str]:
    """The number and the revision of a pipeline, without its config: what is asked at every change of a job."""
    row = tx.execute(
        "SELECT number, json_extract(event, '$.revision') AS revision FROM pipelines WHERE id = :id", {"id": pipeline_id}
    ).fetchone()
    if row is None:
        raise NotFound("Pipeline not found")
    return int(row["number"]), str(row["revision"])


def origin_of(tx: Tx, pipeline_id: PipelineId) -> tuple[ProjectId, int]:
    """The project of a pipeline and when it was made, without its config."""
    row = tx.execute("SELECT project_id, created_at_ms FROM pipelines WHERE id = :id", {"id": pipeline_id}).fetchone()
    if row is None:
        raise NotFound("Pipeline not found")
    return ProjectId(row["project_id"]), int(row["created_at_ms"])


def pipeline_by_number(tx: Tx, project_id: ProjectId, number: int) -> Pipeline:
    row = tx.execute(
        "SELECT * FROM pipelines WHERE project_id = :project AND number = :number",
        {"project": project_id, "number": number},
    ).fetchone()
    if row is None:
        raise NotFound("Pipeline not found")
    return _pipeline(row)


def add_workflow(
    tx: Tx,
    pipeline_id: PipelineId,
    name: str,
    started_by: str,
    now_ms: int,
    actor_id: UserId | None = None,
    *,
    is_setup: bool = False,
    max_auto_reruns: int = 0,
    excuses_consumed: bool = False,
    may_be_redundant: bool = False,
) -> WorkflowId:
    """Make a workflow. `actor_id`: whose rights its jobs have, of who triggered or reran it; None has the least.

    `is_setup`: its jobs are given the key that continues the pipeline.
    """
    workflow_id = WorkflowId(str(uuid.uuid4()))
    tx.execute(
        "INSERT INTO workflows (id, pipeline_id, name, status, workspace_id, started_by, actor_id, is_setup,"
        " max_auto_reruns, excuses_consumed, may_be_redundant, created_at_ms) VALUES (:id, :pipeline, :name, 'running',"
        " :workspace, :by, :actor, :is_setup, :reruns, :excuses, :redundant, :now)",
        {
            "id": workflow_id,
            "pipeline": pipeline_id,
            "name": name,
            "workspace": str(uuid.uuid4()),
            "by": started_by,
            "actor": actor_id,
            "is_setup": is_setup,
            "reruns": max_auto_reruns,
            "excuses": excuses_consumed,
            "redundant": may_be_redundant,
            "now": now_ms,
        },
    )
    return workflow_id


def _workflow(row: sqlite3.Row) -> Workflow:
    return Workflow(
        id=WorkflowId(row["id"]),
        pipeline_id=PipelineId(row["pipeline_id"]),
        name=row["name"],
        status=WorkflowStatus(row["status"]),
        workspace_id=row["workspace_id"],
        started_by=row["started_by"],
        actor_id=row["actor_id"],
        canceled_by=row["canceled_by"],
        is_setup=bool(row["is_setup"]),
        root_id=WorkflowId(row["root_id"] or row["id"]),
        rerun_of=row["rerun_of"],
        rerun=row["rerun"],
        auto_rerun_number=row["auto_rerun_number"],
        max_auto_reruns=row["max_auto_reruns"],
        is_errored=bool(row["is_errored"]),
        excuses_consumed=bool(row["excuses_consumed"]),
        may_be_redundant=bool(row["may_be_redundant"]),
        created_at_ms=row["created_at_ms"],
        stopped_at_ms=row["stopped_at_ms"],
    )


def workflow(tx: Tx, workflow_id: WorkflowId) -> Workflow:
    row = tx.execute("SELECT * FROM workflows WHERE id = :id", {"id": workflow_id}).fetchone()
    if row is None:
        raise NotFound("Workflow not found")
    return _workflow(row)


def workflows_of(tx: Tx, pipeline_id: PipelineId) -> list[Workflow]:
    rows = tx.execute("SELECT * FROM workflows WHERE pipeline_id = :id ORDER BY created_at_ms, rowid", {"id": pipeline_id})
    return [_workflow(row) for row in rows]


def open_workflows_of(tx: Tx, project_id: ProjectId) -> list[WorkflowId]:
    """The workflows of a project that have not ended."""
    rows = tx.execute(
        "SELECT workflows.id FROM pipelines JOIN workflows ON workflows.pipeline_id = pipelines.id"
        " WHERE pipelines.project_id = :project AND workflows.stopped_at_ms IS NULL",
        {"project": project_id},
    )
    return [WorkflowId(row["id"]) for row in rows]


def set_workflow_status(tx: Tx, workflow_id: WorkflowId, status: WorkflowStatus, now_ms: int) -> None:
    tx.execute(
        "UPDATE workflows SET status = :status, stopped_at_ms = :stopped WHERE id = :id",
        {"id": workflow_id, "status": status, "stopped": now_ms if status.is_done else None},
    )


def set_canceled_by(tx: Tx, workflow_id: WorkflowId, who: str) -> None:
    tx.execute("UPDATE workflows SET canceled_by = :who WHERE id = :id", {"id": workflow_id, "who": who})


def set_errored(tx: Tx, workflow_id: WorkflowId) -> None:
    tx.execute("UPDATE workflows SET is_errored = 1 WHERE id = :id", {"id": workflow_id})
