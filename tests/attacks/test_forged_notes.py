"""A job writes into its supervisor's notes: whatever stands there, -1 (everybody), 0 (ourselves) and 1 are never signalled.

`kill` is a function here that only says what it was asked.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from appliance import shim

FUNCTIONS = shim.text("supervise.sh").partition("\nr_path_again=")[0]
ALONE = 'kill() { echo "killed $*" >>"$r_dir/killed"; return 1; }\n'


@pytest.mark.parametrize("note", ["1", "0", "-1", "01", "-0", "1 2", "$(id)", "*", "", "+1", "9 9", "4194304"])
@pytest.mark.parametrize(
    "ask", ["r_bury x", "r_kill x 0; wait", "r_code=0; r_oom=0; r_id=x; r_log=$r_dir/x.log; r_end_answer"]
)
def test_a_forged_note_ends_nobody_else(tmp_path: Path, note: str, ask: str) -> None:
    (tmp_path / "x.log").write_text("hello\n")
    (tmp_path / "x.pid").write_text(f"{note} ;\n")
    (tmp_path / "x.follow").write_text("n0 0 ;\n")
    (tmp_path / "x.tail").write_text(f"n0 {note} ;\n")
    (tmp_path / "main").write_text("4194305 ;\n")
    text = f"{FUNCTIONS}\n{ALONE}\nr_dir={tmp_path}; exec 3>&1; {ask}\n"
    said = subprocess.run(["sh", "-c", text], timeout=20, capture_output=True, text=True, check=False).stdout
    killed = (tmp_path / "killed").read_text() if (tmp_path / "killed").exists() else ""
    assert all(line.split()[-1].lstrip("-") == "4194304" for line in killed.splitlines()), killed
    assert bool(killed) == (note == "4194304")
    assert "r_end_answer" not in ask or "\x01end n0 0 " in said  # whoever reads is not left waiting
