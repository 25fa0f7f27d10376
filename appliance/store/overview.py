"""What lists and pages show: many rows at once, without the large columns, each through an index."""

from __future__ import annotations

import heapq
import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from appliance.errors import NotFound
from appliance.language.plan import Require
from appliance.model import (
    JobId,
    JobStatus,
    PipelineId,
    PipelineState,
    Project,
    ProjectId,
    StepStatus,
    Trigger,
    User,
    WorkflowId,
    WorkflowStatus,
)
from appliance.store import projects
from appliance.store.database import Tx
from appliance.store.jobs import NUMBER
from appliance.store.pipelines import Problem, load_trigger


@dataclass(frozen=True)
class Mark:
    """The last row of a page; the next page begins after it."""

    created_at_ms: int
    row: int


@dataclass(frozen=True, kw_only=True)
class Line:
    """A pipeline without its config."""

    id: PipelineId
    project_id: ProjectId
    number: int
    state: PipelineState
    trigger: Trigger
    problems: tuple[Problem, ...]
    created_at_ms: int
    updated_at_ms: int
    mark: Mark


@dataclass(frozen=True, kw_only=True)
class Chip:
    """A workflow as a word with a colour."""

    id: WorkflowId
    pipeline_id: PipelineId
    name: str
    status: WorkflowStatus
    is_setup: bool
    rerun: str  # '' | manual | automatic
    auto_rerun_number: int
    started_by: str
    created_at_ms: int
    stopped_at_ms: int | None


@dataclass(frozen=True, kw_only=True)
class JobChip:
    """A job in its workflow: what a drawing of the workflow needs."""

    id: JobId
    workflow_id: WorkflowId
    number: int | None
    name: str
    type: str
    status: JobStatus
    message: str
    approved_by: str | None
    canceled_by: str | None
    is_carried_over: bool  # by a rerun; its number is that of the job that really ran
    requires: tuple[Require, ...]
    parallelism: int
    started_at_ms: int | None
    stopped_at_ms: int | None


_END = Mark(1 << 62, 1 << 62)
_LINE = "id, project_id, number, state, event, problems, created_at_ms, updated_at_ms, rowid AS row"
_AFTER = " AND created_at_ms <= :at AND (created_at_ms < :at OR rowid < :row)"
_NEWEST = " ORDER BY created_at_ms DESC, rowid DESC LIMIT :limit"

OF_ALL = f"SELECT {_LINE} FROM pipelines WHERE 1{_AFTER}{_NEWEST}"
OF_PROJECT = f"SELECT {_LINE} FROM pipelines WHERE project_id = :project{_AFTER}{_NEWEST}"
OF_BRANCH = f"SELECT {_LINE} FROM pipelines WHERE project_id = :project AND branch = :branch{_AFTER}{_NEWEST}"
MARKS = f"SELECT created_at_ms, rowid AS row FROM pipelines WHERE project_id = :project{_AFTER}{_NEWEST}"
OF_ROW = f"SELECT {_LINE} FROM pipelines WHERE rowid = :row"
CHIPS = (
    "SELECT id, pipeline_id, name, status, is_setup, rerun, auto_rerun_number, started_by, created_at_ms, stopped_at_ms"
    " FROM workflows"
    " WHERE pipeline_id IN (SELECT value FROM json_each(:pipelines)) ORDER BY pipeline_id, created_at_ms, rowid"
)
JOB_CHIPS = (
    f"SELECT id, workflow_id, {NUMBER}, name, type, status, message, approved_by, canceled_by, origin_id,"
    " started_at_ms, stopped_at_ms,"
    " json_extract(plan, '$.requires') AS requires, json_extract(plan, '$.parallelism') AS parallelism"
    " FROM jobs WHERE workflow_id IN (SELECT value FROM json_each(:workflows)) ORDER BY workflow_id, position"
)
LAST_STATUS = (
    "SELECT workflows.status FROM pipelines JOIN workflows ON workflows.pipeline_id = pipelines.id"
    " WHERE pipelines.project_id = :project AND pipelines.branch = :branch AND workflows.stopped_at_ms IS NOT NULL"
    " ORDER BY pipelines.created_at_ms DESC, workflows.created_at_ms DESC, workflows.status = 'success' LIMIT 1"
)
# One step into the index per branch, however many pipelines a branch has.
BRANCHES = (
    "WITH RECURSIVE names (branch) AS ("
    " SELECT min(branch) FROM pipelines WHERE project_id = :project"
    " UNION ALL SELECT (SELECT min(branch) FROM pipelines WHERE project_id = :project AND branch > names.branch)"
    " FROM names WHERE names.branch IS NOT NULL LIMIT :limit)"
    " SELECT branch FROM names WHERE branch IS NOT NULL"
)


