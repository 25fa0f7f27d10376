"""Counts and sizes in words."""

from __future__ import annotations

import pytest

from appliance.quantities import counted, size


@pytest.mark.parametrize(("count", "text"), [(0, "0 files"), (1, "1 file"), (2, "2 files")])
def test_counts(count: int, text: str) -> None:
    assert counted(count, "file") == text


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1 << 10, "1 KiB"),
        (1536 << 20, "1.5 GiB"),
        (999 << 20, "999 MiB"),
        (1010 << 20, "1010 MiB"),
        ((1 << 30) - 1, "1024 MiB"),
        (4096 << 30, "4096 GiB"),
    ],
)
def test_sizes(size_bytes: int, text: str) -> None:
    assert size(size_bytes) == text
