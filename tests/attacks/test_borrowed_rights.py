"""Getting what one may not have with somebody else's rights, and stopping others with what a stranger may write."""

from __future__ import annotations

from dataclasses import replace

import pytest

from appliance.engine import admission, moves, moves_setup, reruns, rights
from appliance.errors import BadRequest, Conflict
from appliance.language import plan as plans
from appliance.model import JobStatus, NodeStatus, PipelineId, Project, ProjectFlags, User, UserId
from appliance.store import contexts, continuations, jobs, people, pipelines, projects, restrictions, visits
from appliance.store.database import Tx
from tests.engine.shop import NOW, draft
from tests.engine.test_moves import finish, job, project, push, start, statuses, tx

__all__ = ["project", "tx"]

KEY = "the key that only the setup job is given"
P1 = PipelineId("p1")


def person(tx: Tx, name: str) -> User:
    return people.add(tx, name=name, is_admin=False, sees_all_projects=True, now_ms=NOW)


def begin(tx: Tx, project: Project, made: moves.Draft, actor: UserId | None = None, *, branch: str, is_fork: bool) -> None:
    number = made.number
    trigger = replace(push(project, f"{number:040x}", f"d{number}"), branch=branch, is_fork=is_fork, actor_id=actor)
    accepted = moves.accept(tx, trigger, NOW, False)
    assert accepted is not None
    moves.create_pipeline(tx, accepted.trigger_id, trigger, made, NOW)


SHIP = replace(job("ship"), contexts=("deploy",))


def setup_for_ann(tx: Tx, project: Project) -> tuple[User, User, jobs.Job]:
    """A pipeline of ann's in its setup phase, a context for her alone, and bea."""
    ann, bea = person(tx, "ann"), person(tx, "bea")
    restrictions.add(tx, contexts.add(tx, "deploy", NOW).id, restrictions.Type.GROUP, ann.id, NOW)
    begin(tx, project, draft(job("generate"), is_setup=True, key=KEY), ann.id, branch="main", is_fork=False)
    return ann, bea, jobs.of_pipeline(tx, P1)[0]


def continued(tx: Tx, now_ms: int = NOW + 5) -> jobs.Job:
    """The job that wants the context, of the config which whoever has the key wished for."""
    moves_setup.accept_continuation(tx, KEY, "the second config", {}, None, now_ms)
    moves_setup.finish_continuation(tx, P1, draft(SHIP), now_ms)
    return next(row for row in jobs.of_pipeline(tx, P1) if row.name == "ship")


def test_who_continues_their_own_pipeline_keeps_their_rights(tx: Tx, project: Project) -> None:
    ann, bea, generate = setup_for_ann(tx, project)
    visits.enter(tx, generate.id, 0, ann, "", "", NOW)
    ship = continued(tx)
    visits.enter(tx, generate.id, 0, bea, "", "", NOW + 6)  # too late to choose anything
    assert admission.why_denied(tx, ship.id, SHIP) == ""


def test_a_shell_in_a_setup_job_lends_nobody_the_rights_of_who_began_it(tx: Tx, project: Project) -> None:
    """The key lies open there: with it any config can be given to the pipeline."""
    ann, bea, generate = setup_for_ann(tx, project)
    visits.enter(tx, generate.id, 0, bea, "", "env", NOW)
    ship = continued(tx)
    assert "this runs for bea" in admission.why_denied(tx, ship.id, SHIP)
    people.remove(tx, bea.id)
    assert "this runs for nobody known here" in admission.why_denied(tx, ship.id, SHIP)
    again = reruns.rerun(tx, ship.workflow_id, reruns.Wish(), ann, NOW)
    assert admission.why_denied(tx, jobs.of_workflow(tx, again.workflow_id)[0].id, SHIP) == "", "as ann has it before her"


def test_a_rerun_of_the_setup_lends_neither_side_the_rights_of_the_other(tx: Tx, project: Project) -> None:
    _ann, bea, generate = setup_for_ann(tx, project)
    start(tx, generate)
    finish(tx, generate, NodeStatus.FAILED)
    reruns.rerun(tx, generate.workflow_id, reruns.Wish(), bea, NOW)
    assert "this runs for bea" in admission.why_denied(tx, continued(tx).id, SHIP)


