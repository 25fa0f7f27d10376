"""Who may have a context: the matrix of restrictions, in text; and for whom a job runs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from appliance.engine import rights
from appliance.engine.rights import Need
from appliance.errors import BadRequest
from appliance.model import PipelineId, Project, ProjectId, Trigger, TriggerKind, User, UserId, Vcs
from appliance.store.restrictions import ADMINS, ALL_MEMBERS, Restriction, Type

APP = Project(
    id=ProjectId("app"),
    slug="circleci/acme/app",
    vcs=Vcs.HOSTED,
    org="acme",
    repo="app",
    git_url=None,
    default_branch="main",
    created_at_ms=0,
)
ANN = User(id=UserId("ann"), name="ann", is_admin=False, sees_all_projects=True)
BEA = replace(ANN, id=UserId("bea"), name="bea")
BOSS = replace(ANN, id=UserId("boss"), name="boss", is_admin=True)
PEOPLE = {"ann": ANN, "bea": BEA, "boss": BOSS, "?": None}
VALUES: dict[str, object] = {
    "pipeline.git.branch": "main",
    "pipeline.number": 7,
    "pipeline.git.tag": "",
    "pipeline.git.base_revision": None,
    # What a caller of the API could have named alike.
    "pipeline.parameters.pipeline.git.branch": "release",
    "pipeline.parameters.is_safe": True,
    "pipeline.trigger_parameters.git.branch": "main",
}

# Restrictions, separated by ";" | for whom it runs ("?": nobody known) | yes, or a word of the sentence why not.
MATRIX = """
                                                   | ann      | yes
                                                   | ?        | yes
