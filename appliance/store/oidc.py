"""The keys that ID tokens are signed with, and what organizations and projects put into theirs (spec 7.5)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from appliance.crypto import SecretBox
from appliance.model import ProjectId
from appliance.store.database import Tx


@dataclass(frozen=True, kw_only=True)
class SigningKey:
    """Half of a key pair: what the world may know."""

    id: str
    public_jwk: Mapping[str, str]
    created_at_ms: int


@dataclass(frozen=True, kw_only=True)
class CustomClaims:
    """What was set for an organization or a project; None is "not set"."""

    audience: tuple[str, ...] | None = None
    audience_updated_at_ms: int | None = None
    ttl: str | None = None
    ttl_updated_at_ms: int | None = None


def keys(tx: Tx) -> list[SigningKey]:
    """Every key, the oldest first."""
    rows = tx.execute("SELECT id, public_jwk, created_at_ms FROM oidc_keys ORDER BY created_at_ms, rowid")
    return [
        SigningKey(id=row["id"], public_jwk=json.loads(row["public_jwk"]), created_at_ms=row["created_at_ms"])
        for row in rows
    ]


def add_key(tx: Tx, box: SecretBox, key: SigningKey, private_pem: str) -> None:
    tx.execute(
        "INSERT INTO oidc_keys (id, public_jwk, private_key, created_at_ms) VALUES (:id, :public, :private, :now)",
        {
            "id": key.id,
            "public": json.dumps(dict(key.public_jwk)),
            "private": box.seal(private_pem, _purpose(key.id)),
            "now": key.created_at_ms,
        },
    )


def private_pem(tx: Tx, box: SecretBox, key_id: str) -> str:
    row = tx.execute("SELECT private_key FROM oidc_keys WHERE id = :id", {"id": key_id}).fetchone()
    return box.open(row["private_key"], _purpose(key_id))


def remove_keys(tx: Tx, key_ids: Iterable[str]) -> None:
    """What was signed with them is refused by everybody from now on."""
    tx.executemany("DELETE FROM oidc_keys WHERE id = :id", [{"id": key_id} for key_id in key_ids])


def custom_claims(tx: Tx, org_id: str, project_id: ProjectId | None) -> CustomClaims:
    """What was set for the organization itself, or for this project of it."""
    row = tx.execute(
        "SELECT * FROM oidc_claims WHERE org_id = :org AND project_id IS :project", {"org": org_id, "project": project_id}
    ).fetchone()
    if row is None:
        return CustomClaims()
    return CustomClaims(
        audience=None if row["audience"] is None else tuple(json.loads(row["audience"])),
        audience_updated_at_ms=row["audience_updated_at_ms"],
        ttl=row["ttl"],
        ttl_updated_at_ms=row["ttl_updated_at_ms"],
    )


def set_custom_claims(tx: Tx, org_id: str, project_id: ProjectId | None, claims: CustomClaims) -> None:
    """Put `claims` in the place of what was set."""
    where = {"org": org_id, "project": project_id}
    tx.execute("DELETE FROM oidc_claims WHERE org_id = :org AND project_id IS :project", where)
    tx.execute(
        "INSERT INTO oidc_claims (org_id, project_id, audience, audience_updated_at_ms, ttl, ttl_updated_at_ms)"
        " VALUES (:org, :project, :audience, :audience_at, :ttl, :ttl_at)",
        {
            **where,
            "audience": None if claims.audience is None else json.dumps(claims.audience),
            "audience_at": claims.audience_updated_at_ms,
            "ttl": claims.ttl,
            "ttl_at": claims.ttl_updated_at_ms,
        },
    )


def _purpose(key_id: str) -> str:
    return f"oidc/{key_id}"
