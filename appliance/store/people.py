"""Users, their SSH keys, tokens, and which projects they may enter."""

from __future__ import annotations

import sqlite3
import uuid
from dataclasses import dataclass
from typing import Literal

from appliance.crypto import new_token, token_hash
from appliance.errors import Conflict, NotFound
from appliance.model import ProjectId, User, UserId
from appliance.store import machines
from appliance.store.database import Tx

TokenKind = Literal["api", "link", "session"]


def add(tx: Tx, *, name: str, is_admin: bool, sees_all_projects: bool, now_ms: int) -> User:
    """Make a user. Raises Conflict when the name is taken."""
    user = User(id=UserId(str(uuid.uuid4())), name=name, is_admin=is_admin, sees_all_projects=sees_all_projects)
    try:
        tx.execute(
            "INSERT INTO users (id, name, is_admin, sees_all_projects, created_at_ms)"
            " VALUES (:id, :name, :is_admin, :sees_all, :now)",
            {"id": user.id, "name": name, "is_admin": is_admin, "sees_all": sees_all_projects, "now": now_ms},
        )
    except sqlite3.IntegrityError:
        raise Conflict(f"there is a user {name} already") from None
    return user


def _user(row: sqlite3.Row) -> User:
    return User(
        id=UserId(row["id"]),
        name=row["name"],
        is_admin=bool(row["is_admin"]),
        sees_all_projects=bool(row["sees_all_projects"]),
    )


def by_name(tx: Tx, name: str) -> User:
    row = tx.execute("SELECT * FROM users WHERE name = :name", {"name": name}).fetchone()
    if row is None:
        raise NotFound(f"there is no user {name}")
    return _user(row)


def id_of(tx: Tx, name: str) -> UserId | None:
    """The id of a user by name; None when there is none."""
    row = tx.execute("SELECT id FROM users WHERE name = :name", {"name": name}).fetchone()
    return None if row is None else UserId(row["id"])


def by_id(tx: Tx, user_id: UserId) -> User:
    row = tx.execute("SELECT * FROM users WHERE id = :id", {"id": user_id}).fetchone()
    if row is None:
        raise NotFound("there is no such user")
    return _user(row)


def everybody(tx: Tx) -> list[User]:
    return [_user(row) for row in tx.execute("SELECT * FROM users ORDER BY name")]


def remove(tx: Tx, user_id: UserId) -> None:
    """Remove a user with keys, tokens and memberships."""
    tx.execute("DELETE FROM users WHERE id = :id", {"id": user_id})


def set_password_hash(tx: Tx, user_id: UserId, hashed: str) -> None:
    """Set a password; every page session of the user ends."""
    tx.execute("UPDATE users SET password_hash = :hash WHERE id = :id", {"id": user_id, "hash": hashed})
    tx.execute("DELETE FROM tokens WHERE user_id = :id AND kind = 'session'", {"id": user_id})


def stored_password(tx: Tx, name: str) -> tuple[User, str] | None:
    """The user and password hash for a login; None when there is no such user or no password."""
    row = tx.execute("SELECT * FROM users WHERE name = :name", {"name": name}).fetchone()
    if row is None or row["password_hash"] is None:
        return None
    return _user(row), row["password_hash"]


def let_into(tx: Tx, user_id: UserId, project_id: ProjectId) -> None:
    tx.execute(
        "INSERT INTO members (project_id, user_id) VALUES (:project, :user) ON CONFLICT DO NOTHING",
        {"project": project_id, "user": user_id},
    )


@dataclass(frozen=True)
class SshKey:
    fingerprint: str
    public_key: str


def add_key(tx: Tx, user_id: UserId, key: SshKey, now_ms: int) -> None:
    """Raises Conflict when another user or a machine has this key: a key must name one person."""
    machine = machines.by_runner_key(tx, " ".join(key.public_key.split()[:2]))
    if machine is not None:
        raise Conflict(f"the key {key.fingerprint} belongs to machine {machine.name}")
    row = tx.execute("SELECT user_id FROM ssh_keys WHERE fingerprint = :f", {"f": key.fingerprint}).fetchone()
    if row is not None and row["user_id"] != user_id:
        raise Conflict(f"the key {key.fingerprint} belongs to another user")
    tx.execute(
        "INSERT INTO ssh_keys (fingerprint, user_id, public_key, created_at_ms) VALUES (:f, :user, :key, :now)"
        " ON CONFLICT DO NOTHING",
        {"f": key.fingerprint, "user": user_id, "key": key.public_key, "now": now_ms},
    )


