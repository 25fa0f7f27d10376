"""The executable and the root without Python, both made once and kept outside the tree; skipped loudly without them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lacking import give_up
from tests.packaging.made import Unavailable, cached_executable, cached_root, remove_root, require_rights, unpack

NOT_TRIED = "THE ONE-FILE EXECUTABLE WAS NOT TRIED"


@pytest.fixture(scope="session")
def executable() -> Path:
    """The one-file executable of the tree as it is now."""
    try:
        return cached_executable()
    except Unavailable as problem:
        give_up(NOT_TRIED, problem)


@pytest.fixture
def root_without_python(tmp_path: Path) -> Iterator[Path]:
    """The root folder of a fresh Debian that has git and ssh, but no Python."""
    try:
        require_rights()
        tar = cached_root()
    except Unavailable as problem:
        give_up(NOT_TRIED, problem)
    root = Path(tempfile.mkdtemp(prefix="root-", dir=tmp_path))
    try:
        unpack(tar, root)
        yield root
    finally:
        remove_root(root)  # some 300 MB, which pytest would keep for three runs
