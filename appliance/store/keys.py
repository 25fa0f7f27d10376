"""SSH keys of projects: checkout keys, made here, and additional ones, given by people (spec 7.7).

Private halves are sealed, and come out only where they are asked for.
"""

from __future__ import annotations

import re
import sqlite3
from dataclasses import dataclass, field

from appliance import ssh_keys
from appliance.crypto import SecretBox
from appliance.errors import BadRequest, NotFound
from appliance.model import Project, ProjectId, User, UserId
from appliance.ssh_keys import KeyPair
from appliance.store import people, projects
from appliance.store.database import Tx

_MOST_KEYS = 50  # of either kind in a project: each is looked for in every log
_HOSTNAME = re.compile(r"[A-Za-z0-9_.*?:\[][A-Za-z0-9_.*?:\[\]-]{0,252}")


@dataclass(frozen=True, kw_only=True)
class CheckoutKey:
    """`private` is only there where it was asked for."""

    fingerprint: str
    md5: str
    project_id: ProjectId
    user_id: UserId | None  # a user key's; None for a deploy key
    public: str
    created_at_ms: int
    is_preferred: bool  # the newest: the one that checkouts use
    private: str = field(default="", repr=False)


@dataclass(frozen=True, kw_only=True)
class AdditionalKey:
    fingerprint: str
    md5: str
    hostname: str  # "" for every host
    created_at_ms: int
    private: str = field(default="", repr=False)


@dataclass(frozen=True)
class Holder:
    """For whom a checkout key speaks at our own SSH door: a project (read only), or a user."""

    project: Project
    user: User | None


def add_checkout_key(
    tx: Tx, box: SecretBox, project_id: ProjectId, pair: KeyPair, now_ms: int, user_id: UserId | None = None
) -> CheckoutKey:
    """Keep a new pair; it is preferred from now on. With a user it is a user key. Raises BadRequest past a bound."""
    if len(_rows(tx, project_id)) >= _MOST_KEYS:
        raise BadRequest(f"a project has at most {_MOST_KEYS} checkout keys; remove one first")
    tx.execute(
        "INSERT INTO checkout_keys (fingerprint, md5, project_id, type, user_id, public_key, private_key, created_at_ms)"
        " VALUES (:sha256, :md5, :project, :type, :user, :public, :private, :now)",
        {
            "sha256": pair.sha256,
            "md5": pair.md5,
            "project": project_id,
            "type": "deploy-key" if user_id is None else "user-key",
            "user": user_id,
            "public": pair.public,
            "private": box.seal(pair.private, _purpose(project_id, pair.sha256)),
            "now": now_ms,
        },
    )
    return find_checkout_key(tx, project_id, pair.sha256)


def checkout_keys(tx: Tx, project_id: ProjectId) -> list[CheckoutKey]:
    """The preferred one first."""
    return [_checkout_key(row, is_preferred=at == 0) for at, row in enumerate(_rows(tx, project_id))]


def find_checkout_key(tx: Tx, project_id: ProjectId, fingerprint: str) -> CheckoutKey:
    """By either form of its fingerprint. Raises NotFound."""
    for key in checkout_keys(tx, project_id):
        if ssh_keys.same_fingerprint(fingerprint, key.md5, key.fingerprint):
            return key
    raise NotFound("Checkout key not found.")


def remove_checkout_key(tx: Tx, project_id: ProjectId, fingerprint: str) -> None:
    """Raises NotFound."""
    key = find_checkout_key(tx, project_id, fingerprint)
    tx.execute("DELETE FROM checkout_keys WHERE fingerprint = :f", {"f": key.fingerprint})


def preferred_checkout_key(tx: Tx, box: SecretBox, project_id: ProjectId) -> CheckoutKey | None:
    """With its private half. Only for the server's own fetches, and for runs that the project trusts."""
    rows = _rows(tx, project_id)
    if not rows:
        return None
    private = box.open(rows[0]["private_key"], _purpose(project_id, rows[0]["fingerprint"]))
    return _checkout_key(rows[0], is_preferred=True, private=private)


