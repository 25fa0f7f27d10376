"""The client half of the supervisor's protocol (see shim/supervise.sh), over any two-way byte channel."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Protocol

from appliance.errors import SandboxError, SandboxLost
from appliance.executors.base import Command, Exit, Notice, Process, Question, Service
from appliance.executors.marks import Answer, UnknownCommand
from appliance.executors.payload import parse_exports, payload
from appliance.executors.questions import Questions

CHUNK_BYTES = 256 * 1024
LONGEST_ANSWER_BYTES = 16 << 20  # of a helper's short answer
SHORT_BYTES = 65536  # what a runner prints of a command that nobody followed
LISTEN_EVERY_S = 1.0  # while nobody follows a command, and so hears what is said aside
LISTEN_S = 0.02
_FETCH_S = 60.0


class Transport(Protocol):
    """A two-way byte channel to one supervisor."""

    hear: Callable[[bytes], None]
    """What `receive` calls with what the supervisor says aside, in any pieces. Set by the sandbox."""

    async def send(self, data: bytes) -> None:
        """All of `data` or, when the channel breaks, some beginning of it. Never mixed with another `send`."""

    async def receive(self) -> bytes:
        """The next bytes, at most CHUNK_BYTES; b"" when the channel has broken. May be cancelled without loss."""

    async def close(self) -> None:
        """May be repeated."""


@dataclass(kw_only=True)
class Pace:
    """How long a follower waits for what. Shared by the sandboxes of one executor, so that all learn what short is here."""

    short_s: float = 0.03  # a command that takes longer gets a tail; on a busy engine up to ten times this
    heartbeat_s: float = 10.0  # of silence, then it asks again: the supervisor notices a runner that was killed
    patience: int = 6  # unanswered questions, then the sandbox is lost
    _usual_s: float = field(default=0.0, init=False)

    @property
    def before_asking_s(self) -> float:
        """A tail for what is about to end costs more than all the rest of a short command, and a busy engine most."""
        return min(max(self.short_s, 4 * self._usual_s), 10 * self.short_s)

    def learn(self, took_s: float) -> None:
        """A command took so long; those that are long by themselves say nothing about the engine."""
        if took_s < 1.0:
            self._usual_s += (took_s - self._usual_s) / 8


class SupervisedSandbox(ABC):
    """What all sandboxes with a supervisor share. A subclass brings the transport, `process` and the folder."""

    def __init__(self, transport: Transport | None, pace: Pace, write: Callable[[Command], bytes] = payload) -> None:
        """`write` makes the payload of a command."""
        self._write = write
        self._questions = Questions()
        self._transport: Transport | None = None
        if transport is not None:
            self._take(transport)
        self._pace = pace
        self._turn = 0
        self._followers = 0
        self._notices: list[Notice] = []
        self._receiving = asyncio.Lock()

    def _take(self, transport: Transport) -> None:
        transport.hear = self._questions.feed
        self._transport = transport

    @abstractmethod
    async def _reconnect(self) -> Transport:
        """A new transport after the old one broke. Raises SandboxLost with the reason when there is none."""

    @abstractmethod
    async def process(
        self,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        working_directory: str | None = None,
        tty: tuple[int, int] | None = None,
        user: str | None = None,
    ) -> Process: ...

    @property
    @abstractmethod
    def _find_state(self) -> str:
        """Shell text that sets r_dir to the supervisor's state folder."""

    async def run(
        self, command: Command, offset: int = 0, notice: Notice | None = None
    ) -> AsyncGenerator[bytes | Exit, None]:
        follow = self._follow_beside if command.background else self._follow
        with self._noticed_by(notice):
            async with aclosing(follow(command, offset)) as events:
                async for event in events:
                    if isinstance(event, Exit):
                        yield event
                        return
                    for at in range(0, len(event), CHUNK_BYTES):
                        yield event[at : at + CHUNK_BYTES]

    @contextlib.contextmanager
    def _noticed_by(self, notice: Notice | None) -> Iterator[None]:
        if notice is None:
            yield
            return
        self._notices.append(notice)
        try:
            yield
        finally:
            self._notices.remove(notice)

    async def _say(self, sentence: str) -> None:
        """To all who read the output of a command now."""
        for notice in list(self._notices):
            await notice(sentence)

    async def kill(self, command_id: str, grace_s: float) -> None:
        await self._send(f"kill {command_id} {max(0, round(grace_s * 10))} ;\n".encode())

    async def environment_of(self, command_id: str | None = None) -> Mapping[str, str]:
        name = f"'{command_id}'" if command_id is not None else '"$(tail -n 1 "$r_dir/latest")"'
        script = f'{self._find_state}\n{_SHOW_OURS}cat "$r_dir"/{name}.start 2>/dev/null || :'
        process = await self.process(["sh", "-c", script])
        output = await read_all(process)
        return parse_exports(output.decode("utf-8", "surrogateescape"))

    async def put(self, name: str, data: bytes) -> None:
        await self._pour(_PUT, name, data)

    async def install(self, name: str, text: str) -> None:
        await self._pour(_INSTALL, name, text.encode())

    async def _pour(self, script: str, name: str, data: bytes) -> None:
        script = _WAIT.format(find_state=self._find_state) + script
        process = await self.process(["sh", "-c", script, "rondo", name])
        try:
            await process.write(data)
            await process.write_eof()
            words = await read_all(process)
            code = await process.wait()
        finally:
            await process.kill()
        if code:
            raise SandboxError(f"cannot write {name} in the sandbox: {words.decode('utf-8', 'replace').strip()[:500]}")

    async def fetch(self, name: str, most_bytes: int) -> bytes:
        script = _WAIT.format(find_state=self._find_state) + _FETCH
        process = await self.process(["sh", "-c", script, "rondo", name, str(most_bytes + 1)])
        found = bytearray()
        try:
            async with asyncio.timeout(_FETCH_S):
                # The bound is kept here too: a job may have put a `head` of its own into its image.
                while len(found) <= most_bytes and (data := await process.read()):
                    found += data
                code = 0 if len(found) > most_bytes else await process.wait()
        except TimeoutError:
            raise SandboxError(f"{name} in the sandbox could not be read in {_FETCH_S:g} seconds") from None
        finally:
            await process.kill()
        if code or len(found) > most_bytes:
            raise SandboxError(f"{name} in the sandbox is no file, or larger than {most_bytes} bytes")
        return bytes(found)

    def service(self, index: int) -> Service:
        raise SandboxError("this sandbox has no services")

    async def questions(self) -> AsyncGenerator[Question, None]:
        """Whoever follows a command hears the questions too; while nobody does, they are listened for now and then."""
        while True:
            try:
                async with asyncio.timeout(LISTEN_EVERY_S):
                    question = await self._questions.take()
            except TimeoutError:
                await self._listen()
            else:
                yield question

    async def _listen(self) -> None:
        """Hear what was said aside. What comes beside it is the rest of an answer that nobody wants any more."""
        async with self._receiving:
            if self._followers or self._transport is None:
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LISTEN_S):
                    while await self._transport.receive():
                        pass
                await self.detach()  # it broke; whoever follows the next command makes a new one

    async def detach(self) -> None:
        transport, self._transport = self._transport, None
        if transport is not None:
            await transport.close()

    # --- following on the supervisor's own channel

    async def _follow(self, command: Command, offset: int) -> AsyncGenerator[bytes | Exit, None]:
        """One reader at a time: a new turn ends the former one, whose bytes would be ours."""
        self._followers += 1
        try:
            async with self._receiving:
                pass  # who only listens is done now, and will not take the beginning of our answer
            async with aclosing(self._follow_alone(command, offset)) as events:
                async for event in events:
                    yield event
        finally:
            self._followers -= 1

    async def _follow_alone(self, command: Command, offset: int) -> AsyncGenerator[bytes | Exit, None]:
        self._turn += 1
        turn, silent, wait_s = self._turn, 0, self._pace.before_asking_s
        if turn == 1:
            wait_s *= 2  # the supervisor may just be beginning
        began_s = asyncio.get_running_loop().time()
        reading = _Reading(command, offset, self._write)
        await self._send(reading.run())
        while True:
            data = await self._receive(wait_s)
            if turn != self._turn:
                raise SandboxError(f"command {command.id}: another command of this sandbox is being followed")
            if data:
                output, ended = reading.feed(data)
                if output:
                    yield output
                if ended is not None:
                    self._pace.learn(asyncio.get_running_loop().time() - began_s)
                    yield ended
                    return
                if not reading.wants_more:
                    continue
                silent = 0
            else:
                silent = 0 if reading.is_answered else silent + 1
                self._check_patience(silent)
            wait_s = self._pace.heartbeat_s
            # After a reconnect nobody knows whether the command ever arrived: sent again, it is started or followed.
            await self._send(reading.run() if data == b"" else reading.follow())

    def _check_patience(self, unanswered: int) -> None:
        if unanswered > self._pace.patience:
            raise SandboxLost(f"the supervisor has not answered {unanswered} times; was it killed?")

    async def _receive(self, timeout_s: float) -> bytes | None:
        """What came; b"" after the channel broke and a new one was made; None after `timeout_s` of silence."""
        if self._transport is None:
            self._take(await self._reconnect())
            return b""
        try:
            async with asyncio.timeout(timeout_s):
                data = await self._transport.receive()
        except TimeoutError:
            return None
        if data:
            return data
        await self.detach()
        return await self._receive(timeout_s)

    async def _send(self, data: bytes) -> None:
        for _ in range(2):
            if self._transport is None:
                self._take(await self._reconnect())
            assert self._transport is not None
            try:
                await self._transport.send(data)
                return
            except OSError:
                await self.detach()
        raise SandboxLost("the supervisor takes no commands")

    # --- following a background command beside it

    async def _follow_beside(self, command: Command, offset: int) -> AsyncGenerator[bytes | Exit, None]:
        """A process of its own prints the log as it grows, then a mark. When it breaks, another goes on."""
        reading = _Reading(command, offset, self._write)
        await self._send(reading.run())
        for _ in range(1000):
            process = await self.process(["sh", "-c", f"{self._find_state}\n{reading.print_log()}"])
            try:
                while data := await process.read():
                    output, ended = reading.feed(data)
                    if output:
                        yield output
                    if ended is not None:
                        yield ended
                        return
            finally:
                await process.kill()
        raise SandboxLost(f"the log of background command {command.id} cannot be read")


