"""Machines of the pool for chaos: one behind a real OpenSSH server, one that dials in; and networks that can be cut."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appliance.crypto import write_private
from appliance.settings import Value
from tests import openssh
from tests.contracts.tcp_proxy import Proxy, proxy_to
from tests.dialling import Dialler

CLASS = "chaos/pool"
PATIENCE_S = 12.0


@dataclass
class Far:
    machine: openssh.Machine
    proxy: Proxy  # to the machine
    dialler: Dialler
    relay: Proxy  # from the dialler to the appliance
    key_file: Path

    def settings(self, ssh_port: int) -> dict[str, Value]:
        """The tables of both; `ssh_port` is that of the appliance's door."""
        self.relay.target = ssh_port
        same: dict[str, Any] = {
            "os": "linux",
            "arch": "amd64",
            "classes": [CLASS],
            "slots": 3,
            "cpus": 8,
            "memory": 16 << 30,
        }
        far: dict[str, Any] = {
            "address": f"{self.machine.user}@127.0.0.1:{self.proxy.port}",
            "key_file": str(self.key_file),
            "host_key": self.machine.server.host_key,
            "folder": str(self.machine.folder),
        }
        box: dict[str, Any] = {
            "dials_in": True,
            "runner_key": self.dialler.public_key,
            "folder": str(self.dialler.folder / "jobs"),
        }
        return {"machines": {"far": {**same, **far}, "box": {**same, **box}}}

    async def dial_in(self) -> None:
        await self.dialler.start()

    def folders(self) -> Iterator[Path]:
        """Where jobs are on either machine."""
        for root in (self.machine.folder, self.dialler.folder / "jobs"):
            yield from root.glob("*/*")


@asynccontextmanager
async def far_machines(scratch: Path, *, are_wanted: bool) -> AsyncIterator[Far | None]:
    """None also where there is no sshd."""
    if openssh.SSHD is None or not are_wanted:
        yield None
        return
    with openssh.machine(scratch / "far") as there:
        key_file = scratch / "far" / "client_key"
        write_private(key_file, there.private_key.encode())
        async with proxy_to(there.server.port) as proxy, proxy_to(0) as relay:
            dialler = Dialler(scratch / "box", relay.port)
            dialler.folder.mkdir()
            try:
                yield Far(there, proxy, dialler, relay, key_file)
            finally:
                await dialler.kill()
