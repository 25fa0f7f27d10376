"""Sandboxes on a machine that is reached over SSH."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from appliance.executors.machine_link import Connect, Link
from appliance.executors.supervised import Pace


@dataclass(frozen=True, kw_only=True)
class MachineOptions:
    """How sandboxes of a machine are made."""

    folder: str = "~/.rondo"  # on the machine; jobs live in INSTANCE/NODE below it
    home: str = "fresh"  # or "user": jobs get the user's own HOME, and leave there what they leave
    environment: Mapping[str, str] = field(default_factory=dict)  # for every job, over what a login there has
    end_grace_s: float = 5.0  # between SIGTERM and SIGKILL when a sandbox closes
    patience_s: float = 60.0  # after the last sign of life, then its sandboxes are lost


class MachineExecutor:
    """See `base.Executor`."""

    def __init__(
        self,
        instance: str,
        name: str,
        connect: Connect,
        *,
        options: MachineOptions | None = None,
        pace: Pace | None = None,
    ) -> None:
        self.name = f"machine:{name}"
        self._machine = name
        self._instance = instance
        self._link = Link(connect)
        self._options = options or MachineOptions()
        self._pace = pace or Pace()