class _Reading:
    """How far one follower has come: `received` is the offset behind the last byte it was given."""

    def __init__(self, command: Command, offset: int, write: Callable[[Command], bytes]) -> None:
        self._write = write
        self.received = offset
        self.wants_more = False
        self._command = command
        self._first = offset
        self._size: int | None = None
        self._answer = Answer("")

    @property
    def is_answered(self) -> bool:
        return self._answer.has_begun

    def run(self) -> bytes:
        kind = "bg" if self._command.background else "fg"
        line = f"run {self._command.id} {kind} {self._ask()} {self.received} ;\n"
        return line.encode() + self._write(self._command)

    def follow(self) -> bytes:
        return f"follow {self._command.id} {self._ask()} {self.received} ;\n".encode()

    def print_log(self) -> str:
        return _PRINT_LOG.format(id=self._command.id, offset=self.received, nonce=self._ask())

    def feed(self, data: bytes) -> tuple[bytes, Exit | None]:
        """New output, and the Exit when all of it is here. Sets `wants_more` when a `follow` has to be sent."""
        try:
            output, end = self._answer.feed(data)
        except UnknownCommand:
            raise SandboxError(f"command {self._command.id} never reached the supervisor") from None
        if self._size is not None:
            # Somebody writes on after the end: the size at the first end mark counts, or there would be no end.
            output = output[: self._size - self.received]
        self.received += len(output)
        if end is None:
            return output, None
        if self._size is None:
            self._size = end.size_bytes
        is_short = self._size is None and self.received - self._first < SHORT_BYTES
        if is_short or (self._size is not None and self.received >= self._size):
            return output, Exit(end.code, end.out_of_memory, end.halts, end.no_room)
        self.wants_more = True
        return output, None

    def _ask(self) -> str:
        nonce = secrets.token_hex(8)
        self._answer = Answer(nonce)
        self.wants_more = False
        return nonce