def lines(
    tx: Tx,
    project_ids: Sequence[ProjectId] | None,
    *,
    branch: str | None = None,
    after: Mark | None = None,
    limit: int = 30,
) -> list[Line]:
    """The newest pipelines, newest first: of every project (None), or merged from some projects."""
    if project_ids is None:
        return _lines(tx, OF_ALL, {}, after, limit)
    if len(project_ids) == 1:
        values = {"project": project_ids[0], "branch": branch}
        return _lines(tx, OF_PROJECT if branch is None else OF_BRANCH, values, after, limit)
    return _merged(tx, project_ids, after, limit)


def _merged(tx: Tx, project_ids: Sequence[ProjectId], after: Mark | None, limit: int) -> list[Line]:
    """Where each project's newest stand, first; only what is shown in the end is read."""
    after = after or _END
    marks: list[tuple[int, int]] = []
    for project_id in project_ids:
        values = {"project": project_id, "at": after.created_at_ms, "row": after.row, "limit": limit}
        marks += ((row["created_at_ms"], row["row"]) for row in tx.execute(MARKS, values))
    rows = [tx.execute(OF_ROW, {"row": row}).fetchone() for _, row in heapq.nlargest(limit, marks)]
    return [_line(row) for row in rows]


def _lines(tx: Tx, sql: str, values: Mapping[str, object], after: Mark | None, limit: int) -> list[Line]:
    after = after or _END
    rows = tx.execute(sql, {**values, "at": after.created_at_ms, "row": after.row, "limit": limit})
    return [_line(row) for row in rows]


def _line(row: sqlite3.Row) -> Line:
    return Line(
        id=PipelineId(row["id"]),
        project_id=ProjectId(row["project_id"]),
        number=row["number"],
        state=PipelineState(row["state"]),
        trigger=load_trigger(row["event"]),
        problems=tuple(Problem(**problem) for problem in json.loads(row["problems"])),
        created_at_ms=row["created_at_ms"],
        updated_at_ms=row["updated_at_ms"],
        mark=Mark(row["created_at_ms"], row["row"]),
    )


def lines_for(
    tx: Tx, user: User, *, org: str | None = None, after: Mark | None = None, limit: int = 30
) -> tuple[list[Line], dict[ProjectId, Project]]:
    """The newest pipelines that `user` may see, with their projects and no others: there may be thousands."""
    sees_all = user.sees_everything and org is None
    found = lines(tx, None if sees_all else projects.ids_of(tx, user, org), after=after, limit=limit)
    return found, {project_id: projects.by_id(tx, project_id) for project_id in {line.project_id for line in found}}


def line(tx: Tx, pipeline_id: PipelineId) -> Line:
    row = tx.execute(f"SELECT {_LINE} FROM pipelines WHERE id = :id", {"id": pipeline_id}).fetchone()
    if row is None:
        raise NotFound("Pipeline not found")
    return _line(row)


def line_by_number(tx: Tx, project_id: ProjectId, number: int) -> Line:
    row = tx.execute(
        f"SELECT {_LINE} FROM pipelines WHERE project_id = :project AND number = :number",
        {"project": project_id, "number": number},
    ).fetchone()
    if row is None:
        raise NotFound("Pipeline not found")
    return _line(row)


