"""`/context`: contexts, the names of their variables, their restrictions. Values go in and never come out.

Contexts belong to no project: who may enter only some projects learns nothing of them. A restricted one is for
administrators to change, and so is every restriction.
"""

from __future__ import annotations

import logging
from typing import Any

from aiohttp import web

from appliance.api.auth import user_of
from appliance.api.parts import parts_of
from appliance.api.routes import Policy, Route
from appliance.api.wire import answer, json_body, listing, message, page_mark, page_token, time_of
from appliance.engine import rights
from appliance.errors import BadRequest, NotFound
from appliance.model import User
from appliance.store import contexts, restrictions
from appliance.store.contexts import Context, Variable
from appliance.store.database import Tx
from appliance.store.restrictions import Restriction, Type

log = logging.getLogger(__name__)

_PAGE = 20


def seen_context(tx: Tx, user: User, context_id: str) -> Context:
    """A context. Raises NotFound, also when contexts are not for this user."""
    rights.check_sees_contexts(user)
    return contexts.by_id(tx, context_id)


def changed_context(tx: Tx, user: User, context_id: str) -> Context:
    """A context that `user` may change. Raises NotFound, Refused."""
    context = seen_context(tx, user, context_id)
    rights.check_changes_context(user, restrictions.of_context(tx, context.id))
    return context


def restricted_context(tx: Tx, user: User, context_id: str) -> Context:
    """A context whose restrictions `user` may change. Raises NotFound, Refused."""
    context = seen_context(tx, user, context_id)
    rights.check_is_admin(user)
    return context


async def index(request: web.Request) -> web.Response:
    """There is one set of contexts here, whichever organization is named."""
    user, after = user_of(request), page_mark(request)
    rights.check_sees_contexts(user)
    found, last = await parts_of(request).db.read(lambda tx: contexts.page(tx, after, _PAGE))
    return listing((_wire(context) for context in found), page_token(last))


async def create(request: web.Request) -> web.Response:
    parts, user = parts_of(request), user_of(request)
    rights.check_sees_contexts(user)
    body = await json_body(request, ("name", "owner"))
    name = _text(body, "name")
    now_ms = parts.clock.now_ms()
    context = await parts.db.write(lambda tx: contexts.add(tx, name, now_ms))
    log.info("context created", extra={"context": context.name, "user": user.name})
    return answer(_wire(context))


async def show(request: web.Request) -> web.Response:
    user, wanted = user_of(request), request.match_info["context"]
    return answer(_wire(await parts_of(request).db.read(lambda tx: seen_context(tx, user, wanted))))


async def remove(request: web.Request) -> web.Response:
    user, wanted = user_of(request), request.match_info["context"]

    def change(tx: Tx) -> Context:
        context = changed_context(tx, user, wanted)
        contexts.remove(tx, context.id)
        return context

    context = await parts_of(request).db.write(change)
    log.info("context removed", extra={"context": context.name, "user": user.name})
    return message("Context deleted.")


async def show_variables(request: web.Request) -> web.Response:
    user, wanted = user_of(request), request.match_info["context"]

    def read(tx: Tx) -> list[Variable]:
        return contexts.variables_of(tx, seen_context(tx, user, wanted).id)

    found = await parts_of(request).db.read(read)
    return listing(_variable_wire(wanted, variable) for variable in found)


async def put_variable(request: web.Request) -> web.Response:
    parts, user = parts_of(request), user_of(request)
    wanted, name = request.match_info["context"], request.match_info["name"]
    rights.check_sees_contexts(user)  # before anything is said of the body
    body = await json_body(request, ("value",))
    value = _text(body, "value")
    now_ms = parts.clock.now_ms()

    def change(tx: Tx) -> tuple[Context, Variable]:
        context = changed_context(tx, user, wanted)
        contexts.set_variable(tx, parts.box, context.id, name, value, now_ms)
        return context, next(one for one in contexts.variables_of(tx, context.id) if one.name == name)

    context, variable = await parts.db.write(change)
    log.info("context variable set", extra={"context": context.name, "variable": name, "user": user.name})
    return answer(_variable_wire(context.id, variable))


