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
from appliance.errors import BadRequest
from appliance.store.database import Database, open_database
from tests.engine.test_loops import one_job, workshop


async def answerer(db: Database, tmp_path: Path) -> _Answerer:
    shop, job = workshop(db, tmp_path), await one_job(db)
    facts = await db.read(lambda tx: facts_of(tx, shop.box, job.id, 0))
    return _Answerer(shop, facts, Record(shop, facts))


async def test_a_job_that_asks_for_ever_new_tokens_is_given_a_hundred(tmp_path: Path) -> None:
    async with open_database(tmp_path / "rondo.db") as db:
        asked = await answerer(db, tmp_path)
        said = [await asked.answer(f'oidc 0 - {{"aud": "{number}"}}') for number in range(102)]
        assert all(words.startswith("ok ey") for words in said[:100]) and len(set(said[:100])) == 100
        assert set(said[100:]) == {"no this job has been given 100 different OIDC tokens, the most there are"}
        assert await asked.answer('oidc 0 - {"aud": "7"}') == said[7]


async def test_rights_that_are_taken_away_while_the_job_runs_are_gone(tmp_path: Path) -> None:
    async with open_database(tmp_path / "rondo.db") as db:
        asked = await answerer(db, tmp_path)
        assert (await asked.answer("oidc 0 - {}")).startswith("ok ")
        await db.write(lambda tx: tx.execute("UPDATE pipelines SET may_have_secrets = 0"))
        assert (await asked.answer("oidc 0 - {}")).startswith("no this pipeline gets no OIDC token")


async def test_a_rerun_with_ssh_is_told_by_its_token(tmp_path: Path) -> None:
    async with open_database(tmp_path / "rondo.db") as db:
        shop, job = workshop(db, tmp_path), await one_job(db)
        facts = await db.read(lambda tx: facts_of(tx, shop.box, job.id, 0))
        identity = await db.read(lambda tx: identity_of(tx, facts))
        for ssh_for, said in ((None, False), ("ada", True)):
            found = claims(replace(facts, job=replace(facts.job, ssh_for=ssh_for)), identity, Wish(), "http://x", "", 0)
            assert found["oidc.circleci.com/ssh-rerun"] is said


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
