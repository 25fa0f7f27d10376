"""What every test may use. Docker tests get an engine, or are skipped loudly; with CI=true that is a failure."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# Started in the background of a shell, we would have SIGINT ignored, and so would every job of every test.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.engine_fixture import Engine, EngineUnavailable, running_engine
from tests.lacking import give_up, shout

NO_ENGINE = "DOCKER TESTS WERE NOT RUN"
_why_no_engine: list[str] = []


@pytest.fixture(scope="session")
def docker_engine() -> Iterator[Engine]:
    """A Docker engine with the test images (engine_fixture.BUSYBOX, DEBIAN, NO_SHELL)."""
    if _why_no_engine:
        give_up(NO_ENGINE, _why_no_engine[0])
    try:
        with running_engine() as engine:
            yield engine
    except EngineUnavailable as problem:
        _why_no_engine.append(str(problem))
        give_up(NO_ENGINE, problem)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    shout(terminalreporter)
