"""Logins for the registries of clouds: AWS as moto plays it, Google as its documents describe it."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials
from moto.server import ThreadedMotoServer

from appliance.engine import oidc
from appliance.engine.placement import Placement, spec
from appliance.engine.registries import AwsKeys, google_provider, sign, with_logins
from appliance.engine.workshop import Facts, Workshop, facts_of
from appliance.errors import ImageError, SandboxError
from appliance.executors.base import Container
from appliance.language import plan as plans
from appliance.store.database import open_database
from tests.engine.shop import one_job, workshop

IMAGE = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app:1"
KEYS = {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "verysecretkey"}
ROLE = "arn:aws:iam::123456789012:role/puller"
BY_ROLE = {"oidc_role_arn": ROLE}
PROVIDER = "projects/42/locations/global/workloadIdentityPools/ci/providers/rondo"
GOOGLE = {
    "oidc_service_account": "puller@acme.iam.gserviceaccount.com",
    "workload_identity_pool": PROVIDER.partition("/providers/")[0],
    "workload_identity_provider": "rondo",
}


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@asynccontextmanager
async def job_with(tmp_path: Path, image: plans.DockerImage) -> AsyncIterator[tuple[Workshop, Facts]]:
    async with open_database(tmp_path / "rondo.db") as db:
        shop, job = workshop(db, tmp_path, {}), await one_job(db)
        facts = await db.read(lambda tx: facts_of(tx, shop.box, job.id, 0))
        yield shop, replace(facts, plan=replace(facts.plan, executor=plans.Docker(images=(image,))))


def container(shop: Workshop, facts: Facts, variables: Mapping[str, str], **places: Any) -> Container:
    shop = replace(shop, places=replace(shop.places, **places))
    placed = Placement(executor="docker", cpus=1, memory_bytes=1)
    wanted = spec("1.0", facts.plan, placed, shop.places, variables)
    return with_logins(shop, facts, wanted, variables).containers[0]


@pytest.mark.parametrize(
    "auth",
    [
        {"aws_access_key_id": "$AWS_ACCESS_KEY_ID", "aws_secret_access_key": "${AWS_SECRET_ACCESS_KEY}"},
        None,  # the project's variables are used
    ],
)
async def test_keys_become_a_login_for_the_registry(tmp_path: Path, moto: str, auth: Mapping[str, str] | None) -> None:
    async with job_with(tmp_path, plans.DockerImage(image=IMAGE, aws_auth=auth)) as (shop, facts):
        log_in = container(shop, facts, KEYS, aws_endpoint=moto).log_in
        assert log_in is not None
        login = await log_in()
        assert login.username == "AWS" and login.password == "123456789012-auth-token"


async def test_a_role_that_trusts_our_issuer_needs_no_keys(tmp_path: Path, moto: str) -> None:
    async with job_with(tmp_path, plans.DockerImage(image=IMAGE, aws_auth=BY_ROLE)) as (shop, facts):
        log_in = container(shop, facts, {}, aws_endpoint=moto).log_in
        assert log_in is not None
        assert (await log_in()).password.endswith("-auth-token")


async def test_forks_other_registries_and_replaced_images_get_no_login_of_a_cloud(tmp_path: Path) -> None:
    async with job_with(tmp_path, plans.DockerImage(image=IMAGE)) as (shop, facts):
        assert container(shop, facts, KEYS).log_in is not None
        assert container(shop, facts, {}).log_in is None
        assert container(shop, replace(facts, may_have_secrets=False), KEYS).log_in is None
        assert container(shop, facts, KEYS, aliases={IMAGE: "registry.local/app"}).log_in is None
        plan = replace(facts.plan, executor=plans.Docker(images=(plans.DockerImage(image="a/b"),)))
        assert container(shop, replace(facts, plan=plan), KEYS).log_in is None


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (plans.DockerImage(image="acme/app", aws_auth=BY_ROLE), "aws_auth is for images like"),
        (plans.DockerImage(image="x.amazonaws.com.evil.example/a", aws_auth=BY_ROLE), "aws_auth is for images like"),
        (plans.DockerImage(image=IMAGE, aws_auth={}), "needs aws_access_key_id and aws_secret_access_key, or oidc"),
        (plans.DockerImage(image=IMAGE, aws_auth={"aws_access_key_id": "$NONE"}), r"needs \$NONE, and there is no such"),
        (plans.DockerImage(image=IMAGE, aws_auth={"aws_access_key_id": "x"}), "needs aws_secret_access_key"),
        (plans.DockerImage(image=IMAGE, gcp_auth=GOOGLE), "gcp_auth is for images of gcr.io"),
        (plans.DockerImage(image="gcr.io/a/b", gcp_auth={}), r"needs \$GCP_OIDC_SERVICE_ACCOUNT"),
        (plans.DockerImage(image="gcr.io/a/b", gcp_auth={**GOOGLE, "workload_identity_pool": "ci"}), "needs a service"),
    ],
)
async def test_a_login_that_cannot_be_is_the_users_to_mend(tmp_path: Path, image: plans.DockerImage, said: str) -> None:
    async with job_with(tmp_path, image) as (shop, facts):
        log_in = container(shop, facts, {}, aws_endpoint="http://127.0.0.1:1").log_in
        assert log_in is not None
        with pytest.raises(ImageError, match=said):
            await log_in()


async def test_a_cloud_that_is_away_is_infrastructure(tmp_path: Path) -> None:
    async with job_with(tmp_path, plans.DockerImage(image=IMAGE)) as (shop, facts):
        log_in = container(shop, facts, KEYS, aws_endpoint="http://127.0.0.1:1").log_in
        assert log_in is not None
        with pytest.raises(SandboxError, match=r"AWS ECR at http://127\.0\.0\.1:1 cannot be asked") as caught:
            await log_in()
        assert "verysecretkey" not in str(caught.value)


@pytest.mark.parametrize("session", ["", "session/token+=="])
def test_the_signature_is_that_of_the_library(session: str) -> None:
    endpoint, body, now_ms = "https://api.ecr.eu-west-1.amazonaws.com", b"{}", 1_700_000_000_000
    headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "AmazonEC2.Get"}
    keys = AwsKeys(key_id="AKIAEXAMPLE", secret="verysecret/key", session=session)
    signed = sign(endpoint, "eu-west-1", "ecr", headers, body, keys, now_ms)
    theirs = AWSRequest("POST", f"{endpoint}/", headers=headers, data=body)
    auth = SigV4Auth(BotoCredentials(keys.key_id, keys.secret, session or None), "ecr", "eu-west-1")
    theirs.context["timestamp"] = theirs.headers["X-Amz-Date"] = signed["X-Amz-Date"]
    if session:
        theirs.headers["X-Amz-Security-Token"] = session
    text = auth.string_to_sign(theirs, auth.canonical_request(theirs))
    assert signed["Authorization"].endswith(f"Signature={auth.signature(text, theirs)}")


@asynccontextmanager
async def google(seen: list[tuple[str, Any, str]]) -> AsyncIterator[str]:
    """Its two endpoints; nobody has a Google to run here."""

    async def answer(request: web.Request) -> web.Response:
        seen.append((request.path, await request.json(), request.headers.get("Authorization", "")))
        if request.path == "/v1/token":
            return web.json_response({"access_token": "federated", "token_type": "Bearer"})
        if "refused" in request.path:
            return web.json_response({"error": {"code": 403, "message": "Permission denied on it"}}, status=403)
        return web.json_response({"accessToken": "ya29.pull", "expireTime": "2030-01-01T00:00:00Z"})

    app = web.Application()
    app.router.add_post("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def test_google_gets_a_token_for_its_provider_and_gives_a_login(tmp_path: Path) -> None:
    seen: list[tuple[str, Any, str]] = []
    image = plans.DockerImage(image="europe-docker.pkg.dev/acme/repo/app", gcp_auth=GOOGLE)
    async with job_with(tmp_path, image) as (shop, facts), google(seen) as url:
        log_in = container(shop, facts, {}, gcp_endpoint=url).log_in
        assert log_in is not None
        login = await log_in()
        token, _ = await oidc.token(shop, facts, oidc.Wish(audience=(f"https://iam.googleapis.com/{PROVIDER}",)))
    assert (login.username, login.password) == ("oauth2accesstoken", "ya29.pull")
    (first, exchange, _), (second, wanted, proof) = seen
    assert first == "/v1/token" and exchange["audience"] == f"//iam.googleapis.com/{PROVIDER}"
    assert exchange["subjectToken"] == token
    assert second == "/v1/projects/-/serviceAccounts/puller@acme.iam.gserviceaccount.com:generateAccessToken"
    assert proof == "Bearer federated" and wanted["scope"]


async def test_what_google_refuses_is_told(tmp_path: Path) -> None:
    image = plans.DockerImage(image="gcr.io/a/b", gcp_auth={**GOOGLE, "oidc_service_account": "refused@x.iam"})
    async with job_with(tmp_path, image) as (shop, facts), google([]) as url:
        log_in = container(shop, facts, {}, gcp_endpoint=url).log_in
        assert log_in is not None
        with pytest.raises(ImageError, match="Google IAM said 403: Permission denied on it"):
            await log_in()


def test_a_provider_is_known_by_its_whole_name_or_by_its_pools() -> None:
    assert google_provider(GOOGLE["workload_identity_pool"], "rondo") == PROVIDER
    assert google_provider("", f"//iam.googleapis.com/{PROVIDER}") == PROVIDER
    assert google_provider("ci", "rondo") is None
    assert google_provider("projects/42/../../x", "rondo") is None