def opening() -> bytes:
    """What a new client sends first: it ends a line or payload that a dead predecessor left half-sent."""
    return b"\nsync ;\n"


async def read_all(process: Process) -> bytes:
    """A short answer. Raises SandboxError when it is none: what a job left there may have no end."""
    answer = bytearray()
    while data := await process.read():
        answer += data
        if len(answer) > LONGEST_ANSWER_BYTES:
            await process.kill()
            raise SandboxError("a helper in the sandbox said more than anybody can hear")
    await process.wait()
    return bytes(answer)


# Before the step's own variables: they come later, and win.
_SHOW_OURS = """\
printf "export BASH_ENV='%s'\\nexport CIRCLE_SHELL_ENV='%s'\\n" "$r_dir/bash_env" "$r_dir/bash_env"
if [ -S "$r_dir/agent" ]; then printf "export SSH_AUTH_SOCK='%s'\\n" "$r_dir/agent"; fi
"""

_PUT = """\
umask 077
r_file=$r_dir/task/$1
mkdir -p "${r_file%/*}" && cat >"$r_file.new" && mv "$r_file.new" "$r_file"
"""

# The supervisor of a new sandbox may just be making its folder; the in-job `circleci` it makes last of all.
_WAIT = """\
r_tries=100
while {find_state}; [ ! -x "$r_dir/bin/circleci-agent" ]; do
    r_tries=$((r_tries - 1))
    [ "$r_tries" -gt 0 ] || {{ echo 'the supervisor has not begun'; exit 1; }}
    sleep 0.1 2>/dev/null || sleep 1
done
"""

