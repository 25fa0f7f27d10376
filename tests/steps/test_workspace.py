"""Which jobs' layers a workspace is made of."""

from __future__ import annotations

from appliance.language.plan import Require
from appliance.model import JobId, JobStatus, ProjectId, WorkflowId
from appliance.steps.workspace import upstream
from appliance.store.jobs import Job


def job(name: str) -> Job:
    return Job(
        id=JobId(f"id of {name}"),
        workflow_id=WorkflowId("w"),
        project_id=ProjectId("p"),
        number=None,
        position=0,
        name=name,
        type="build",
        status=JobStatus.RUNNING,
        message="",
        approved_by=None,
        approved_by_id=None,
        created_at_ms=0,
        queued_at_ms=None,
        started_at_ms=None,
        stopped_at_ms=None,
    )


def upstream_of(name: str, needs: dict[str, str]) -> dict[str, set[str]]:
    rows = [job(one) for one in needs]
    requires = {row.id: tuple(Require(job=one) for one in needs[row.name].split()) for row in rows}
    names = {row.id: row.name for row in rows}
    found = upstream(rows, requires, job(name).id)
    return {names[one]: {names[other] for other in others} for one, others in found.items()}


def test_each_comes_after_what_it_needs_and_nothing_else_does() -> None:
    found = upstream_of("e", {"e": "d b", "d": "b c", "c": "a", "b": "a", "a": "", "other": "a", "after": "e"})
    assert found == {"a": set(), "b": {"a"}, "c": {"a"}, "d": {"a", "b", "c"}}
    order = list(found)
    assert all(order.index(needed) < order.index(one) for one, needs in found.items() for needed in needs)


def test_a_long_chain_of_jobs_is_no_trouble() -> None:
    chain = {str(number): str(number - 1) if number else "" for number in range(2_000)}
    assert len(upstream_of("1999", chain)) == 1_999
