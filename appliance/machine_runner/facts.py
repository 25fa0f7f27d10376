"""What this machine is, for its Hello."""

from __future__ import annotations

import os
import platform
import re
import socket

from appliance import __version__
from appliance.runner_words import NAME, Hello

_SAME = {"darwin": "macos", "x86_64": "amd64", "aarch64": "arm64", "x64": "amd64"}


def hello(name: str, *, is_leaving: bool) -> Hello:
    os_name, arch = platform.system().lower(), platform.machine().lower()
    return Hello(
        version=__version__,
        name=name,
        os=_SAME.get(os_name, os_name),
        arch=_SAME.get(arch, arch),
        cpus=_cpus(),
        memory_bytes=_memory_bytes(),
        is_leaving=is_leaving,
    )


def usual_name() -> str:
    """The host's name, in the form of a machine's."""
    plain = re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname().partition(".")[0]).lstrip("._-")[:64]
    return plain if NAME.fullmatch(plain) else "machine"


def _cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory_bytes() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return 0  # not known; the appliance measures
