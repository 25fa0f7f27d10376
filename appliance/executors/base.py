"""The executor protocol: where a node runs. Docker, the local host, machines and the fake keep one contract.

An `Executor` opens a `Sandbox` for one node. In the sandbox lives a supervisor (`shim/supervise.sh`) that owns the
commands, their output and their exit codes; the appliance is only its reader. So whoever reads may die at any
moment: a new reader re-attaches and goes on at the byte where the old one stopped.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, runtime_checkable

Progress = Callable[[bytes], Awaitable[None]]
"""Takes text for the step "Spin up environment" (image pull, container start)."""


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """A login for an image registry, already expanded. Never logged, never in argv or labels."""

    username: str
    password: str = field(repr=False)


Notice = Callable[[str], Awaitable[None]]
"""Takes a sentence about the sandbox itself, for whoever reads the output of a command."""

LogIn = Callable[[], Awaitable[Credentials]]
"""Makes a login when an image has to be pulled. Raises ImageError and SandboxError."""


@dataclass(frozen=True, kw_only=True)
class Container:
    """One container of a node; the first of a spec is the primary one."""

    image: str
    name: str | None = None
    entrypoint: tuple[str, ...] | None = None
    command: tuple[str, ...] | None = None
    user: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    credentials: Credentials | None = None
    log_in: LogIn | None = field(default=None, repr=False)  # for credentials that are made first


@dataclass(frozen=True, kw_only=True)
class Mount:
    """A read-only path of the host shown inside every job of this appliance (a setting, never the repository's)."""

    source: str
    target: str


DOCKER_SOCKET = "/run/rondo/docker.sock"
"""Where a Docker engine answers in sandboxes that have one."""


class DockerAccess(StrEnum):
    """Which Docker engine a job may use."""

    NONE = "none"
    PRIVATE = "private"  # one of its own, once `Sandbox.start_docker` made it
    SHARED = "shared"  # the one that the sandbox itself runs on: as good as root on that machine


@dataclass(frozen=True, kw_only=True)
class PrivateDocker:
    """A Docker engine for one node. `layers` names what it keeps between jobs; None: nothing."""

    cpus: float
    memory_bytes: int
    layers: str | None = None


@dataclass(frozen=True, kw_only=True)
class SandboxSpec:
    """What a node needs. `node` is unique in this appliance ("812.0") and safe in names and labels."""

    node: str
    containers: tuple[Container, ...] = ()  # empty for executors without images
    cpus: float = 2.0
    memory_bytes: int = 4 << 30
    labels: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[Mount, ...] = ()
    docker: DockerAccess = DockerAccess.NONE


@dataclass(frozen=True, kw_only=True)
class Command:
    """One command for the supervisor.

    `id` is unique in the sandbox, [A-Za-z0-9._-]+; a command is started at most once per id, ever.
    `script` is run by `shell` (split at white space, the script's path appended; a trailing `-c` gets the text).
    `shell=None` picks `/bin/bash -eo pipefail`, or `/bin/sh -eo pipefail` where there is no bash (spec 1.8.1).
    `environment` is exported first, in order; values are literal. It travels on the supervisor's stdin only.
    `working_directory` may begin with `~`; it is created. A relative one is relative to `base_directory`.
    """

    id: str
    script: str
    shell: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    working_directory: str = "~"
    base_directory: str = "~"
    background: bool = False


@dataclass(frozen=True)
class Exit:
    """How a command ended: its exit code (128 + signal when killed by one)."""

    code: int
    out_of_memory: bool = False  # the kernel killed something of this sandbox for memory while it ran
    halts: bool = False  # the job asked to end after this command, as a success (`circleci step halt`)
    no_room: bool = False  # its disk was too full to begin it, or for its output


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What one container (or all processes of a sandbox without containers) has taken."""

    cpu_s: float  # CPU time since the start
    memory_bytes: int  # held now, without file pages that the kernel would drop first
    written_bytes: int  # to disk since the start, as far as the kernel knows whose writes they were
    processes: int  # and threads, now


@dataclass(frozen=True)
class LogMark:
    """A place in a service's output: behind so many pieces of the time `at_ns` (nanoseconds since 1970)."""

    at_ns: int = 0
    count: int = 0


@dataclass(frozen=True, kw_only=True)
class Readiness:
    """What shows that a service can be used: ports it listens on, as far as we can see, and its image's own check."""

    ports: frozenset[int] = frozenset()
    is_healthy: bool | None = None  # None: the image has no health check


@dataclass(frozen=True)
class Question:
    """What a command asks of the appliance, by a command of ours in it. Who asks is this sandbox; the text is anybody's.

    `id` is of [0-9a-z], `text` one line. The answer is `put` as ANSWERS + id.
    """

    id: str
    text: str


ANSWERS = "answers/"


class Process(Protocol):
    """A process in the sandbox beside the supervised commands: data streams and debug shells. Not re-attachable."""

    async def read(self) -> bytes:
        """The next bytes of output, b"" at the end. With a TTY stdout and stderr are one."""

    async def write(self, data: bytes) -> None:
        """Send input; returns when it has been taken (back-pressure). Errors after the end are ignored."""

    async def write_eof(self) -> None: ...

    async def resize(self, columns: int, rows: int) -> None:
        """A no-op without a TTY."""

    async def wait(self) -> int:
        """The exit code. The output has to be read by somebody meanwhile."""

    async def kill(self) -> None:
        """End the process and all it started (SIGHUP, then SIGKILL). May be repeated; also after its end."""


@runtime_checkable
class TakesFiles(Protocol):
    """A process on this host, whose input the kernel itself can fill from a file."""

    async def write_file(self, descriptor: int) -> None:
        """Send an open file from its beginning to its end. Errors after the end of the process are ignored."""


@runtime_checkable
class TellsLoad(Protocol):
    """An executor that learns from each `check` how busy its machine is."""

    load: float | None
    """How many processes ran or waited to run in the minute before; None: it has not said."""


class Service(Protocol):
    """One service container of a node. All may raise SandboxLost (it has gone) and SandboxError."""

    def output(self, after: LogMark, *, is_followed: bool = True) -> AsyncGenerator[tuple[bytes, LogMark], None]:
        """What it says, from behind `after` (LogMark() is the beginning).

        Yields chunks (stdout and stderr as written, never empty, of bounded size) with the mark behind each. Ends when
        the service has ended, or, not `is_followed`, with what there is. What the engine has dropped meanwhile is lost.
        """

    async def exit(self) -> Exit:
        """Wait until it ends by itself."""

    async def readiness(self) -> Readiness:
        """Whether it can be used now."""


class Sandbox(Protocol):
    """Where one node runs. Made by `Executor.open`, or found again by `Executor.reattach`."""

    @property
    def ref(self) -> str:
        """What `reattach` and `remove` take; fits in a row; no secret."""

    def run(self, command: Command, offset: int = 0, notice: Notice | None = None) -> AsyncGenerator[bytes | Exit, None]:
        """Start `command` unless its id was started before, and follow its output from byte `offset`.

        Yields chunks of output (stdout and stderr in the order written, never empty, at most 256 KiB), then one Exit.
        `notice` hears when the sandbox does not answer for a while, and when it does again.
        Only one foreground command at a time; commands with `background=True` may be followed beside it.
        Breaking off the iteration (or dying) does not touch the command: `run` it again with the new offset.
        Raises SandboxLost when the sandbox has gone, SandboxError when it cannot do what was asked.
        """

    async def kill(self, command_id: str, grace_s: float) -> None:
        """Stop a command and all in its process group: SIGTERM, SIGKILL after `grace_s`. May be repeated.

        Its follower sees the Exit. Does nothing when it has ended or never began.
        """

    async def process(
        self,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        working_directory: str | None = None,
        tty: tuple[int, int] | None = None,
        user: str | None = None,
    ) -> Process:
        """Start a process beside the commands. `tty` is (columns, rows); without one stderr joins stdout.

        `environment` does not show in any argv. `working_directory` may begin with `~`.
        """

    async def put(self, name: str, data: bytes) -> None:
        """Show the job a file below $CIRCLE_INTERNAL_TASK_DATA. It is there whole or not at all; in no argv.

        `name` is a path of ours. Raises SandboxError when there is no room for it.
        """

    async def install(self, name: str, text: str) -> None:
        """Put a command (a text for sh, without its first line) first on the PATH of every step. May be repeated."""

    async def fetch(self, name: str, most_bytes: int) -> bytes:
        """A plain file below $CIRCLE_INTERNAL_TASK_DATA that a command of ours left there. What is in it is the job's.

        Raises SandboxError when there is none, or it holds more than `most_bytes`.
        """

    def questions(self) -> AsyncGenerator[Question, None]:
        """What commands of this sandbox ask, as they ask it; for ever, or until the sandbox is lost.

        Runs beside everything else here; one reader at a time. A question without an answer is asked again, also of the
        reader after this one: so it may come twice, and is never lost.
        """

    async def environment_of(self, command_id: str | None = None) -> Mapping[str, str]:
        """The exports of the latest started command (or the one named): what a debug shell should see."""

    def service(self, index: int) -> Service:
        """Service container `index`; 1 is the first after the primary."""

    async def usage(self) -> tuple[Usage, ...]:
        """What each container has taken so far, the primary one first; () when it cannot be told (now).

        Costs about a millisecond, and the steps nothing. Never raises for a sandbox that is in trouble or gone.
        """

    async def start_docker(self, want: PrivateDocker) -> str:
        """Make a Docker engine of the node's own answer at DOCKER_SOCKET; what is to be said about it, or "".

        For sandboxes opened with DockerAccess.PRIVATE. May be repeated. The engine and all in it end with the sandbox.
        Raises Unavailable where there can be none, with what to do about it.
        """

    async def detach(self) -> None:
        """Let go of the connection; the sandbox and its commands live on. May be repeated."""

    async def close(self) -> None:
        """End and remove the sandbox with all in it. May be repeated; also when it is already gone."""


class Executor(Protocol):
    """Opens sandboxes of one kind. Made in `app.py`; `close` ends its connections, not its sandboxes."""

    name: str

    async def open(self, spec: SandboxSpec, progress: Progress) -> Sandbox:
        """Make a sandbox and start its supervisor. Text about it goes to `progress`.

        A cancelled or failed `open` leaves nothing behind. Raises ImageError (unknown image, no access, no shell in
        it: the user's trouble) or SandboxError (the engine's trouble).
        """

    async def reattach(self, ref: str) -> Sandbox:
        """Find a running sandbox after a restart. Raises SandboxLost when it is gone or its supervisor has ended."""

    async def list(self) -> list[str]:
        """The refs of all sandboxes that carry this appliance's instance label, whatever their state."""

    async def remove(self, ref: str) -> None:
        """Remove a sandbox by ref, with services, volumes and networks. Does nothing when it is gone."""

    async def kept_layers(self) -> Sequence[str]:
        """The names of all that private Docker engines have kept here."""

    async def remove_layers(self, name: str) -> None:
        """Remove it, unless a job uses it now. Does nothing when it is gone."""

    async def check(self) -> str | None:
        """None when jobs can be run here now; otherwise one sentence on what is wrong and what to do."""

    async def close(self) -> None: ...
