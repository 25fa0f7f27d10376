"""Sandboxes on a machine that is reached over SSH: processes of the user who logs in there. No isolation.

Each has a folder of its own below `folder`/INSTANCE on the machine (see shim/machine_open.sh), its supervisor a session of
its own, with FIFOs that it holds open in both directions. So it sees nothing of a connection that breaks, and the next one
is tied to the same FIFOs (shim/machine_attach.sh). `ref` is the node.

What a job started is ended with it as far as it can be told from others: by the cookie in its environment, by the sessions
of what has that, by a working directory in the job's folder, and, where root logs in and may make cgroups, by the job's
cgroup. Without one, a daemon that has left its session and that folder and dropped its environment (`env -i setsid`) lives
on, and so does what became another user's (`sudo`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from appliance import shim
from appliance.errors import ConnectionBroke, RondoError, SandboxError, SandboxLost, Unavailable, printable
from appliance.executors import windows
from appliance.executors.base import PrivateDocker, Process, Progress, SandboxSpec, Usage
from appliance.executors.machine_bridge import Bridge, attach
from appliance.executors.machine_check import NEEDED, number
from appliance.executors.machine_link import SHELL, Connect, Link
from appliance.executors.machine_process import start_machine_process
from appliance.executors.machine_script import Answered, Script, ask, words
from appliance.executors.payload import expand_home, exports, payload
from appliance.executors.supervised import Pace, SupervisedSandbox

log = logging.getLogger(__name__)
T = TypeVar("T")

_ASK_S = 60.0
_REMOVE_S = 600.0  # a tree of a million files
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 5.0
_LEAST_ATTEMPT_S = 1.0
_TIMES = 5

_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")
_FIGURES = re.compile(r"[0-9]{1,15}(?: [0-9]{1,15}){3} [0-9]{1,6} [0-9]{1,6}")


@dataclass(frozen=True, kw_only=True)
class MachineOptions:
    """How sandboxes of a machine are made."""

    folder: str = "~/.rondo"  # on the machine; jobs live in INSTANCE/NODE below it
    os: str = ""  # "windows" is different, see windows.py
    home: str = "fresh"  # or "user": jobs get the user's own HOME, and leave there what they leave
    environment: Mapping[str, str] = field(default_factory=dict)  # for every job, over what a login there has
    end_grace_s: float = 5.0  # between SIGTERM and SIGKILL when a sandbox closes
    keepalive_s: float = 5.0  # a connection on which nothing comes for three times this is broken
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
        if not _SAFE.match(instance):
            raise ValueError(f"{instance!r} cannot be the name of a folder")
        self.name = f"machine:{name}"
        self.machine = name
        self.options = options or MachineOptions()
        shell = windows.COMMAND_LINE if self.options.os == "windows" else SHELL
        self.link = Link(connect, keepalive_s=self.options.keepalive_s, shell=shell)
        self.ask_s = _ASK_S
        self.load: float | None = None  # see base.TellsLoad
        self._instance = instance
        self._pace = pace or Pace()
        self._bridges: set[Bridge] = set()

    async def open(self, spec: SandboxSpec, progress: Progress) -> MachineSandbox:
        if not _SAFE.match(spec.node):
            raise SandboxError(f"{spec.node!r} cannot be the name of a folder")
        try:
            system = await self._start(spec.node)
            await progress(f"Running on machine {self.machine} ({printable(system, 80)}), without a container\n".encode())
            return await self.reattach(spec.node)
        except BaseException:
            with contextlib.suppress(RondoError, TimeoutError):
                async with asyncio.timeout(self.ask_s):
                    await self.remove(spec.node)
            raise

    async def _start(self, node: str) -> str:
        """The folder and the supervisor; says what kind of machine it is."""
        names = "".join(f"{name}={word}\n" for name, word in words(instance=self._instance, node=node).items())
        supervisor = f"{names}{shim.text('machine.sh')}{_BEFORE}{shim.supervisor()}# the end\n".encode()
        for _ in range(2):
            script = Script("machine.sh", "machine_folder.sh", "machine_open.sh", words=self.where(node))
            word, rest = (await ask(self.link, script, supervisor, within_s=self.ask_s))[0]
            if word == "ok":
                return rest.partition(" /")[0]
            await self.remove(node)  # of before a crash
        raise SandboxError(f"the folder of node {node} on machine {self.machine} comes back as soon as it is removed")

    def where(self, node: str = "") -> dict[str, str]:
        """The variables of scripts about a sandbox. The cookie is in the environment of all that its job starts; as it
        says only the name, no note of it can be changed by the job."""
        return {"r_base": expand_home(self.options.folder)} | words(
            instance=self._instance,
            node=node,
            cookie=f"{self._instance}/{node}",
            home=self.options.home,
            exports=exports(self.options.environment),
        )

    async def reattach(self, ref: str) -> MachineSandbox:
        """A machine that does not answer now is waited for when something is asked of the sandbox."""
        if not _SAFE.match(ref):
            raise SandboxLost(f"there is no node {ref!r}")
        sandbox = MachineSandbox(self, ref, self._pace)
        try:
            await sandbox.attach()
        except SandboxLost:
            raise
        except (Unavailable, SandboxError) as problem:
            log.warning("a machine does not answer", extra={"machine": self.machine, "node": ref, "error": str(problem)})
        return sandbox

    async def attach(self, node: str) -> Bridge:
        bridge = await attach(self.link, self.where(node), node, self._bridges.discard)
        self._bridges.add(bridge)
        return bridge

    async def list(self) -> list[str]:
        answers = await ask(self.link, Script("machine.sh", words=self.where(), text=_LIST), within_s=self.ask_s)
        return sorted(name for word, name in answers if word == "node" and _SAFE.match(name))

    async def remove(self, ref: str) -> None:
        if not _SAFE.match(ref):
            return
        grace = str(round(self.options.end_grace_s * 100))
        script = Script("machine.sh", "machine_end.sh", "machine_remove.sh", words=self.where(ref) | words(grace=grace))
        try:
            await ask(self.link, script, within_s=_REMOVE_S)
        except (Unavailable, SandboxError) as problem:
            raise SandboxError(f"node {ref} on machine {self.machine} cannot be removed: {problem}") from problem

    async def kept_layers(self) -> Sequence[str]:
        return []

    async def remove_layers(self, name: str) -> None:
        """There are none."""

    async def check(self) -> str | None:
        try:
            script = Script("machine.sh", "machine_folder.sh", words=self.where(), text=_CHECK)
            answers = await ask(self.link, script, within_s=self.ask_s)
        except (Unavailable, SandboxError) as problem:
            return f"machine {self.machine}: {problem}"
        self.load = next((number(rest) for word, rest in answers if word == "load"), None)
        return None

    async def close(self) -> None:
        for bridge in list(self._bridges):
            await bridge.close()
        await self.link.close()


class MachineSandbox(SupervisedSandbox):
    """See `base.Sandbox`."""

    def __init__(self, executor: MachineExecutor, node: str, pace: Pace) -> None:
        super().__init__(None, pace, windows.payload if executor.options.os == "windows" else payload)
        self._executor = executor
        self._node = node
        self._bridge: Bridge | None = None
        self._is_waited_for = False
        self._cut_off: set[str] = set()
        self._most = Usage(cpu_s=0, memory_bytes=0, written_bytes=0, processes=0)

    @property
    def ref(self) -> str:
        return self._node

    @property
    def _find_state(self) -> str:
        return "r_dir=${TMPDIR%/tmp}/state"  # for a process that was given no TMPDIR of its own

    async def attach(self) -> None:
        self._take(await self._attach())

    async def _attach(self) -> Bridge:
        self._bridge = await self._executor.attach(self._node)
        return self._bridge

    async def _reconnect(self) -> Bridge:
        broke_in_silence = self._bridge is not None and "keepalive" in str(self._bridge.problem)
        return await self._patiently(self._attach, self._executor.link.notices_silence_s if broke_in_silence else 0.0)

    async def _patiently(self, do: Callable[[], Awaitable[T]], silent_s: float = 0.0) -> T:
        """Try until it succeeds, as long as `patience_s` after the last sign of life; that was `silent_s` ago."""
        loop = asyncio.get_running_loop()
        machine, patience_s, pause_s = self._executor.machine, self._executor.options.patience_s, _FIRST_PAUSE_S
        give_up_at = loop.time() - silent_s + patience_s
        if silent_s:
            await self._say_silence(f"machine {machine} has not answered for {silent_s:.0f} s")
        while True:
            try:
                async with asyncio.timeout_at(max(give_up_at, loop.time() + _LEAST_ATTEMPT_S)):
                    result = await do()
                break
            except (SandboxLost, Answered):
                raise
            except (Unavailable, SandboxError, TimeoutError) as problem:
                if loop.time() >= give_up_at or self._executor.link.is_closed:
                    why = f": {problem}" if str(problem) else ""
                    raise SandboxLost(f"machine {machine} has not answered for {patience_s:g} s{why}") from problem
                await self._say_silence(f"machine {machine} does not answer ({problem})")
            await asyncio.sleep(min(pause_s, max(0.0, give_up_at - loop.time())))
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        if self._is_waited_for:
            self._is_waited_for = False
            await self._say(f"machine {machine} answers again")
        return result

    async def _say_silence(self, trouble: str) -> None:
        """Once, though more than one may be waiting."""
        if not self._is_waited_for:
            self._is_waited_for = True
            await self._say(f"{trouble}; waiting up to {self._executor.options.patience_s:g} s for it")

    async def process(
        self,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        working_directory: str | None = None,
        tty: tuple[int, int] | None = None,
        user: str | None = None,
    ) -> Process:
        where = self._executor.where(self._node)
        return await self._patiently(
            lambda: start_machine_process(
                self._executor.link, where, argv, environment or {}, working_directory, tty, self._cut_off
            )
        )

    # What may as well be done twice is done again when the connection breaks under it.

    async def _pour(self, script: str, name: str, data: bytes) -> None:
        pour = super()._pour
        await self._again(lambda: pour(script, name, data))

    async def fetch(self, name: str, most_bytes: int) -> bytes:
        fetch = super().fetch
        return await self._again(lambda: fetch(name, most_bytes))

    async def environment_of(self, command_id: str | None = None) -> Mapping[str, str]:
        environment_of = super().environment_of
        return await self._again(lambda: environment_of(command_id))

    async def _again(self, do: Callable[[], Awaitable[T]]) -> T:
        for _ in range(_TIMES - 1):
            with contextlib.suppress(ConnectionBroke):
                return await do()
        return await do()

    async def start_docker(self, want: PrivateDocker) -> str:
        raise Unavailable("jobs on machines have no private Docker engine; they may use one that the machine itself has")

    async def usage(self) -> tuple[Usage, ...]:
        """As `LocalSandbox.usage`: the sums never shrink, though a daemon that left the tree is forgotten."""
        script = Script("machine.sh", "machine_usage.sh", words=self._executor.where(self._node))
        try:
            word, rest = (await ask(self._executor.link, script, within_s=self._executor.ask_s))[0]
        except (Unavailable, SandboxError):
            return ()
        if word != "ok" or _FIGURES.fullmatch(rest) is None:
            return ()
        figures = [int(each) for each in rest.split()]
        cpu, pages, written, processes, ticks, page_bytes = figures
        self._most = Usage(
            cpu_s=max(cpu / (ticks or 100), self._most.cpu_s),
            memory_bytes=pages * page_bytes,
            written_bytes=max(written, self._most.written_bytes),
            processes=processes,
        )
        return (self._most,)

    async def close(self) -> None:
        await self.detach()
        await self._executor.remove(self.ref)


# Before the supervisor's own text, in its own process. What the job gets is the environment, not these variables.
_BEFORE = """\
r_join_cgroups
for r_group in $r_cgroups; do
    for r_file in memory.events memory.oom_control; do [ ! -r "$r_group/$r_file" ] || r_events=$r_group/$r_file; done
