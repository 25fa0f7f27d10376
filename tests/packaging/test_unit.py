"""The systemd units: systemd accepts them, each line has its reason, and what is relied on stands in them."""

from __future__ import annotations

import plistlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGING = Path(__file__).resolve().parents[2] / "packaging"
UNITS = ("rondo.service", "rondo-runner.service")


def lines(unit: str) -> list[str]:
    return (PACKAGING / unit).read_text().splitlines()


def settings(unit: str) -> dict[str, dict[str, list[str]]]:
    """Sections, and in them the values of each key in order."""
    found: dict[str, dict[str, list[str]]] = {}
    for line in lines(unit):
        if line.startswith("["):
            section = found.setdefault(line.strip("[]"), {})
        elif line and not line.startswith("#"):
            key, equals, value = line.partition("=")
            assert equals and re.fullmatch(r"[A-Za-z]+", key), line
            section.setdefault(key, []).append(value)
    return found


def test_it_has_what_the_server_relies_on() -> None:
    unit = settings("rondo.service")
    assert list(unit) == ["Unit", "Service", "Install"]
    service = unit["Service"]
    assert service["Type"] == ["notify"]
    assert service["NotifyAccess"] == ["all"]  # READY comes from the inner process of the one-file executable
    assert service["KillMode"] == ["process"]  # local jobs outlive the server
    assert service["ExecStart"] == ["/usr/local/bin/rondo serve"]
    assert service["StateDirectory"] == ["rondo"]  # /var/lib/rondo, the default of the setting `data`
    assert service["SupplementaryGroups"] == ["docker"]
    assert not {"PrivateTmp", "DynamicUser", "RemoveIPC"} & set(service), "they take away what living jobs use"


def test_it_has_what_a_runner_relies_on() -> None:
    service = settings("rondo-runner.service")["Service"]
    assert service["Type"] == ["notify"] and service["NotifyAccess"] == ["all"]
    assert service["KillMode"] == ["process"]  # jobs outlive the runner
    assert service["TimeoutStopSec"] == ["5h 5min"]  # more than --max-run-time
    assert service["Restart"] == ["always"]


def test_launchd_can_read_its_file() -> None:
    found = plistlib.loads((PACKAGING / "rondo-runner.plist").read_bytes())
    assert found["ProgramArguments"][1:3] == ["runner", "--server"] and found["AbandonProcessGroup"] is True


@pytest.mark.parametrize("unit", UNITS)
def test_every_hardening_line_has_a_reason(unit: str) -> None:
    """A comment stands above each line of [Service], or above the block that it ends."""
    inside = lines(unit)[lines(unit).index("[Service]") + 1 : lines(unit).index("[Install]")]
    bare = []
    reason = ""
    for line in inside:
        if line.startswith("#"):
            reason = line
        elif not line:
            reason = ""
        elif not reason:
            bare.append(line)
    assert not bare


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
@pytest.mark.parametrize("name", UNITS)
def test_systemd_accepts_it(tmp_path: Path, name: str) -> None:
    """As it is, but for the path of an executable that is not installed here."""
    unit = tmp_path / name
    unit.write_text((PACKAGING / name).read_text().replace("/usr/local/bin/rondo", sys.executable))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False)
    said = [line for line in done.stderr.splitlines() if name in line]
    assert (done.returncode, said) == (0, [])
