"""Logging in to the registries of clouds (spec 1.6): ECR by keys or by the job's ID token, Google's by the token alone.

A login is made when its image has to be pulled and not before: a cloud that is away fails no job that has its images.
What it gives stays in memory, on its way to the engine.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

from appliance.clock import Clock
from appliance.engine import oidc
from appliance.engine.placement import filled
from appliance.engine.workshop import Facts, Workshop
from appliance.errors import ImageError, SandboxError
from appliance.executors.base import Credentials, LogIn, SandboxSpec
from appliance.language import plan as plans

_TIMEOUT_S = 30.0
_LARGEST_ANSWER = 256 << 10
_ECR = re.compile(r"[0-9]{12}\.dkr\.ecr(?:-fips)?\.([a-z0-9-]+)\.(amazonaws\.com(?:\.cn)?)/")
_GOOGLE = re.compile(r"(?:(?:[a-z]+\.)?gcr\.io|[a-z0-9-]+-docker\.pkg\.dev)/")
_GOOGLE_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_SERVICE_ACCOUNT = re.compile(r"[A-Za-z0-9._-]+@[A-Za-z0-9.-]+")


def with_logins(shop: Workshop, facts: Facts, spec: SandboxSpec, variables: Mapping[str, str]) -> SandboxSpec:
    """The spec with a way to log in for every image of a cloud's registry. Only for a pipeline that gets secrets.

    Never for an image that the settings have put in the place of another: what is the job's would go elsewhere.
    """
    if not isinstance(facts.plan.executor, plans.Docker) or not facts.may_have_secrets:
        return spec
    clouds = _Clouds(shop, facts, variables)
    containers = [
        replace(container, log_in=container.log_in or clouds.login(image)) if container.image == image.image else container
        for container, image in zip(spec.containers, facts.plan.executor.images, strict=False)
    ]
    return replace(spec, containers=(*containers, *spec.containers[len(containers) :]))


@dataclass(frozen=True, kw_only=True)
class AwsKeys:
    key_id: str
    secret: str = field(repr=False)
    session: str = field(default="", repr=False)


class _Clouds:
    def __init__(self, shop: Workshop, facts: Facts, variables: Mapping[str, str]) -> None:
        self._shop = shop
        self._facts = facts
        self._variables = variables

    def login(self, image: plans.DockerImage) -> LogIn | None:
        name, aws, google = image.image, image.aws_auth, image.gcp_auth
        if aws is not None:
            return lambda: self._to_ecr(name, aws)
        if google is not None:
            return lambda: self._to_google(name, google)
        if _ECR.match(name) and {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} <= set(self._variables):
            keys = {"aws_access_key_id": "$AWS_ACCESS_KEY_ID", "aws_secret_access_key": "$AWS_SECRET_ACCESS_KEY"}
            return lambda: self._to_ecr(name, keys)
        return None

    async def _to_ecr(self, image: str, given: Mapping[str, str]) -> Credentials:
        place = _ECR.match(image)
        if place is None:
            raise ImageError(f"aws_auth is for images like 123456789012.dkr.ecr.REGION.amazonaws.com/NAME, not {image}")
        region, domain = place.groups()
        endpoint = self._shop.places.aws_endpoint
        said = {name: filled(text, self._variables, image) for name, text in given.items()}
        role = said.get("oidc_role_arn")
        if role:
            sts = endpoint or f"https://sts.{region}.{domain}"
            token, _ = await oidc.token(self._shop, self._facts, oidc.Wish())
            keys = await assume_role(sts, role, token, f"rondo-job-{self._facts.job.number}")
        else:
            missing = [name for name in ("aws_access_key_id", "aws_secret_access_key") if not said.get(name)]
            if missing:
                raise ImageError(f"aws_auth of image {image} needs {' and '.join(missing)}, or oidc_role_arn")
            keys = AwsKeys(key_id=said["aws_access_key_id"], secret=said["aws_secret_access_key"])
            if given["aws_access_key_id"] == "$AWS_ACCESS_KEY_ID":  # temporary keys have a third part
                keys = replace(keys, session=self._variables.get("AWS_SESSION_TOKEN", ""))
        return await ecr_login(endpoint or f"https://api.ecr.{region}.{domain}", region, keys, self._shop.clock)

    async def _to_google(self, image: str, given: Mapping[str, str]) -> Credentials:
        if not _GOOGLE.match(image):
            raise ImageError(f"gcp_auth is for images of gcr.io and *-docker.pkg.dev, not {image}")
        names = ("oidc_service_account", "workload_identity_pool", "workload_identity_provider")
        said = {name: filled(given.get(name) or f"$GCP_{name.upper()}", self._variables, image) for name in names}
        provider = google_provider(said["workload_identity_pool"], said["workload_identity_provider"])
        if provider is None or not _SERVICE_ACCOUNT.fullmatch(said["oidc_service_account"]):
            raise ImageError(
                f"gcp_auth of image {image} needs a service account NAME@PROJECT.iam.gserviceaccount.com and a provider"
                " projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER,"
                " or the pool by that name and the provider alone"
            )
        token, _ = await oidc.token(self._shop, self._facts, oidc.Wish(audience=(f"https://iam.googleapis.com/{provider}",)))
        return await google_login(self._shop.places.gcp_endpoint, provider, said["oidc_service_account"], token)


# AWS


async def assume_role(endpoint: str, role: str, token: str, session: str) -> AwsKeys:
    """The keys of a role that trusts our issuer, for 15 minutes: AssumeRoleWithWebIdentity. The token is the proof."""
    form = {
        "Action": "AssumeRoleWithWebIdentity",
        "Version": "2011-06-15",
        "RoleArn": role,
        "RoleSessionName": session,
        "WebIdentityToken": token,
        "DurationSeconds": "900",
    }
    answer = await _post(endpoint, "AWS STS", data=form)
    names = ("AccessKeyId", "SecretAccessKey", "SessionToken")
    found = [re.search(rf"<{name}>([^<]+)</{name}>", answer) for name in names]
    key_id, secret, held = (match[1] if match else "" for match in found)
    if not key_id or not secret:
        raise SandboxError("AWS STS answered without keys")
    return AwsKeys(key_id=key_id, secret=secret, session=held)


async def ecr_login(endpoint: str, region: str, keys: AwsKeys, clock: Clock) -> Credentials:
    """A login for the registry that `keys` belong to: GetAuthorizationToken."""
    headers = {
        "Content-Type": "application/x-amz-json-1.1",
        "X-Amz-Target": "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken",
    }
    signed = sign(endpoint, region, "ecr", headers, b"{}", keys, clock.now_ms())
    answer = _parsed(await _post(endpoint, "AWS ECR", data=b"{}", headers=signed), "AWS ECR")
    try:
        packed = answer["authorizationData"][0]["authorizationToken"]
        username, _, password = base64.b64decode(packed, validate=True).decode().partition(":")
    except (KeyError, IndexError, TypeError, ValueError, binascii.Error):
        raise SandboxError("AWS ECR answered without a token") from None
    return Credentials(username=username, password=password)


def sign(
    endpoint: str, region: str, service: str, headers: Mapping[str, str], body: bytes, keys: AwsKeys, now_ms: int
) -> dict[str, str]:
    """The headers of a POST to `/` with AWS's signature, version 4.

    By hand: the library for it would cost the server 20 MB of memory. The tests compare with that library.
    """
    moment = datetime.datetime.fromtimestamp(now_ms / 1000, datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
    scope = f"{moment[:8]}/{region}/{service}/aws4_request"
    signed = {**headers, "Host": urlsplit(endpoint).netloc, "X-Amz-Date": moment}
    if keys.session:
        signed["X-Amz-Security-Token"] = keys.session
    lines = sorted(f"{name.lower()}:{value}" for name, value in signed.items())
    names = ";".join(line.partition(":")[0] for line in lines)
    request = "\n".join(["POST", "/", "", *lines, "", names, hashlib.sha256(body).hexdigest()])
    text = "\n".join(["AWS4-HMAC-SHA256", moment, scope, hashlib.sha256(request.encode()).hexdigest()])
    key = f"AWS4{keys.secret}".encode()
    for part in (*scope.split("/"), text):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    credential = f"Credential={keys.key_id}/{scope}"
    return {**signed, "Authorization": f"AWS4-HMAC-SHA256 {credential}, SignedHeaders={names}, Signature={key.hex()}"}


# Google


def google_provider(pool: str, provider: str) -> str | None:
    """The provider's full name, when it or its pool is given by one."""
    whole = re.compile(r"projects/[0-9]+/locations/global/workloadIdentityPools/[a-z0-9-]+/providers/[a-z0-9-]+")
    for name in (provider, f"{pool}/providers/{provider}"):
        name = name.removeprefix("//iam.googleapis.com/").removeprefix("https://iam.googleapis.com/")
        if whole.fullmatch(name):
            return name
    return None