def test_a_key_that_was_kept_does_not_bring_back_what_was_canceled(tx: Tx, project: Project) -> None:
    ann, _bea, generate = setup_for_ann(tx, project)
    moves.cancel_workflow(tx, generate.workflow_id, "boss", NOW)
    with pytest.raises(Conflict):
        moves_setup.accept_continuation(tx, KEY, "the second config", {}, None, NOW)
    assert not continuations.is_continued(tx, P1)
    reruns.rerun(tx, generate.workflow_id, reruns.Wish(), ann, NOW + 1)
    assert continued(tx).status is JobStatus.NOT_RUNNING, "somebody wanted it after all"


@pytest.mark.parametrize("name", ["author_login", "author_name", "author_email", "committer_login"])
def test_no_context_is_restricted_by_a_name_that_anybody_writes_into_a_commit(name: str, project: Project) -> None:
    text = f'pipeline.git.commit.{name} == "boss"'
    with pytest.raises(BadRequest):
        rights.check_expression(text)
    was_set_before = restrictions.Restriction(id="r", context_id="c", type=restrictions.Type.EXPRESSION, value=text, name="")
    values = {f"pipeline.git.commit.{name}": "boss"}
    given = rights.Circumstances(project=project, actors=[None], values=values, has_ssh=False)
    assert rights.why_denied("deploy", [was_set_before], given)


def in_group() -> list[plans.Job]:
    lock = replace(job("lock", type=plans.JobType.LOCK), key="deploy")
    unlock = replace(job("unlock", "deploy", type=plans.JobType.UNLOCK), key="deploy")
    return [lock, job("deploy", "lock"), unlock]


@pytest.mark.parametrize("first", ["the fork", "the project"])
def test_a_fork_neither_holds_up_nor_outruns_what_the_project_deploys(tx: Tx, project: Project, first: str) -> None:
    fork, own = (1, 2) if first == "the fork" else (2, 1)
    # The project's is the older pipeline, but the last one to come to the lock.
    begin(tx, project, draft(*in_group(), number=fork), branch="pull/7", is_fork=True)
    begin(tx, project, draft(*in_group(), number=own), branch="main", is_fork=False)
    assert statuses(tx, own)["deploy"] is JobStatus.NOT_RUNNING
    assert statuses(tx, fork)["deploy"] is JobStatus.NOT_RUNNING


def test_pull_requests_of_forks_keep_their_own_serial_groups(tx: Tx, project: Project) -> None:
    for number, branch in ((1, "pull/7"), (2, "pull/7"), (3, "pull/8")):
        begin(tx, project, draft(*in_group(), number=number), branch=branch, is_fork=True)
    assert [statuses(tx, number)["lock"] for number in (1, 2, 3)] == [
        JobStatus.SUCCESS,
        JobStatus.QUEUED,
        JobStatus.SUCCESS,
    ]


def test_a_fork_cancels_nothing_of_a_branch_that_is_called_like_its_pull_request(tx: Tx, project: Project) -> None:
    projects.set_flags(tx, project.id, ProjectFlags(autocancel_builds=True))
    begin(tx, project, draft(job("a")), branch="pull/7", is_fork=False)
    begin(tx, project, draft(job("a"), number=2), branch="pull/7", is_fork=True)
    begin(tx, project, draft(job("a"), number=3), branch="pull/7", is_fork=True)
    found = [pipelines.workflows_of(tx, PipelineId(f"p{number}"))[0].canceled_by for number in (1, 2, 3)]
    assert found == [None, "auto-cancel", None]


@pytest.mark.parametrize(
    "name", ["deploy\u200b", "\u202eyolped", "deploy\x9b2J", "de\x7fploy", "deploy\ud800", " deploy", ""]
)
def test_no_context_is_called_like_another_one_to_the_eye_or_moves_a_terminals_cursor(tx: Tx, name: str) -> None:
    contexts.add(tx, "deploy", NOW)
    with pytest.raises(BadRequest):
        contexts.add(tx, name, NOW)
