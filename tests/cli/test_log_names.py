"""What the logs are called that `rondo run` leaves."""

from __future__ import annotations

import pytest

from appliance.laptop.keeper import log_name
from appliance.model import JobId, StepStatus
from appliance.store import jobs


@pytest.mark.parametrize(
    ("kind", "name", "position", "called"),
    [
        ("run", "Run the tests!", 3, "03-run-the-tests.log"),
        (jobs.SERVICE, "redis:7", jobs.FIRST_SERVICE, "service-1-redis-7.log"),
        ("run", "Run the tests!", jobs.LATER + 3, "attempt-2-03-run-the-tests.log"),
        (jobs.SERVICE, "redis:7", 2 * jobs.LATER + jobs.FIRST_SERVICE + 1, "attempt-3-service-2-redis-7.log"),
    ],
)
def test_each_attempt_of_a_node_has_its_own_logs(kind: str, name: str, position: int, called: str) -> None:
    step = jobs.Step(
        job_id=JobId("j"),
        index=0,
        position=position,
        kind=kind,
        name=name,
        status=StepStatus.SUCCESS,
        exit_code=0,
        is_background=False,
        message="",
        attempt=1,
        attempt_at_ms=None,
        attempt_offset=0,
        started_at_ms=None,
        stopped_at_ms=None,
    )
    assert log_name(step) == called