async def google_login(endpoint: str, provider: str, account: str, token: str) -> Credentials:
    """A login as a service account that trusts our issuer: the token becomes a federated one, and that the account's."""
    exchange = {
        "grantType": "urn:ietf:params:oauth:grant-type:token-exchange",
        "audience": f"//iam.googleapis.com/{provider}",
        "scope": _GOOGLE_SCOPE,
        "requestedTokenType": "urn:ietf:params:oauth:token-type:access_token",
        "subjectTokenType": "urn:ietf:params:oauth:token-type:jwt",
        "subjectToken": token,
    }
    sts = f"{endpoint or 'https://sts.googleapis.com'}/v1/token"
    federated = _parsed(await _post(sts, "Google STS", json=exchange), "Google STS").get("access_token")
    accounts = f"{endpoint or 'https://iamcredentials.googleapis.com'}/v1/projects/-/serviceAccounts"
    answer = await _post(
        f"{accounts}/{account}:generateAccessToken",
        "Google IAM",
        json={"scope": [_GOOGLE_SCOPE]},
        headers={"Authorization": f"Bearer {federated}"},
    )
    password = _parsed(answer, "Google IAM").get("accessToken")
    if not isinstance(password, str):
        raise SandboxError("Google IAM answered without a token")
    return Credentials(username="oauth2accesstoken", password=password)


