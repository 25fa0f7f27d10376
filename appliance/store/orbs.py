"""The appliance's own registry of orbs: namespaces, orbs, versions that never change, `dev:` versions that do."""

from __future__ import annotations

import hashlib
import re
import sqlite3
from dataclasses import dataclass

from appliance.errors import BadRequest, Conflict, NotFound
from appliance.store.database import Tx

DEV_DAYS = 90
STEPS = ("major", "minor", "patch")
_DAY_MS = 86_400_000

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,127}")
_EXACT = re.compile(r"(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})")
_DEV = re.compile(r"dev:[A-Za-z0-9._/-]{1,128}")


@dataclass(frozen=True, kw_only=True)
class Namespace:
    """`private_to`: the organisation whose projects alone may use it. `is_imported`: it is a copy of somebody else's."""

    name: str
    private_to: str | None
    is_imported: bool

    def is_open_to(self, org: str | None) -> bool:
        return self.private_to is None or (org is not None and org.lower() == self.private_to.lower())


@dataclass(frozen=True, kw_only=True)
class OrbVersion:
    namespace: str
    name: str
    version: str
    source: str
    digest: str
    given_digest: str
    created_at_ms: int
    expires_at_ms: int | None

    @property
    def full_name(self) -> str:
        return f"{self.namespace}/{self.name}@{self.version}"


