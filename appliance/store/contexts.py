"""Contexts: named sets of environment variables that jobs of any project may ask for (spec 7.6)."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from appliance.crypto import SecretBox
from appliance.errors import BadRequest, Conflict, NotFound
from appliance.store import variables
from appliance.store.database import Tx
from appliance.store.overview import Mark

_LONGEST_NAME = 200
_LARGEST_VALUE = 32 * 1024
_MOST_VARIABLES = 100
_MOST_CONTEXTS = 500


@dataclass(frozen=True)
class Context:
    id: str
    name: str
    created_at_ms: int


@dataclass(frozen=True)
class Variable:
    """What may be told of a variable: never its value."""

    name: str
    created_at_ms: int
    updated_at_ms: int


def add(tx: Tx, name: str, now_ms: int) -> Context:
    """Make a context. Raises Conflict when the name is taken, BadRequest when it is none (spec 1.13)."""
    if not name or len(name) > _LONGEST_NAME or name != name.strip() or not name.isprintable():
        raise BadRequest(
            f"{name!r} is no name for a context: up to {_LONGEST_NAME} characters that can be seen, no space at its ends"
        )
    if len(everything(tx)) >= _MOST_CONTEXTS:
        raise BadRequest(f"there are {_MOST_CONTEXTS} contexts already, as many as there may be")
    context = Context(str(uuid.uuid4()), name, now_ms)
    try:
        tx.execute("INSERT INTO contexts (id, name, created_at_ms) VALUES (:id, :name, :created_at_ms)", vars(context))
    except sqlite3.IntegrityError:
        raise Conflict(f"there is a context {name} already") from None
    return context


def find(tx: Tx, name: str) -> Context:
    row = tx.execute("SELECT * FROM contexts WHERE name = :name", {"name": name}).fetchone()
    if row is None:
        raise NotFound(f"there is no context {name}")
    return Context(row["id"], row["name"], row["created_at_ms"])


def by_id(tx: Tx, context_id: str) -> Context:
    row = tx.execute("SELECT * FROM contexts WHERE id = :id", {"id": context_id}).fetchone()
    if row is None:
        raise NotFound("Context not found.")
    return Context(row["id"], row["name"], row["created_at_ms"])


def everything(tx: Tx) -> list[Context]:
    rows = tx.execute("SELECT * FROM contexts ORDER BY name")
    return [Context(row["id"], row["name"], row["created_at_ms"]) for row in rows]


def page(tx: Tx, after: Mark | None, limit: int) -> tuple[list[Context], Mark | None]:
    """The contexts that were made after `after`, oldest first, and where the next page begins; None at the end."""
    at, row = (after.created_at_ms, after.row) if after is not None else (-1, 0)
    rows = tx.execute(
        "SELECT rowid, * FROM contexts WHERE (created_at_ms, rowid) > (:at, :row)"
        " ORDER BY created_at_ms, rowid LIMIT :limit",
        {"at": at, "row": row, "limit": limit + 1},
    ).fetchall()
    found = [Context(one["id"], one["name"], one["created_at_ms"]) for one in rows[:limit]]
    last = rows[limit - 1] if len(rows) > limit else None
    return found, None if last is None else Mark(last["created_at_ms"], last["rowid"])


def remove(tx: Tx, context_id: str) -> None:
    """Remove a context with its variables and restrictions."""
    tx.execute("DELETE FROM contexts WHERE id = :id", {"id": context_id})


def missing(tx: Tx, names: Iterable[str]) -> list[str]:
    """Those of `names` that are no contexts."""
    known = {context.name for context in everything(tx)}
    return [name for name in names if name not in known]


def set_variable(tx: Tx, box: SecretBox, context_id: str, name: str, value: str, now_ms: int) -> None:
    """Raises BadRequest when it is no name for a variable, the value too large or the context too full."""
    variables.check(name, value, _LARGEST_VALUE)
    names = set(variable_names(tx, context_id))
    if name not in names and len(names) >= _MOST_VARIABLES:
        raise BadRequest(f"a context has at most {_MOST_VARIABLES} variables")
    tx.execute(
        "INSERT INTO context_variables (context_id, name, value, created_at_ms, updated_at_ms)"
        " VALUES (:context, :name, :value, :now, :now) ON CONFLICT (context_id, name)"
        " DO UPDATE SET value = excluded.value, updated_at_ms = excluded.updated_at_ms",
        {"context": context_id, "name": name, "value": box.seal(value, _purpose(context_id, name)), "now": now_ms},
    )


def remove_variable(tx: Tx, context_id: str, name: str) -> bool:
    found = tx.execute(
        "DELETE FROM context_variables WHERE context_id = :context AND name = :name", {"context": context_id, "name": name}
    )
    return found.rowcount > 0


def variables_of(tx: Tx, context_id: str) -> list[Variable]:
    rows = tx.execute(
        "SELECT name, created_at_ms, updated_at_ms FROM context_variables WHERE context_id = :id ORDER BY name",
        {"id": context_id},
    )
    return [Variable(row["name"], row["created_at_ms"], row["updated_at_ms"]) for row in rows]


def variable_names(tx: Tx, context_id: str) -> list[str]:
    return [variable.name for variable in variables_of(tx, context_id)]


def values(tx: Tx, box: SecretBox, names: Iterable[str]) -> Mapping[str, str]:
    """What contexts hold, in plain text; a later one overrides an earlier. Only for runs that are trusted."""
    found: dict[str, str] = {}
    for name in names:
        context = find(tx, name)
        rows = tx.execute("SELECT name, value FROM context_variables WHERE context_id = :id", {"id": context.id})
        found |= {row["name"]: box.open(row["value"], _purpose(context.id, row["name"])) for row in rows}
    return found


def _purpose(context_id: str, name: str) -> str:
    return f"context/{context_id}/{name}"
