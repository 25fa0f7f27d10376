"""What jobs wait for: one row for each entry of `requires`, and on each blocked job how many of them are not met yet."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from appliance.language.plan import Require
from appliance.model import JobId, JobStatus, WorkflowId
from appliance.store.database import Tx

DEPENDENTS = (
    "SELECT jobs.id, requirements.statuses FROM requirements JOIN jobs ON jobs.id = requirements.job_id"
    " WHERE requirements.required_id = :id AND jobs.status = 'blocked' ORDER BY jobs.position, requirements.position"
)
# One step into the index for each status that occurs, however many jobs a workflow has.
STATUSES = (
    "WITH RECURSIVE found (status) AS ("
    " SELECT min(status) FROM jobs WHERE workflow_id = :id"
    " UNION ALL SELECT (SELECT min(status) FROM jobs WHERE workflow_id = :id AND status > found.status)"
    " FROM found WHERE found.status IS NOT NULL)"
    " SELECT status FROM found WHERE status IS NOT NULL"
)
FAILURES_LEFT = (
    "SELECT EXISTS (SELECT 1 FROM jobs WHERE workflow_id = :id AND status IN ('failed', 'timedout', 'infrastructure_fail')"
    " AND NOT EXISTS (SELECT 1 FROM requirements WHERE required_id = jobs.id"
    "  AND 'failed' IN (SELECT value FROM json_each(statuses))"
    "  AND 'success' NOT IN (SELECT value FROM json_each(statuses)))) AS is_left"
)


@dataclass(frozen=True)
class Dependent:
    """A blocked job as far as one entry of its `requires` goes."""

    job_id: JobId
    statuses: tuple[str, ...]


def add(tx: Tx, jobs: Mapping[str, JobId], requires: Mapping[str, Sequence[Require]]) -> None:
    """Write down what the jobs of a workflow require of each other; both by name."""
    tx.executemany(
        "INSERT INTO requirements (job_id, position, required_id, statuses) VALUES (:job, :position, :required, :statuses)",
        (
            {
                "job": jobs[name],
                "position": position,
                "required": jobs[entry.job],
                "statuses": json.dumps(list(entry.statuses)),
            }
            for name, entries in requires.items()
            for position, entry in enumerate(entries)
        ),
    )
    tx.executemany(
        "UPDATE jobs SET unmet = :count WHERE id = :job",
        ({"job": jobs[name], "count": len(entries)} for name, entries in requires.items() if entries),
    )


def dependents(tx: Tx, job_id: JobId) -> list[Dependent]:
    """The blocked jobs that require this one, in the order of the workflow; one entry for each requirement."""
    return [
        Dependent(JobId(row["id"]), tuple(json.loads(row["statuses"]))) for row in tx.execute(DEPENDENTS, {"id": job_id})
    ]


def meet(tx: Tx, job_id: JobId) -> int:
    """Count one requirement of a job as met; how many are left."""
    row = tx.execute("UPDATE jobs SET unmet = unmet - 1 WHERE id = :id RETURNING unmet", {"id": job_id}).fetchone()
    return int(row["unmet"])


def free(tx: Tx, workflow_id: WorkflowId) -> list[JobId]:
    """The blocked jobs of a workflow that wait for nothing."""
    rows = tx.execute(
        "SELECT id FROM jobs WHERE workflow_id = :id AND status = 'blocked' AND unmet = 0 ORDER BY position",
        {"id": workflow_id},
    )
    return [JobId(row["id"]) for row in rows]


def statuses(tx: Tx, workflow_id: WorkflowId) -> set[JobStatus]:
    """The statuses that occur among the jobs of a workflow."""
    return {JobStatus(row["status"]) for row in tx.execute(STATUSES, {"id": workflow_id})}


def has_unconsumed_failure(tx: Tx, workflow_id: WorkflowId) -> bool:
    """Whether some job failed that no other one requires to have failed."""
    return bool(tx.execute(FAILURES_LEFT, {"id": workflow_id}).fetchone()["is_left"])


def edges(tx: Tx, workflow_id: WorkflowId) -> list[tuple[JobId, JobId]]:
    """Each requirement of a workflow: the job, and the one that it requires; in the order of the config."""
    rows = tx.execute(
        "SELECT requirements.job_id, requirements.required_id FROM jobs JOIN requirements ON requirements.job_id = jobs.id"
        " WHERE jobs.workflow_id = :id ORDER BY jobs.position, requirements.position",
        {"id": workflow_id},
    )
    return [(JobId(row["job_id"]), JobId(row["required_id"])) for row in rows]
