"""Which Docker engine a job may use."""

from __future__ import annotations

from dataclasses import replace

import pytest

from appliance.engine.remote_docker import access
from appliance.engine.workshop import DockerRules
from appliance.executors.base import DockerAccess
from appliance.language import plan as plans

DOCKER = plans.Job(name="j", executor=plans.Docker(images=()), steps=(plans.SetupRemoteDocker(),))
MACHINE = plans.Job(name="j", executor=plans.Machine())
RULES = DockerRules()
SHARING = DockerRules(shared_with=frozenset({"acme/app"}))


def found(job: plans.Job, rules: DockerRules, *, executor: str = "docker", is_trusted: bool = True) -> tuple[str, str]:
    given = access(job, executor, "Acme/App", rules, is_trusted=is_trusted)
    return given.kind, given.why_not


@pytest.mark.parametrize("job", [DOCKER, MACHINE])
def test_one_of_its_own_unless_an_administrator_shares_ours(job: plans.Job) -> None:
    assert found(job, RULES) == (DockerAccess.PRIVATE, "")
    assert found(job, SHARING) == (DockerAccess.SHARED, "")
    assert found(job, DockerRules(shared_with=frozenset({"acme/other"}))) == (DockerAccess.PRIVATE, "")


def test_a_job_that_does_not_ask_has_none() -> None:
    assert found(replace(DOCKER, steps=(plans.Checkout(),)), SHARING) == (DockerAccess.NONE, "")


@pytest.mark.parametrize("job", [DOCKER, MACHINE])
def test_a_strangers_fork_gets_none_and_never_ours(job: plans.Job) -> None:
    kind, why = found(job, SHARING, is_trusted=False)
    assert kind is DockerAccess.NONE and "remote_docker.forks" in why
    assert found(job, replace(SHARING, for_forks=True), is_trusted=False) == (DockerAccess.PRIVATE, "")


def test_what_is_switched_off_is_said_by_its_setting() -> None:
    assert "remote_docker.enabled" in found(DOCKER, DockerRules(is_on=False))[1]
    assert "remote_docker.machine" in found(MACHINE, DockerRules(for_machines=False))[1]
    assert found(DOCKER, DockerRules(for_machines=False))[0] is DockerAccess.PRIVATE
    assert "processes of a host" in found(DOCKER, RULES, executor="local")[1]
