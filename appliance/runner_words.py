"""What a machine that dials in and the door say to each other beside the jobs: lines of JSON on one session.

The runner is a client of the SSH door. It asks for one forwarding, of a port that exists only in name; through it the
appliance reaches an SSH server inside the runner. Then it opens the session COMMAND and says Hello; again when it wants
to leave. The door answers with a Word, and with another one whenever that has changed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from appliance.errors import BadRequest, printable

USER = "runner"
COMMAND = "rondo-runner"
HOST, PORT = "rondo-runner", 22  # the port that is forwarded
LONGEST_LINE = 4096
SHARED: dict[str, Any] = {  # options of all these connections
    "agent_forwarding": False,
    "compression_algs": None,
    # What is inside is encrypted twice, and this is the fastest where the processor has AES.
    "encryption_algs": "aes128-gcm@openssh.com,aes256-gcm@openssh.com,chacha20-poly1305@openssh.com",
}

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_VERSION = re.compile(r"[A-Za-z0-9.+-]{1,40}")
_MOST_RUNNING = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Hello:
    """What a runner says of itself. `name` is what its owner calls the machine; who it is, its key says."""

    version: str
    name: str
    is_leaving: bool = False  # it takes no new jobs, and goes when the last one has ended

    def line(self) -> bytes:
        return _line(asdict(self))


@dataclass(frozen=True, kw_only=True)
class Word:
    """What the door says: who the machine is here and how many nodes run on it, or why it cannot serve."""

    machine: str = ""
    running: int = 0
    may_go: bool = False  # to one that leaves: nothing runs there, and nothing of its jobs is left
    refused: str = ""

    def line(self) -> bytes:
        return _line(asdict(self))


def read_hello(line: bytes) -> Hello:
    """Raises BadRequest: what a machine says of itself may be anything."""
    found = _read(line)
    return Hello(
        version=_text(found, "version", _VERSION),
        name=_text(found, "name", NAME),
        is_leaving=found.get("is_leaving") is True,
    )


def read_word(line: bytes) -> Word:
    """Raises BadRequest."""
    found = _read(line)
    refused = found.get("refused", "")
    if not isinstance(refused, str):
        raise BadRequest("refused is no text")
    if refused:
        return Word(refused=printable(refused, LONGEST_LINE))
    return Word(
        machine=_text(found, "machine", NAME),
        running=_number(found, "running", _MOST_RUNNING),
        may_go=found.get("may_go") is True,
    )


def _line(fields: Mapping[str, object]) -> bytes:
    return json.dumps(fields).encode() + b"\n"


def _read(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        raise BadRequest("this is not a line of JSON") from None
    if not isinstance(found, dict):
        raise BadRequest("this is not a JSON object")
    return found


def _text(found: Mapping[str, Any], name: str, form: re.Pattern[str]) -> str:
    value = found.get(name)
    if not isinstance(value, str) or not form.fullmatch(value):
        raise BadRequest(f"{name} is not what it should be")
    return value


def _number(found: Mapping[str, Any], name: str, most: int) -> int:
    value = found.get(name)
    if type(value) is not int or not 0 <= value <= most:
        raise BadRequest(f"{name} is not a number from 0 to {most}")
    return value
