"""A dynamic pipeline in a whole appliance: pushed, set up by a job, continued with the key that only the job was given."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp

from appliance.crypto import SecretBox, load_or_make_key
from appliance.engine.moves_setup import accept_continuation
from appliance.store import continuations, people, pipelines
from tests.whole import ON_THIS_HOST, Place, house, served, until

SETUP = """\
version: 2.1
setup: true
jobs:
  generate:
    machine: true
    steps:
      - run: echo "the key is $CIRCLE_CONTINUATION_KEY, of ${#CIRCLE_CONTINUATION_KEY} characters"
workflows:
  set-up: { jobs: [generate] }
"""
SECOND = """\
version: 2.1
parameters:
  who: { type: string, default: nobody }
jobs:
  greet:
    machine: true
    steps:
      - run: echo "hello << pipeline.parameters.who >> in << pipeline.number >>, key ${CIRCLE_CONTINUATION_KEY:-none}"
workflows:
  greetings: { jobs: [greet] }
"""


async def post(url: str, body: Mapping[str, Any] | bytes) -> tuple[int, str]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{url}/api/v2/pipeline/continue", data=data, timeout=aiohttp.ClientTimeout(20)) as response,
    ):
        return response.status, (await response.json())["message"]


async def get(place: Place, url: str, path: str) -> Any:
    def token(tx: Any) -> str:
        user = people.by_name(tx, "tester")
        return people.make_token(tx, user.id, "api", 1)

    headers = {"Circle-Token": place.read(token)}
    async with aiohttp.ClientSession() as session, session.get(f"{url}/api/v2/{path}", headers=headers) as response:
        return await response.json()


async def test_a_setup_pipeline_is_continued_over_the_api(tmp_path: Path) -> None:
    async with house(tmp_path, {**ON_THIS_HOST, "web.logins_per_minute": 3}) as (place, appliance):
        await place.commit({".circleci/config.yml": SETUP})
        await place.push()
        seen = await place.ended()
        assert (seen.pipeline.state, seen.statuses) == ("setup", {"generate": "success"})
        assert "the key is ****, of 58 characters" in seen.logs["generate"]

        key = continuations.key_of(SecretBox(load_or_make_key(place.data / "secret_key")), seen.pipeline.id)
        body = {"continuation-key": key, "configuration": SECOND, "parameters": {"who": "Ada"}}
        assert await post(appliance.web_url, {**body, "parameters": {"whom": "Ada"}}) == (
            400,
            "Unexpected argument(s): whom. The config declares no such pipeline parameter.",
        )
        assert await post(appliance.web_url, body) == (200, "Accepted.")
        assert await post(appliance.web_url, body) == (409, "Pipeline is not in setup state.")

        async def greeted() -> Any:
            found = place.seen()
            return found if found is not None and found.statuses.get("greet") == "success" else None

        seen = await until(greeted)
        assert seen.pipeline.state == "created"
        assert "hello Ada in 1, key none" in seen.logs["greet"]
        assert seen.workflows == {"set-up": "success", "greetings": "success"}

        texts = await get(place, appliance.web_url, f"pipeline/{seen.pipeline.id}/config")
        assert (texts["setup-config"], texts["source"]) == (SETUP, SECOND)
        assert "generate" in texts["compiled-setup-config"] and "hello Ada" in texts["compiled"]
        items = (await get(place, appliance.web_url, f"pipeline/{seen.pipeline.id}/workflow"))["items"]
        assert [(item["name"], item.get("tag")) for item in items] == [("set-up", "setup"), ("greetings", None)]


async def test_wrong_keys_are_counted_and_bodies_are_bounded(tmp_path: Path) -> None:
    changes = {**ON_THIS_HOST, "web.logins_per_minute": 2, "git.largest_config": 4096}
    async with house(tmp_path, changes) as (_, appliance):
        url = appliance.web_url
        assert (await post(url, b"x" * 80_000))[0] == 413
        assert await post(url, {"continuation-key": "x", "configuration": "y" * 5000}) == (
            400,
            "The configuration is larger than 4096 bytes.",
        )
        assert await post(url, {"configuration": SECOND}) == (400, "continuation-key must be given as a string.")
        assert (await post(url, b"[1]"))[0] == 400
        for _ in range(2):
            assert await post(url, {"continuation-key": "guess", "configuration": SECOND}) == (
                404,
                "Continuation key not found.",
            )
        assert await post(url, {"continuation-key": "guess", "configuration": SECOND}) == (
            429,
            "Too many wrong continuation keys. Wait a minute and try again.",
        )


async def test_a_second_config_that_does_not_compile_is_the_pipelines_error(tmp_path: Path) -> None:
    async with house(tmp_path, ON_THIS_HOST) as (place, appliance):
        await place.commit({".circleci/config.yml": SETUP})
        await place.push()
        seen = await place.ended()
        key = continuations.key_of(SecretBox(load_or_make_key(place.data / "secret_key")), seen.pipeline.id)
        broken = SECOND.replace("echo", "echo << nothing.known >>")
        assert (await post(appliance.web_url, {"continuation-key": key, "configuration": broken}))[0] == 200

        async def errored() -> pipelines.Pipeline | None:
            found = place.seen()
            return found.pipeline if found is not None and found.pipeline.state == "errored" else None

        pipeline = await until(errored)
        assert "continuation:8:" in pipeline.problems[0].text and "nothing.known" in pipeline.problems[0].text


ASKS_LATER = """\
version: 2.1
setup: true
jobs:
  generate:
    machine: true
    steps:
      - run: |
          touch FOLDER/waits
          until [ -e FOLDER/go ]; do sleep 0.05; done
          text='{"continuation-key": "%s", "configuration": "{version: 2, jobs: {}, workflows: {version: 2}}"}'
          printf "$text" "$CIRCLE_CONTINUATION_KEY" | curl -sf -d @- https://circleci.com/api/v2/pipeline/continue
