"""An executor in memory for tests of what stands above it. It keeps the contract; scripts are a few words of shell.

A script's lines (also split at ";"):  echo WORDS   exit N   seq N   sleep ANYTHING   trap '' TERM   pwd   echo $NAME
circleci step halt   circleci run oidc get CLAIMS (asks, and prints the answer)
`sleep` takes until `FakeExecutor.release` or a kill, so a test decides when. Unknown lines print nothing.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from appliance.errors import ImageError, SandboxError, SandboxLost, Unavailable
from appliance.executors.base import (
    ANSWERS,
    Command,
    Exit,
    Notice,
    PrivateDocker,
    Process,
    Progress,
    Question,
    SandboxSpec,
    Service,
    Usage,
)
from appliance.executors.payload import payload

CHUNK_BYTES = 256 * 1024
UNKNOWN_IMAGE = "no/such:image"
ASK = "circleci run oidc get"

ProcessAnswer = Callable[[Sequence[str], bytes], tuple[bytes, int]]
"""(argv, all of its input) -> its output and exit code."""


@dataclass
class FakeCommand:
    """A command as the fake's "supervisor" sees it. Tests may look."""

    command: Command
    log: bytearray = field(default_factory=bytearray)
    exit: Exit | None = None
    todo: list[str] = field(default_factory=list)
    ignores_term: bool = False
    halts: bool = False
    ask: Callable[[FakeCommand, str], None] = lambda command, text: None
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def go_on(self) -> None:
        """Run lines until one sleeps or the script ends."""
        while self.exit is None and self.todo and not self.todo[0].startswith(("sleep", ASK)):
            self._line(self.todo.pop(0))
        if self.exit is None and self.todo and self.todo[0].startswith(ASK):
            self.ask(self, self.todo[0].removeprefix(ASK).strip() or "{}")
        if self.exit is None and not self.todo:
            self.exit = Exit(0, halts=self.halts)
        self.ring()

    def hear(self, answer: str) -> None:
        """The answer to what it has asked."""
        self.todo.pop(0)
        word, _, rest = answer.strip().partition(" ")
        if word == "ok":
            self.log += f"{rest}\n".encode()
            self.go_on()
        else:
            self.log += f"circleci: {rest}\n".encode()
            self.end(1)

    def ring(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()

    def end(self, code: int) -> None:
        if self.exit is None:
            self.exit = Exit(code)
            self.ring()

    def _line(self, line: str) -> None:
        word, _, rest = line.partition(" ")
        if word == "exit":
            self.exit = Exit(int(rest or 0), halts=self.halts)
        elif word == "echo":
            text = re.sub(r"\$(\w+)", lambda found: self.command.environment.get(found[1], ""), rest)
            self.log += f"{text.strip(chr(34))}\n".encode()
        elif word == "seq":
            self.log += "".join(f"{number}\n" for number in range(1, int(rest) + 1)).encode()
        elif word == "pwd":
            self.log += f"{self.command.working_directory}\n".encode()
        elif line == "trap '' TERM":
            self.ignores_term = True
        elif line == "circleci step halt":
            self.halts = True


@dataclass
class FakeNode:
    """All that lives on when a reader dies."""

    spec: SandboxSpec
    commands: dict[str, FakeCommand] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)  # what was `put`
    is_running: bool = True
    usage: Usage = field(default_factory=lambda: Usage(cpu_s=0, memory_bytes=0, written_bytes=0, processes=1))  # for tests
    asking: dict[str, tuple[str, FakeCommand]] = field(default_factory=dict)  # by the question's id, until it is answered
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    def ask(self, command: FakeCommand, text: str) -> None:
        self.asking[f"{command.command.id}x{len(self.files)}"] = (f"oidc 0 - {text}", command)
        self.asked.set()
        self.asked = asyncio.Event()


class FakeExecutor:
    """See `base.Executor`. `nodes` is what runs "outside": a second FakeExecutor on it is a restarted appliance."""

    name = "fake"

    def __init__(self, nodes: dict[str, FakeNode] | None = None, *, on_process: ProcessAnswer | None = None) -> None:
        self.nodes = {} if nodes is None else nodes
        self.trouble: str | None = None
        self._on_process = on_process

    async def open(self, spec: SandboxSpec, progress: Progress) -> FakeSandbox:
        if any(container.image == UNKNOWN_IMAGE for container in spec.containers):
            raise ImageError(f"cannot pull image {UNKNOWN_IMAGE}: there is no such image")
        if self.trouble is not None:
            raise SandboxError(self.trouble)
        await progress(b"Started in memory\n")
        self.nodes[spec.node] = FakeNode(spec)
        return FakeSandbox(self.nodes, spec.node, self._on_process)

    async def reattach(self, ref: str) -> FakeSandbox:
        if ref not in self.nodes or not self.nodes[ref].is_running:
            raise SandboxLost(f"node {ref} does not run any more")
        return FakeSandbox(self.nodes, ref, self._on_process)

    async def list(self) -> list[str]:
        return sorted(self.nodes)

    async def remove(self, ref: str) -> None:
        node = self.nodes.pop(ref, None)
        if node is not None:
            _end_node(node)

    async def kept_layers(self) -> Sequence[str]:
        return []

    async def remove_layers(self, name: str) -> None:
        """There are none."""

    async def check(self) -> str | None:
        return self.trouble

    async def close(self) -> None:
        """Nothing is held."""

    def release(self, node: str, command_id: str) -> None:
        """Wake a command from its `sleep`."""
        command = self.nodes[node].commands[command_id]
        del command.todo[:1]
        command.go_on()

    def lose(self, node: str) -> None:
        """The sandbox dies from outside."""
        _end_node(self.nodes[node])


