"""Reruns over the API of a whole appliance: workspaces, numbers and artifacts of what is carried over, and refusals."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from appliance.app import Appliance
from appliance.model import JobId, WorkflowId
from appliance.store import jobs, people
from appliance.store.database import Tx
from tests.whole import ON_THIS_HOST, Place, house, until

EXECUTOR = "docker: [{image: x}]"
CONFIG = """
version: 2.1
jobs:
  make:
    EXECUTOR
    steps:
      - run: mkdir out; date +%N > out/made; cp out/made made.txt; echo "made $(cat out/made)"
      - persist_to_workspace: {root: ., paths: [out]}
      - store_artifacts: {path: made.txt}
  use:
    EXECUTOR
    steps:
      - attach_workspace: {at: .}
      - run: echo "used $(cat out/made)"; ls out
      - run: echo "round $CIRCLE_WORKFLOW_ID" > out/used; mkdir MARKS/first || exit 0; exit 1
      - persist_to_workspace: {root: ., paths: [out/used]}
  last:
    EXECUTOR
    steps:
      - attach_workspace: {at: .}
      - run: echo "last sees $(cat out/made) and $(cat out/used)"
workflows:
  w: {jobs: [make, {use: {requires: [make]}}, {last: {requires: [use]}}]}
"""


class Client:
    """API v2 as the user `tester`."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self._http = http

    async def get(self, path: str) -> Any:
        async with self._http.get(f"/api/v2{path}") as response:
            assert response.status == 200, await response.text()
            return await response.json()

    async def post(self, path: str, body: object = None) -> tuple[int, Any]:
        async with self._http.post(f"/api/v2{path}", json=body) as response:
            return response.status, await response.json()

    async def ended(self, workflow_id: str) -> str:
        """How a workflow ended."""

        async def look() -> str | None:
            found = await self.get(f"/workflow/{workflow_id}")
            return None if found["stopped_at"] is None else str(found["status"])

        return await until(look)

    async def jobs(self, workflow_id: str) -> dict[str, dict[str, Any]]:
        return {job["name"]: job for job in (await self.get(f"/workflow/{workflow_id}/job"))["items"]}


@asynccontextmanager
async def client_of(place: Place, appliance: Appliance) -> AsyncIterator[Client]:
    token = place.read(lambda tx: people.make_token(tx, people.by_name(tx, "tester").id, "api", 1))
    async with aiohttp.ClientSession(appliance.web_url, headers={"Circle-Token": token}) as http:
        yield Client(http)


def log_of(place: Place, workflow_id: str, name: str) -> str:
    """The log of a job of a workflow, all steps."""
    row = next(row for row in place.read(lambda tx: jobs.of_workflow(tx, WorkflowId(workflow_id))) if row.name == name)
    steps = place.read(lambda tx: jobs.steps_of(tx, row.id, 0))
    return "".join(place.log_path(step).read_text() for step in steps if place.log_path(step).exists())


async def first_workflow(client: Client, number: int = 1) -> str:
    found = await client.get(f"/project/circleci/acme/app/pipeline/{number}")
    return str((await client.get(f"/pipeline/{found['id']}/workflow"))["items"][0]["id"])


