"""`/context` and the settings of projects: shapes, limits, who may, and that values never come out."""

from __future__ import annotations

import logging
from uuid import UUID

import pytest

from appliance.model import Project, ProjectFlags, User
from appliance.store import contexts, projects, restrictions
from tests.web.world import World, approval, workflow

ABSENT = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
async def ada(world: World) -> User:
    return await world.user("ada", sees_all=True)


@pytest.fixture
async def boss(world: World) -> User:
    return await world.user("boss", is_admin=True)


@pytest.fixture
async def project(world: World) -> Project:
    return await world.project("acme/app")


async def made(world: World, user: User, name: str = "deploy") -> str:
    status, said = await world.json(user, "POST", "/context", json={"name": name, "owner": {"slug": "gh/acme"}})
    assert status == 200 and set(said) == {"id", "name", "created_at"} and said["name"] == name
    return str(UUID(said["id"]))


async def test_a_context_from_its_beginning_to_its_end(world: World, ada: User, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "appliance.api.contexts")
    context = await made(world, ada)
    status, said = await world.json(ada, "PUT", f"/context/{context}/environment-variable/KEY", json={"value": "opensesame"})
    assert status == 200 and set(said) == {"variable", "context_id", "created_at", "updated_at"}
    assert (said["variable"], said["context_id"]) == ("KEY", context)
    status, said = await world.json(ada, "GET", f"/context/{context}/environment-variable")
    assert [one["variable"] for one in said["items"]] == ["KEY"] and said["next_page_token"] is None
    _, listed = await world.json(ada, "GET", "/context?owner-slug=gh/acme")
    assert [one["id"] for one in listed["items"]] == [context]
    assert (await world.json(ada, "GET", f"/context/{context}"))[1]["name"] == "deploy"
    assert (await world.json(ada, "DELETE", f"/context/{context}/environment-variable/KEY"))[0] == 200
    assert (await world.json(ada, "DELETE", f"/context/{context}/environment-variable/KEY"))[0] == 404
    assert (await world.json(ada, "DELETE", f"/context/{context}"))[0] == 200
    assert (await world.json(ada, "GET", f"/context/{context}"))[0] == 404
    told = [(record.message, getattr(record, "user", None)) for record in caplog.records]
    assert told == [(f"context {what}", "ada") for what in ("created", "variable set", "variable removed", "removed")], (
        "what was done, and by whom"
    )
    assert "opensesame" not in caplog.text + str([vars(record) for record in caplog.records])


async def test_contexts_come_in_pages(world: World, ada: User) -> None:
    for number in range(45):
        await world.db.write(lambda tx, n=number: contexts.add(tx, f"c{n}", 7))  # type: ignore[misc]
    seen: list[str] = []
    token = ""
    for size in (20, 20, 5):
        _, said = await world.json(ada, "GET", f"/context?owner-id={ABSENT}&page-token={token}")
        assert len(said["items"]) == size
        seen += [one["name"] for one in said["items"]]
        token = said["next_page_token"]
    assert token is None and seen == [f"c{number}" for number in range(45)]


@pytest.mark.parametrize("name", ["", " x", "x ", "a\nb", "a\tb", "n" * 201, 7, None])
async def test_a_name_that_is_none_is_refused(world: World, ada: User, name: object) -> None:
    status, said = await world.json(ada, "POST", "/context", json={"name": name, "owner": {"slug": "gh/acme"}})
    assert status == 400 and list(said) == ["message"]


async def test_limits_of_contexts_are_said(world: World, ada: User) -> None:
    context = await made(world, ada)
    assert (await world.json(ada, "POST", "/context", json={"name": "deploy"}))[0] == 409
    path = f"/context/{context}/environment-variable"
    for name, value, word in (
        ("A-B", "x", "no name"),
        ("N" * 301, "x", "300"),
        ("OK", "x" * 32769, "32 KiB"),
        ("OK", "\0", "NUL"),
    ):
        status, said = await world.json(ada, "PUT", f"{path}/{name}", json={"value": value})
        assert status == 400 and word in said["message"], said
    assert (await world.json(ada, "PUT", f"{path}/OK", json={"value": 7}))[0] == 400
    for number in range(100):
        await world.db.write(lambda tx, n=number: contexts.set_variable(tx, world.box, context, f"V{n}", "", 1))  # type: ignore[misc]
    status, said = await world.json(ada, "PUT", f"{path}/ONE_MORE", json={"value": "x"})
    assert status == 400 and "100 variables" in said["message"]
    assert (await world.json(ada, "PUT", f"{path}/V7", json={"value": "changed"}))[0] == 200


