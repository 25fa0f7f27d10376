"""`rondo --version` answers without loading what only a server needs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SERVERS_LIBRARIES = {"aiohttp", "asyncssh", "aiodocker", "aiosqlite", "sqlite3", "jinja2", "yaml", "re2", "cryptography"}


@pytest.mark.parametrize(
    "words", [["--version"], ["--help"], ["serve", "--help"], ["config", "validate", "--help"]], ids=" ".join
)
def test_words_about_itself_load_no_library(words: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "appliance", *words], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert "rondo" in done.stdout
    # Lines of importtime: "import time:  self [us] | cumulative | name", the name indented by its depth.
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines() if "|" in line}
    assert "argparse" in loaded
    assert not loaded & SERVERS_LIBRARIES
