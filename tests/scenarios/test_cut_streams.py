"""The connection to a machine breaks amid the trees and files that steps carry: they begin anew, and no job is lost."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from appliance.settings import Plain
from appliance.store import jobs
from tests import openssh
from tests.contracts.tcp_proxy import Proxy, proxy_to
from tests.sshd.world import owned
from tests.whole import Place, house, until

MIB = 1 << 20
CONFIG = """
version: 2.1
jobs:
  make:
    machine: true
    steps:
      - checkout
      - run: |
          mkdir -p ~/tree/deep reports
          head -c 15000000 /dev/urandom > ~/tree/deep/one
          head -c 15000000 /dev/urandom > ~/tree/two
          { echo '<testsuite>'; seq -f '<testcase classname="c" name="%.0f" time="0.1"/>' 30000
            echo '</testsuite>'; } > reports/all.xml
          cd ~/tree && sha256sum deep/one two > ~/sums && cp ~/sums .
      - save_cache: {key: v1, paths: [~/tree]}
      - persist_to_workspace: {root: ~/tree, paths: [.]}
      - store_artifacts: {path: ~/tree}
      - store_test_results: {path: reports}
  use:
    machine: true
    steps:
      - restore_cache: {keys: [v1]}
      - run: cd ~/tree && sha256sum -c sums
      - attach_workspace: {at: ~/again}
      - run: cd ~/again && sha256sum -c sums
workflows:
  w:
    jobs: [make, use: {requires: [make]}]
"""
CARRIED_MIB = {
    ("make", "checkout"): 5,
    ("make", "save_cache"): 10,
    ("make", "persist_to_workspace"): 10,
    ("make", "store_artifacts"): 10,
    ("make", "store_test_results"): 1,
    ("use", "restore_cache"): 10,
    ("use", "attach_workspace"): 10,
}
"""What of each step is let through before the cut."""


async def cut_each(place: Place, proxy: Proxy) -> None:
    """Every second time the machine is not told, and believes in the dead connection."""
    for at, ((job, kind), mib) in enumerate(CARRIED_MIB.items()):

        async def is_under_way(job: str = job, kind: str = kind) -> bool | None:
            seen = place.seen()
            steps = seen.steps.get(job, ()) if seen is not None else ()
            return any(step.kind == kind and step.status == "running" for step in steps) or None

        await until(is_under_way)
        enough = proxy.carried_bytes + mib * MIB
        while proxy.carried_bytes < enough:  # noqa: ASYNC110 - a proxy rings no bell
            await asyncio.sleep(0.001)
        proxy.cut(half=at % 2 == 1)


@pytest.mark.slow
async def test_a_step_whose_stream_is_cut_begins_anew(tmp_path: Path) -> None:
    with openssh.machine(tmp_path / "machine") as there:
        key = tmp_path / "machine_key"
        key.write_text(there.private_key)
        async with proxy_to(there.server.port) as proxy:
            machine: Mapping[str, Plain] = {
                "address": f"{there.user}@127.0.0.1:{proxy.port}",
                "key_file": str(key),
                "host_key": there.server.host_key,
                "folder": str(there.folder),
                "arch": "amd64",
                "cpus": 64,
                "memory": 64 << 30,
            }
            async with house(tmp_path, {"machines": {"m1": machine}}) as (place, _):
                await place.commit({".circleci/config.yml": CONFIG})
                (place.work / "large").write_bytes(os.urandom(12 * MIB))
                await place.commit({})
                async with owned(cut_each(place, proxy)):
                    await place.push()
                    seen = await place.ended()
        assert set(seen.statuses.values()) == {"success"}, seen.logs
        for name, kind in CARRIED_MIB:
            step = next(step for step in seen.steps[name] if step.kind == kind)
            assert "; beginning this step anew\n" in place.log_path(step).read_text(), step
            assert place.read(lambda tx: jobs.node(tx, seen.jobs[name].id, 0)).attempt == 1  # noqa: B023
        assert "30000 tests" in seen.logs["make"]
        assert not list(there.folder.glob("*/*.*"))