def holder(tx: Tx, fingerprint: str) -> Holder | None:
    """Whose checkout key this is (`SHA256:...`)."""
    row = tx.execute("SELECT * FROM checkout_keys WHERE fingerprint = :f", {"f": fingerprint}).fetchone()
    if row is None:
        return None
    user = None if row["user_id"] is None else people.by_id(tx, row["user_id"])
    return Holder(projects.by_id(tx, row["project_id"]), user)


def _rows(tx: Tx, project_id: ProjectId) -> list[sqlite3.Row]:
    return tx.execute(
        "SELECT * FROM checkout_keys WHERE project_id = :project ORDER BY created_at_ms DESC, rowid DESC",
        {"project": project_id},
    ).fetchall()


def _checkout_key(row: sqlite3.Row, *, is_preferred: bool, private: str = "") -> CheckoutKey:
    return CheckoutKey(
        fingerprint=row["fingerprint"],
        md5=row["md5"],
        project_id=row["project_id"],
        user_id=row["user_id"],
        public=row["public_key"],
        created_at_ms=row["created_at_ms"],
        is_preferred=is_preferred,
        private=private,
    )


def add_additional_key(
    tx: Tx, box: SecretBox, project_id: ProjectId, pair: KeyPair, hostname: str, now_ms: int
) -> AdditionalKey:
    """Keep a key for a host, or with "" for every one. The same key for the same host is replaced. Raises BadRequest.

    The host's name goes into a job's ~/.ssh/config, so nothing may stand in it that could end the line.
    """
    if hostname and not _HOSTNAME.fullmatch(hostname):
        raise BadRequest(f"{hostname[:200]!r} is not a host name")
    if len(additional_keys(tx, project_id)) >= _MOST_KEYS:
        raise BadRequest(f"a project has at most {_MOST_KEYS} additional SSH keys; remove one first")
    tx.execute(
        "INSERT INTO additional_ssh_keys (project_id, fingerprint, hostname, md5, private_key, created_at_ms)"
        " VALUES (:project, :sha256, :hostname, :md5, :private, :now) ON CONFLICT DO UPDATE SET"
        " private_key = excluded.private_key, created_at_ms = excluded.created_at_ms",
        {
            "project": project_id,
            "sha256": pair.sha256,
            "hostname": hostname,
            "md5": pair.md5,
            "private": box.seal(pair.private, _purpose(project_id, f"{pair.sha256} {hostname}")),
            "now": now_ms,
        },
    )
    return AdditionalKey(fingerprint=pair.sha256, md5=pair.md5, hostname=hostname, created_at_ms=now_ms)


def additional_keys(tx: Tx, project_id: ProjectId, box: SecretBox | None = None) -> list[AdditionalKey]:
    """By age. With `box` their private halves are there: only for runs that the project trusts."""
    rows = tx.execute(
        "SELECT * FROM additional_ssh_keys WHERE project_id = :project ORDER BY created_at_ms, rowid",
        {"project": project_id},
    )
    found = []
    for row in rows:
        private = (
            ""
            if box is None
            else box.open(row["private_key"], _purpose(project_id, f"{row['fingerprint']} {row['hostname']}"))
        )
        found.append(
            AdditionalKey(
                fingerprint=row["fingerprint"],
                md5=row["md5"],
                hostname=row["hostname"],
                created_at_ms=row["created_at_ms"],
                private=private,
            )
        )
    return found


def remove_additional_key(tx: Tx, project_id: ProjectId, fingerprint: str, hostname: str | None) -> None:
    """Remove a key from a host, or with None from all of them. Raises NotFound."""
    found = [
        key
        for key in additional_keys(tx, project_id)
        if ssh_keys.same_fingerprint(fingerprint, key.md5, key.fingerprint) and hostname in (None, key.hostname)
    ]
    if not found:
        raise NotFound("SSH key not found.")
    for key in found:
        tx.execute(
            "DELETE FROM additional_ssh_keys WHERE project_id = :project AND fingerprint = :f AND hostname = :host",
            {"project": project_id, "f": key.fingerprint, "host": key.hostname},
        )


def _purpose(project_id: ProjectId, name: str) -> str:
    return f"ssh key/{project_id}/{name}"