# HTTP


async def _post(url: str, who: str, **request: Any) -> str:
    """The text of a good answer. Raises ImageError when they refuse, SandboxError when they cannot be asked."""
    import aiohttp  # takes long to load, and most jobs need no such login

    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    body = bytearray()
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=True) as client,
            client.post(url, allow_redirects=False, **request) as response,
        ):
            async for chunk in response.content.iter_chunked(16 << 10):
                body += chunk
                if len(body) > _LARGEST_ANSWER:
                    raise SandboxError(f"{who} said more than anybody can hear")
            status = response.status
    except (aiohttp.ClientError, OSError) as error:  # a TimeoutError is an OSError
        raise SandboxError(f"cannot log in to pull an image: {who} at {url} cannot be asked: {error}") from error
    text = body.decode("utf-8", "replace")
    if status >= 500:
        raise SandboxError(f"cannot log in to pull an image: {who} said {status}")
    if status != 200:
        raise ImageError(f"cannot log in to pull an image: {who} said {status}: {_reason(text)}")
    return text


def _reason(text: str) -> str:
    found = re.search(r'<Message>([^<]*)|"[mM]essage"\s*:\s*"([^"]*)|"error_description"\s*:\s*"([^"]*)', text)
    return next(filter(None, found.groups()), "no reason")[:300] if found else "no reason"


def _parsed(text: str, who: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise SandboxError(f"{who} answered something that is no JSON object")
    return found
