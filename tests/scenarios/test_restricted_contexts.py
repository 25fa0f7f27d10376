"""Restricted contexts in a whole appliance: who is denied, what follows from it, and who is let through."""

from __future__ import annotations

from pathlib import Path

from appliance.model import User
from appliance.store import contexts, people, restrictions
from appliance.store.database import Tx
from appliance.store.restrictions import ALL_MEMBERS, Type
from tests.whole import ON_THIS_HOST, Place, house, until

DEPLOY = {"deploy": {"DEPLOY_KEY": "opensesame"}}
JOBS = """
version: 2.1
jobs:
  build: &job
    machine: true
    steps: [{run: 'echo "key=${DEPLOY_KEY:-none}" | tr a-z A-Z'}]
  ship: *job
  tell: *job
"""
STRAIGHT = f"""{JOBS}
workflows:
  main:
    jobs:
      - ship: {{context: deploy, name: ship}}
      - build: {{name: after, requires: [ship]}}
      - tell: {{name: told, requires: [{{ship: [unauthorized]}}]}}
      - build: {{name: beside}}
"""
HELD = f"""{JOBS}
workflows:
  main:
    jobs:
      - hold: {{type: approval}}
      - ship: {{context: deploy, requires: [hold]}}
"""
CALLED_ALIKE = f"""{JOBS}
parameters:
  pipeline.git.branch: {{type: string, default: safe}}
  git.branch: {{type: string, default: safe}}
workflows:
  main:
    jobs: [{{ship: {{context: deploy}}}}]
"""


def restrict(place: Place, type: Type, value: str) -> None:
    place.read(lambda tx: restrictions.add(tx, contexts.find(tx, "deploy").id, type, value, 1))


def add_person(place: Place, name: str, *, is_admin: bool = False) -> User:
    def add(tx: Tx) -> User:
        return people.add(tx, name=name, is_admin=is_admin, sees_all_projects=True, now_ms=1)

    return place.read(add)


async def test_a_denied_job_says_so_and_the_rest_follows_by_its_requirements(tmp_path: Path) -> None:
    async with house(tmp_path, ON_THIS_HOST, contexts=DEPLOY) as (place, _):
        boss = add_person(place, "boss")
        restrict(place, Type.GROUP, boss.id)
        await place.commit({".circleci/config.yml": STRAIGHT})
        await place.push()
        seen = await place.ended()
        assert seen.statuses == {"ship": "unauthorized", "after": "not_run", "told": "success", "beside": "success"}
        assert seen.workflows == {"main": "unauthorized"}
        assert seen.jobs["ship"].message == "the context deploy is restricted to boss; this runs for tester"
        assert "OPENSESAME" not in "".join(seen.logs.values())


async def test_members_are_let_through_and_asked_anew_each_time(tmp_path: Path) -> None:
    async with house(tmp_path, ON_THIS_HOST, contexts=DEPLOY) as (place, _):
        restrict(place, Type.GROUP, ALL_MEMBERS)
        restrict(place, Type.EXPRESSION, 'pipeline.git.branch == "main"')
        await place.commit({".circleci/config.yml": STRAIGHT})
        await place.push()
        seen = await place.ended()
        assert (seen.statuses["ship"], seen.statuses["told"]) == ("success", "not_run")
        assert "KEY=OPENSESAME" in seen.logs["ship"]
        await place.push("main:release")
        seen = await place.ended(2)
        assert seen.statuses["ship"] == "unauthorized"
        assert "it does not hold here" in seen.jobs["ship"].message


async def test_who_approves_lends_their_rights(tmp_path: Path) -> None:
    async with house(tmp_path, ON_THIS_HOST, contexts=DEPLOY) as (place, appliance):
        boss = add_person(place, "boss")
        restrict(place, Type.GROUP, boss.id)
        await place.commit({".circleci/config.yml": HELD})
        for number, who in ((1, "tester"), (2, "boss")):
            await place.push(f"main:try{number}")

            async def held(number: int = number) -> bool | None:
                seen = place.seen(number)
                return True if seen is not None and seen.statuses.get("hold") == "on_hold" else None

            await until(held)
            seen = place.seen(number)
            assert seen is not None
            await appliance.commands.approve(seen.jobs["hold"].id, place.read(lambda tx, who=who: people.by_name(tx, who)))  # type: ignore[misc]
        assert (await place.ended(1)).statuses["ship"] == "unauthorized"
        seen = await place.ended(2)
        assert seen.statuses["ship"] == "success" and "OPENSESAME" in seen.logs["ship"]


async def test_a_parameter_called_like_a_pipeline_value_opens_nothing(tmp_path: Path) -> None:
    async with house(tmp_path, ON_THIS_HOST, contexts=DEPLOY) as (place, _):
        restrict(place, Type.EXPRESSION, 'pipeline.git.branch == "safe"')
        await place.commit({".circleci/config.yml": CALLED_ALIKE})
        await place.push()
        seen = await place.ended()
        assert seen.pipeline.state == "errored" or seen.statuses["ship"] == "unauthorized"
        assert "OPENSESAME" not in "".join(seen.logs.values())
