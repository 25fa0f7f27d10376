"""ID tokens of jobs (spec 7.5): who a job is, signed by us, for clouds that trust our issuer instead of a stored secret.

The issuer is our own URL, `WEB_URL/org/ORG_ID` or the root `WEB_URL`; below it stand the discovery document and the
public keys (`api/oidc`). Keys are rotated by making a new one. It is published at once and signs a little later, when
whoever keeps our keys for a while has looked again; the old one stays published as long as a token of it may live.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from appliance.clock import Clock
from appliance.crypto import SecretBox
from appliance.engine.workshop import Facts, Workshop
from appliance.errors import BadRequest
from appliance.model import organization_id, uuid_of
from appliance.store import contexts, oidc
from appliance.store.database import Database, Tx
from appliance.store.oidc import CustomClaims, SigningKey

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

KEYS_FRESH_S = 300
"""How long others may keep our public keys without looking again."""

USUAL_TTL_S = 3600
LONGEST_TTL_S = 24 * 3600
_AHEAD_MS = 2 * KEYS_FRESH_S * 1000
_KEY_BITS = 2048

_TTL = re.compile(r"(?:[0-9]{1,9}(?:ms|s|m|h|d|w)){1,7}")  # spec 6.2
_UNITS_S = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_MOST_AUDIENCES = 20
_LONGEST_AUDIENCE = 512


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What a job may choose of a token; None is what its project, its organization or we have as usual."""

    audience: tuple[str, ...] | None = None
    ttl_s: int | None = None
    has_root_issuer: bool = False
    version: int = 1  # of the subject


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What the rows say of a job beyond its facts."""

    user_id: str
    context_ids: tuple[str, ...]
    of_project: CustomClaims
    of_organization: CustomClaims


@dataclass(frozen=True)
class Signer:
    """What a job's tokens are made of beside its facts."""

    identity: Identity
    key_id: str
    pem: str = field(repr=False)


# What `api/oidc` tells the world


async def public_keys(db: Database, box: SecretBox, clock: Clock) -> list[Mapping[str, str]]:
    """The JWK of every key by which a token of ours may be checked; the first is made when there is none."""
    return [key.public_jwk for key in published(await _keys(db, box, clock), clock.now_ms())]


def issuer(web_url: str, org_id: str | None) -> str:
    """None: the root issuer."""
    return web_url if org_id is None else f"{web_url}/org/{org_id}"


# What jobs get


async def with_tokens(shop: Workshop, facts: Facts, signer: Signer | None = None) -> Facts:
    """The facts with `CIRCLE_OIDC_TOKEN` and its second version; without when the pipeline gets no secrets (spec 4.3).

    `signer`: what `signer_of` gave, when the facts were read.
    """
    if not (facts.may_have_secrets and shop.has_identity):
        return facts
    signer = signer or await _signer(shop, facts)
    said = [_said(shop, facts, signer, wish) for wish in (Wish(), Wish(version=2))]
    signed = await asyncio.to_thread(lambda: [_sign(one, signer) for one in said])
    tokens = dict(zip(("CIRCLE_OIDC_TOKEN", "CIRCLE_OIDC_TOKEN_V2"), signed, strict=True))
    return replace(facts, tokens=tokens)


async def token(shop: Workshop, facts: Facts, wish: Wish) -> tuple[str, int]:
    """A signed token that says who this job is, and when it expires. Only for a pipeline that gets secrets.

    Raises BadRequest when it is wished to live longer than it may.
    """
    signer = await _signer(shop, facts)
    said = _said(shop, facts, signer, wish)
    return await asyncio.to_thread(_sign, said, signer), said["exp"]


def signer_of(tx: Tx, shop: Workshop, facts: Facts) -> Signer | None:
    """Who signs the tokens of a job; None while there is no key, and where there are no tokens."""
    known = oidc.keys(tx) if facts.may_have_secrets else []
    if not known:
        return None
    key_id = signing(known, shop.clock.now_ms()).id
    return Signer(identity_of(tx, facts), key_id, oidc.private_pem(tx, shop.box, key_id))


