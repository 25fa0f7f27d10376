"""How the machines of the pool are reached: from a row to its executor and to what it says of itself."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncssh

from appliance.crypto import SecretBox
from appliance.errors import Unavailable
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
        options = MachineOptions(folder=_folder(machine), os=machine.os, home=machine.home, patience_s=self._patience_s)
        return MachineExecutor(self._instance, machine.name, self.way_to(machine), options=options)

    async def examine(self, machine: Machine) -> machine_check.Examination:
        """Raises Unavailable and SandboxError."""
        return await machine_check.examine(self.way_to(machine), _folder(machine))

    def way_to(self, machine: Machine) -> Connect:
        """Nothing is looked at before the first connection: what is wrong is told where the machine is shown."""
        if machine.dials_in:
            return self._runners.connect(machine.name)

        async def connect() -> asyncssh.SSHClientConnection:
            if not machine.host_key:
                raise Unavailable(f"its host key is not known; `rondo machine check {machine.name}` shows and notes it")
            private_key = machines.private_key(self._box, machine)
            address = Address(
                host=machine.address,
                port=machine.port,
                user=machine.user_name,
                private_key=await asyncio.to_thread(_key_of, machine) if private_key is None else private_key,
                host_key=machine.host_key,
            )
            return await over_ssh(address)()

        return connect


def _folder(machine: Machine) -> str:
    return machine.folder or MachineOptions.folder


def _key_of(machine: Machine) -> str:
    try:
        return Path(machine.key_file).read_text("ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise Unavailable(f"its key {machine.key_file} cannot be read: {error}") from None
