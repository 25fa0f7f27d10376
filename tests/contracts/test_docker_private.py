"""Private Docker engines, as the executor starts them; what jobs do with theirs is in scenarios/test_remote_docker.py."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from urllib.parse import quote

import pytest

from appliance.executors.base import Container, DockerAccess, PrivateDocker, Sandbox, SandboxSpec
from appliance.executors.docker import DockerExecutor
from tests.contracts.worlds import INSTANCE, quiet
from tests.engine_fixture import BUSYBOX, Engine, request_json

pytestmark = [pytest.mark.docker, pytest.mark.slow]

LAYERS = f"rondo-layers-test-{os.getpid()}"


@pytest.fixture
async def executor(docker_engine: Engine) -> AsyncIterator[DockerExecutor]:
    executor = DockerExecutor(INSTANCE, docker_engine.url)
    yield executor
    for ref in await executor.list():
        await executor.remove(ref)
    await executor.remove_layers(LAYERS)
    assert LAYERS not in await executor.kept_layers()
    await executor.close()


async def opened(executor: DockerExecutor, node: str) -> Sandbox:
    spec = SandboxSpec(node=node, containers=(Container(image=BUSYBOX),), docker=DockerAccess.PRIVATE)
    return await executor.open(spec, quiet)


def engines(docker_engine: Engine) -> list[str]:
    labels = quote(json.dumps({"label": [f"rondo.instance={INSTANCE}", "rondo.keeps-layers"]}))
    found = request_json(docker_engine.socket, "GET", f"/containers/json?all=1&filters={labels}")
    return [each["Labels"]["rondo.node"] for each in found]


async def test_the_same_layers_never_have_two_engines(executor: DockerExecutor, docker_engine: Engine) -> None:
    """Its job is over when another one is given the layers, though its sandbox could not be removed."""
    over, now = await opened(executor, "1.0"), await opened(executor, "2.0")
    want = PrivateDocker(cpus=1, memory_bytes=1 << 30, layers=LAYERS)
    await over.start_docker(want)
    await over.start_docker(want)
    assert engines(docker_engine) == ["1.0"], "once, however often it is asked for"
    await executor.remove_layers(LAYERS)
    assert LAYERS in await executor.kept_layers(), "not from under an engine"
    await now.start_docker(want)
    assert engines(docker_engine) == ["2.0"]
    await over.close()
    await now.close()
    assert engines(docker_engine) == []
