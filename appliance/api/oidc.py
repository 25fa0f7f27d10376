"""ID tokens to the world: discovery and public keys for whoever checks one; custom claims for admins (spec 7.5, 6.2).

Discovery answers for the UUID of any organization: whether one is at home here is nobody's business, and what trusts an
issuer without jobs trusts nobody.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from aiohttp import web

from appliance.api.auth import user_of
from appliance.api.parts import parts_of
from appliance.api.routes import Policy, Route
from appliance.api.wire import answer, json_body, time_of
from appliance.engine.oidc import KEYS_FRESH_S, audience_of, issuer, public_keys, seconds
from appliance.errors import BadRequest, NotFound, Refused, RondoError
from appliance.model import ProjectId, organization_id
from appliance.store import oidc, projects
from appliance.store.database import Tx
from appliance.store.oidc import CustomClaims

_UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_KEYS = ".well-known/jwks-pub.json"
_OWN_CLAIMS = (
    *("project-id", "context-ids", "job-id", "workflow-id", "pipeline-id", "pipeline-definition-id"),
    *("org-id", "ssh-rerun", "vcs-origin", "vcs-ref"),
)


async def discovery(request: web.Request) -> web.Response:
    """The OpenID provider's description, of one organization or of the root issuer."""
    name = issuer(parts_of(request).addresses.web, request.match_info.get("org"))
    return _kept(
        {
            "issuer": name,
            "jwks_uri": f"{name}/{_KEYS}",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "scopes_supported": ["openid"],
            "claims_supported": ["iss", "sub", "aud", "iat", "exp", *(f"oidc.circleci.com/{name}" for name in _OWN_CLAIMS)],
        }
    )


async def keys(request: web.Request) -> web.Response:
    parts = parts_of(request)
    return _kept({"keys": [dict(jwk) for jwk in await public_keys(parts.db, parts.box, parts.clock)]})


def _kept(data: dict[str, Any]) -> web.Response:
    response = answer(data)
    response.headers["Cache-Control"] = f"public, max-age={KEYS_FRESH_S}"
    return response


Change = Callable[[CustomClaims, int], CustomClaims]


def _telling_errors(
    handler: Callable[[web.Request], Awaitable[web.Response]],
) -> Callable[[web.Request], Awaitable[web.Response]]:
    """These routes call a message "error" (spec 6.1)."""

    async def handle(request: web.Request) -> web.Response:
        try:
            return await handler(request)
        except RondoError as error:
            status = {BadRequest: 400, Refused: 403, NotFound: 404}.get(type(error))
            if status is None:
                raise
            return answer({"error": str(error)}, status)

    return handle


@_telling_errors
async def show(request: web.Request) -> web.Response:
    return await _changed(request, None)


@_telling_errors
async def change(request: web.Request) -> web.Response:
    body = await json_body(request, ("audience", "ttl"))
    audience = audience_of(body["audience"]) if "audience" in body else None
    ttl = body.get("ttl")
    if ttl is not None:
        if not isinstance(ttl, str):
            raise BadRequest("ttl: must be a text.")
        seconds(ttl)

    def changed(claims: CustomClaims, now_ms: int) -> CustomClaims:
        if audience is not None:
            claims = replace(claims, audience=audience, audience_updated_at_ms=now_ms)
        if ttl is not None:
            claims = replace(claims, ttl=ttl, ttl_updated_at_ms=now_ms)
        return claims

    return await _changed(request, changed)


@_telling_errors
async def remove(request: web.Request) -> web.Response:
    wanted = set(filter(None, request.query.get("claims", "").split(",")))
    if not wanted or wanted - {"audience", "ttl"}:
        raise BadRequest('claims: must be "audience", "ttl" or both, with a comma between.')

    def changed(claims: CustomClaims, now_ms: int) -> CustomClaims:
        if "audience" in wanted:
            claims = replace(claims, audience=None, audience_updated_at_ms=now_ms)
        if "ttl" in wanted:
            claims = replace(claims, ttl=None, ttl_updated_at_ms=now_ms)
        return claims

    return await _changed(request, changed)


async def _changed(request: web.Request, changed: Change | None) -> web.Response:
    """Look up what the path names, change it, and tell how it is then. Raises Refused for all but admins."""
    if not user_of(request).is_admin:
        raise Refused("Forbidden")
    parts, org_id = parts_of(request), request.match_info["org"]
    project_id = ProjectId(request.match_info["project"]) if "project" in request.match_info else None
    now_ms = parts.clock.now_ms()

    def look(tx: Tx) -> CustomClaims:
        _check_place(tx, org_id, project_id)
        claims = oidc.custom_claims(tx, org_id, project_id)
        if changed is not None:
            claims = changed(claims, now_ms)
            oidc.set_custom_claims(tx, org_id, project_id, claims)
        return claims

    claims = await (parts.db.read(look) if changed is None else parts.db.write(look))
    wire = {
        "org_id": org_id,
        "project_id": project_id,
        "audience": None if claims.audience is None else list(claims.audience),
        "audience_updated_at": time_of(claims.audience_updated_at_ms),
        "ttl": claims.ttl,
        "ttl_updated_at": time_of(claims.ttl_updated_at_ms),
    }
    return answer({name: value for name, value in wire.items() if value is not None})


def _check_place(tx: Tx, org_id: str, project_id: ProjectId | None) -> None:
    """Raises NotFound unless there is a project of this organization, and this very one."""
    if not any(organization_id(org) == org_id for org in projects.organizations(tx)):
        raise NotFound("Organization not found.")
    if project_id is not None and organization_id(projects.by_id(tx, project_id).org) != org_id:
        raise NotFound("Project not found.")


def _routes_of(path: str) -> tuple[Route, ...]:
    return (
        Route("GET", path, show, Policy.TOKEN),
        Route("PATCH", path, change, Policy.TOKEN),
        Route("DELETE", path, remove, Policy.TOKEN),
    )


ROUTES = (
    Route("GET", "/.well-known/openid-configuration", discovery, Policy.OPEN),
    Route("GET", f"/{_KEYS}", keys, Policy.OPEN),
    Route("GET", f"/org/{{org:{_UUID}}}/.well-known/openid-configuration", discovery, Policy.OPEN),
    Route("GET", f"/org/{{org:{_UUID}}}/{_KEYS}", keys, Policy.OPEN),
    *_routes_of("/api/v2/org/{org}/oidc-custom-claims"),
    *_routes_of("/api/v2/org/{org}/project/{project}/oidc-custom-claims"),
)
