"""Who may use a context: restrictions to projects, groups of people, and to where an expression holds (spec 7.6)."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from appliance.errors import BadRequest, Conflict, NotFound
from appliance.model import ProjectId, UserId
from appliance.store import people, projects
from appliance.store.database import Tx

ALL_MEMBERS = "6f2dba0e-94f2-4a6c-a8a4-4c3f0f4d7a01"
"""The group of every user there is. Without a restriction a context is open to pipelines of unknown people too."""

ADMINS = "6f2dba0e-94f2-4a6c-a8a4-4c3f0f4d7a02"
"""The group of the administrators."""

GROUPS = {ALL_MEMBERS: "All members", ADMINS: "Administrators"}
_MOST = 100


class Type(StrEnum):
    PROJECT = "project"
    GROUP = "group"  # one of GROUPS, or a single user by id
    EXPRESSION = "expression"


@dataclass(frozen=True, kw_only=True)
class Restriction:
    id: str
    context_id: str
    type: Type
    value: str
    name: str  # of the project, group or user; "" for an expression and for what is gone


def add(tx: Tx, context_id: str, type: Type, value: str, now_ms: int) -> Restriction:
    """Restrict a context. An expression was checked by the caller.

    Raises NotFound when there is no such project, group or user, Conflict when the context is restricted so already,
    BadRequest when it has too many.
    """
    made = Restriction(id=str(uuid.uuid4()), context_id=context_id, type=type, value=value, name=_name(tx, type, value))
    if type is not Type.EXPRESSION and not made.name:
        raise NotFound(f"there is no {type} {value[:100]}")
    if len(of_context(tx, context_id)) >= _MOST:
        raise BadRequest(f"a context has at most {_MOST} restrictions")
    try:
        tx.execute(
            "INSERT INTO context_restrictions (id, context_id, type, value, created_at_ms)"
            " VALUES (:id, :context, :type, :value, :now)",
            {"id": made.id, "context": context_id, "type": type, "value": value, "now": now_ms},
        )
    except sqlite3.IntegrityError:
        raise Conflict("the context is restricted so already") from None
    return made


def remove(tx: Tx, context_id: str, restriction_id: str) -> bool:
    found = tx.execute(
        "DELETE FROM context_restrictions WHERE context_id = :context AND id = :id",
        {"context": context_id, "id": restriction_id},
    )
    return found.rowcount > 0


def of_context(tx: Tx, context_id: str) -> list[Restriction]:
    rows = tx.execute(
        "SELECT * FROM context_restrictions WHERE context_id = :context ORDER BY created_at_ms, rowid",
        {"context": context_id},
    )
    return [
        Restriction(
            id=row["id"],
            context_id=row["context_id"],
            type=Type(row["type"]),
            value=row["value"],
            name=_name(tx, Type(row["type"]), row["value"]),
        )
        for row in rows.fetchall()
    ]


def of_names(tx: Tx, names: Iterable[str]) -> dict[str, list[Restriction]]:
    """The restrictions of the contexts that have these names; without those that are not restricted."""
    found: dict[str, list[Restriction]] = {}
    for name in names:
        row = tx.execute("SELECT id FROM contexts WHERE name = :name", {"name": name}).fetchone()
        restrictions = [] if row is None else of_context(tx, row["id"])
        if restrictions:
            found[name] = restrictions
    return found


def _name(tx: Tx, type: Type, value: str) -> str:
    """A restriction to what is gone stays, and lets nobody through: without a name."""
    try:
        if type is Type.PROJECT:
            return projects.by_id(tx, ProjectId(value)).name
        if type is Type.GROUP:
            return GROUPS.get(value) or people.by_id(tx, UserId(value)).name
    except NotFound:
        pass
    return ""
