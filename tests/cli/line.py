"""The command line in this process, on a data folder of its own."""

from __future__ import annotations

import io
from contextlib import closing
from pathlib import Path

import pytest

from appliance.cli import run
from appliance.store.database import open_plain


class Line:
    """The command line on a data folder; what it says."""

    def __init__(self, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.data = data
        self._monkeypatch = monkeypatch
        self._capsys = capsys
        with closing(open_plain(data / "rondo.db")):
            pass

    def __call__(self, *words: str, says: int = 0, stdin: str = "") -> str:
        self._monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        code = run([*words, "--data", str(self.data)])
        said = self._capsys.readouterr()
        assert code == says, said.err
        return said.out + said.err