done
r_identity "$$"
umask_before=$(umask)
umask 077
echo "$r_who" >"${1%/state}/pid.new" && mv "${1%/state}/pid.new" "${1%/state}/pid"
umask "$umask_before"
"""

_LIST = """\
cd -- "$r_base/$r_instance" 2>/dev/null || { r_tell ok; exit 0; }
r_tell ok
for r_node in *; do [ ! -d "$r_node" ] || [ -L "$r_node" ] || r_tell node "$r_node"; done
"""

_CHECK = f"""\
for r_tool in {" ".join(NEEDED)}; do
    command -v "$r_tool" >/dev/null || r_fail "$r_tool is missing there; install it"
done
[ -r /proc/self/stat ] || command -v ps >/dev/null || r_fail 'there is neither /proc nor ps'
r_enter
{{ echo >.room && rm .room; }} 2>/dev/null || r_fail "nothing can be written in $PWD: is the disk full?"
if [ -r /proc/loadavg ]; then
    read -r r_load r_rest </proc/loadavg
else
    set -f
    set -- $(sysctl -n vm.loadavg 2>/dev/null) # "{{ 1.20 0.90 0.80 }}"
    r_load=$2
fi
[ -z "$r_load" ] || r_tell load "$r_load"
r_tell ok
"""
