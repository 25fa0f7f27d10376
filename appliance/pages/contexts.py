"""Contexts: the list, and one of them with the names of its variables and who may use it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from aiohttp import web

from appliance.api.auth import user_of
from appliance.api.contexts import add_restriction, changed_context, lift_restriction, restricted_context, seen_context
from appliance.api.parts import parts_of
from appliance.api.routes import Policy, Route
from appliance.api.wire import form_of
from appliance.engine import rights
from appliance.errors import BadRequest, Conflict, NotFound
from appliance.model import Project, User
from appliance.pages.links import context_path
from appliance.pages.render import back_to, page
from appliance.pages.settings import typed
from appliance.store import contexts, people, projects, restrictions
from appliance.store.contexts import Context
from appliance.store.database import Tx
from appliance.store.restrictions import GROUPS, Type

log = logging.getLogger(__name__)


async def index(request: web.Request) -> web.Response:
    return await _list(request)


async def _list(request: web.Request, problem: str = "", status: int = 200) -> web.Response:
    rights.check_sees_contexts(user_of(request))

    def read(tx: Tx) -> list[tuple[Context, int, int]]:
        return [
            (one, len(contexts.variable_names(tx, one.id)), len(restrictions.of_context(tx, one.id)))
            for one in contexts.everything(tx)
        ]

    found = await parts_of(request).db.read(read)
    return await page(request, "contexts.html", {"found": found, "context_path": context_path, "problem": problem}, status)


async def create(request: web.Request) -> web.Response:
    parts, user = parts_of(request), user_of(request)
    rights.check_sees_contexts(user)
    name, now_ms = (await form_of(request)).get("name", "").strip(), parts.clock.now_ms()
    try:
        context = await parts.db.write(lambda tx: contexts.add(tx, name, now_ms))
    except (BadRequest, Conflict) as error:
        return await _list(request, str(error), 400)
    log.info("context created", extra={"context": context.name, "user": user.name})
    return back_to(context_path(context.id))


async def show(request: web.Request) -> web.Response:
    return await _page(request, request.match_info["context"])


async def _page(request: web.Request, wanted: str, problem: str = "", status: int = 200) -> web.Response:
    user = user_of(request)

    def read(tx: Tx) -> dict[str, Any]:
        context = seen_context(tx, user, wanted)
        found = restrictions.of_context(tx, context.id)
        return {
            "context": context,
            "variables": contexts.variables_of(tx, context.id),
            "restrictions": found,
            "may_change": user.is_admin or not found,
            "choices": _choices(people.everybody(tx)) if user.is_admin else [],
        }

    found = await parts_of(request).db.read(read)
    return await page(request, "context.html", {**found, "path": context_path(wanted), "problem": problem}, status)


def _choices(of_users: list[User]) -> list[tuple[str, list[tuple[str, str]]]]:
    """For whom a context can be kept: groups of (value, name)."""
    return [
        ("Groups", [(f"{Type.GROUP} {value}", name) for value, name in GROUPS.items()]),
        ("People", [(f"{Type.GROUP} {one.id}", one.name) for one in of_users]),
    ]


async def set_variable(request: web.Request) -> web.Response:
    parts, user, form = parts_of(request), user_of(request), await form_of(request)
    name, value, now_ms = form.get("name", "").strip(), typed(form), parts.clock.now_ms()

    def change(tx: Tx) -> None:
        context = changed_context(tx, user, request.match_info["context"])
        contexts.set_variable(tx, parts.box, context.id, name, value, now_ms)
        log.info("context variable set", extra={"context": context.name, "variable": name, "user": user.name})

    return await _tried(request, change)


async def remove_variable(request: web.Request) -> web.Response:
    user, name = user_of(request), request.match_info["name"]

    def change(tx: Tx) -> None:
        context = changed_context(tx, user, request.match_info["context"])
        if not contexts.remove_variable(tx, context.id, name):
            raise NotFound("There is no such variable any more.")
        log.info("context variable removed", extra={"context": context.name, "variable": name, "user": user.name})

    return await _tried(request, change)


async def restrict(request: web.Request) -> web.Response:
    """`to` is a choice of the page, TYPE VALUE; else there is the name of a project, or an expression."""
    parts, user, form = parts_of(request), user_of(request), await form_of(request)
    kind, _, value = form.get("to", "").partition(" ")
    if "expression" in form:
        kind, value = Type.EXPRESSION, form["expression"].strip()
    now_ms = parts.clock.now_ms()

    def change(tx: Tx) -> None:
        context = restricted_context(tx, user, request.match_info["context"])
        if "project" in form:
            add_restriction(tx, context, user, Type.PROJECT, _project(tx, form["project"].strip()).id, now_ms)
        else:
            add_restriction(tx, context, user, kind, value, now_ms)

    return await _tried(request, change)


def _project(tx: Tx, name: str) -> Project:
    """Raises BadRequest."""
    try:
        return projects.find(tx, name)
    except NotFound:
        raise BadRequest(f"There is no project {name}: it is named like acme/app.") from None


async def lift(request: web.Request) -> web.Response:
    user, one = user_of(request), request.match_info["restriction"]

    def change(tx: Tx) -> None:
        lift_restriction(tx, restricted_context(tx, user, request.match_info["context"]), user, one)

    return await _tried(request, change)


async def remove(request: web.Request) -> web.Response:
    user = user_of(request)

    def change(tx: Tx) -> None:
        context = changed_context(tx, user, request.match_info["context"])
        contexts.remove(tx, context.id)
        log.info("context removed", extra={"context": context.name, "user": user.name})

    await parts_of(request).db.write(change)
    return back_to("/contexts")


async def _tried(request: web.Request, change: Callable[[Tx], None]) -> web.Response:
    """Change, and show the page again; with what was wrong, and without what was typed."""
    wanted = request.match_info["context"]
    try:
        await parts_of(request).db.write(change)
    except (BadRequest, Conflict) as error:
        return await _page(request, wanted, str(error), 400)
    return back_to(context_path(wanted))


ROUTES = (
    Route("GET", "/contexts", index, Policy.USER),
    Route("POST", "/contexts", create, Policy.FORM),
    Route("GET", "/contexts/{context}", show, Policy.USER),
    Route("POST", "/contexts/{context}/remove", remove, Policy.FORM),
    Route("POST", "/contexts/{context}/variables", set_variable, Policy.FORM),
    Route("POST", "/contexts/{context}/variables/{name}/remove", remove_variable, Policy.FORM),
    Route("POST", "/contexts/{context}/restrictions", restrict, Policy.FORM),
    Route("POST", "/contexts/{context}/restrictions/{restriction}/lift", lift, Policy.FORM),
)
