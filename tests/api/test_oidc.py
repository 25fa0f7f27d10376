"""The issuer to the world, and what admins may change of its tokens."""

from __future__ import annotations

import re

import aiohttp
import pytest

from appliance.engine import oidc
from appliance.errors import BadRequest
from appliance.model import organization_id
from appliance.store.oidc import SigningKey
from tests.web.world import World

ORG = organization_id("acme")
DAY_MS = 24 * 3600 * 1000
AHEAD_MS = 2 * oidc.KEYS_FRESH_S * 1000


@pytest.mark.parametrize("below", ["", f"/org/{ORG}"])
async def test_discovery_and_keys_are_for_everybody_and_may_be_kept(world: World, below: str) -> None:
    async with aiohttp.ClientSession() as client:
        async with client.get(f"{world.url}{below}/.well-known/openid-configuration") as response:
            assert response.headers["Cache-Control"] == "public, max-age=300"
            found = await response.json()
        assert found["issuer"] == f"{world.url}{below}" and found["id_token_signing_alg_values_supported"] == ["RS256"]
        async with client.get(found["jwks_uri"]) as response:
            assert response.headers["Cache-Control"] == "public, max-age=300"
            (key,) = (await response.json())["keys"]
        async with client.get(found["jwks_uri"]) as response:
            assert (await response.json())["keys"] == [key], "a key is made once"
    assert sorted(key) == ["alg", "e", "kid", "kty", "n", "use"]  # nothing of the private half


async def test_the_private_key_is_sealed_in_the_database(world: World) -> None:
    await oidc.public_keys(world.db, world.box, world.clock)
    kept = await world.db.read(lambda tx: bytes(tx.execute("SELECT private_key FROM oidc_keys").fetchone()[0]))
    assert b"PRIVATE" not in kept


async def test_what_is_no_organization_has_no_discovery(world: World) -> None:
    async with aiohttp.ClientSession(world.url) as client:
        for org in ("acme", f"{ORG}x", "../x"):
            async with client.get(f"/org/{org}/.well-known/openid-configuration") as response:
                assert response.status == 404


async def test_admins_set_audience_and_lifetime_of_organization_and_project(world: World) -> None:
    ada = await world.user("ada", is_admin=True)
    project = await world.project("acme/app")
    of_org, of_project = f"/org/{ORG}/oidc-custom-claims", f"/org/{ORG}/project/{project.id}/oidc-custom-claims"
    assert await world.json(ada, "GET", of_org) == (200, {"org_id": ORG})
    status, said = await world.json(ada, "PATCH", of_org, json={"audience": ["a", "b"]})
    assert status == 200 and said["audience"] == ["a", "b"] and "ttl" not in said
    status, said = await world.json(ada, "PATCH", of_org, json={"ttl": "1h30m"})
    assert status == 200 and said["audience"] == ["a", "b"] and said["ttl"] == "1h30m"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", said["ttl_updated_at"])
    assert await world.json(ada, "GET", of_org) == (200, said)
    assert await world.json(ada, "GET", of_project) == (200, {"org_id": ORG, "project_id": project.id})
    status, said = await world.json(ada, "PATCH", of_project, json={"ttl": "5m"})
    assert (said["project_id"], said["ttl"]) == (project.id, "5m")
    status, said = await world.json(ada, "DELETE", f"{of_org}?claims=audience")
    assert status == 200 and "audience" not in said and said["ttl"] == "1h30m"
    status, said = await world.json(ada, "DELETE", f"{of_org}?claims=audience,ttl")
    assert status == 200 and "ttl" not in said
    assert (await world.json(ada, "GET", of_project))[1]["ttl"] == "5m"


async def test_others_may_not_even_look(world: World) -> None:
    eve = await world.user("eve", sees_all=True)
    project = await world.project("acme/app")
    for path in (f"/org/{ORG}/oidc-custom-claims", f"/org/{ORG}/project/{project.id}/oidc-custom-claims"):
        for method in ("GET", "PATCH", "DELETE"):
            assert await world.json(eve, method, f"{path}?claims=ttl") == (403, {"error": "Forbidden"})


async def test_wrong_claims_are_refused_and_change_nothing(world: World) -> None:
    ada = await world.user("ada", is_admin=True)
    project, other = await world.project("acme/app"), await world.project("other/app")
    path = f"/org/{ORG}/oidc-custom-claims"
    before = await world.everything(but="tokens")
    bodies: list[dict[str, object]] = [{"sub": "me"}]
    bodies += [{"ttl": ttl} for ttl in ("", "1", "1y", "1 h", "-1h", "25h", "0s", "400ms", 3600, "1h" * 8)]
    audiences: list[object] = [[], [""], ["a\nb"], [1], {}, ["a" * 600], ["a"] * 21]
    bodies += [{"audience": audience} for audience in audiences]
    for body in bodies:
        status, said = await world.json(ada, "PATCH", path, json=body)
        assert status == 400 and list(said) == ["error"], (body, said)
    for query in ("", "?claims=", "?claims=sub", "?claims=ttl,sub"):
        assert (await world.json(ada, "DELETE", path + query))[0] == 400
    nowhere = organization_id("nobody")
    for wrong in (f"/org/{nowhere}", f"/org/{ORG}/project/{other.id}", f"/org/{nowhere}/project/{project.id}"):
        status, said = await world.json(ada, "PATCH", f"{wrong}/oidc-custom-claims", json={"ttl": "5m"})
        assert status == 404 and list(said) == ["error"]
    assert await world.everything(but="tokens") == before


def test_a_new_key_is_published_before_it_signs_and_an_old_one_while_its_tokens_live() -> None:
    keys = [SigningKey(id=name, public_jwk={}, created_at_ms=at_ms) for name, at_ms in (("a", 0), ("b", DAY_MS))]

    def at(now_ms: int) -> tuple[str, list[str]]:
        return oidc.signing(keys, now_ms).id, [key.id for key in oidc.published(keys, now_ms)]

    assert oidc.signing(keys[:1], 0).id == "a"
    assert at(DAY_MS) == ("a", ["a", "b"])
    assert at(DAY_MS + AHEAD_MS - 1) == ("a", ["a", "b"])
    assert at(DAY_MS + AHEAD_MS) == ("b", ["a", "b"])
    assert at(2 * DAY_MS + AHEAD_MS - 1) == ("b", ["a", "b"])
    assert at(2 * DAY_MS + AHEAD_MS) == ("b", ["b"])


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://x-access-token:secret@github.com/acme/app.git", "github.com/acme/app"),
        ("git@github.com:acme/app.git", "github.com/acme/app"),
        ("ssh://git@ci.example.org:2222/acme/app.git", "ci.example.org/acme/app"),
        ("file:///srv/git/app.git", "srv/git/app"),
        ("/srv/git/app", "srv/git/app"),
    ],
)
def test_the_origin_is_host_and_path_without_a_login(url: str, origin: str) -> None:
    assert oidc.vcs_origin(url) == origin


def test_durations_are_added_up() -> None:
    assert [oidc.seconds(ttl) for ttl in ("1h30m", "90s", "1500ms", "1d")] == [5400, 90, 1, 86400]
    with pytest.raises(BadRequest, match="at most 24h"):
        oidc.seconds("999999999w")