async def remove_variable(request: web.Request) -> web.Response:
    user, wanted, name = user_of(request), request.match_info["context"], request.match_info["name"]

    def change(tx: Tx) -> Context:
        context = changed_context(tx, user, wanted)
        if not contexts.remove_variable(tx, context.id, name):
            raise NotFound("Environment variable not found.")
        return context

    context = await parts_of(request).db.write(change)
    log.info("context variable removed", extra={"context": context.name, "variable": name, "user": user.name})
    return message("Environment variable deleted.")


async def show_restrictions(request: web.Request) -> web.Response:
    user, wanted = user_of(request), request.match_info["context"]

    def read(tx: Tx) -> list[Restriction]:
        return restrictions.of_context(tx, seen_context(tx, user, wanted).id)

    return listing(map(_restriction_wire, await parts_of(request).db.read(read)))


async def restrict(request: web.Request) -> web.Response:
    parts, user, wanted = parts_of(request), user_of(request), request.match_info["context"]
    rights.check_sees_contexts(user)
    body = await json_body(request, ("restriction_type", "restriction_value"))
    kind, value = _text(body, "restriction_type"), _text(body, "restriction_value")
    now_ms = parts.clock.now_ms()

    def change(tx: Tx) -> Restriction:
        return add_restriction(tx, restricted_context(tx, user, wanted), user, kind, value, now_ms)

    return answer(_restriction_wire(await parts.db.write(change)), 201)


def add_restriction(tx: Tx, context: Context, user: User, kind: str, value: str, now_ms: int) -> Restriction:
    """Restrict a context as the API names it. Raises BadRequest, NotFound, Conflict."""
    if kind not in list(Type):
        raise BadRequest("restriction_type is project, group or expression.")
    if kind == Type.EXPRESSION:
        rights.check_expression(value)
    made = restrictions.add(tx, context.id, Type(kind), value, now_ms)
    log.info("context restricted", extra={"context": context.name, "type": kind, "value": value, "user": user.name})
    return made


async def lift(request: web.Request) -> web.Response:
    user, wanted, one = user_of(request), request.match_info["context"], request.match_info["restriction"]
    await parts_of(request).db.write(lambda tx: lift_restriction(tx, restricted_context(tx, user, wanted), user, one))
    return message("Context restriction deleted.")


def lift_restriction(tx: Tx, context: Context, user: User, restriction_id: str) -> None:
    """Raises NotFound."""
    if not restrictions.remove(tx, context.id, restriction_id):
        raise NotFound("Context restriction not found.")
    log.info("context restriction lifted", extra={"context": context.name, "id": restriction_id, "user": user.name})


def _wire(context: Context) -> dict[str, Any]:
    return {"id": context.id, "name": context.name, "created_at": time_of(context.created_at_ms)}


def _variable_wire(context_id: str, variable: Variable) -> dict[str, Any]:
    return {
        "variable": variable.name,
        "context_id": context_id,
        "created_at": time_of(variable.created_at_ms),
        "updated_at": time_of(variable.updated_at_ms),
    }


def _restriction_wire(one: Restriction) -> dict[str, Any]:
    of_project = {"project_id": one.value} if one.type is Type.PROJECT else {}
    return {
        "id": one.id,
        "context_id": one.context_id,
        "name": one.name,
        "restriction_type": one.type,
        "restriction_value": one.value,
        **of_project,
    }


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str):
        raise BadRequest(f"{name} must be a text.")
    return value


_CONTEXT = "/api/v2/context/{context}"

ROUTES = (
    Route("GET", "/api/v2/context", index, Policy.TOKEN),
    Route("POST", "/api/v2/context", create, Policy.TOKEN),
    Route("GET", _CONTEXT, show, Policy.TOKEN),
    Route("DELETE", _CONTEXT, remove, Policy.TOKEN),
    Route("GET", f"{_CONTEXT}/environment-variable", show_variables, Policy.TOKEN),
    Route("PUT", f"{_CONTEXT}/environment-variable/{{name}}", put_variable, Policy.TOKEN),
    Route("DELETE", f"{_CONTEXT}/environment-variable/{{name}}", remove_variable, Policy.TOKEN),
    Route("GET", f"{_CONTEXT}/restrictions", show_restrictions, Policy.TOKEN),
    Route("POST", f"{_CONTEXT}/restrictions", restrict, Policy.TOKEN),
    Route("DELETE", f"{_CONTEXT}/restrictions/{{restriction}}", lift, Policy.TOKEN),
)
