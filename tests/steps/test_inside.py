"""Helpers in a sandbox are not waited for without end."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.errors import SandboxError
from appliance.executors.base import SandboxSpec
from appliance.executors.local import LocalExecutor
from appliance.steps.inside import ask


async def test_a_helper_that_says_nothing_is_given_up_and_one_that_goes_on_is_not(tmp_path: Path) -> None:
    async def progress(_: bytes) -> None:
        return

    executor = LocalExecutor("test", tmp_path / "sandboxes")
    sandbox = await executor.open(SandboxSpec(node="1.0"), progress)
    try:
        with pytest.raises(SandboxError, match="a helper in the sandbox did nothing for"):
            await ask(sandbox, "sleep 30", "~", (), quiet_s=0.3)
        code, said = await ask(
            sandbox, "for i in 1 2 3 4; do echo $i; sleep 0.3; done; cat", "~", (), stdin=b"end", quiet_s=1
        )
        assert (code, said) == (0, "1\n2\n3\n4\nend")
    finally:
        await sandbox.close()
        await executor.close()