def digest_of(text: str) -> str:
    """SHA-256 of a text, in hex: how the source of an orb is named."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


# Namespaces


def add_namespace(tx: Tx, name: str, *, private_to: str | None, now_ms: int, is_imported: bool = False) -> Namespace:
    """Make a namespace. Raises Conflict when there is one; whether it is private is settled here for ever."""
    if not _NAME.fullmatch(name):
        raise BadRequest(f"{name!r} cannot name a namespace: lower-case letters, digits, '_' and '-'")
    try:
        tx.execute(
            "INSERT INTO orb_namespaces (name, private_to, is_imported, created_at_ms)"
            " VALUES (:name, :private_to, :is_imported, :now)",
            {"name": name, "private_to": private_to, "is_imported": int(is_imported), "now": now_ms},
        )
    except sqlite3.IntegrityError:
        raise Conflict(f"there is a namespace {name} already") from None
    return Namespace(name=name, private_to=private_to, is_imported=is_imported)


def namespace(tx: Tx, name: str) -> Namespace | None:
    row = tx.execute("SELECT * FROM orb_namespaces WHERE name = :name", {"name": name}).fetchone()
    return _namespace(row) if row is not None else None


def namespaces(tx: Tx) -> list[Namespace]:
    return [_namespace(row) for row in tx.execute("SELECT * FROM orb_namespaces ORDER BY name")]


def _namespace(row: sqlite3.Row) -> Namespace:
    return Namespace(name=row["name"], private_to=row["private_to"], is_imported=bool(row["is_imported"]))


# Versions


def put(tx: Tx, full_name: str, *, given: str, source: str, now_ms: int) -> OrbVersion:
    """Publish a version, `NAMESPACE/NAME@1.2.3` or `@dev:LABEL`; the namespace must be there.

    `given` is the text as it was handed in, `source` the one that is used from now on. Raises Conflict when the number
    is taken: a published version never changes. `dev:` replaces what was there, and lasts 90 days.
    """
    owner, name, version = split(full_name)
    if namespace(tx, owner) is None:
        raise NotFound(f"there is no namespace {owner}; make it with `rondo orb namespace {owner}`")
    orb_id = _orb(tx, owner, name, now_ms)
    _forget_expired(tx, now_ms)
    numbers = _EXACT.fullmatch(version)
    row: dict[str, str | int | None] = {
        "orb": orb_id,
        "version": version,
        "major": int(numbers[1]) if numbers else None,
        "minor": int(numbers[2]) if numbers else None,
        "patch": int(numbers[3]) if numbers else None,
        "source": source,
        "digest": digest_of(source),
        "given_digest": digest_of(given),
        "now": now_ms,
        "expires": None if numbers else now_ms + DEV_DAYS * _DAY_MS,
    }
    if numbers is None:
        tx.execute("DELETE FROM orb_versions WHERE orb_id = :orb AND version = :version", row)
    try:
        tx.execute(
            "INSERT INTO orb_versions (orb_id, version, major, minor, patch, source, digest, given_digest, created_at_ms,"
            " expires_at_ms) VALUES (:orb, :version, :major, :minor, :patch, :source, :digest, :given_digest, :now,"
            " :expires)",
            row,
        )
    except sqlite3.IntegrityError:
        raise Conflict(
            f"{full_name} is published already, and a published version never changes; "
            f"the next number is free, or use {owner}/{name}@dev:LABEL"
        ) from None
    found = exactly(tx, full_name)
    assert found is not None
    return found


def split(full_name: str) -> tuple[str, str, str]:
    """NAMESPACE, NAME and VERSION of a version that can be published. Raises BadRequest."""
    path, _, version = full_name.partition("@")
    owner, _, name = path.partition("/")
    if not (_NAME.fullmatch(owner) and _NAME.fullmatch(name)):
        raise BadRequest(f"{full_name!r} is not NAMESPACE/NAME@VERSION")
    if not (_EXACT.fullmatch(version) or _DEV.fullmatch(version)):
        raise BadRequest(f"{version!r} cannot be published: a version is 1.2.3 or dev:LABEL")
    return owner, name, version


def _orb(tx: Tx, owner: str, name: str, now_ms: int) -> int:
    tx.execute(
        "INSERT INTO orbs (namespace, name, created_at_ms) VALUES (:owner, :name, :now) ON CONFLICT DO NOTHING",
        {"owner": owner, "name": name, "now": now_ms},
    )
    row = tx.execute("SELECT id FROM orbs WHERE namespace = :owner AND name = :name", {"owner": owner, "name": name})
    return int(row.fetchone()["id"])


def _forget_expired(tx: Tx, now_ms: int) -> None:
    tx.execute("DELETE FROM orb_versions WHERE expires_at_ms <= :now", {"now": now_ms})


_SELECT = (
    "SELECT orbs.namespace, orbs.name, orb_versions.* FROM orb_versions JOIN orbs ON orbs.id = orb_versions.orb_id"
    " WHERE orbs.namespace = :owner AND orbs.name = :name"
)


def exactly(tx: Tx, full_name: str) -> OrbVersion | None:
    """The version of just that name, expired or not."""
    path, _, version = full_name.partition("@")
    owner, _, name = path.partition("/")
    row = tx.execute(
        _SELECT + " AND orb_versions.version = :version", {"owner": owner, "name": name, "version": version}
    ).fetchone()
    return _version(row) if row is not None else None


def resolve(tx: Tx, owner: str, name: str, version: str, now_ms: int) -> OrbVersion | None:
    """What a reference means now: `1.2.3` and `dev:LABEL` exactly, `1.2`, `1` and `volatile` the greatest that fits."""
    if version.startswith("dev:") or _EXACT.fullmatch(version):
        found = exactly(tx, f"{owner}/{name}@{version}")
        is_over = found is not None and found.expires_at_ms is not None and found.expires_at_ms <= now_ms
        return None if is_over else found
    major, minor = _prefix(version)
    row = tx.execute(
        _SELECT + " AND orb_versions.major IS NOT NULL"
        " AND (:major IS NULL OR orb_versions.major = :major) AND (:minor IS NULL OR orb_versions.minor = :minor)"
        " ORDER BY orb_versions.major DESC, orb_versions.minor DESC, orb_versions.patch DESC LIMIT 1",
        {"owner": owner, "name": name, "major": major, "minor": minor},
    ).fetchone()
    return _version(row) if row is not None else None


def _prefix(version: str) -> tuple[int | None, int | None]:
    """`1.2` is (1, 2), `1` is (1, None), `volatile` (None, None); a number that SQLite has no room for fits nothing."""
    if version == "volatile":
        return None, None
    parts = [int(part) if part.isascii() and part.isdigit() and len(part) < 10 else -1 for part in version.split(".")]
    return parts[0], parts[1] if len(parts) == 2 else (None if len(parts) == 1 else -1)


def _version(row: sqlite3.Row) -> OrbVersion:
    return OrbVersion(
        namespace=row["namespace"],
        name=row["name"],
        version=row["version"],
        source=row["source"],
        digest=row["digest"],
        given_digest=row["given_digest"],
        created_at_ms=row["created_at_ms"],
        expires_at_ms=row["expires_at_ms"],
    )


def next_version(tx: Tx, owner: str, name: str, step: str) -> str:
    """The number after the greatest one, by a `major`, `minor` or `patch` step; the first is counted from 0.0.0."""
    greatest = resolve(tx, owner, name, "volatile", now_ms=0)
    parts = [int(part) for part in greatest.version.split(".")] if greatest is not None else [0, 0, 0]
    place = STEPS.index(step)
    return ".".join(str(number) for number in [*parts[:place], parts[place] + 1, 0, 0][:3])


def names(tx: Tx, owner: str) -> list[str]:
    """The orbs of a namespace."""
    rows = tx.execute("SELECT name FROM orbs WHERE namespace = :owner ORDER BY name", {"owner": owner})
    return [row["name"] for row in rows]


def versions(tx: Tx, owner: str, name: str, now_ms: int) -> list[str]:
    """The versions of an orb that can be used: numbers from the greatest down, then `dev:` ones."""
    rows = tx.execute(
        "SELECT orb_versions.version FROM orb_versions JOIN orbs ON orbs.id = orb_versions.orb_id"
        " WHERE orbs.namespace = :owner AND orbs.name = :name"
        " AND (orb_versions.expires_at_ms IS NULL OR orb_versions.expires_at_ms > :now)"
        " ORDER BY orb_versions.major IS NULL, orb_versions.major DESC, orb_versions.minor DESC, orb_versions.patch DESC,"
        " orb_versions.version",
        {"owner": owner, "name": name, "now": now_ms},
    )
    return [row["version"] for row in rows]
