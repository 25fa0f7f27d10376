"""A stranger's pull request on GitHub, from the signed webhook to the job: what it gets, and what it never gets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from appliance.crypto import SecretBox, load_or_make_key
from appliance.model import ProjectFlags
from appliance.store import contexts, people, projects, restrictions
from appliance.store.database import Tx
from tests.scenarios.test_doors import forged, post
from tests.whole import Place

MEAN = """
version: 2.1
jobs:
  grab:
    machine: true
    steps:
      - checkout
      - run: 'echo "project=${PROJECT_KEY:-none} context=${DEPLOY_KEY:-none} on $CIRCLE_BRANCH" | tr a-z A-Z; cat evil'
      - run: 'echo "of $CIRCLE_PR_USERNAME $CIRCLE_PR_NUMBER $CIRCLE_PULL_REQUEST"'
workflows:
  main:
    jobs: [{grab: {context: deploy}}]
"""


async def fork_commit(place: Place) -> str:
    """A commit that only refs/pull/7/head holds, as GitHub keeps a fork's."""
    await place.git("checkout", "-q", "-b", "theirs")
    await place.commit({".circleci/config.yml": MEAN, "evil": "from the fork\n"}, "Innocent change [skip ci]")
    revision = (await place.git("rev-parse", "HEAD")).strip()
    await place.git("update-ref", "refs/pull/7/head", revision)
    await place.git("checkout", "-q", "main")
    await place.git("branch", "-q", "-D", "theirs")
    return revision


def furnish(place: Place, **flags: bool) -> None:
    box = SecretBox(load_or_make_key(place.data / "secret_key"))

    def add(tx: Tx) -> None:
        project = projects.find(tx, "acme/forged")
        projects.set_secret(tx, box, project.id, "PROJECT_KEY", "opensesame", 1)
        context = contexts.add(tx, "deploy", 1)
        contexts.set_variable(tx, box, context.id, "DEPLOY_KEY", "hocuspocus", 1)
        projects.set_flags(tx, project.id, ProjectFlags(**flags))  # type: ignore[arg-type]

    place.read(add)


def opened(revision: str, **changes: Any) -> bytes:
    body = {
        "action": "opened",
        "number": 7,
        "pull_request": {
            "number": 7,
            "html_url": "https://forge/acme/forged/pull/7",
            "head": {"ref": "main", "sha": revision, "repo": {"id": 9, "owner": {"login": "mallory"}, "name": "forged"}},
            "base": {"ref": "main", "sha": "1" * 40, "repo": {"id": 5}},
        },
        "repository": {"id": 5, "full_name": "acme/forged"},
        "sender": {"login": "mallory", "id": 666},
        **changes,
    }
    return json.dumps(body).encode()


async def test_forks_build_nothing_until_the_project_says_so(tmp_path: Path) -> None:
    async with forged(tmp_path) as (place, appliance, _, _revision):
        revision = await fork_commit(place)
        status, said = await post(appliance, opened(revision), X_GitHub_Event="pull_request")
        assert status == 202 and "build_fork_prs" in said
        furnish(place, build_fork_prs=True)
        status, said = await post(appliance, opened(revision), X_GitHub_Event="pull_request")
        assert status == 202 and "accepted" in said
        again = await post(appliance, opened(revision), X_GitHub_Event="pull_request", X_GitHub_Delivery="two")
        assert "received before" in again[1]
        seen = await place.ended()
        assert seen.statuses == {"grab": "success"}, seen.logs


@pytest.mark.parametrize("is_open", [False, True])
async def test_a_fork_gets_secrets_only_when_the_project_hands_them_out(tmp_path: Path, is_open: bool) -> None:
    async with forged(tmp_path) as (place, appliance, _, _revision):
        furnish(place, build_fork_prs=True, forks_receive_secret_env_vars=is_open)
        assert (await post(appliance, opened(await fork_commit(place)), X_GitHub_Event="pull_request"))[0] == 202
        seen = await place.ended()
        log = seen.logs["grab"]
        assert seen.statuses == {"grab": "success"}, log
        assert "ON PULL/7" in log and "from the fork" in log
        assert "of mallory 7 https://forge/acme/forged/pull/7" in log
        expected = "PROJECT=OPENSESAME CONTEXT=HOCUSPOCUS" if is_open else "PROJECT=NONE CONTEXT=NONE"
        assert expected in log
        assert (seen.pipeline.is_trusted, seen.pipeline.may_have_secrets) == (False, is_open)
        assert seen.pipeline.values["pipeline.event.github.pull_request.number"] == 7


async def test_a_fork_lends_itself_no_rights_from_whoever_sent_the_event(tmp_path: Path) -> None:
    async with forged(tmp_path) as (place, appliance, _, _revision):
        furnish(place, build_fork_prs=True, forks_receive_secret_env_vars=True)

        def restrict(tx: Tx) -> None:
            people.link(tx, people.by_name(tx, "tester").id, "github", "maintainer", 1)
            context = contexts.find(tx, "deploy")
            restrictions.add(tx, context.id, restrictions.Type.GROUP, restrictions.ALL_MEMBERS, 1)

        place.read(restrict)
        body = opened(await fork_commit(place), action="reopened", sender={"login": "maintainer", "id": 3})
        assert (await post(appliance, body, X_GitHub_Event="pull_request"))[0] == 202
        seen = await place.ended()
        assert seen.statuses == {"grab": "unauthorized"} and "HOCUSPOCUS" not in seen.logs["grab"]
