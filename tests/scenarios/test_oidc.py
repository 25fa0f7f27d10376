"""ID tokens of real jobs, checked as a cloud would: by another library, from nothing but the issuer's URL."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from joserfc import jwt
from joserfc.errors import BadSignatureError, ExpiredTokenError, InvalidClaimError, InvalidKeyIdError
from joserfc.jwk import KeySet

from appliance.app import Appliance
from appliance.cli import run
from appliance.model import ProjectFlags, organization_id
from appliance.store import oidc, projects
from appliance.store.oidc import CustomClaims
from tests.whole import ON_THIS_HOST, Place, house, served

ORG = organization_id("acme")
HOUR_S = 3600
CONFIG = """
version: 2.1
jobs:
  build:
    machine: true
    steps:
      - run: |
          printf '%s\\n' "$CIRCLE_OIDC_TOKEN" "$CIRCLE_OIDC_TOKEN_V2" >"$OUT"
          echo "one: $CIRCLE_OIDC_TOKEN, two: $CIRCLE_OIDC_TOKEN_V2."
          echo "in pieces: $(echo "$CIRCLE_OIDC_TOKEN" | tr . ' ' | cut -d ' ' -f 3)"
          echo "packed: $(printf %s "$CIRCLE_OIDC_TOKEN" | base64 | tr -d '\\n')"
workflows:
  main:
    jobs:
      - build: {context: [deploy]}
"""


async def check(issuer: str, token: str, audience: str, at_s: int | None = None) -> dict[str, Any]:
    """The claims, as anybody learns them who knows only the issuer. Raises what the library raises."""
    async with aiohttp.ClientSession() as client:
        async with client.get(f"{issuer}/.well-known/openid-configuration") as response:
            found = await response.json()
        async with client.get(found["jwks_uri"]) as response:
            keys = KeySet.import_key_set(await response.json())
    assert found["issuer"] == issuer
    decoded = jwt.decode(token, keys, algorithms=found["id_token_signing_alg_values_supported"])
    rules = jwt.JWTClaimsRegistry(
        at_s,
        iss={"essential": True, "value": issuer},
        aud={"essential": True, "value": audience},
        exp={"essential": True},
    )
    said: dict[str, Any] = decoded.claims
    rules.validate(said)
    return said


def with_out(tmp_path: Path) -> dict[str, Any]:
    return {**ON_THIS_HOST, "jobs.environment": {"OUT": str(tmp_path / "out")}}


async def ran(place: Place, appliance: Appliance | None, config: str = CONFIG) -> tuple[list[str], str]:
    """Push and wait: the lines that the job left outside, and its log."""
    await place.commit({".circleci/config.yml": config})
    await place.push()
    seen = await place.ended()
    assert seen.statuses == {"build": "success"}, seen.logs
    return (place.data.parent / "out").read_text().splitlines(), seen.logs["build"]


async def test_a_job_has_tokens_that_anybody_can_check(tmp_path: Path) -> None:
    async with house(tmp_path, with_out(tmp_path), contexts={"deploy": {}}) as (place, appliance):
        (first, second), _ = await ran(place, appliance)
        said = await check(f"{appliance.web_url}/org/{ORG}", first, ORG)
        seen = place.seen()
        assert seen is not None
        project_id, job = seen.pipeline.project_id, seen.jobs["build"]
        user_id = place.read(lambda tx: tx.execute("SELECT id FROM users WHERE name = 'tester'").fetchone()[0])
        context_id = place.read(lambda tx: tx.execute("SELECT id FROM contexts").fetchone()[0])
        own = {name.removeprefix("oidc.circleci.com/"): value for name, value in said.items() if "/" in name}
        assert own.pop("pipeline-definition-id")
        assert own == {
            "project-id": project_id,
            "context-ids": [context_id],
            "job-id": job.id,
            "workflow-id": job.workflow_id,
            "pipeline-id": seen.pipeline.id,
            "org-id": ORG,
            "ssh-rerun": False,
            "vcs-origin": "127.0.0.1/acme/app",
            "vcs-ref": "refs/heads/main",
        }
        subject = f"org/{ORG}/project/{project_id}/user/{user_id}"
        assert said["sub"] == subject and said["exp"] - said["iat"] == HOUR_S
        assert set(said) - {f"oidc.circleci.com/{name}" for name in own} == {
            *("iss", "sub", "aud", "iat", "exp", "oidc.circleci.com/pipeline-definition-id")
        }
        also = await check(f"{appliance.web_url}/org/{ORG}", second, ORG)
        assert also["sub"] == f"{subject}/vcs-origin/127.0.0.1/acme/app/vcs-ref/refs/heads/main"


async def test_a_forged_or_expired_token_or_one_for_others_is_refused(tmp_path: Path) -> None:
    async with house(tmp_path, with_out(tmp_path), contexts={"deploy": {}}) as (place, appliance):
        (token, _), _ = await ran(place, appliance)
        issuer = f"{appliance.web_url}/org/{ORG}"
        said = await check(issuer, token, ORG)
        head, body, sign = token.split(".")
        with pytest.raises(BadSignatureError):
            await check(issuer, f"{head}.{body[:-2]}{'AA' if body[-2:] != 'AA' else 'BB'}.{sign}", ORG)
        with pytest.raises(ExpiredTokenError):
            await check(issuer, token, ORG, said["exp"] + 1)
        with pytest.raises(InvalidClaimError):
            await check(issuer, token, "somebody-else")
        other = organization_id("other")
        with pytest.raises(InvalidClaimError):
            await check(f"{appliance.web_url}/org/{other}", token, ORG)


async def test_the_log_shows_no_token_and_no_piece_that_could_sign(tmp_path: Path) -> None:
    async with house(tmp_path, with_out(tmp_path), contexts={"deploy": {}}) as (place, appliance):
        tokens, log = await ran(place, appliance)
        # A token is longer than the longest needle, so it is masked in two pieces.
        assert re.search(r"^one: \*+, two: \*+\.$", log, re.MULTILINE) and "in pieces: ****\n" in log, log
        assert re.search(r"^packed: \*+[\w=]{0,4}$", log, re.MULTILINE), log
        for token in tokens:
            assert token.split(".")[2][:40] not in log


async def test_a_fork_gets_no_tokens(tmp_path: Path) -> None:
    config = CONFIG.replace("{context: [deploy]}", "{}")
    async with house(tmp_path, with_out(tmp_path)) as (place, appliance):
        await ran(place, appliance, config)
        seen = place.seen()
        assert seen is not None
        project_id = seen.pipeline.project_id
        place.read(lambda tx: projects.set_flags(tx, project_id, ProjectFlags(build_fork_prs=True)))
        fork = replace(seen.pipeline.trigger, is_fork=True, branch="pull/1", semantic_key="fork", delivery_id=None)
        assert (await appliance.commands.accept(fork)).trigger_id is not None
        (tmp_path / "out").unlink()
        assert (await place.ended(2)).statuses == {"build": "success"}
        assert (tmp_path / "out").read_text().split() == []


async def test_custom_audience_and_lifetime_are_in_the_token_the_projects_first(tmp_path: Path) -> None:
    async with house(tmp_path, with_out(tmp_path), contexts={"deploy": {}}) as (place, appliance):
        of_org = CustomClaims(audience=("of-org",), ttl="10m")
        place.read(lambda tx: oidc.set_custom_claims(tx, ORG, None, of_org))
        await place.commit({".circleci/config.yml": CONFIG})
        project = place.read(lambda tx: tx.execute("SELECT id FROM projects").fetchone()[0])
        place.read(lambda tx: oidc.set_custom_claims(tx, ORG, project, CustomClaims(audience=("sts", "vault"))))
        (token, _), _ = await ran(place, appliance)
        said = await check(f"{appliance.web_url}/org/{ORG}", token, "vault")
        assert said["aud"] == ["sts", "vault"] and said["exp"] - said["iat"] == 600


async def test_tokens_of_before_a_crash_stay_masked_and_valid(tmp_path: Path) -> None:
    config = """