_INSTALL = """\
r_file=$r_dir/bin/$1
r_shell=/bin/sh
[ -x "$r_shell" ] || r_shell=$(command -v sh)
{ printf '#!%s\\n' "$r_shell" && cat; } >"$r_file.new" && chmod 755 "$r_file.new" && mv "$r_file.new" "$r_file"
"""

_FETCH = """\
r_file=$r_dir/task/$1
[ -f "$r_file" ] || exit 1
exec head -c "$2" "$r_file"
"""

# The exit is seen before the size is taken: so what was written before the end is always printed.
_PRINT_LOG = """\
r_log="$r_dir/{id}.log"; r_exit="$r_dir/{id}.exit"; r_at={offset}
while [ ! -e "$r_log" ]; do sleep 1; done
printf '\\001begin {nonce}\\n'
while :; do
    r_over=; [ -s "$r_exit" ] && r_over=1
    r_size=$(($(stat -c %s "$r_log" 2>/dev/null || wc -c <"$r_log")))
    if [ "$r_size" -gt "$r_at" ]; then
        if command -v dd >/dev/null; then
            dd if="$r_log" bs=65536 skip=$((r_at / 65536)) 2>/dev/null | tail -c "+$((r_at % 65536 + 1))"
        else
            tail -c "+$((r_at + 1))" "$r_log"
        fi | head -c "$((r_size - r_at))"
        r_at=$r_size
    fi
    [ -z "$r_over" ] || break
    sleep 0.5 2>/dev/null || sleep 1
done
read -r r_code r_oom r_rest <"$r_exit"
printf '\\001end {nonce} %s %s %s\\n' "$r_code" "$r_at" "$r_oom"
"""
