"""Checkout keys over API v2 and additional SSH keys over v1.1: their shapes, and that private halves never come out."""

from __future__ import annotations

import re

import aiohttp
from yarl import URL

from appliance import ssh_keys
from appliance.model import ProjectFlags
from appliance.store import keys, projects
from tests.web.world import World

PATH = "/project/circleci/acme/app/checkout-key"


async def test_checkout_keys_are_made_listed_shown_and_removed(world: World) -> None:
    ada = await world.user("ada")
    await world.project("acme/app", members=[ada])
    status, made = await world.json(ada, "POST", PATH, json={"type": "deploy-key"})
    assert status == 201 and re.fullmatch(r"ssh-ed25519 \S+", made["public-key"])
    assert {**made, "public-key": "", "created-at": "", "fingerprint": ""} == {
        "public-key": "",
        "type": "deploy-key",
        "fingerprint": "",
        "preferred": True,
        "created-at": "",
    }
    assert re.fullmatch(r"([0-9a-f]{2}:){15}[0-9a-f]{2}", made["fingerprint"])
    assert await world.json(ada, "GET", PATH) == (200, {"items": [made], "next_page_token": None})
    _, listed = await world.json(ada, "GET", f"{PATH}?digest=sha256")
    sha256 = listed["items"][0]["fingerprint"]
    assert sha256.startswith("SHA256:")
    assert (await world.json(ada, "GET", f"{PATH}?digest=sha1"))[0] == 400
    async with aiohttp.ClientSession(world.url, headers={"Circle-Token": await world.token(ada)}) as client:
        for written in (made["fingerprint"], made["fingerprint"].replace(":", "%3A"), sha256, sha256.replace("/", "%2F")):
            async with client.get(URL(f"{world.url}/api/v2{PATH}/{written}", encoded=True)) as response:
                assert response.status == 200, written
                assert (await response.json())["public-key"] == made["public-key"]
        async with client.delete(URL(f"{world.url}/api/v2{PATH}/{sha256.replace('/', '%2F')}", encoded=True)) as response:
            assert (response.status, await response.json()) == (200, {"message": "Deleted."})
    assert (await world.json(ada, "DELETE", f"{PATH}/{made['fingerprint']}"))[0] == 404


async def test_a_user_key_speaks_for_whoever_made_it(world: World) -> None:
    ada = await world.user("ada")
    await world.project("acme/app", members=[ada])
    status, made = await world.json(ada, "POST", PATH, json={"type": "user-key"})
    assert (status, made["type"]) == (201, "github-user-key")
    _, listed = await world.json(ada, "GET", f"{PATH}?digest=sha256")
    holder = await world.db.read(lambda tx: keys.holder(tx, listed["items"][0]["fingerprint"]))
    assert holder is not None and holder.user == ada
    for wrong in ({"type": "github-user-key"}, {}, {"type": None}):
        assert (await world.json(ada, "POST", PATH, json=wrong))[0] == 400


async def test_additional_keys_go_in_and_never_come_out(world: World) -> None:
    ada = await world.user("ada")
    project = await world.project("acme/app", members=[ada])
    path, pair = "/api/v1.1/project/circleci/acme/app/ssh-key", ssh_keys.generate("x")
    status, body = await world.ask(ada, "POST", path, json={"hostname": "git.example", "private_key": pair.private})
    assert status == 201 and pair.md5 in body and pair.private[40:80] not in body
    assert (await world.ask(ada, "POST", path, json={"private_key": pair.public}))[0] == 400
    assert (await world.ask(ada, "POST", path, json={"private_key": pair.private, "hostname": "a b"}))[0] == 400
    kept = await world.db.read(lambda tx: keys.additional_keys(tx, project.id))
    assert [(key.hostname, key.fingerprint) for key in kept] == [("git.example", pair.sha256)]
    wrong = {"fingerprint": pair.md5, "hostname": "other.example"}
    assert (await world.ask(ada, "DELETE", path, json=wrong))[0] == 404
    assert (await world.ask(ada, "DELETE", path, json={**wrong, "hostname": "git.example"}))[0] == 200
    assert await world.db.read(lambda tx: keys.additional_keys(tx, project.id)) == []


async def test_only_admins_change_keys_where_the_project_says_so(world: World) -> None:
    ada, boss = await world.user("ada"), await world.user("boss", is_admin=True)
    project = await world.project("acme/app", members=[ada])
    _, made = await world.json(ada, "POST", PATH, json={"type": "deploy-key"})
    flags = ProjectFlags(write_settings_requires_admin=True)
    await world.db.write(lambda tx: projects.set_flags(tx, project.id, flags))
    path, private = "/api/v1.1/project/circleci/acme/app/ssh-key", ssh_keys.generate("x").private
    one = f"{PATH}/{made['fingerprint']}"
    for user, refused in ((ada, True), (boss, False)):
        assert (await world.json(user, "GET", one))[0] == 200
        for method, where, body in (
            ("POST", f"/api/v2{PATH}", {"type": "user-key"}),
            ("POST", path, {"private_key": private}),
            ("DELETE", path, {"fingerprint": ssh_keys.read(private).md5}),
            ("DELETE", f"/api/v2{one}", None),
        ):
            status, said = await world.ask(user, method, where, json=body)
            assert (status == 403) is refused, said
