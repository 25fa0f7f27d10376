"""`/project/…/schedule` and `/schedule/{id}`: shapes as in the published document, what is refused, and who may."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from appliance.engine import flags
from appliance.model import Project, User
from appliance.store import schedules
from tests.web.world import World

TIMETABLE: dict[str, Any] = {"per-hour": 2, "hours-of-day": [3, 15], "days-of-week": ["MON", "FRI"]}
BODY: dict[str, Any] = {
    "name": "nightly",
    "timetable": TIMETABLE,
    "attribution-actor": "current",
    "parameters": {"branch": "main", "deep": True, "level": 3},
    "description": "all of it",
}


@pytest.fixture
async def ada(world: World) -> User:
    return await world.user("ada", sees_all=True)


@pytest.fixture
async def project(world: World) -> Project:
    return await world.project("acme/app")


async def made(world: World, user: User, **changes: object) -> dict[str, Any]:
    status, said = await world.json(user, "POST", "/project/gh/acme/app/schedule", json=BODY | changes)
    assert status == 201, said
    return dict(said)


async def test_a_schedule_from_its_beginning_to_its_end(world: World, ada: User, project: Project) -> None:
    said = await made(world, ada)
    schedule = str(UUID(said["id"]))
    assert {**said, "id": 0, "created-at": 0, "updated-at": 0} == {
        "id": 0,
        "name": "nightly",
        "description": "all of it",
        "timetable": TIMETABLE,
        "parameters": {"branch": "main", "deep": True, "level": 3},
        "actor": {"id": ada.id, "login": "ada", "name": "ada"},
        "project-slug": project.slug,
        "created-at": 0,
        "updated-at": 0,
    }
    assert said["created-at"].endswith("Z") and said["created-at"] == said["updated-at"]
    assert await world.json(ada, "GET", f"/schedule/{schedule}") == (200, said)
    assert await world.json(ada, "GET", "/project/gh%2Facme%2Fapp/schedule") == (
        200,
        {"items": [said], "next_page_token": None},
    )
    wanted = {"attribution-actor": "system", "parameters": {"tag": "v1"}, "timetable": TIMETABLE | {"months": ["JAN"]}}
    status, changed = await world.json(ada, "PATCH", f"/schedule/{schedule}", json=wanted)
    assert status == 200 and changed["parameters"] == {"tag": "v1"} and changed["timetable"]["months"] == ["JAN"]
    assert changed["actor"]["login"] == "system-actor" and UUID(changed["actor"]["id"])
    assert changed["name"] == "nightly" and changed["description"] == "all of it", "what is not named stays"
    assert await world.json(ada, "DELETE", f"/schedule/{schedule}") == (200, {"message": "Schedule deleted."})
    assert await world.json(ada, "GET", f"/schedule/{schedule}") == (404, {"message": "Schedule not found."})


async def test_a_schedule_is_due_within_ten_minutes_of_a_slot(world: World, ada: User, project: Project) -> None:
    said = await made(world, ada)
    found = await world.db.read(lambda tx: schedules.of_api(tx, said["id"]))
    assert found.slot_ms is not None and found.due_at_ms is not None
    assert 0 <= found.due_at_ms - found.slot_ms == found.offset_ms < 600_000
    assert found.slot_ms // 60_000 % 60 in (0, 30) and found.due_at_ms > world.clock.now_ms()


REFUSED = [
    ({"name": ""}, "name must be"),
    ({"name": None}, "name is required"),
    ({"timetable": None}, "timetable is required"),
    ({"attribution-actor": None}, "attribution-actor is required"),
    ({"attribution-actor": "bob"}, "current or system"),
    ({"parameters": None}, "parameters is required"),
    ({"parameters": {"deep": True}}, "either branch or tag"),
    ({"parameters": {"branch": "a", "tag": "b"}}, "either branch or tag"),
    ({"parameters": {"branch": 5}}, "branch must be"),
    ({"parameters": {"branch": "main", "x": [1]}}, "must be a string"),
    ({"timetable": []}, "must be a JSON object"),
    ({"timetable": TIMETABLE | {"minutes": [5]}}, "Unexpected field 'minutes'"),
    ({"timetable": TIMETABLE | {"per-hour": 0}}, "between 1 and 60"),
    ({"timetable": TIMETABLE | {"per-hour": 61}}, "between 1 and 60"),
    ({"timetable": TIMETABLE | {"per-hour": True}}, "between 1 and 60"),
    ({"timetable": TIMETABLE | {"hours-of-day": [24]}}, "numbers between 0 and 23"),
    ({"timetable": TIMETABLE | {"hours-of-day": []}}, "numbers between 0 and 23"),
    ({"timetable": TIMETABLE | {"hours-of-day": [1.0]}}, "numbers between 0 and 23"),
    ({"timetable": TIMETABLE | {"hours-of-day": [3, 3]}}, "each at most once"),
    ({"timetable": TIMETABLE | {"hours-of-day": [[3]]}}, "numbers between 0 and 23"),
    ({"timetable": TIMETABLE | {"days-of-week": ["Monday"]}}, "days like MON"),
    ({"timetable": TIMETABLE | {"days-of-month": [1]}}, "either days-of-week or days-of-month"),
    ({"timetable": {"per-hour": 1, "hours-of-day": [1]}}, "either days-of-week or days-of-month"),
    ({"timetable": {"per-hour": 1, "hours-of-day": [1], "days-of-month": [32]}}, "between 1 and 31"),
    ({"timetable": TIMETABLE | {"months": ["MAI"]}}, "months like JAN"),
    ({"enabled": True}, "Unexpected JSON field 'enabled'"),
]


@pytest.mark.parametrize(("change", "word"), REFUSED, ids=[word for _, word in REFUSED])
async def test_what_is_no_schedule_is_refused_with_the_reason(
    world: World, ada: User, project: Project, change: dict[str, Any], word: str
) -> None:
    status, said = await world.json(ada, "POST", "/project/gh/acme/app/schedule", json=BODY | change)
    assert status == 400 and word in said["message"]


async def test_schedules_come_in_pages(world: World, ada: User, project: Project) -> None:
    names = [(await made(world, ada, name=f"s{number}"))["name"] for number in range(21)]
    _, first = await world.json(ada, "GET", "/project/gh/acme/app/schedule")
    token = first["next_page_token"]
    _, second = await world.json(ada, "GET", f"/project/gh/acme/app/schedule?page-token={token}")
    assert [one["name"] for one in [*first["items"], *second["items"]]] == names[::-1]
    assert len(first["items"]) == 20 and second["next_page_token"] is None


async def test_people_see_and_change_the_schedules_of_their_projects(world: World, ada: User, project: Project) -> None:
    said = await made(world, ada)
    bob = await world.user("bob")
    for method in ("GET", "PATCH", "DELETE"):
        assert (await world.json(bob, method, f"/schedule/{said['id']}", json={}))[0] == 404
    assert (await world.json(bob, "POST", "/project/gh/acme/app/schedule", json=BODY))[0] == 404
    await world.db.write(lambda tx: flags.change(tx, project.id, {"write_settings_requires_admin": True}, "root"))
    for method in ("PATCH", "DELETE"):
        assert (await world.json(ada, method, f"/schedule/{said['id']}", json={}))[0] == 403
    assert (await world.json(ada, "POST", "/project/gh/acme/app/schedule", json=BODY))[0] == 403
    assert (await world.json(ada, "GET", f"/schedule/{said['id']}"))[0] == 200


async def test_nobody_s_schedule_is_steered_by_another(world: World, ada: User, project: Project) -> None:
    said = await made(world, ada)
    eve = await world.user("eve", sees_all=True)
    wanted = {"parameters": {"branch": "eve", "deep": False}}
    status, refused = await world.json(eve, "PATCH", f"/schedule/{said['id']}", json=wanted)
    assert status == 403 and "attribution-actor" in refused["message"]
    status, taken = await world.json(eve, "PATCH", f"/schedule/{said['id']}", json=wanted | {"attribution-actor": "current"})
    assert status == 200 and taken["actor"]["login"] == "eve"
