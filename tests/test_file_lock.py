"""A file that one process holds at a time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from appliance import file_lock

HOLDS = """
import sys
from pathlib import Path
from appliance import file_lock
with file_lock.held(Path(sys.argv[1]), print):
    print("held", flush=True)
    sys.stdin.read()
"""


class Busy(Exception):
    pass


def give_up(holder: str) -> None:
    raise Busy(holder)


def test_who_holds_it_is_told_to_others_until_that_process_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        with pytest.raises(Busy, match=f"process {other.pid}, since "), file_lock.held(path, give_up):
            pytest.fail("two hold it")
        tries: list[str] = []

        def end_it(holder: str) -> None:
            tries.append(holder)
            other.kill()
            other.wait()

        with file_lock.held(path, end_it):
            assert len(tries) == 1


def test_it_is_free_after_the_block_and_its_error(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with pytest.raises(ZeroDivisionError), file_lock.held(path, give_up):
        _ = 1 // 0
    with file_lock.held(path, give_up):
        pass
