"""The schedules of a project, of its configs and of the API: when each fires next, and what became of its last time."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from appliance.api.auth import user_of
from appliance.api.parts import parts_of
from appliance.api.projects import project_to_change, wanted_project
from appliance.api.routes import SLUG, Policy, Route
from appliance.api.schedules import wish_in
from appliance.api.wire import form_of
from appliance.engine.timetables import WEEKDAYS
from appliance.errors import BadRequest, NotFound
from appliance.model import Project
from appliance.pages.links import pipeline_path, pipelines_path, project_path, schedules_path
from appliance.pages.pipelines import overall_status
from appliance.pages.render import back_to, page
from appliance.pages.words import duration
from appliance.store import overview, people, pipelines, projects, schedules
from appliance.store.database import Tx
from appliance.store.schedules import Schedule

log = logging.getLogger(__name__)

_MOST = 300
_DAYS = (*WEEKDAYS[1:], WEEKDAYS[0])


@dataclass(frozen=True)
class Run:
    """The pipeline that the last time became."""

    number: int
    path: str
    status: str


@dataclass(frozen=True)
class Row:
    schedule: Schedule
    when: tuple[str, ...]  # cron lines, or words
    next: str  # "2026-11-23 03:00 UTC"; "" when there is none
    wait: str  # "in 5h 02m"
    who: str  # in whose name; "" for the system
    run: Run | None
    branch_path: str


async def show(request: web.Request) -> web.Response:
    return await _page(request, await wanted_project(request))


async def _page(request: web.Request, project: Project, problem: str = "", status: int = 200) -> web.Response:
    parts, user = parts_of(request), user_of(request)
    now_ms = parts.clock.now_ms()

    def read(tx: Tx) -> dict[str, Any]:
        found = schedules.of_project(tx, project.id, _MOST)
        return {
            "rows": [_row(tx, one, project, now_ms) for one in found],
            "may_change": user.is_admin or not projects.flags(tx, project.id).write_settings_requires_admin,
        }

    values = {
        **await parts.db.read(read),
        "project": project,
        "project_path": project_path(project),
        "path": schedules_path(project),
        "most": _MOST,
        "days": _DAYS,
        "problem": problem,
    }
    return await page(request, "schedules.html", values, status)


def _row(tx: Tx, schedule: Schedule, project: Project, now_ms: int) -> Row:
    due_at_ms = schedule.due_at_ms
    return Row(
        schedule=schedule,
        when=_in_words(schedule.timing) if isinstance(schedule.timing, Mapping) else tuple(schedule.timing),
        next="" if due_at_ms is None else _minute(due_at_ms),
        wait="" if due_at_ms is None else f"in {duration(due_at_ms - now_ms)}" if due_at_ms > now_ms else "now",
        who="" if schedule.actor_id is None else people.by_id(tx, schedule.actor_id).name,
        run=_run(tx, schedule, project),
        branch_path=pipelines_path(project, schedule.branch),
    )


def _run(tx: Tx, schedule: Schedule, project: Project) -> Run | None:
    wanted = None if schedule.trigger_id is None else pipelines.pipeline_of_trigger(tx, schedule.trigger_id)
    if wanted is None:
        return None
    line = overview.line(tx, wanted)
    return Run(
        line.number, pipeline_path(project, line.number), overall_status(line.state, overview.chips(tx, [wanted])[wanted])
    )


def _in_words(timetable: Mapping[str, Any]) -> tuple[str, ...]:
    """`2 times an hour, at 3, 15 h, on MON, FRI`"""
    per_hour, hours = timetable["per-hour"], timetable["hours-of-day"]
    words = [] if per_hour == 1 else [f"{per_hour} times an hour"]
    words.append("every hour" if len(hours) == 24 else f"at {_list(hours)} h")
    days, weekdays, months = (timetable.get(name) or () for name in ("days-of-month", "days-of-week", "months"))
    if weekdays:
        words.append("every day" if len(weekdays) == 7 else f"on {_list(weekdays)}")
    else:
        words.append(f"on days {_list(days)}")
    return (", ".join([*words, *([f"in {_list(months)}"] if months else [])]),)


def _list(values: Sequence[Any]) -> str:
    return ", ".join(str(value) for value in values)


def _minute(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")


async def add(request: web.Request) -> web.Response:
    """The plain ones; what else a timetable can be, and parameters, the API takes."""
    parts, project, user, form = (
        parts_of(request),
        await project_to_change(request),
        user_of(request),
        await form_of(request),
    )
    try:
        made = await parts.commands.create_schedule(project.id, wish_in(_body(form)), user)
    except BadRequest as error:
        return await _page(request, project, str(error), 400)
    log.info("schedule created", extra={"project": project.name, "schedule": made.name, "user": user.name})
    return back_to(schedules_path(project))


def _body(form: Mapping[str, str]) -> dict[str, Any]:
    """The form as the API would have it. Raises BadRequest."""
    hours = form.get("hours", "").replace(",", " ").split()
    if not all(word.isascii() and word.isdigit() and len(word) <= 2 for word in [*hours, form.get("per_hour", "")]):
        raise BadRequest("Hours are numbers from 0 to 23, times an hour a number from 1 to 60.")
    return {
        "name": form.get("name", "").strip(),
        "timetable": {
            "per-hour": int(form["per_hour"]),
            "hours-of-day": [int(word) for word in hours] or list(range(24)),
            "days-of-week": [day for day in _DAYS if day in form] or list(_DAYS),
        },
        "parameters": {"branch": form.get("branch", "").strip()},
        "attribution-actor": "current" if "current" in form else "system",
    }


async def remove(request: web.Request) -> web.Response:
    parts, project, wanted = parts_of(request), await project_to_change(request), request.match_info["schedule"]
    found = await parts.db.read(lambda tx: schedules.of_api(tx, wanted))
    if found.project_id != project.id:
        raise NotFound("Schedule not found.")
    await parts.commands.remove_schedule(found.id)
    log.info("schedule removed", extra={"project": project.name, "schedule": found.name, "user": user_of(request).name})
    return back_to(schedules_path(project))


ROUTES = (
    Route("GET", f"/projects/{SLUG}/schedules", show, Policy.USER),
    Route("POST", f"/projects/{SLUG}/schedules", add, Policy.FORM),
    Route("POST", f"/projects/{SLUG}/schedules/{{schedule}}/remove", remove, Policy.FORM),
)