async def test_a_rerun_from_failed_carries_over_with_its_workspace_and_its_results(tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    config = CONFIG.replace("EXECUTOR", EXECUTOR).replace("MARKS", str(marks))
    async with house(tmp_path, ON_THIS_HOST) as (place, appliance), client_of(place, appliance) as client:
        await place.commit({".circleci/config.yml": config})
        await place.push()
        await place.ended()
        first = await first_workflow(client)
        assert await client.ended(first) == "failed"
        made = log_of(place, first, "make").split("made ")[1].split()[0]
        status, answer = await client.post(f"/workflow/{first}/rerun", {"from_failed": True})
        assert status == 202 and list(answer) == ["workflow_id"]
        second = answer["workflow_id"]
        assert await client.ended(second) == "success", log_of(place, second, "use")
        assert f"used {made}" in log_of(place, second, "use"), "of the run before"
        assert "used\n" not in log_of(place, second, "use").split("round")[0], "not what the failed job left behind"
        assert f"last sees {made} and round {second}" in log_of(place, second, "last")
        before, now = await client.jobs(first), await client.jobs(second)
        assert now["make"]["job_number"] == before["make"]["job_number"] and now["make"]["status"] == "success"
        assert now["use"]["job_number"] > before["last"]["job_number"]
        assert now["use"]["dependencies"] == [now["make"]["id"]]
        artifacts = await client.get(f"/project/circleci/acme/app/{now['make']['job_number']}/artifacts")
        assert [item["path"] for item in artifacts["items"]] == ["made.txt"]
        await again_from_start(client, place, first, made)


async def test_a_job_that_ran_too_long_ago_is_said_to_have_left_nothing(tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    config = CONFIG.replace("EXECUTOR", EXECUTOR).replace("MARKS", str(marks))
    async with house(tmp_path, ON_THIS_HOST) as (place, appliance), client_of(place, appliance) as client:
        await place.commit({".circleci/config.yml": config})
        await place.push()
        await place.ended()
        first = await first_workflow(client)
        assert await client.ended(first) == "failed"

        def twenty_days_pass(tx: Tx) -> None:
            tx.execute("UPDATE jobs SET stopped_at_ms = stopped_at_ms - 20 * 86400000")
            tx.execute("DELETE FROM layers")

        place.read(twenty_days_pass)
        _, answer = await client.post(f"/workflow/{first}/rerun", {"from_failed": True})
        await client.ended(answer["workflow_id"])
        assert "What job make persisted is gone" in log_of(place, answer["workflow_id"], "use")


async def again_from_start(client: Client, place: Place, first: str, made: str) -> None:
    """Everything anew: the layers of the runs before are in the workspace still, and are not attached."""
    status, answer = await client.post(f"/workflow/{first}/rerun")
    assert status == 202
    third = answer["workflow_id"]
    assert await client.ended(third) == "success"
    assert made not in log_of(place, third, "last")
    shown = await client.get(f"/workflow/{third}")
    me = await client.get("/me")
    assert shown["started_by"] == me["id"] and shown["pipeline_number"] == 1


async def test_what_a_rerun_can_not_be_is_answered_as_an_error(tmp_path: Path) -> None:
    config = f"{{version: 2.1, jobs: {{a: {{{EXECUTOR}, steps: [{{run: 'true'}}]}}}}, workflows: {{w: {{jobs: [a]}}}}}}"
    async with house(tmp_path, ON_THIS_HOST) as (place, appliance), client_of(place, appliance) as client:
        await place.commit({".circleci/config.yml": config})
        await place.push()
        await place.ended()
        first = await first_workflow(client)
        await client.ended(first)
        job = (await client.jobs(first))["a"]["id"]
        for body, status, words in (
            ({"from_failed": True}, 409, "no job of it failed"),
            ({"from_failed": True, "jobs": [job]}, 400, "mutually exclusive"),
            ({"sparse_tree": True}, 400, "requires the parameter jobs"),
            ({"jobs": "all"}, 400, "must be a list"),
            ({"jobs": [job], "sparse_tree": 1}, 400, "must be true or false"),
            ({"jobs": ["7c3d0a56-52d5-41c8-9a0c-8f4b0f9e8f11"]}, 400, "has no job"),
            ({"jobs": [job], "failed_tests": True}, 409, "can not rerun failed tests"),
            ({"from_start": True}, 400, "Unexpected JSON field 'from_start'"),
            ([], 400, "must be a JSON object"),
        ):
            found, answer = await client.post(f"/workflow/{first}/rerun", body)
            assert (found, words in answer["message"]) == (status, True), (body, answer)
        assert (await client.post("/workflow/7c3d0a56-52d5-41c8-9a0c-8f4b0f9e8f11/rerun"))[0] == 404
        status, answer = await client.post(f"/workflow/{first}/rerun", {"jobs": [job], "sparse_tree": None})
        assert status == 202 and await client.ended(answer["workflow_id"]) == "success"


TESTS = """
version: 2.1
jobs:
  test:
    EXECUTOR
    parallelism: 2
    steps:
      - checkout
      - run: cat names | circleci tests run --command="xargs -n1 sh run.sh"
      - store_test_results: {path: out}
workflows:
  w: {jobs: [test]}
"""
RUN = """
mkdir -p out; echo "ran $1"
case $1 in b.js | e.js) mkdir "MARKS/$1" 2>/dev/null && verdict="<failure/>" ;; esac
echo "<testsuite><testcase name='t' file='$1' time='1'>$verdict</testcase></testsuite>" > "out/$1.xml"
[ -z "$verdict" ]
"""


async def test_only_the_tests_that_failed_run_again_shared_among_the_nodes(tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    files = {
        ".circleci/config.yml": TESTS.replace("EXECUTOR", EXECUTOR),
        "names": "a.js b.js c.js d.js e.js f.js",
        "run.sh": RUN.replace("MARKS", str(marks)),
    }
    async with house(tmp_path, ON_THIS_HOST) as (place, appliance), client_of(place, appliance) as client:
        await place.commit(files)
        await place.push()
        await place.ended()
        first = await first_workflow(client)
        assert await client.ended(first) == "failed"
        job = (await client.jobs(first))["test"]
        status, answer = await client.post(f"/workflow/{first}/rerun", {"jobs": [job["id"]], "failed_tests": True})
        assert status == 202, answer
        second = answer["workflow_id"]
        assert await client.ended(second) == "success"
        number = (await client.jobs(second))["test"]["job_number"]
        tests = await client.get(f"/project/circleci/acme/app/{number}/tests")
        assert sorted(test["file"] for test in tests["items"]) == ["b.js", "e.js"]
        assert "Rerun of failed tests: 2 of 6" in log_of(place, second, "test")
        assert "ran b.js" in log_of(place, second, "test"), "the other one is the other node's"
        again = {"jobs": [(await client.jobs(second))["test"]["id"]], "failed_tests": True}
        status, answer = await client.post(f"/workflow/{second}/rerun", again)
        assert (status, answer["message"]) == (409, "can not rerun failed tests: no failed tests could be found")


SSH = """
version: 2.1
jobs: {a: {EXECUTOR, steps: [{run: {name: fails, command: exit 1}}]}}
workflows: {w: {jobs: [a]}}
"""


async def test_a_job_rerun_with_ssh_stays_open_while_somebody_is_inside(tmp_path: Path) -> None:
    async with (
        house(tmp_path, {**ON_THIS_HOST, "ssh.hold": 1.0}) as (place, appliance),
        client_of(place, appliance) as client,
    ):
        await place.commit({".circleci/config.yml": SSH.replace("EXECUTOR", EXECUTOR)})
        await place.push()
        await place.ended()
        first = await first_workflow(client)
        await client.ended(first)
        body = {"jobs": [(await client.jobs(first))["a"]["id"]], "enable_ssh": True}
        status, answer = await client.post(f"/workflow/{first}/rerun", body)
        assert status == 202, answer
        second = WorkflowId(answer["workflow_id"])
        row = place.read(lambda tx: jobs.of_workflow(tx, second))[0]

        async def waits() -> bool | None:
            return True if jobs.LAST_SSH in running_steps(place, row.id) else None

        await until(waits)
        user = place.read(lambda tx: people.by_name(tx, "tester"))
        node, visit = await appliance.commands.enter(row.number or 0, 0, user, "127.0.0.1", "")
        await asyncio.sleep(1.5)  # longer than it would have stayed open
        assert jobs.LAST_SSH in running_steps(place, row.id)
        await appliance.commands.leave(node, visit)
        assert await client.ended(second) == "failed"
        steps = place.read(lambda tx: jobs.steps_of(tx, row.id, 0))
        assert [(step.name, str(step.status)) for step in steps] == [
            ("Spin up environment", "success"),
            ("fails", "failed"),
            ("Enable SSH", "success"),
            ("Wait for SSH", "success"),
        ]
        assert f"{row.number}.0@" in log_of(place, second, "a")


async def test_a_cancel_ends_the_wait_for_ssh(tmp_path: Path) -> None:
    async with house(tmp_path, ON_THIS_HOST) as (place, appliance), client_of(place, appliance) as client:
        await place.commit({".circleci/config.yml": SSH.replace("EXECUTOR", EXECUTOR)})
        await place.push()
        await place.ended()
        first = await first_workflow(client)
        await client.ended(first)
        body = {"jobs": [(await client.jobs(first))["a"]["id"]], "enable_ssh": True}
        second = WorkflowId((await client.post(f"/workflow/{first}/rerun", body))[1]["workflow_id"])
        row = place.read(lambda tx: jobs.of_workflow(tx, second))[0]

        async def waits() -> bool | None:
            return True if jobs.LAST_SSH in running_steps(place, row.id) else None

        await until(waits)
        assert (await client.post(f"/jobs/{row.id}/cancel"))[0] == 200
        assert await client.ended(second) == "canceled"

        async def is_closed() -> bool | None:
            return True if not list((place.data / "sandboxes").glob("*")) else None

        await until(is_closed, 20)


def running_steps(place: Place, job_id: JobId) -> list[int]:
    steps = place.read(lambda tx: jobs.steps_of(tx, job_id, 0))
    return [step.position for step in steps if step.status == "running"]