async def test_restrictions_are_for_administrators_and_close_the_context_to_others(
    world: World, ada: User, boss: User, project: Project
) -> None:
    context = await made(world, ada)
    path = f"/context/{context}/restrictions"
    wanted = {"restriction_type": "project", "restriction_value": project.id}
    assert (await world.json(ada, "POST", path, json=wanted))[0] == 403
    status, one = await world.json(boss, "POST", path, json=wanted)
    assert status == 201
    assert one == {
        "id": one["id"],
        "context_id": context,
        "project_id": project.id,
        "name": "acme/app",
        "restriction_type": "project",
        "restriction_value": project.id,
    }
    assert (await world.json(boss, "POST", path, json=wanted))[0] == 409
    assert (await world.json(ada, "GET", path))[1] == {"items": [one], "next_page_token": None}
    status, said = await world.json(ada, "PUT", f"/context/{context}/environment-variable/KEY", json={"value": "mine"})
    assert status == 403 and "administrators" in said["message"]
    assert (await world.json(ada, "DELETE", f"/context/{context}"))[0] == 403
    assert (await world.json(ada, "DELETE", f"{path}/{one['id']}"))[0] == 403
    assert (await world.json(boss, "DELETE", f"{path}/{one['id']}"))[0] == 200
    assert (await world.json(boss, "DELETE", f"{path}/{one['id']}"))[0] == 404


@pytest.mark.parametrize(
    ("kind", "value", "status"),
    [
        ("project", ABSENT, 404),
        ("group", ABSENT, 404),
        ("group", restrictions.ADMINS, 201),
        ("expression", 'pipeline.git.branch == "main" and not job.ssh.enabled', 201),
        ("expression", "pipeline.git.branch ==", 400),
        ("expression", 'pipeline.parameters.branch == "main"', 400),
        ("expression", 7, 400),
        ("team", "x", 400),
        (None, "x", 400),
    ],
)
async def test_what_a_restriction_may_be(world: World, boss: User, kind: object, value: object, status: int) -> None:
    context = await made(world, boss)
    body = {"restriction_type": kind, "restriction_value": value}
    assert (await world.json(boss, "POST", f"/context/{context}/restrictions", json=body))[0] == status


async def test_who_enters_only_some_projects_learns_nothing_of_contexts(world: World, ada: User, project: Project) -> None:
    await made(world, ada)
    eve = await world.user("eve")
    assert (await world.json(eve, "GET", "/context?owner-slug=gh/acme"))[0] == 404
    assert (await world.json(eve, "POST", "/context", json={"name": "x"}))[0] == 404


DEFAULTS = {
    "autocancel_builds": False,
    "build_fork_prs": False,
    "build_prs_only": False,
    "disable_ssh": False,
    "forks_receive_secret_env_vars": False,
    "oss": False,
    "set_github_status": True,
    "setup_workflows": True,
    "write_settings_requires_admin": False,
    "pr_only_branch_overrides": [],
}


async def test_settings_are_read_and_changed_in_part(world: World, ada: User, project: Project) -> None:
    path = "/project/gh/acme/app/settings"
    assert await world.json(ada, "GET", path) == (200, {"advanced": DEFAULTS})
    changes = {"disable_ssh": True, "pr_only_branch_overrides": ["release/.*"]}
    status, said = await world.json(ada, "PATCH", path, json={"advanced": changes})
    assert (status, said) == (200, {"advanced": {**DEFAULTS, **changes}})
    assert await world.json(ada, "PATCH", path, json={}) == (200, said)
    wrongs: list[object] = [{"disable_ssh": "yes"}, {"nothing": True}, {"is_stopped": True}, {"disable_ssh": 1}, [], "x"]
    for wrong in (*wrongs, {"pr_only_branch_overrides": "x"}, {"pr_only_branch_overrides": ["("]}):
        assert (await world.json(ada, "PATCH", path, json={"advanced": wrong}))[0] == 400, wrong
    assert await world.json(ada, "GET", path) == (200, said)


async def test_settings_that_are_for_administrators(world: World, ada: User, boss: User, project: Project) -> None:
    path = "/project/gh/acme/app"
    assert (await world.json(ada, "PATCH", f"{path}/settings", json={"advanced": {"oss": True}}))[0] == 403
    locked = {"advanced": {"write_settings_requires_admin": True}}
    assert (await world.json(ada, "PATCH", f"{path}/settings", json=locked))[0] == 200
    unlocked = {"advanced": {"write_settings_requires_admin": False}}
    assert (await world.json(ada, "PATCH", f"{path}/settings", json=unlocked))[0] == 403
    assert (await world.json(ada, "POST", f"{path}/envvar", json={"name": "A", "value": "b"}))[0] == 403
    assert (await world.json(ada, "DELETE", f"{path}/envvar/A"))[0] == 403
    assert (await world.json(ada, "POST", f"{path}/checkout-key", json={"type": "deploy-key"}))[0] == 403
    assert (await world.json(ada, "GET", f"{path}/envvar"))[0] == 200
    assert (await world.json(boss, "PATCH", f"{path}/settings", json=unlocked))[0] == 200


async def test_stopping_a_project_cancels_what_is_open(world: World, ada: User, project: Project) -> None:
    pipeline = await world.pipeline(project, workflow("ci", approval("hold")))
    flags = await world.commands.change_settings(project.id, {"is_stopped": True}, ada)
    assert flags == ProjectFlags(is_stopped=True) == await world.db.read(lambda tx: projects.flags(tx, project.id))
    _, said = await world.json(ada, "GET", f"/pipeline/{pipeline}/workflow")
    assert [one["status"] for one in said["items"]] == ["canceled"]