version: 2.1
jobs:
  build:
    machine: true
    steps:
      - run: |
          echo "$CIRCLE_OIDC_TOKEN" >"$OUT"
          echo "early $CIRCLE_OIDC_TOKEN"
          until [ -e "$OUT.go" ]; do sleep 0.1; done
          echo "late $CIRCLE_OIDC_TOKEN"
      - run: echo "$CIRCLE_OIDC_TOKEN" >>"$OUT"; echo "new $CIRCLE_OIDC_TOKEN"
"""
    async with served(tmp_path, with_out(tmp_path)) as (place, process):
        await place.commit({".circleci/config.yml": config})
        await place.push()

        await place.said("early ****")
        await process.kill()
        assert await asyncio.to_thread(run, ["oidc", "rotate", "--data", str(place.data)]) == 0
        await process.start()
        (tmp_path / "out.go").touch()
        log = (await place.ended()).logs["build"]
        assert "late ****" in log and "new ****" in log and "eyJ" not in log
        url = (place.data / "web_url").read_text()
        for token in (tmp_path / "out").read_text().splitlines():
            said = jwt.decode(token, await keys_of(url), algorithms=["RS256"]).claims
            assert said["sub"].startswith(f"org/{ORG}/project/")
        assert await asyncio.to_thread(run, ["oidc", "rotate", "--now", "--data", str(place.data)]) == 0
        with pytest.raises(InvalidKeyIdError):
            jwt.decode(token, await keys_of(url), algorithms=["RS256"])


async def keys_of(url: str) -> KeySet:
    async with aiohttp.ClientSession() as client, client.get(f"{url}/.well-known/jwks-pub.json") as response:
        return KeySet.import_key_set(await response.json())


# --- `circleci run oidc get`


def asking(*lines: str) -> str:
    """A config whose one step does these lines, in the default shell."""
    script = "".join(f"          {line}\n" for line in lines)
    return f"version: 2.1\njobs:\n  build:\n    machine: true\n    steps:\n      - run: |\n{script}"


async def test_a_job_asks_for_a_token_for_an_audience_of_its_choice(tmp_path: Path) -> None:
    config = asking(
        """circleci run oidc get --claims '{"aud": "vault"}' >"$OUT" """,
        """circleci run oidc get --claims '{"aud": ["a", "b"]}' --ttl 10m --root-issuer >>"$OUT" """,
        """circleci run oidc get --claims '{"aud": "vault"}' >>"$OUT" """,
        """echo "said: $(cat "$OUT"), and in pieces: $(head -n 1 "$OUT" | cut -d . -f 3)" """,
    )
    async with house(tmp_path, with_out(tmp_path)) as (place, appliance):
        (token, other, again), log = await ran(place, appliance, config)
        said = await check(f"{appliance.web_url}/org/{ORG}", token, "vault")
        assert said["aud"] == "vault" and said["exp"] - said["iat"] == HOUR_S and said["oidc.circleci.com/org-id"] == ORG
        said = await check(appliance.web_url, other, "b")
        assert said["aud"] == ["a", "b"] and said["exp"] - said["iat"] == 600
        assert again == token, "one is as good as another for a while"
        for each in (token, other):
            assert each not in log and each.split(".")[2][:40] not in log
        assert "eyJ" not in log and "in pieces: ****" in log


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("""--claims '{"sub": "me", "aud": "x"}'""", "only the claim aud can be chosen, not sub"),
        ("--claims aud=x", "--claims must be a JSON object"),
        ("""--claims '{"aud": 7}'""", "audience: must be a list"),
        ("--ttl 2h", "ttl: a token of this job lives 3600 seconds at most"),
        ("--ttl 0s", "ttl: must be at least 1s"),
    ],
)
async def test_what_a_job_may_not_choose_is_refused(tmp_path: Path, words: str, said: str) -> None:
    async with house(tmp_path, with_out(tmp_path)) as (place, appliance):
        _, log = await ran(
            place, appliance, asking(f"circleci run oidc get {words} || echo 'ended with' $?", 'echo >"$OUT"')
        )
        assert f"circleci: {said}" in log and "ended with 1" in log


async def test_a_forks_job_is_told_that_it_gets_no_token(tmp_path: Path) -> None:
    config = asking("circleci run oidc get >token || echo 'ended with' $?", 'wc -c <token >"$OUT"')
    async with house(tmp_path, with_out(tmp_path)) as (place, appliance):
        (size,), _ = await ran(place, appliance, config)
        assert int(size) > 500
        seen = place.seen()
        assert seen is not None
        project_id = seen.pipeline.project_id
        place.read(lambda tx: projects.set_flags(tx, project_id, ProjectFlags(build_fork_prs=True)))
        fork = replace(seen.pipeline.trigger, is_fork=True, branch="pull/1", semantic_key="fork", delivery_id=None)
        await appliance.commands.accept(fork)
        log = (await place.ended(2)).logs["build"]
        assert "circleci: this pipeline gets no OIDC token" in log and "ended with 1" in log
        assert (tmp_path / "out").read_text().split() == ["0"]


async def test_a_question_survives_a_crash_and_the_token_before_it_stays_masked(tmp_path: Path) -> None:
    config = asking(
        """circleci run oidc get --claims '{"aud": "early"}' >"$OUT"; echo "early $(cat "$OUT")" """,
        """until [ -e "$OUT.go" ]; do sleep 0.1; done""",
        """circleci run oidc get --claims '{"aud": "late"}' >>"$OUT" """,
        """echo "late $(cat "$OUT")" """,
    )
    async with served(tmp_path, with_out(tmp_path)) as (place, process):
        await place.commit({".circleci/config.yml": config})
        await place.push()

        await place.said("early ****")
        await process.kill()
        (tmp_path / "out.go").touch()  # so it asks while nobody is there
        await asyncio.sleep(0.5)
        await process.start()
        seen = await place.ended()
        assert seen.statuses == {"build": "success"}, seen.logs
        assert "late ****" in seen.logs["build"] and "eyJ" not in seen.logs["build"]
        url = (place.data / "web_url").read_text()
        early, late = (tmp_path / "out").read_text().splitlines()
        for token, audience in ((early, "early"), (late, "late")):
            assert jwt.decode(token, await keys_of(url), algorithms=["RS256"]).claims["aud"] == audience
        kept = place.read(lambda tx: tx.execute("SELECT count(*) FROM nodes WHERE secrets IS NOT NULL").fetchone()[0])
        assert kept == 0