workflows:
  set-up: { jobs: [generate] }
"""


async def test_a_job_that_asks_while_the_appliance_is_dead_is_answered_by_the_next_one(tmp_path: Path) -> None:
    async with served(tmp_path, ON_THIS_HOST) as (place, process):
        await place.commit({".circleci/config.yml": ASKS_LATER.replace("FOLDER", str(tmp_path))})
        await place.push()

        async def there(name: str) -> bool | None:
            return (tmp_path / name).exists() or None

        await until(lambda: there("waits"))
        await process.kill()
        (tmp_path / "go").touch()

        async def asked() -> bool | None:
            return any(body.stat().st_size for body in place.data.glob("sandboxes/**/requests/*/body")) or None

        await until(asked)
        await process.start()
        seen = await place.ended()
        assert (seen.pipeline.state, seen.statuses) == ("created", {"generate": "success"}), seen.logs


async def test_a_crash_between_the_key_and_the_workflows_loses_nothing(tmp_path: Path) -> None:
    async with served(tmp_path, ON_THIS_HOST) as (place, process):
        await place.commit({".circleci/config.yml": SETUP})
        await place.push()
        seen = await place.ended()
        await process.kill()
        key = continuations.key_of(SecretBox(load_or_make_key(place.data / "secret_key")), seen.pipeline.id)
        now_ms = seen.pipeline.created_at_ms + 1
        place.read(lambda tx: accept_continuation(tx, key, SECOND, {"who": "Bo"}, None, now_ms))
        assert place.read(lambda tx: pipelines.pipeline(tx, seen.pipeline.id)).state == "pending"
        await process.start()

        async def greeted() -> Any:
            found = place.seen()
            return found if found is not None and found.statuses.get("greet") == "success" else None

        assert "hello Bo" in (await until(greeted)).logs["greet"]
