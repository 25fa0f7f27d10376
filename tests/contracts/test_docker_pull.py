"""Pulling images from a registry, with and without a login. The registry is a few lines of ours on loopback."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import json
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from aiohttp import web

from appliance.errors import ImageError
from appliance.executors.base import Container, Credentials, SandboxSpec
from appliance.executors.docker import DockerExecutor
from appliance.executors.docker_images import canonical
from appliance.executors.docker_plan import DockerOptions
from tests.engine_fixture import Engine, cached_root, request

LOGIN = "Basic " + base64.b64encode(b"me:hunter2").decode()
MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"


@dataclass
class Registry:
    """One image, `tiny:1`, of the busybox root. `private/tiny:1` is the same behind a login."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    manifest: bytes = b""
    port: int = 0

    def add(self, blob: bytes) -> str:
        digest = f"sha256:{hashlib.sha256(blob).hexdigest()}"
        self.blobs[digest] = blob
        return digest

    def fill(self, root: bytes) -> None:
        layer = gzip.compress(root, 1)
        diff = f"sha256:{hashlib.sha256(root).hexdigest()}"
        config = {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Env": ["PATH=/bin"], "Cmd": ["sh"]},
            "rootfs": {"type": "layers", "diff_ids": [diff]},
        }
        text = json.dumps(config).encode()
        parts = {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": {
                "mediaType": "application/vnd.docker.container.image.v1+json",
                "size": len(text),
                "digest": self.add(text),
            },
            "layers": [
                {
                    "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
                    "size": len(layer),
                    "digest": self.add(layer),
                }
            ],
        }
        self.manifest = json.dumps(parts).encode()

    async def answer(self, asked: web.Request) -> web.Response:
        path = asked.path.removeprefix("/v2/")
        if path.startswith("private/") and asked.headers.get("Authorization") != LOGIN:
            # A registry that wants a login everywhere asks for it at /v2/, where the engine looks first.
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="here"'})
        if path == "":
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="here"'})
        name, _, reference = path.rpartition("/")
        if name.endswith("/blobs") and reference in self.blobs:
            return web.Response(body=self.blobs[reference])
        if name.endswith("tiny/manifests"):
            digest = f"sha256:{hashlib.sha256(self.manifest).hexdigest()}"
            headers = {"Content-Type": MANIFEST_TYPE, "Docker-Content-Digest": digest}
            return web.Response(body=self.manifest, headers=headers)
        error = {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}
        return web.json_response(error, status=404)


@pytest.fixture
async def registry(docker_engine: Engine) -> AsyncIterator[Registry]:
    if not docker_engine.is_private:
        pytest.skip("the engine may be elsewhere: it cannot reach a registry on our loopback")
    registry = Registry()
    root = await asyncio.to_thread(cached_root, "busybox")
    registry.fill(await asyncio.to_thread(root.read_bytes))
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", registry.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    registry.port = runner.addresses[0][1]
    yield registry
    await runner.cleanup()
    for name in ("tiny", "private/tiny"):
        await asyncio.to_thread(
            request, docker_engine.socket, "DELETE", f"/images/127.0.0.1:{registry.port}/{name}:1?force=1"
        )


@pytest.fixture
async def executor(docker_engine: Engine) -> AsyncIterator[DockerExecutor]:
    executor = DockerExecutor(f"pull-{os.getpid()}", docker_engine.url, options=DockerOptions(pull_report_s=0))
    yield executor
    for ref in await executor.list():
        await executor.remove(ref)
    await executor.close()


async def pull(executor: DockerExecutor, image: str, login: Credentials | None = None) -> str:
    """Open a sandbox of `image`; what was said about it."""
    said: list[bytes] = []

    async def hear(text: bytes) -> None:
        said.append(text)

    spec = SandboxSpec(node="1.0", containers=(Container(image=image, credentials=login),))
    sandbox = await executor.open(spec, hear)
    await sandbox.close()
    return b"".join(said).decode()


@pytest.mark.docker
async def test_an_absent_image_is_pulled_once_and_says_how_far_it_is(executor: DockerExecutor, registry: Registry) -> None:
    image = f"127.0.0.1:{registry.port}/private/tiny:1"
    said = await pull(executor, image, Credentials(username="me", password="hunter2"))
    assert f"Pulling image {image}\n" in said and f"Pulled image {image}\n" in said
    assert " layers\n" in said and "hunter2" not in said
    assert "Pull" not in await pull(executor, image)


@pytest.mark.docker
async def test_a_wrong_login_is_the_users_trouble(executor: DockerExecutor, registry: Registry) -> None:
    image = f"127.0.0.1:{registry.port}/private/tiny:1"
    for login in (None, Credentials(username="me", password="wrong-word")):
        with pytest.raises(ImageError) as trouble:
            await pull(executor, image, login)
        assert image in str(trouble.value) and "wrong-word" not in str(trouble.value)


@pytest.mark.docker
async def test_an_unknown_image_is_the_users_trouble(executor: DockerExecutor, registry: Registry) -> None:
    login = Credentials(username="me", password="hunter2")
    with pytest.raises(ImageError, match="no-such:1"):
        await pull(executor, f"127.0.0.1:{registry.port}/private/no-such:1", login)


def test_a_login_goes_to_the_registry_of_the_name() -> None:
    assert canonical("redis") == "docker.io/library/redis"
    assert canonical("redis:7") == "docker.io/library/redis:7"
    assert canonical("cimg/python:3.12") == "docker.io/cimg/python:3.12"
    assert canonical("localhost/x") == "localhost/x"
    assert canonical("127.0.0.1:5000/x:1") == "127.0.0.1:5000/x:1"
    assert canonical("registry.example/x/y@sha256:0") == "registry.example/x/y@sha256:0"
