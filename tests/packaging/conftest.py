"""The executable and the root without Python, both made once and kept outside the tree; skipped loudly without them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.packaging.made import Unavailable, cached_executable, cached_root, remove_root, require_rights, unpack

_why_not: list[str] = []


@pytest.fixture(scope="session")
def executable() -> Path:
    """The one-file executable of the tree as it is now."""
    return cached_executable()


@pytest.fixture
def root_without_python(tmp_path: Path) -> Iterator[Path]:
    """The root folder of a fresh Debian that has git and ssh, but no Python."""
    try:
        require_rights()
        tar = cached_root()
    except Unavailable as problem:
        _why_not.append(str(problem))
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI=true, but the executable cannot be tried without Python: {problem}")
        pytest.skip(str(problem))
    root = Path(tempfile.mkdtemp(prefix="root-", dir=tmp_path))
    try:
        unpack(tar, root)
        yield root
    finally:
        remove_root(root)  # some 300 MB, which pytest would keep for three runs


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _why_not:
        terminalreporter.section("THE EXECUTABLE WAS NOT TRIED WITHOUT PYTHON", sep="!", red=True, bold=True)
        terminalreporter.line(_why_not[0])
