"""What a machine is and has: its size, its load, how fast it answers, and which tools it lacks with how to get them."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from time import time

import asyncssh

from appliance import shim
from appliance.errors import SandboxError, Unavailable, printable
from appliance.executors import windows
from appliance.executors.machine_link import SHELL, TROUBLES, Connect, Link, why_not
from appliance.executors.payload import quote

LONGEST_S = 60.0
CONNECT_S = 15.0
LONGEST_ANSWER_BYTES = 1 << 20
ROUND_TRIPS = 5
POURS_BYTES = (64 << 10, 1 << 20, 8 << 20)
ENOUGH_S = 0.5
LEAST_FREE_BYTES = 1 << 30
MOST_CLOCK_OFF_S = 5.0

_EVALUATE = 'eval "$(cat)"\n'  # of the first line, which is all that a shell is started with

_SYSTEMS = {"Linux": "linux", "Darwin": "macos", "FreeBSD": "freebsd"}
_ARCHES = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64", "amd64": "amd64", "armv7l": "arm"}


@dataclass(frozen=True, kw_only=True)
class Lack:
    """A tool that is missing, what does not work without it, and a command line that gets it."""

    tool: str
    why: str
    how: str
    is_needed: bool  # without it no job can run


@dataclass(frozen=True, kw_only=True)
class Examination:
    """A machine as it was found. What it did not say is "" or 0."""

    os: str
    arch: str
    system: str
    kernel: str
    user: str
    is_root: bool
    cpus: float
    memory_bytes: int
    available_bytes: int
    free_bytes: int  # where our files go
    folder: str
    load: float
    round_trip_ms: float  # of one command on an open connection
    pour_mb_s: float  # of bytes sent there
    clock_off_s: float  # its clock is so far ahead of ours
    bash: str
    git: str
    docker: str  # the version of an engine that answers its user
    sudo: bool  # without a password
    lacks: tuple[Lack, ...]
    warnings: tuple[str, ...]

    @property
    def trouble(self) -> str:
        """Why no job can run there, or ""."""
        needed = [lack.tool for lack in self.lacks if lack.is_needed]
        return f"it lacks {', '.join(needed)}, and no job can run without" if needed else ""

    def facts(self) -> dict[str, object]:
        """For the row of the machine."""
        return asdict(self)


async def shown_host_key(host: str, port: int) -> str:
    """The key that a machine shows, as "ssh-ed25519 AAAA…"; it has to be compared by somebody. Raises Unavailable."""
    try:
        async with asyncio.timeout(CONNECT_S):
            key = await asyncssh.get_server_host_key(
                host, port, config=None, server_host_key_algs=["ssh-ed25519", "ecdsa-sha2-nistp256", "rsa-sha2-512"]
            )
    except TimeoutError:
        raise Unavailable(f"{host}:{port} did not answer in {CONNECT_S:g} s") from None
    except TROUBLES as problem:
        raise Unavailable(f"cannot connect to {host}:{port}: {why_not(problem)}") from problem
    if key is None:
        raise Unavailable(f"{host}:{port} shows no host key that we know how to check")
    return key.export_public_key().decode().strip()


async def examine(connect: Connect, folder: str = "~/.rondo", os: str = "") -> Examination:
    """Log in and look. Changes nothing there but that `folder` is made. Raises Unavailable and SandboxError.

    A shell is started as for jobs. Where none answers, and `os` does not say what the machine is, Windows' way is tried.
    """
    try:
        return await _examine(connect, folder, windows.COMMAND_LINE if os == "windows" else SHELL)
    except SandboxError:
        if os:
            raise
    return await _examine(connect, folder, windows.COMMAND_LINE)


async def _examine(connect: Connect, folder: str, shell: str) -> Examination:
    link = Link(connect, shell=shell)
    look = f"set -- {quote(folder)}; {_EVALUATE}{shim.text('examine.sh')}".encode()
    try:
        async with asyncio.timeout(LONGEST_S):
            found = _read(await _answer(link, look))
            now_s = time()
            trip_s = statistics.median([await _time_of(link, b"") for _ in range(ROUND_TRIPS)])
            pour_mb_s = await _pour(link, trip_s)
    except TimeoutError:
        raise Unavailable(f"it did not answer all questions within {LONGEST_S:g} s") from None
    finally:
        await link.close()
    return _examination(found, now_s=now_s, trip_s=trip_s, pour_mb_s=pour_mb_s)


async def _answer(link: Link, text: bytes) -> bytes:
    """What a shell there says to its input. Raises SandboxError when it says too much."""
    channel = await link.channel(link.shell)
    try:
        await channel.write(text)
        channel.write_eof()
        answer = bytearray()
        while data := await channel.read(65536):
            answer += data
            if len(answer) > LONGEST_ANSWER_BYTES:
                raise SandboxError("the machine says more than anybody can hear; does its login print something?")
        return bytes(answer)
    except OSError:
        raise SandboxError("the machine ended the command before it had begun; can its user log in and run sh?") from None
    finally:
        channel.abort()


async def _time_of(link: Link, data: bytes) -> float:
    clock = asyncio.get_running_loop().time
    began_s = clock()
    await _answer(link, b"cat >/dev/null\n" + data)
    return clock() - began_s


async def _pour(link: Link, trip_s: float) -> float:
    """MB/s. More is sent as long as it goes quickly: a slow line is measured too."""
    speed = 0.0
    for size in POURS_BYTES:
        took_s = await _time_of(link, b"\0" * size)
        speed = size / 1e6 / max(took_s - trip_s, 1e-6)
        if took_s > ENOUGH_S:
            break
    return speed


def _read(answer: bytes) -> Mapping[str, Sequence[str]]:
    """The lines between begin and end: what a login prints comes before. Raises SandboxError when there are none."""
    found: dict[str, list[str]] = {}
    for line in answer.decode("utf-8", "replace").splitlines():
        word, _, value = line.partition(" ")
        if word == "begin":
            found = {}
        found.setdefault(word, []).append("".join(each for each in value if each.isprintable())[:200])
    if not {"begin", "folder", "end"} <= found.keys():
        said = printable(" ".join(answer.decode("utf-8", "replace").split()), 300)
        raise SandboxError(f"there is no sh that answers; it said: {said or 'nothing'}")
    return found


def _examination(found: Mapping[str, Sequence[str]], *, now_s: float, trip_s: float, pour_mb_s: float) -> Examination:
    def word(name: str) -> str:
        return found.get(name, [""])[0]

    def kib(name: str) -> int:
        return int(number(word(name))) * 1024

    off_s = number(word("time")) - now_s if word("time") else 0.0
    return Examination(
        os=_system(word("os")),
        arch=_ARCHES.get(word("arch"), word("arch")),
        system=word("system"),
        kernel=word("kernel"),
        user=word("user"),
        is_root=word("uid") == "0",
        cpus=number(word("cpus")),
        memory_bytes=kib("memory_kib"),
        available_bytes=kib("available_kib"),
        free_bytes=kib("free_kib"),
        folder=word("folder"),
        load=number(word("load")),
        round_trip_ms=trip_s * 1000,
        pour_mb_s=pour_mb_s,
        clock_off_s=off_s if abs(off_s) > 1 else 0.0,  # it tells whole seconds
        bash=word("bash"),
        git=word("git").removeprefix("git version "),
        docker=word("docker"),
        sudo=word("sudo") == "yes",
        lacks=_lacks(found),
        warnings=_warnings(found, off_s),
    )


def _system(name: str) -> str:
    return "windows" if name.startswith(("MINGW", "MSYS", "CYGWIN")) else _SYSTEMS.get(name, name.lower())


def number(text: str) -> float:
    """A measure that a machine has said; 0 for what is none."""
    try:
        found = float(text)
    except ValueError:
        return 0.0
    return found if 0 <= found < 1e15 else 0.0


def _span(seconds: float) -> str:
    for unit, each in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * each:
            return f"{seconds / each:.0f} {unit}"
    return f"{seconds:.0f} s"


def _warnings(found: Mapping[str, Sequence[str]], off_s: float) -> tuple[str, ...]:
    said = []
    if "unwritable" in found:
        said.append(f"its user may not make {found['unwritable'][0]}: choose another folder, or give it to that user")
    elif "runs" not in found:
        said.append(f"programs cannot be run in {found['folder'][0]}: is it mounted noexec? choose another folder")
    if "free_kib" in found and int(number(found["free_kib"][0])) * 1024 < LEAST_FREE_BYTES:
        said.append(f"there is less than {LEAST_FREE_BYTES >> 30} GiB free in {found['folder'][0]}")
    if abs(off_s) > MOST_CLOCK_OFF_S:
        said.append(
            f"its clock is {_span(abs(off_s))} {'ahead of' if off_s > 0 else 'behind'} ours: let it follow a time server"
        )
    if "docker" in found.get("tool", ()) and "docker" not in found:
        said.append("there is a docker command, and no engine answers it: start it, and let its user use it")
    return tuple(said)


# What is missing

NEEDED = (
    *("cat", "chmod", "cut", "dd", "find", "grep", "head", "kill", "mkdir", "mkfifo", "mv", "rm", "sed", "sleep", "sort"),
    *("tail", "tar", "tr", "uname", "wc"),
)
_WANTED: tuple[tuple[str, str], ...] = (
    ("bash", "steps run under sh, and those that need bash fail"),
    ("git", "a checkout brings the files without their history"),
    ("gzip", "caches and workspaces travel unpacked"),
    ("curl", "most orbs use it"),
    ("setsid", "what a step leaves behind may outlive it"),
)
_PACKAGES: Mapping[str, str] = {
    **dict.fromkeys(NEEDED, "coreutils"),
    **{tool: tool for tool in ("grep", "sed", "tar")},
    "find": "findutils",
    "ps": "procps",
    "setsid": "util-linux",
}
"""What has a tool in most distributions, where its name is another than the tool's."""
_INSTALL: Mapping[str, str] = {
    "apt-get": "sudo apt-get install -y {}",
    "dnf": "sudo dnf install -y {}",
    "yum": "sudo yum install -y {}",
    "apk": "sudo apk add {}",
    "pacman": "sudo pacman -S --noconfirm {}",
    "zypper": "sudo zypper install -y {}",
    "brew": "brew install {}",
    "pkg": "sudo pkg install -y {}",
}


def _lacks(found: Mapping[str, Sequence[str]]) -> tuple[Lack, ...]:
    there = set(found.get("tool", ()))
    install = _INSTALL.get(found.get("packages", [""])[0], "install {}")
    is_root = found.get("uid", [""])[0] == "0"

    def how(tool: str) -> str:
        line = install.format(_PACKAGES.get(tool, tool))
        return line.removeprefix("sudo ") if is_root else line

    needed = [tool for tool in NEEDED if tool not in there]
    if "proc" not in found and "ps" not in there:
        needed.append("ps")  # one of both, to find what a job has left behind
    lacks = [Lack(tool=tool, why="no job can run without", how=how(tool), is_needed=True) for tool in needed]
    if "fifo" not in found and "mkfifo" in there and "folder" in found:
        why = "FIFOs cannot be made in the folder for our files, and no job can run without"
        lacks.append(Lack(tool="a folder with FIFOs", why=why, how="choose another folder", is_needed=True))
    for tool, why in _WANTED:
        if tool not in there and not (tool == "setsid" and "busybox" in there):
            lacks.append(Lack(tool=tool, why=why, how=how(tool), is_needed=False))
    return tuple(lacks)
