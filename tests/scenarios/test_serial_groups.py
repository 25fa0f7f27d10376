"""Serial groups with real jobs: one at a time over workflows and pipelines, and the newest pipeline is not outrun."""

from __future__ import annotations

from pathlib import Path

from appliance.store import people
from tests.whole import ON_THIS_HOST, house, until

CONFIG = """
version: 2.1
jobs:
  deploy:
    machine: true
    steps:
      - run: |
          mkdir {mark}/busy
          until [ -e {mark}/go ]; do sleep 0.02; done
          rmdir {mark}/busy
          echo deployed
workflows:
  first: {{jobs: [deploy: {{name: a, serial-group: production}}]}}
  second: {{jobs: [deploy: {{name: b, serial-group: production}}]}}
"""


async def test_one_at_a_time_and_never_back_to_an_older_pipeline(tmp_path: Path) -> None:
    """`mkdir` fails where somebody else is inside; two workflows of each of three pipelines want to be."""
    async with house(tmp_path, ON_THIS_HOST) as (place, _):
        await place.commit({".circleci/config.yml": CONFIG.format(mark=tmp_path)})
        for _ in range(3):
            await place.commit({}, "again")
            await place.push()

        async def all_wait() -> bool | None:
            seen = [place.seen(number) for number in (1, 2, 3)]
            statuses = [status for one in seen if one for name, status in one.statuses.items() if name.endswith("/lock")]
            return (len(statuses) == 6 and sorted(statuses) == ["queued"] * 5 + ["success"]) or None

        await until(all_wait)
        third = place.seen(3)
        assert third is not None and "pipeline 1 has" in third.jobs["a/lock"].message
        (tmp_path / "go").touch()
        ended = [await place.ended(number) for number in (1, 2, 3)]
        assert [one.workflows for one in ended] == [{"first": "success", "second": "success"}] * 3
        assert place.read(lambda tx: tx.execute("SELECT count(*) FROM locks").fetchone()[0]) == 0


async def test_a_canceled_workflow_lets_the_next_one_in(tmp_path: Path) -> None:
    async with house(tmp_path, ON_THIS_HOST) as (place, appliance):
        await place.commit({".circleci/config.yml": CONFIG.format(mark=tmp_path)})
        await place.push()

        async def one_runs() -> str | None:
            seen = place.seen()
            running = [name for name, status in seen.statuses.items() if status == "running"] if seen else []
            return running[0] if running and (tmp_path / "busy").exists() else None

        first = await until(one_runs)
        seen = place.seen()
        assert seen is not None
        tester = place.read(lambda tx: people.by_name(tx, "tester"))
        (tmp_path / "busy").rmdir()
        await appliance.commands.cancel_workflow(seen.jobs[first].workflow_id, tester)
        other = {"a": "b", "b": "a"}[first]

        async def other_runs() -> bool | None:
            return ((now := place.seen()) is not None and now.statuses[other] == "running") or None

        await until(other_runs)
        (tmp_path / "go").touch()
        assert sorted((await place.ended()).workflows.values()) == ["canceled", "success"]
