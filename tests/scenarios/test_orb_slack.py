"""The public orb circleci/slack, run as it is, against a receiver of our own: a TLS one as slack.com is, and a webhook."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.engine_fixture import Engine
from tests.orbs.world import certificate
from tests.real_orbs import changes, need
from tests.whole import house

TOKEN = "xoxb-2174-and-nobody-else"
CA = "/etc/receiver.pem"
BY_TOKEN = """\
version: 2.1
orbs:
  slack: circleci/slack@6.1.3
jobs:
  build:
    parameters: { end: { type: string } }
    docker: [{ image: cimg/base:current }]
    environment:
      CURL_CA_BUNDLE: PEM
      SLACK_DEFAULT_CHANNEL: C-builds
      told: '{"text": "${CIRCLE_JOB} says \\"$WORDS\\"", "blocks": []}'
      WORDS: 'a "b" \\ c'
    steps:
      - run: << parameters.end >>
      - slack/notify: { event: fail, mentions: "<@U1>", api_domain: "RECEIVER", debug: true }
      - slack/notify: { event: pass, template: told, api_domain: "RECEIVER", unfurl_links: false }
      - slack/notify:
          event: always
          branch_pattern: "release/.+,ma.n"
          channel: C-one,C-two
          api_domain: "RECEIVER"
          custom: |
            {"text": "of $CIRCLE_BRANCH by $CIRCLE_PROJECT_USERNAME"}
      - slack/notify: { branch_pattern: "release/.+", api_domain: "RECEIVER", step_name: Not for main }
workflows:
  main:
    jobs:
      - build: { name: good, end: "true" }
      - build: { name: bad, end: "false", requires: [good] }
      - slack/on-hold:
          requires: [good]
          channel: C-held
          pre-steps:
            - run: echo 'connect-to = "slack.com:443:RECEIVER"' >~/.curlrc
            - run: echo 'export CURL_CA_BUNDLE=PEM' >>"$BASH_ENV"
"""
BY_WEBHOOK = """\
version: 2.1
orbs:
  slack: circleci/slack@3.4.2
jobs:
  build:
    parameters: { end: { type: string } }
    docker: [{ image: cimg/base:current }]
    steps:
      - slack/notify: { message: "begun by ${CIRCLE_PROJECT_USERNAME}", mentions: "U1,here,S2", channel: builds }
      - run: << parameters.end >>
      - slack/status: { only_for_branches: "main,next", mentions: U2 }
      - slack/notify-on-failure
workflows:
  main:
    jobs:
      - build: { name: good, end: "true" }
      - build: { name: bad, end: "false", requires: [good] }
"""


@dataclass
class Receiver:
    """What came to it, in order: path, token and body."""

    port: int = 0
    came: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        self.came.append((request.path, request.headers.get("Authorization", ""), json.loads(await request.text())))
        return web.json_response({"ok": True, "ts": "1.2"})


@asynccontextmanager
async def receiver(tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    made = Receiver()
    server = web.Application()
    server.router.add_post("/{path:.*}", made.take)
    runner = web.AppRunner(server)
    await runner.setup()
    site = web.TCPSite(runner, "0.0.0.0", 0, ssl_context=tls)
    await site.start()
    made.port = runner.addresses[0][1]
    try:
        yield made
    finally:
        await runner.cleanup()


@pytest.mark.docker
async def test_jobs_tell_how_they_ended(tmp_path: Path, docker_engine: Engine) -> None:
    need("circleci/slack/6.1.3")
    tls, _ = certificate(tmp_path, docker_engine.host, "slack.com")
    mount = f"{tmp_path}/cert.pem:{CA}"
    async with (
        receiver(tls) as slack,
        house(tmp_path, changes(docker_engine, mount), {"SLACK_ACCESS_TOKEN": TOKEN}) as (place, _),
    ):
        config = BY_TOKEN.replace("RECEIVER", f"{docker_engine.host}:{slack.port}").replace("PEM", CA)
        await place.commit({".circleci/config.yml": config})
        await place.push()
        seen = await place.ended()
        assert seen.statuses == {"good": "success", "bad": "failed", "slack/on-hold": "success"}, seen
    assert {(path, token) for path, token, _ in slack.came} == {("/api/chat.postMessage", f"Bearer {TOKEN}")}
    said = [body for _, _, body in slack.came]
    assert [body["channel"] for body in said[:3]] == ["C-builds", "C-one", "C-two"]
    assert said[0]["text"] == 'good says "a "b" \\ c"' and said[0]["unfurl_links"] is False
    assert said[1]["text"] == said[2]["text"] == "of main by acme"
    # The held one and the bad one run at once.
    assert sorted(body["channel"] for body in said[3:]) == ["C-builds", "C-held", "C-one", "C-two"]
    failed = next(json.dumps(body) for body in said[3:] if body["channel"] == "C-builds")
    assert "Job Failed" in failed and "*Job*: bad" in failed and "<@U1>" in failed
    held = next(json.dumps(body) for body in said if body["channel"] == "C-held")
    assert "Awaiting Approval" in held
    log = "".join(seen.logs.values())
    assert TOKEN not in log and "Authorization: Bearer ****" in log
    assert 'Current reference "main" does not match any matching parameter' in log


@pytest.mark.docker
async def test_an_old_version_tells_a_webhook(tmp_path: Path, docker_engine: Engine) -> None:
    need("circleci/slack/3.4.2")
    async with receiver() as slack:
        secrets = {"SLACK_WEBHOOK": f"http://{docker_engine.host}:{slack.port}/services/T1/B2"}
        async with house(tmp_path, changes(docker_engine), secrets) as (place, _):
            await place.commit({".circleci/config.yml": BY_WEBHOOK})
            await place.push()
            seen = await place.ended()
            assert seen.statuses == {"good": "success", "bad": "failed"}, seen.logs
    assert {path for path, _, _ in slack.came} == {"/services/T1/B2"}
    [begun, good, begun_too, bad, bad_again] = [body for _, _, body in slack.came]
    assert begun["channel"] == begun_too["channel"] == "builds"
    assert begun["attachments"][0]["text"] == "begun by acme <@U1> <!here> <!subteam^S2> "
    assert good["attachments"][0]["text"] == ":tada: A good job has succeeded! <@U2> "
    assert [one["attachments"][0]["color"] for one in (good, bad, bad_again)] == ["#1CBF43", "#ed5c5c", "#ed5c5c"]
    assert bad["attachments"][0]["fields"][0] == {"title": "Project", "value": "app", "short": True}
