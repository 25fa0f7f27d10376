"""The deprecated `deploy` step of a parallel job: on the first node only, after all others have succeeded (spec 1.8.5)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.whole import ON_THIS_HOST, Place, Seen, house, until

CONFIG = """\
version: 2.1
jobs:
  j:
    machine: true
    parallelism: 2
    steps:
      - run: |
          [ $CIRCLE_NODE_INDEX = 0 ] && exit 0
          until [ -e {gate} ]; do sleep 0.05; done
          [ ! -s {gate} ]
      - deploy: date +deployed%s%N
workflows: {{w: {{jobs: [j]}}}}
"""


async def waiting(place: Place) -> Seen:
    """Once node 0 says that it waits."""

    async def look() -> Seen | None:
        seen = place.seen()
        return seen if seen is not None and "deploy waits for node 1\n" in seen.logs.get("j", "") else None

    return await until(look, 30)


@pytest.mark.parametrize(("word", "status"), [("", "success"), ("break", "failed")])
async def test_deploy_waits_for_the_others(tmp_path: Path, word: str, status: str) -> None:
    gate = tmp_path / "gate"
    async with house(tmp_path, ON_THIS_HOST) as (place, _):
        await place.commit({".circleci/config.yml": CONFIG.format(gate=gate)})
        await place.push()
        seen = await waiting(place)
        assert "deployed1" not in seen.logs["j"]
        gate.write_text(word)
        seen = await place.ended()
    assert seen.statuses == {"j": status}
    deploy = seen.steps["j"][2]
    assert str(deploy.status) == status
    assert ("deployed1" in seen.logs["j"]) is (not word)
    if word:
        assert deploy.message == "deploy does not run, since another node has not succeeded: node 1 failed"
    else:
        ended_ms = max(step.stopped_at_ms or 0 for step in seen.steps["j"] if step.index == 1)
        assert int(seen.logs["j"].split("deployed")[1][:13]) >= ended_ms - 50