async def _signer(shop: Workshop, facts: Facts) -> Signer:
    assert facts.may_have_secrets
    found = await shop.db.read(lambda tx: signer_of(tx, shop, facts))
    if found is None:
        await _keys(shop.db, shop.box, shop.clock)
        found = await shop.db.read(lambda tx: signer_of(tx, shop, facts))
        assert found is not None
    return found


def _said(shop: Workshop, facts: Facts, signer: Signer, wish: Wish) -> dict[str, Any]:
    git_url, now_s = shop.git_url(facts.project), shop.clock.now_ms() // 1000
    return claims(facts, signer.identity, wish, shop.web_url, git_url, now_s)


def identity_of(tx: Tx, facts: Facts) -> Identity:
    org_id = organization_id(facts.project.org)
    return Identity(
        # Not by the name: a stranger on a forge may be called like somebody here.
        user_id=facts.workflow.actor_id or uuid_of("person", facts.pipeline.trigger.actor),
        context_ids=tuple(contexts.find(tx, name).id for name in facts.plan.contexts),
        of_project=oidc.custom_claims(tx, org_id, facts.project.id),
        of_organization=oidc.custom_claims(tx, org_id, None),
    )


def claims(facts: Facts, identity: Identity, wish: Wish, web_url: str, git_url: str, now_s: int) -> dict[str, Any]:
    """Everything a token says (spec 7.5). A project's own audience and lifetime win over its organization's."""
    project, pipeline, trigger = facts.project, facts.pipeline, facts.pipeline.trigger
    org_id = organization_id(project.org)
    customs = (identity.of_project, identity.of_organization)
    audience = wish.audience or next((one.audience for one in customs if one.audience), (org_id,))
    ttl = next((one.ttl for one in customs if one.ttl), None)
    longest_s = USUAL_TTL_S if ttl is None else seconds(ttl)
    ttl_s = wish.ttl_s or longest_s
    if ttl_s > longest_s:  # a job may only choose less than its admins did
        raise BadRequest(f"ttl: a token of this job lives {longest_s} seconds at most.")
    origin = vcs_origin(git_url)
    ref = f"refs/tags/{trigger.tag}" if trigger.tag else f"refs/heads/{trigger.branch}"
    subject = f"org/{org_id}/project/{project.id}/user/{identity.user_id}"
    if wish.version == 2:
        subject += f"/vcs-origin/{origin}/vcs-ref/{ref}"
    return {
        "iss": issuer(web_url, None if wish.has_root_issuer else org_id),
        "sub": subject,
        "aud": audience[0] if len(audience) == 1 else list(audience),
        "iat": now_s,
        "exp": now_s + ttl_s,
        "oidc.circleci.com/project-id": project.id,
        "oidc.circleci.com/context-ids": list(identity.context_ids),
        "oidc.circleci.com/job-id": facts.job.id,
        "oidc.circleci.com/workflow-id": facts.workflow.id,
        "oidc.circleci.com/pipeline-id": pipeline.id,
        "oidc.circleci.com/pipeline-definition-id": uuid_of("pipeline-definition", project.id),
        "oidc.circleci.com/org-id": org_id,
        "oidc.circleci.com/ssh-rerun": facts.job.ssh_for is not None,
        "oidc.circleci.com/vcs-origin": origin,
        "oidc.circleci.com/vcs-ref": ref,
    }


def vcs_origin(git_url: str) -> str:
    """`github.com/acme/app`, however the repository's URL is spelled; never the login in it."""
    scheme, separator, _ = git_url.partition("://")
    if separator and scheme != "file":
        parts = urlsplit(git_url)
        host, path = parts.hostname or "", parts.path
    else:  # git@github.com:acme/app.git, or a folder
        host, _, path = git_url.rpartition(":")
        host = host.rpartition("@")[2].removeprefix("file")
    return f"{host}/{path.strip('/').removesuffix('.git')}".strip("/")