def keys_of(tx: Tx, user_id: UserId) -> list[SshKey]:
    rows = tx.execute("SELECT * FROM ssh_keys WHERE user_id = :user ORDER BY created_at_ms", {"user": user_id})
    return [SshKey(row["fingerprint"], row["public_key"]) for row in rows]


def by_key(tx: Tx, fingerprint: str) -> User | None:
    """Whose SSH key this is (`SHA256:...`)."""
    row = tx.execute(
        "SELECT users.* FROM users JOIN ssh_keys ON ssh_keys.user_id = users.id WHERE fingerprint = :f",
        {"f": fingerprint},
    ).fetchone()
    return None if row is None else _user(row)


def link(tx: Tx, user_id: UserId, forge: str, login: str, now_ms: int) -> None:
    """Say whose rights a login of a forge has. Raises Conflict when it is another's; anew, it forgets the forge's id."""
    row = tx.execute(
        "SELECT user_id FROM user_logins WHERE forge = :forge AND login = :login", {"forge": forge, "login": login}
    ).fetchone()
    if row is not None and row["user_id"] != user_id:
        raise Conflict(f"{forge}:{login} is linked to another user")
    tx.execute(
        "INSERT OR REPLACE INTO user_logins (forge, login, user_id, created_at_ms) VALUES (:forge, :login, :user, :now)",
        {"forge": forge, "login": login, "user": user_id, "now": now_ms},
    )


def unlink(tx: Tx, user_id: UserId, forge: str, login: str) -> bool:
    found = tx.execute(
        "DELETE FROM user_logins WHERE user_id = :user AND forge = :forge AND login = :login",
        {"user": user_id, "forge": forge, "login": login},
    )
    return found.rowcount > 0


def logins_of(tx: Tx, user_id: UserId) -> list[str]:
    """`github:LOGIN` of a user."""
    rows = tx.execute("SELECT forge, login FROM user_logins WHERE user_id = :user ORDER BY login", {"user": user_id})
    return [f"{row['forge']}:{row['login']}" for row in rows]


def by_login(tx: Tx, forge: str, login: str, forge_id: str) -> UserId | None:
    """Whose rights a login has that the forge has verified; None when an administrator linked it to nobody.

    The forge's own id of the account is noted at its first event: logins can be given up and taken by somebody else,
    who is then nobody here until linked anew.
    """
    row = tx.execute(
        "SELECT user_id, forge_id FROM user_logins WHERE forge = :forge AND login = :login", {"forge": forge, "login": login}
    ).fetchone()
    if row is None or not forge_id or row["forge_id"] not in (None, forge_id):
        return None
    if row["forge_id"] is None:
        tx.execute(
            "UPDATE user_logins SET forge_id = :id WHERE forge = :forge AND login = :login",
            {"id": forge_id, "forge": forge, "login": login},
        )
    return UserId(row["user_id"])


def make_token(tx: Tx, user_id: UserId, kind: TokenKind, now_ms: int, lasts_ms: int | None = None) -> str:
    """A new token in plain text: the only time it is seen."""
    token = new_token()
    tx.execute(
        "INSERT INTO tokens (hash, user_id, kind, created_at_ms, expires_at_ms) VALUES (:hash, :user, :kind, :now, :until)",
        {
            "hash": token_hash(token),
            "user": user_id,
            "kind": kind,
            "now": now_ms,
            "until": None if lasts_ms is None else now_ms + lasts_ms,
        },
    )
    return token


def by_token(tx: Tx, token: str, kinds: tuple[TokenKind, ...], now_ms: int) -> User | None:
    """Whose token this is, if it is of one of `kinds` and has not expired."""
    row = tx.execute(
        "SELECT users.*, tokens.kind FROM users JOIN tokens ON tokens.user_id = users.id"
        " WHERE hash = :hash AND (expires_at_ms IS NULL OR expires_at_ms > :now)",
        {"hash": token_hash(token), "now": now_ms},
    ).fetchone()
    return None if row is None or row["kind"] not in kinds else _user(row)


def drop_token(tx: Tx, token: str) -> None:
    tx.execute("DELETE FROM tokens WHERE hash = :hash", {"hash": token_hash(token)})


def drop_expired(tx: Tx, now_ms: int) -> None:
    tx.execute("DELETE FROM tokens WHERE expires_at_ms < :now", {"now": now_ms})
