"""How the machines of the pool are reached: from a row to its executor and to what it says of itself."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncssh

from appliance.crypto import SecretBox
from appliance.errors import StoreError, Unavailable
from appliance.executors import machine_check
from appliance.executors.machine import MachineExecutor, MachineOptions
from appliance.executors.machine_link import Address, Connect, over_ssh
from appliance.sshd.runners import Runners
from appliance.store import machines
from appliance.store.machines import Machine


class Connections:
    """`patience_s` is how long a machine may give no sign of life before its jobs are lost."""

    def __init__(self, instance: str, box: SecretBox, runners: Runners, *, patience_s: float) -> None:
        self._instance = instance
        self._box = box
        self._runners = runners
        self._patience_s = patience_s

    def executor(self, machine: Machine) -> MachineExecutor:
        options = MachineOptions(folder=folder_of(machine), os=machine.os, home=machine.home, patience_s=self._patience_s)
        return MachineExecutor(self._instance, machine.name, self.way_to(machine), options=options)

    async def examine(self, machine: Machine) -> machine_check.Examination:
        """Raises Unavailable and SandboxError."""
        return await machine_check.examine(self.way_to(machine), folder_of(machine), machine.known_os)

    def way_to(self, machine: Machine) -> Connect:
        """Nothing is looked at before the first connection: what is wrong is told where the machine is shown."""
        if machine.dials_in:
            return self._runners.connect(machine.name)

        async def connect() -> asyncssh.SSHClientConnection:
            return await over_ssh(await asyncio.to_thread(address_of, self._box, machine))()

        return connect


def address_of(box: SecretBox, machine: Machine) -> Address:
    """Where a machine is and how to log in there; it may read a file. Raises Unavailable."""
    if not machine.host_key:
        raise Unavailable(f"its host key is not known; `rondo machine check {machine.name}` shows and notes it")
    return Address(
        host=machine.address,
        port=machine.port,
        user=machine.user_name,
        private_key=_private_key(box, machine),
        host_key=machine.host_key,
    )


def folder_of(machine: Machine) -> str:
    return machine.folder or MachineOptions.folder


def _private_key(box: SecretBox, machine: Machine) -> str:
    try:
        sealed = machines.private_key(box, machine)
        return Path(machine.key_file).read_text("ascii") if sealed is None else sealed
    except StoreError as error:
        raise Unavailable(f"its key cannot be read: {error}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise Unavailable(f"its key {machine.key_file} cannot be read: {error}") from None