def chips(tx: Tx, pipeline_ids: Sequence[PipelineId]) -> dict[PipelineId, list[Chip]]:
    """The workflows of some pipelines, in the order they were made."""
    found: dict[PipelineId, list[Chip]] = {pipeline_id: [] for pipeline_id in pipeline_ids}
    for row in tx.execute(CHIPS, {"pipelines": json.dumps(list(pipeline_ids))}):
        found[row["pipeline_id"]].append(
            Chip(
                id=WorkflowId(row["id"]),
                pipeline_id=PipelineId(row["pipeline_id"]),
                name=row["name"],
                status=WorkflowStatus(row["status"]),
                is_setup=bool(row["is_setup"]),
                rerun=row["rerun"],
                auto_rerun_number=row["auto_rerun_number"],
                started_by=row["started_by"],
                created_at_ms=row["created_at_ms"],
                stopped_at_ms=row["stopped_at_ms"],
            )
        )
    return found


def job_chips(tx: Tx, workflow_ids: Sequence[WorkflowId]) -> dict[WorkflowId, list[JobChip]]:
    """The jobs of some workflows, in the order of the config."""
    found: dict[WorkflowId, list[JobChip]] = {workflow_id: [] for workflow_id in workflow_ids}
    for row in tx.execute(JOB_CHIPS, {"workflows": json.dumps(list(workflow_ids))}):
        found[row["workflow_id"]].append(_job_chip(row))
    return found


def _job_chip(row: sqlite3.Row) -> JobChip:
    return JobChip(
        id=JobId(row["id"]),
        workflow_id=WorkflowId(row["workflow_id"]),
        number=row["number"],
        name=row["name"],
        type=row["type"],
        status=JobStatus(row["status"]),
        message=row["message"],
        approved_by=row["approved_by"],
        canceled_by=row["canceled_by"],
        is_carried_over=row["origin_id"] is not None,
        requires=tuple(
            Require(job=item["job"], statuses=tuple(item["statuses"])) for item in json.loads(row["requires"] or "[]")
        ),
        parallelism=row["parallelism"] or 1,
        started_at_ms=row["started_at_ms"],
        stopped_at_ms=row["stopped_at_ms"],
    )


def last_status(tx: Tx, project_id: ProjectId, branch: str) -> WorkflowStatus | None:
    """How the newest finished workflow of a branch ended; of those made at once, one that did not succeed speaks for all."""
    row = tx.execute(LAST_STATUS, {"project": project_id, "branch": branch}).fetchone()
    return None if row is None else WorkflowStatus(row["status"])


def branches(tx: Tx, project_id: ProjectId, limit: int = 100) -> list[str]:
    """Branches that ever had a pipeline, by name."""
    return [row["branch"] for row in tx.execute(BRANCHES, {"project": project_id, "limit": limit})]


def project_of_workflow(tx: Tx, workflow_id: WorkflowId) -> ProjectId:
    row = tx.execute(
        "SELECT pipelines.project_id FROM workflows JOIN pipelines ON pipelines.id = workflows.pipeline_id"
        " WHERE workflows.id = :id",
        {"id": workflow_id},
    ).fetchone()
    if row is None:
        raise NotFound("Workflow not found")
    return ProjectId(row["project_id"])


def person_id(tx: Tx, name: str) -> str | None:
    """The id of the user of this name, if there is one."""
    row = tx.execute("SELECT id FROM users WHERE name = :name", {"name": name}).fetchone()
    return None if row is None else str(row["id"])


def step_status(tx: Tx, job_id: JobId, index: int, position: int) -> StepStatus | None:
    row = tx.execute(
        "SELECT status FROM steps WHERE job_id = :job AND idx = :index AND position = :position",
        {"job": job_id, "index": index, "position": position},
    ).fetchone()
    return None if row is None else StepStatus(row["status"])
