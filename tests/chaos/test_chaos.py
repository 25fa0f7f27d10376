"""A short chaos in the test suite; `make chaos` is the long one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.run import Wish, own_engine, suffer
from tests.engine_fixture import Engine


@pytest.mark.docker
@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_a_few_kills_lose_nothing(tmp_path: Path, docker_engine: Engine) -> None:
    """Jobs in containers and on this host, dockerd restarted, the disk full, the clock set: see `checks`."""
    with own_engine(is_short=True) as engine:
        weather = ("engine", "disk", "clock")
        wish = Wish(kills=8, seed=4, longest_s=10, weather=weather, is_thorough=False, say=lambda text: None)
        world, report = await suffer(tmp_path, engine, wish)
    assert not report.violations, "\n".join(report.violations)
    assert sum(world.story.kills.values()) >= 1
    assert report.counts["log bytes compared"] > 0