class FakeSandbox:
    """See `base.Sandbox`."""

    def __init__(self, nodes: dict[str, FakeNode], node: str, on_process: ProcessAnswer | None) -> None:
        self._nodes = nodes
        self._node = node
        self._on_process = on_process

    @property
    def ref(self) -> str:
        return self._node

    def _alive(self) -> FakeNode:
        node = self._nodes.get(self._node)
        if node is None or not node.is_running:
            raise SandboxLost(f"node {self._node} does not run any more")
        return node

    async def run(
        self, command: Command, offset: int = 0, notice: Notice | None = None
    ) -> AsyncGenerator[bytes | Exit, None]:
        payload(command)  # refuses what a real one refuses
        running = self._start(command)
        while True:
            changed = running.changed
            while chunk := bytes(running.log[offset : offset + CHUNK_BYTES]):
                offset += len(chunk)
                yield chunk
            self._alive()
            if running.exit is not None and offset >= len(running.log):
                yield running.exit
                return
            await changed.wait()

    def _start(self, command: Command) -> FakeCommand:
        commands = self._alive().commands
        if command.id not in commands:
            lines = re.split(r"[;\n]", command.script)
            todo = [line.strip() for line in lines if line.strip()]
            commands[command.id] = FakeCommand(command, todo=todo, ask=self._alive().ask)
            commands[command.id].go_on()
        return commands[command.id]

    async def kill(self, command_id: str, grace_s: float) -> None:
        running = self._alive().commands.get(command_id)
        if running is None or running.exit is not None:
            return
        if running.ignores_term:
            asyncio.get_running_loop().call_later(grace_s, running.end, 137)
        else:
            running.end(143)

    async def process(
        self,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        working_directory: str | None = None,
        tty: tuple[int, int] | None = None,
        user: str | None = None,
    ) -> Process:
        self._alive()
        return FakeProcess(argv, self._on_process)

    async def put(self, name: str, data: bytes) -> None:
        node = self._alive()
        node.files[name] = data
        if name.startswith(ANSWERS) and (asked := node.asking.pop(name.removeprefix(ANSWERS), None)) is not None:
            asked[1].hear(data.decode())

    async def questions(self) -> AsyncGenerator[Question, None]:
        seen: set[str] = set()
        while True:
            node = self._alive()
            asked = node.asked
            for question_id in [each for each in node.asking if each not in seen]:
                seen.add(question_id)
                yield Question(question_id, node.asking[question_id][0])
            await asked.wait()

    async def install(self, name: str, text: str) -> None:
        self._alive().files[f"bin/{name}"] = text.encode()

    async def fetch(self, name: str, most_bytes: int) -> bytes:
        found = self._alive().files.get(name)
        if found is None or len(found) > most_bytes:
            raise SandboxError(f"{name} in the sandbox is no file, or larger than {most_bytes} bytes")
        return found

    async def environment_of(self, command_id: str | None = None) -> Mapping[str, str]:
        commands = self._alive().commands
        if command_id is None:
            command_id = next(reversed(commands), "")
        return dict(commands[command_id].command.environment) if command_id in commands else {}

    def service(self, index: int) -> Service:
        raise SandboxError("a fake has no services")

    async def usage(self) -> tuple[Usage, ...]:
        node = self._nodes.get(self._node)
        return (node.usage,) if node is not None and node.is_running else ()

    async def start_docker(self, want: PrivateDocker) -> str:
        raise Unavailable("there is no Docker engine in memory")

    async def detach(self) -> None:
        """There is no connection."""

    async def close(self) -> None:
        node = self._nodes.pop(self._node, None)
        if node is not None:
            _end_node(node)


class FakeProcess:
    """Answers when its input has ended, by the test's function; without one it is `cat`."""

    def __init__(self, argv: Sequence[str], on_process: ProcessAnswer | None) -> None:
        self._argv = argv
        self._on_process = on_process or (lambda argv, data: (data, 0))
        self._input = bytearray()
        self._has_all = asyncio.Event()
        self._output: bytes | None = None
        self._code = 0

    async def read(self) -> bytes:
        await self._has_all.wait()
        if self._output is None:
            self._output, self._code = self._on_process(self._argv, bytes(self._input))
        chunk, self._output = self._output[:CHUNK_BYTES], self._output[CHUNK_BYTES:]
        return chunk

    async def write(self, data: bytes) -> None:
        self._input += data

    async def write_eof(self) -> None:
        self._has_all.set()

    async def resize(self, columns: int, rows: int) -> None:
        """There is no terminal."""

    async def wait(self) -> int:
        await self._has_all.wait()
        return self._code

    async def kill(self) -> None:
        if not self._has_all.is_set():
            self._output, self._code = b"", 137
            self._has_all.set()


def _end_node(node: FakeNode) -> None:
    node.is_running = False
    for command in node.commands.values():
        command.end(137)
