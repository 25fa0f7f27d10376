"""Finding one answer of the supervisor in a stream that may begin with the rest of an older one. No I/O."""

from __future__ import annotations

import re
from dataclasses import dataclass

from appliance.errors import SandboxError

_LONGEST_MARK = 256
_END = re.compile(rb"(none|\d{1,5}) (-|\d{1,18}) (\d{1,3})\s*")
_FORGED = "the supervisor's answer cannot be understood: did the job write to its channel?"


@dataclass(frozen=True)
class End:
    """The end mark of a command. `size_bytes` is None when nobody followed: then all there was has been printed."""

    code: int
    size_bytes: int | None
    out_of_memory: bool
    halts: bool = False
    no_room: bool = False


class UnknownCommand(Exception):
    """The supervisor says that it never got this command."""


class Answer:
    """Cuts `begin NONCE`, output, `end NONCE CODE SIZE FLAGS` out of what is fed to it."""

    def __init__(self, nonce: str) -> None:
        self.has_begun = False
        self.is_done = False
        self._begin = f"\x01begin {nonce}\n".encode()
        self._end = f"\x01end {nonce} ".encode()
        self._held = b""

    def feed(self, data: bytes) -> tuple[bytes, End | None]:
        """The output bytes in `data` that are surely output, and the end when it came."""
        data = self._held + data
        self._held = b""
        if not self.has_begun:
            at = data.find(self._begin)
            if at < 0:
                self._held = data[len(data) - _overlap(data, self._begin) :]
                return b"", None
            self.has_begun = True
            data = data[at + len(self._begin) :]
        return self._output(data)

    def _output(self, data: bytes) -> tuple[bytes, End | None]:
        at = data.find(self._end)
        if at < 0:
            at = len(data) - _overlap(data, self._end)
            self._held = data[at:]
            return data[:at], None
        stop = data.find(b"\n", at)
        if stop < 0:
            if len(data) - at > _LONGEST_MARK:
                raise SandboxError(_FORGED)
            self._held = data[at:]
            return data[:at], None
        self.is_done = True
        return data[:at], _parse_end(data[at + len(self._end) : stop])


def _parse_end(words: bytes) -> End:
    """A job that writes to its supervisor's channel can only spoil its own answer: that is an error of its sandbox."""
    found = _END.fullmatch(words)
    if found is None:
        raise SandboxError(_FORGED)
    code, size, flags = found.groups()
    if code == b"none":
        raise UnknownCommand
    said = int(flags)
    return End(int(code), None if size == b"-" else int(size), bool(said & 1), bool(said & 2), bool(said & 4))


def _overlap(data: bytes, mark: bytes) -> int:
    """How many bytes at the end of `data` could be the beginning of `mark`."""
    at = data.rfind(mark[:1], max(0, len(data) - len(mark) + 1))
    while at >= 0:
        if mark.startswith(data[at:]):
            return len(data) - at
        at = data.rfind(mark[:1], max(0, len(data) - len(mark) + 1), at)
    return 0
