"""The systemd unit: systemd accepts it, each line has its reason, and what the server relies on stands in it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

UNIT = Path(__file__).resolve().parents[2] / "packaging" / "rondo.service"


def lines() -> list[str]:
    return UNIT.read_text().splitlines()


def settings() -> dict[str, dict[str, list[str]]]:
    """Sections, and in them the values of each key in order."""
    found: dict[str, dict[str, list[str]]] = {}
    for line in lines():
        if line.startswith("["):
            section = found.setdefault(line.strip("[]"), {})
        elif line and not line.startswith("#"):
            key, equals, value = line.partition("=")
            assert equals and re.fullmatch(r"[A-Za-z]+", key), line
            section.setdefault(key, []).append(value)
    return found


def test_it_has_what_the_server_relies_on() -> None:
    unit = settings()
    assert list(unit) == ["Unit", "Service", "Install"]
    service = unit["Service"]
    assert service["Type"] == ["notify"]
    assert service["NotifyAccess"] == ["all"]  # READY comes from the inner process of the one-file executable
    assert service["KillMode"] == ["process"]  # local jobs outlive the server
    assert service["ExecStart"] == ["/usr/local/bin/rondo serve"]
    assert service["StateDirectory"] == ["rondo"]  # /var/lib/rondo, the default of the setting `data`
    assert service["SupplementaryGroups"] == ["docker"]
    assert not {"PrivateTmp", "DynamicUser", "RemoveIPC"} & set(service), "they take away what living jobs use"


def test_every_hardening_line_has_a_reason() -> None:
    """A comment stands above each line of [Service], or above the block that it ends."""
    inside = lines()[lines().index("[Service]") + 1 : lines().index("[Install]")]
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
def test_systemd_accepts_it(tmp_path: Path) -> None:
    """As it is, but for the path of an executable that is not installed here."""
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/usr/local/bin/rondo", sys.executable))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False)
    said = [line for line in done.stderr.splitlines() if "rondo.service" in line]
    assert (done.returncode, said) == (0, [])
