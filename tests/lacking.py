"""What a test lacks on this host: it is skipped loudly, and with CI=true it fails."""

from __future__ import annotations

import os
import re
from collections import Counter
from typing import NoReturn

import pytest

_LOUD = re.compile(r"Skipped: ([A-Z][A-Z -]+): (.*)", re.DOTALL)


def give_up(what: str, why: object) -> NoReturn:
    """End the test. `what` was not done is said in capitals: "BROWSER TESTS WERE NOT RUN"."""
    reason = f"{what}: {why}"
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI=true, but {reason}")
    pytest.skip(reason)


def shout(terminal: pytest.TerminalReporter) -> None:
    """Say at the end what was given up. From the reports, since the tests may have run in other processes."""
    given_up: Counter[tuple[str, str]] = Counter()
    for report in terminal.stats.get("skipped", []):
        found = _LOUD.fullmatch(report.longrepr[2]) if isinstance(report.longrepr, tuple) else None
        if found is not None:
            given_up[found[1], found[2]] += 1
    for (what, why), count in given_up.items():
        terminal.section(what, sep="!", red=True, bold=True)
        terminal.line(f"{count} tests were skipped: {why}")
