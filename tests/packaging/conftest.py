"""The executable and the root without Python, both made once and kept outside the tree; skipped loudly without them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from tests.packaging.made import Unavailable, cached_executable, cached_root, remove_root, require_rights, unpack

_why_not: list[str] = []


@pytest.fixture(scope="session")
def executable() -> Path:
    """The one-file executable of the tree as it is now."""
    try:
        return cached_executable()
    except Unavailable as problem:
        _give_up(problem)


@pytest.fixture
def root_without_python(tmp_path: Path) -> Iterator[Path]:
    """The root folder of a fresh Debian that has git and ssh, but no Python."""
    try:
        require_rights()
        tar = cached_root()
    except Unavailable as problem:
        _give_up(problem)
    root = Path(tempfile.mkdtemp(prefix="root-", dir=tmp_path))
    try:
        unpack(tar, root)
        yield root
    finally:
        remove_root(root)  # some 300 MB, which pytest would keep for three runs


def _give_up(problem: Unavailable) -> NoReturn:
    if str(problem) not in _why_not:
        _why_not.append(str(problem))
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI=true, but the executable cannot be tried: {problem}")
    pytest.skip(str(problem))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _why_not:
        terminalreporter.section("THE ONE-FILE EXECUTABLE WAS NOT TRIED", sep="!", red=True, bold=True)
        for why in _why_not:
            terminalreporter.line(why)