project app                                        | ann      | yes
project app                                        | ?        | yes
project other                                      | ann      | certain projects
project other                                      | boss     | yes
project other                                      | boss ann | certain projects
project other; project app                         | ann      | yes
project gone                                       | ann      | certain projects
group all                                          | ann      | yes
group all                                          | ?        | nobody known
group all                                          | ann ?    | nobody known
group admins                                       | ann      | runs for ann
group admins                                       | boss     | yes
group ann                                          | ann      | yes
group ann                                          | bea      | runs for bea
group ann                                          | boss     | yes
group ann; group bea                               | bea      | yes
group gone                                         | ann      | who is gone
project app; group ann                             | ann      | yes
project app; group ann                             | bea      | runs for bea
project other; group ann                           | ann      | certain projects
project other; group ann                           | boss     | yes
expression pipeline.git.branch == "main"           | ?        | yes
expression pipeline.git.branch == "release"        | boss     | does not hold
expression pipeline.git.branch == "release"        | ann      | does not hold
expression pipeline.number > 6; expression pipeline.number < 7 | ann | does not hold
expression pipeline.git.base_revision              | ann      | does not hold
expression pipeline.git.base_revision == "x"       | ann      | does not hold
expression pipeline.git.tag starts-with "v"        | ann      | does not hold
expression pipeline.schedule.id                    | ann      | does not hold
expression not pipeline.schedule.name              | ann      | Unknown variable
expression not job.ssh.enabled                     | ann      | yes
expression job.ssh.enabled                         | ann      | does not hold
expression pipeline.parameters.is_safe             | boss     | Unknown variable
expression not pipeline.parameters.is_safe         | boss     | Unknown variable
expression pipeline.parameters.pipeline.git.branch == "release" | ann | Unknown variable
expression pipeline.trigger_parameters.git.branch == "main"     | ann | Unknown variable
expression pipeline.nothing                        | ann      | Unknown variable
expression not pipeline.nothing                    | ann      | Unknown variable
expression is_safe                                 | ann      | Unknown variable
expression pipeline.number == "7                   | ann      | restricted by the expression
expression pipeline.number starts-with "7"         | ann      | restricted by the expression
group ann; expression pipeline.git.branch == "main" | ann     | yes
group ann; expression pipeline.git.branch == "main" | bea     | runs for bea
group ann; expression pipeline.git.branch == "x"   | ann      | does not hold
"""
CASES = [tuple(cell.strip() for cell in line.rsplit("|", 2)) for line in MATRIX.strip("\n").split("\n")]
GROUPS = {"all": ALL_MEMBERS, "admins": ADMINS}


def restriction(text: str) -> Restriction:
    type, _, value = text.strip().partition(" ")
    name = "" if value == "gone" else value
    return Restriction(id=text, context_id="c", type=Type(type), value=GROUPS.get(value, value), name=name)


@pytest.mark.parametrize(("restrictions", "people", "verdict"), CASES, ids=[" | ".join(case) for case in CASES])
def test_restrictions(restrictions: str, people: str, verdict: str) -> None:
    given = rights.Circumstances(project=APP, actors=[PEOPLE[name] for name in people.split()], values=VALUES, has_ssh=False)
    why = rights.why_denied("deploy", [restriction(one) for one in restrictions.split(";") if one], given)
    assert (why == "") is (verdict == "yes"), why
    assert verdict == "yes" or (verdict in why and "deploy" in why)


def test_a_shell_is_one_of_the_circumstances() -> None:
    given = rights.Circumstances(project=APP, actors=[BOSS], values=VALUES, has_ssh=True)
    assert rights.why_denied("deploy", [restriction("expression not job.ssh.enabled")], given)


@pytest.mark.parametrize(
    "text",
    [
        'pipeline.git.branch = "main"',
        "pipeline.parameters.deploy",
        'pipeline.git.branch == "main" and not pipeline.trigger_parameters.git.tag',
        "pipeline.git.brnch",
        "",
        "not " * 3_000 + "true",
    ],
)
def test_an_expression_that_could_never_help_is_refused_when_it_is_set(text: str) -> None:
    with pytest.raises(BadRequest):
        rights.check_expression(text)


def test_an_expression_of_pipeline_values_is_taken() -> None:
    rights.check_expression('pipeline.git.branch == "main" and not job.ssh.enabled')


# name(type) < requires; "hold!ann" was approved by ann.
@pytest.mark.parametrize(
    ("workflow", "runs_for"),
    [
        ("deploy", "ann"),
        ("build; deploy < build", "ann"),
        ("hold!bea; deploy < hold", "bea"),
        ("hold!bea; build < hold; deploy < build", "bea"),
        ("build; hold!bea < build; deploy < hold build", "bea"),
        ("first!boss; last!bea < first; deploy < last", "bea"),
        ("one!boss; two!bea; deploy < one two", "bea boss"),
        ("hold!bea; other < hold; deploy", "ann"),
        ("hold!?; deploy < hold", "?"),
        ("carried-over!; deploy < carried-over", "ann"),
        ("first!bea; carried-over! < first; deploy < carried-over", "bea"),
        ("build < deploy; deploy < build", "ann"),
    ],
)
def test_for_whom_a_job_runs(workflow: str, runs_for: str) -> None:
    needs = []
    for text in workflow.split(";"):
        name, _, requires = text.partition("<")
        name, mark, approver = name.strip().partition("!")
        needs.append(
            Need(
                name=name,
                type="approval" if mark else "build",
                requires=tuple(requires.split()),
                approved_by=approver or None,
                approved_by_id=UserId(approver) if approver not in ("", "?") else None,
            )
        )
    found = rights.actors("deploy", needs, UserId("ann"))
    assert " ".join(sorted(str(one or "?") for one in found)) == runs_for


def test_secrets_are_withheld_from_a_fork_as_soon_as_the_settings_say_so() -> None:
    from appliance.model import PipelineState, ProjectFlags
    from appliance.store.pipelines import Pipeline

    trigger = Trigger(project_id=APP.id, kind=TriggerKind.WEBHOOK, semantic_key="k", revision="1" * 40)
    own = Pipeline(
        id=PipelineId("p"),
        project_id=APP.id,
        number=1,
        state=PipelineState.CREATED,
        trigger=trigger,
        is_trusted=True,
        may_have_secrets=True,
        source="",
        compiled="",
        values={},
        problems=(),
        created_at_ms=0,
        updated_at_ms=0,
    )
    fork = replace(own, is_trusted=False)
    closed, open_ = ProjectFlags(), ProjectFlags(forks_receive_secret_env_vars=True)
    assert rights.may_have_secrets(own, closed)
    assert rights.may_have_secrets(fork, open_) and not rights.may_have_secrets(fork, closed)
    assert not rights.may_have_secrets(replace(fork, may_have_secrets=False), open_)
