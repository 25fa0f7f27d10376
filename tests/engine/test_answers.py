"""Answers to what jobs ask while they run: what is a question, how many there are, and who is asked each time."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from appliance.engine.answers import _Answerer, wish_of
from appliance.engine.oidc import Wish, claims, identity_of
from appliance.engine.record import Record
from appliance.engine.workshop import facts_of
from appliance.errors import BadRequest, SandboxError
from appliance.executors.base import Container, Sandbox, SandboxSpec
from appliance.executors.fake import FakeExecutor
from appliance.store.database import Database, open_database
from tests.engine.shop import one_job, workshop


async def answerer(db: Database, tmp_path: Path) -> _Answerer:
    shop, job = workshop(db, tmp_path, {}), await one_job(db)
    facts = await db.read(lambda tx: facts_of(tx, shop.box, job.id, 0))
    return _Answerer(shop, facts, Record(shop, facts), await fake_sandbox())


async def fake_sandbox() -> Sandbox:
    async def progress(_: bytes) -> None:
        return

    return await FakeExecutor().open(SandboxSpec(node="1.0", containers=(Container(image="x"),)), progress)


async def words(asked: _Answerer, text: str) -> str:
    answer = await asked.answer(text)
    assert answer is not None
    return answer.decode().removesuffix("\n")


async def test_a_job_that_asks_for_ever_new_tokens_is_given_a_hundred(tmp_path: Path) -> None:
    async with open_database(tmp_path / "rondo.db") as db:
        asked = await answerer(db, tmp_path)
        said = [await words(asked, f'oidc 0 - {{"aud": "{number}"}}') for number in range(102)]
        assert all(one.startswith("ok ey") for one in said[:100]) and len(set(said[:100])) == 100
        assert set(said[100:]) == {"no this job has been given 100 different OIDC tokens, the most there are"}
        assert await words(asked, 'oidc 0 - {"aud": "7"}') == said[7]


async def test_rights_that_are_taken_away_while_the_job_runs_are_gone(tmp_path: Path) -> None:
    async with open_database(tmp_path / "rondo.db") as db:
        asked = await answerer(db, tmp_path)
        assert (await words(asked, "oidc 0 - {}")).startswith("ok ")
        await db.write(lambda tx: tx.execute("UPDATE pipelines SET may_have_secrets = 0"))
        assert (await words(asked, "oidc 0 - {}")).startswith("no this pipeline gets no OIDC token")


async def test_a_rerun_with_ssh_is_told_by_its_token(tmp_path: Path) -> None:
    async with open_database(tmp_path / "rondo.db") as db:
        shop, job = workshop(db, tmp_path, {}), await one_job(db)
        facts = await db.read(lambda tx: facts_of(tx, shop.box, job.id, 0))
        identity = await db.read(lambda tx: identity_of(tx, facts))
        for ssh_for, said in ((None, False), ("ada", True)):
            found = claims(replace(facts, job=replace(facts.job, ssh_for=ssh_for)), identity, Wish(), "http://x", "", 0)
            assert found["oidc.circleci.com/ssh-rerun"] is said


async def test_only_the_jobs_of_a_setup_workflow_may_ask_to_continue_and_not_for_ever(tmp_path: Path) -> None:
    async with open_database(tmp_path / "rondo.db") as db:
        shop, job = workshop(db, tmp_path, {}), await one_job(db)
        heard: list[tuple[bytes, str]] = []

        async def carry_on(body: bytes, name: str) -> tuple[int, bytes]:
            heard.append((body, name))
            return 200, b"{}"

        facts = await db.read(lambda tx: facts_of(tx, shop.box, job.id, 0))
        sandbox = await fake_sandbox()
        await sandbox.put("requests/7/body", b"a request")
        shop = replace(shop, carry_on=carry_on)
        for is_setup, answer in ((False, None), (True, b"200\n{}")):
            asked = _Answerer(
                shop, replace(facts, workflow=replace(facts.workflow, is_setup=is_setup)), Record(shop, facts), sandbox
            )
            assert await asked.answer("continue 7") == answer
        assert heard == [(b"a request", f"{job.id}.0/7")]
        with pytest.raises(SandboxError):
            await asked.answer("continue 8")
        assert {await asked.answer("continue 7") for _ in range(100)} == {b"200\n{}", None}
        assert len(heard) == 99 and "ok" not in await words(asked, "continue ../7")


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "oidc",
            "oidc 2 - {}",
            "oidc 0 1H {}",
            "token 0 - {}",
            "oidc 0 - ",
            "oidc 0 - []",
            "oidc 0 - {",
            "oidc 0 - null",
        ),
        *(f"oidc 0 - {json.dumps({name: 'x'})}" for name in ("sub", "iss", "exp", "oidc.circleci.com/project-id", "AUD")),
        *(f"oidc 0 - {json.dumps({'aud': audience})}" for audience in ("", [], None, {"a": 1}, "x" * 513, ["a"] * 21)),
        "oidc 0 25h {}",
        "oidc 0 - " + "[" * 1900,
    ],
)
def test_what_is_no_wish_is_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        wish_of(text)


def test_a_wish_is_an_audience_a_lifetime_and_an_issuer() -> None:
    assert wish_of("oidc 0 - {}") == Wish()
    assert wish_of('oidc 1 90s {"aud": ["a", "b"]}') == Wish(audience=("a", "b"), ttl_s=90, has_root_issuer=True)
