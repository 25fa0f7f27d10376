"""What a process does that a service manager starts: its log, and systemd's words."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import socket
import sys

_LATE = (
    *("tomllib", "difflib", "tarfile", "hashlib", "http.client", "aiohttp", "asyncssh"),
    "cryptography.exceptions",
    *(f"cryptography.hazmat.primitives.{name}" for name in ("ciphers.aead", "hashes", "serialization")),
    *(f"cryptography.hazmat.primitives.asymmetric.{name}" for name in ("padding", "rsa")),
    *(f"appliance.executors.{name}" for name in ("docker", "local")),
    *("appliance.connections", "appliance.pool", "appliance.sshd.runners", "appliance.where", "appliance.engine.placement"),
    *(f"appliance.steps.{name}" for name in ("artifacts", "cache", "checkout", "keys", "remote_docker", "results", "run")),
    *(f"appliance.steps.{name}" for name in ("unsupported", "workspace")),
)
"""What is imported only where it is needed, so that a run on a laptop begins soon."""


def load_late() -> None:
    """Load it all now: an upgrade replaces the executable from which a server would read it later."""
    for name in _LATE:
        importlib.import_module(name)


def start_logging(level: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Plain("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler])


class _Plain(logging.Formatter):
    """The sentence, then its facts."""

    _KNOWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

    def format(self, record: logging.LogRecord) -> str:
        facts = " ".join(f"{name}={value}" for name, value in vars(record).items() if name not in self._KNOWN)
        return super().format(record) + (f" [{facts}]" if facts else "")


def notify(state: str) -> None:
    """Tell systemd (sd_notify); does nothing without it."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel, contextlib.suppress(OSError):
        channel.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)