def audience_of(value: object) -> tuple[str, ...]:
    """A text or a list of texts. Raises BadRequest."""
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list) or not 0 < len(found) <= _MOST_AUDIENCES:
        raise BadRequest(f"audience: must be a list of 1 to {_MOST_AUDIENCES} texts.")
    for one in found:
        if not isinstance(one, str) or not 0 < len(one) <= _LONGEST_AUDIENCE or not one.isprintable():
            raise BadRequest(f"audience: must be printable texts of 1 to {_LONGEST_AUDIENCE} characters.")
    return tuple(found)


def seconds(ttl: str) -> int:
    """The length of "1h30m". Raises BadRequest when it is none, or not between a second and a day."""
    if not _TTL.fullmatch(ttl):
        raise BadRequest('ttl: must be a duration like "1h30m", of the units ms, s, m, h, d and w.')
    length = int(sum(int(count) * _UNITS_S[unit] for count, unit in re.findall(r"([0-9]+)(ms|s|m|h|d|w)", ttl)))
    if not 1 <= length <= LONGEST_TTL_S:
        raise BadRequest(f"ttl: must be at least 1s and at most {LONGEST_TTL_S // 3600}h.")
    return length


# Keys


def signing(keys: Sequence[SigningKey], now_ms: int) -> SigningKey:
    """The newest key that everybody can know by now; the first one there was signs from its first moment."""
    known = [key for key in keys if key.created_at_ms <= now_ms - _AHEAD_MS]
    return known[-1] if known else keys[0]


def published(keys: Sequence[SigningKey], now_ms: int) -> list[SigningKey]:
    """Without those whose last token has expired."""
    over_ms = now_ms - _AHEAD_MS - LONGEST_TTL_S * 1000
    replaced = [key for key in keys[1:] if key.created_at_ms <= over_ms]
    return list(keys[len(replaced) :])


def make_key(now_ms: int) -> tuple[SigningKey, str]:
    """A new key: its public half, and its private one as PEM. Takes ~100 ms: call it in a thread."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    made = rsa.generate_private_key(public_exponent=65537, key_size=_KEY_BITS)
    pem = made.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    numbers = made.public_key().public_numbers()
    key_id = secrets.token_hex(16)
    jwk = {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": key_id, "n": _number(numbers.n), "e": _number(numbers.e)}
    return SigningKey(id=key_id, public_jwk=jwk, created_at_ms=now_ms), pem


async def _keys(db: Database, box: SecretBox, clock: Clock) -> list[SigningKey]:
    """All of them; the first is made by whoever needs it first."""
    keys = await db.read(oidc.keys)
    if keys:
        return keys
    key, pem = await asyncio.to_thread(make_key, clock.now_ms())

    def add_first(tx: Tx) -> list[SigningKey]:
        if not oidc.keys(tx):  # two may have asked at once
            oidc.add_key(tx, box, key, pem)
        return oidc.keys(tx)

    return await db.write(add_first)


def _sign(said: Mapping[str, Any], signer: Signer) -> str:
    """The compact form of RFC 7515: too little to be worth a dependency. (To check one is another matter.)"""
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.hashes import SHA256

    head = {"alg": "RS256", "typ": "JWT", "kid": signer.key_id}
    text = ".".join(_base64url(json.dumps(part, separators=(",", ":")).encode()) for part in (head, said))
    return f"{text}.{_base64url(_loaded(signer.pem).sign(text.encode(), PKCS1v15(), SHA256()))}"


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _number(number: int) -> str:
    return _base64url(number.to_bytes((number.bit_length() + 7) // 8, "big"))


@lru_cache(maxsize=2)  # to load a key costs 50 times a signature
def _loaded(pem: str) -> RSAPrivateKey:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    key = load_pem_private_key(pem.encode(), None)
    assert isinstance(key, RSAPrivateKey)
    return key
