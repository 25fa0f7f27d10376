"""`pytest tests/language --accept` writes what the compiler says now into the cases; read the diff before you commit."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--accept", action="store_true", default=False, help="rewrite the language cases")


@pytest.fixture
def accept(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--accept", default=False))
