"""The public orbs circleci/aws-ecr and circleci/aws-ecs, run as they are with the real command line tool against moto.

Their scripts carry whole Python programs and JSON in variables, from step to step through BASH_ENV.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.engine_fixture import Engine
from tests.real_orbs import changes, installed, need
from tests.whole import house

SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCY"
CONFIG = """\
version: 2.1
orbs:
  ecr: circleci/aws-ecr@9.5.4
  ecs: circleci/aws-ecs@4.0.0
jobs:
  deploy:
    docker: [{ image: cimg/aws:2024.03 }]
    environment: { AWS_ENDPOINT_URL: "MOTO", AWS_DEFAULT_REGION: eu-west-1, CLUSTER: prod }
    steps:
      - checkout
      - run: |
          mkdir -p ~/.local/bin && ln -s /usr/bin/python3 ~/.local/bin/python
          mkdir ~/.aws && { echo '[default]'; env | sed -n 's/^AWS_.*KEY[^=]*/\\L&/p'; } >~/.aws/credentials
      - ecr/create_repo: { repo: "web-${CLUSTER}", repo_scan_on_push: false, repo_tag: "Key=by,Value=$CIRCLE_JOB" }
      - ecr/set_repo_policy: { repo: "web-$CLUSTER", repo_policy_path: policy.json }
      - ecs/update_service:
          family: web
          cluster: "$CLUSTER"
          container_image_name_updates: "container=web,tag=${CIRCLE_SHA1}"
          container_env_var_updates: "container=web,name=WORDS,value=it's a \\"b\\""
          force_new_deployment: true
workflows:
  main: { jobs: [deploy] }
"""
POLICY = """{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "ecr:*"}]}"""
CONTAINER = {"name": "web", "image": "web:old", "memory": 64, "command": ["$1", "a\\b", "<<2>>"]}


@dataclass(frozen=True)
class Moto:
    """A moto server that runs."""

    port: int

    async def ecs(self, action: str, **arguments: Any) -> Any:
        """Ask it as a client of the service ECS would; moto wants no true signature."""
        headers = {
            "X-Amz-Target": f"AmazonEC2ContainerServiceV20141113.{action}",
            "Content-Type": "application/x-amz-json-1.1",
            "Authorization": "AWS4-HMAC-SHA256 Credential=a/20260101/eu-west-1/ecs/aws4_request, Signature=a",
        }
        async with (
            aiohttp.ClientSession() as client,
            client.post(f"http://127.0.0.1:{self.port}/", headers=headers, data=json.dumps(arguments)) as answer,
        ):
            said = await answer.text()
            assert answer.status == 200, said
            return json.loads(said)


@asynccontextmanager
async def moto(folder: Path) -> AsyncIterator[Moto]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "import moto.server as server; server.main(['-H', '0.0.0.0', '-p', '0'])"),
        env={**os.environ, "PYTHONPATH": str(folder)},
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(60):
            while (found := re.search(rb"Running on http://127[^:]+:(\d+)", await process.stderr.readline())) is None:
                assert not process.stderr.at_eof(), "moto does not start"
        yield Moto(int(found[1]))
    finally:
        process.terminate()
        await process.communicate()


@pytest.mark.docker
async def test_a_repository_is_made_and_a_service_is_given_a_new_image(tmp_path: Path, docker_engine: Engine) -> None:
    need("circleci/aws-ecr/9.5.4", "circleci/aws-ecs/4.0.0")
    tools = installed("aws", "moto==5.2.5", "flask==3.1.3", "flask-cors==6.0.5", "awscli==1.46.3")
    command = tmp_path / "aws"
    command.write_text('#!/bin/sh\nPYTHONPATH=/opt/aws exec python3 /opt/aws/bin/aws "$@"\n')
    command.chmod(0o755)
    mounts = (f"{tools}:/opt/aws", f"{command}:/usr/local/bin/aws")
    secrets = {"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": SECRET}
    async with moto(tools) as aws, house(tmp_path, changes(docker_engine, *mounts), secrets) as (place, _):
        await aws.ecs("CreateCluster", clusterName="prod")
        await aws.ecs("RegisterTaskDefinition", family="web", containerDefinitions=[CONTAINER])
        await aws.ecs("CreateService", cluster="prod", serviceName="web", taskDefinition="web", desiredCount=1)
        config = CONFIG.replace("MOTO", f"http://{docker_engine.host}:{aws.port}")
        await place.commit({".circleci/config.yml": config, "policy.json": POLICY})
        await place.push()
        seen = await place.ended()
        log = seen.logs["deploy"]
        assert seen.statuses == {"deploy": "success"}, log
        assert '"repositoryName": "web-prod"' in log and '"scanOnPush": false' in log and "ecr:*" in log
        found = await aws.ecs("DescribeServices", cluster="prod", services=["web"])
        deployed = found["services"][0]["taskDefinition"]
        assert deployed.endswith("task-definition/web:2")
        definition = (await aws.ecs("DescribeTaskDefinition", taskDefinition=deployed))["taskDefinition"]
        [container] = definition["containerDefinitions"]
        assert container["image"] == f"web:{seen.pipeline.trigger.revision}"
        assert container["command"] == CONTAINER["command"]
        assert container["environment"] == [{"name": "WORDS", "value": 'it\'s a "b"'}]
