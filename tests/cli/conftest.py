"""`rondo`: the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.line import Line


@pytest.fixture
def rondo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Line:
    return Line(tmp_path, monkeypatch, capsys)
