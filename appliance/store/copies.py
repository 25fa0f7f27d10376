"""Rows of a rerun: a workflow like another one, its jobs to be run again or carried over."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from appliance.language.plan import JobType
from appliance.model import JobId, UserId, WorkflowId
from appliance.store import jobs
from appliance.store.database import Tx
from appliance.store.jobs import Job
from appliance.store.pipelines import Workflow


@dataclass(frozen=True, kw_only=True)
class Rerun:
    """A workflow to be: `of` which it is a rerun, of which kind (manual, automatic), and for whom."""

    of: Workflow
    kind: str
    started_by: str
    actor_id: UserId | None
    auto_rerun_number: int
    created_at_ms: int


@dataclass(frozen=True, kw_only=True)
class Again:
    """How a job is run again: with SSH for somebody, or only the tests that failed in some job."""

    ssh_for: str | None = None
    failed_tests_of: JobId | None = None


def count(tx: Tx, root_id: WorkflowId) -> int:
    """How many reruns a workflow has had, those of its reruns counted too."""
    return int(tx.execute("SELECT count(*) AS n FROM workflows WHERE root_id = :id", {"id": root_id}).fetchone()["n"])


def add_workflow(tx: Tx, rerun: Rerun) -> WorkflowId:
    """The workflow, without jobs; in the same workspace. Reruns are never redundant (spec 4.4)."""
    workflow_id = WorkflowId(str(uuid.uuid4()))
    tx.execute(
        "INSERT INTO workflows (id, pipeline_id, name, status, workspace_id, started_by, actor_id, is_setup, root_id,"
        " rerun_of, rerun, auto_rerun_number, max_auto_reruns, excuses_consumed, created_at_ms)"
        " SELECT :id, pipeline_id, name, 'running', workspace_id, :by, :actor, is_setup, coalesce(root_id, id), id, :kind,"
        " :number, max_auto_reruns, excuses_consumed, :now FROM workflows WHERE id = :of",
        {
            "id": workflow_id,
            "of": rerun.of.id,
            "by": rerun.started_by,
            "actor": rerun.actor_id,
            "kind": rerun.kind,
            "number": rerun.auto_rerun_number,
            "now": rerun.created_at_ms,
        },
    )
    return workflow_id


def carry_over(tx: Tx, job: Job, workflow_id: WorkflowId) -> JobId:
    """A job that has ended, as it ended, in another workflow."""
    job_id = JobId(str(uuid.uuid4()))
    tx.execute(
        "INSERT INTO jobs (id, workflow_id, project_id, position, name, type, status, message, plan, approved_by,"
        " approved_by_id, canceled_by, origin_id, created_at_ms, queued_at_ms, started_at_ms, stopped_at_ms)"
        " SELECT :id, :workflow, project_id, position, name, type, status, message, plan, approved_by,"
        " approved_by_id, canceled_by, coalesce(origin_id, id), created_at_ms, queued_at_ms, started_at_ms, stopped_at_ms"
        " FROM jobs WHERE id = :of",
        {"id": job_id, "of": job.id, "workflow": workflow_id},
    )
    return job_id


def run_again(tx: Tx, job: Job, workflow_id: WorkflowId, how: Again, now_ms: int) -> JobId:
    """A job with the plan of another, blocked, its nodes waiting."""
    job_id = JobId(str(uuid.uuid4()))
    has_nodes = job.type == JobType.BUILD
    tx.execute(
        "INSERT INTO jobs (id, workflow_id, project_id, number, position, name, type, status, plan, ssh_for,"
        " failed_tests_of, created_at_ms)"
        " SELECT :id, :workflow, project_id, :number, position, name, type, 'blocked', plan, :ssh, :tests, :now"
        " FROM jobs WHERE id = :of",
        {
            "id": job_id,
            "of": job.id,
            "workflow": workflow_id,
            "number": jobs.next_number(tx) if has_nodes else None,
            "ssh": how.ssh_for,
            "tests": how.failed_tests_of,
            "now": now_ms,
        },
    )
    if has_nodes:
        row = tx.execute(
            "SELECT json_extract(plan, '$.parallelism') AS n FROM jobs WHERE id = :id", {"id": job_id}
        ).fetchone()
        jobs.add_nodes(tx, job_id, row["n"])
    return job_id


def copy_requirements(tx: Tx, made: Mapping[JobId, JobId]) -> None:
    """Let the copies (by what they are copies of) require each other as their originals do."""
    for old, new in made.items():
        rows = tx.execute("SELECT * FROM requirements WHERE job_id = :id", {"id": old}).fetchall()
        kept = [row for row in rows if row["required_id"] in made]
        tx.executemany(
            "INSERT INTO requirements (job_id, position, required_id, statuses) VALUES (:job, :position, :required, :ends)",
            (
                {"job": new, "position": row["position"], "required": made[row["required_id"]], "ends": row["statuses"]}
                for row in kept
            ),
        )
        tx.execute("UPDATE jobs SET unmet = :n WHERE id = :id", {"n": len(kept), "id": new})
