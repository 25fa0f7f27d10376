"""A step's log on its way from the sandbox to its file: masked before it is stored, and exact across a restart.

Masking changes lengths and holds bytes back (a secret may be cut by a chunk's border), so the file's size does not tell
how much of the sandbox's output it holds. Therefore every append also notes the pair (bytes of output used up, size of
the file) in a second file. After `kill -9` the writer cuts the log back to the last noted pair and the reader asks the
sandbox for the output from there: what was written twice is the same, what was lost is fetched, nothing is doubled.
"""

from __future__ import annotations

import base64
import errno
import json
import os
import struct
import urllib.parse
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import re2

from appliance.errors import DiskFull

MASK = b"****"
_LEAST_SECRET = 4  # characters; shorter ones would blacken the log (spec 1.13)
_LEAST_LINE = 8  # a line of a multi-line secret is a needle of its own from this length on
_NOT_SECRET = frozenset({"true", "false", "True", "False"})
_PAIR = struct.Struct("<QQ")


def needles(secrets: Iterable[str]) -> list[bytes]:
    """What to look for: the values, long lines of multi-line values, and their base64, URL and JSON forms."""
    found: set[bytes] = set()
    for secret in secrets:
        if len(secret) < _LEAST_SECRET or secret in _NOT_SECRET:
            continue
        parts = {secret, secret.replace("\n", "\r\n"), secret.strip()}
        if "\n" in secret.strip():
            parts |= {line.strip() for line in secret.splitlines() if len(line.strip()) >= _LEAST_LINE}
        for part in parts:
            found |= _forms(part)
    return sorted((needle for needle in found if len(needle) >= _LEAST_SECRET), key=len, reverse=True)


def _forms(text: str) -> set[bytes]:
    raw = text.encode()
    forms = {raw, urllib.parse.quote(text, safe="").encode(), json.dumps(text)[1:-1].encode()}
    if len(raw) >= _LEAST_LINE:
        forms |= _base64_cores(raw)
    return forms


def _base64_cores(raw: bytes) -> set[bytes]:
    """The part of the base64 text that does not depend on what stands before or after, for the three alignments."""
    cores = set()
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + raw)
        start = (shift * 8 + 5) // 6
        end = (shift + len(raw)) * 8 // 6
        core = encoded[start:end]
        if len(core) >= _LEAST_LINE:
            cores |= {core, core.replace(b"+", b"-").replace(b"/", b"_")}
    return cores


class Masker:
    """Replaces needles in a stream, the same however it is cut. What might begin a needle is held back until more comes.

    re2 looks for all needles at once, at ten times the speed of a search for each.
    """

    def __init__(self, wanted: list[bytes]) -> None:
        self._pattern = _alternation(wanted) if wanted else None
        self._beginnings = {needle[:size] for needle in wanted for size in range(1, len(needle))}
        self._longest = max((len(needle) for needle in wanted), default=1) - 1
        self.held = b""

    def feed(self, data: bytes) -> bytes:
        """The masked bytes that are certain now."""
        if self._pattern is None:
            return data
        text = self.held + data
        return self._take(text, len(text) - self._keep(text))

    def end(self) -> bytes:
        """The rest, masked; nothing is held back any more."""
        return self._take(self.held, len(self.held))

    def _keep(self, text: bytes) -> int:
        """How many bytes at the end could begin a needle: usually none, so that live logs are not late."""
        for size in range(min(self._longest, len(text)), 0, -1):
            if text[-size:] in self._beginnings:
                return size
        return 0

    def _take(self, text: bytes, cut: int) -> bytes:
        """Mask and give what stands before `cut`, or before the end of the needle that reaches over it; hold the rest."""
        pieces, done = [], 0
        for match in self._pattern.finditer(text) if self._pattern is not None else ():
            if match.start() >= cut:
                break
            pieces += [text[done : match.start()], MASK]
            done = match.end()
        cut = max(cut, done)
        self.held = text[cut:]
        pieces.append(text[done:cut])
        return b"".join(pieces)


def _alternation(wanted: list[bytes]) -> Any:
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.max_mem = 64 << 20
    return re2.compile(b"|".join(re2.escape(needle) for needle in wanted), options)


class LogWriter:
    """Appends one step's output to its file. Raises DiskFull when there is no room; what it was given is then unsaid."""

    def __init__(self, path: Path, secret_needles: list[bytes]) -> None:
        self._masker = Masker(secret_needles)
        self._notes_path = path.with_suffix(".idx")
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        self._notes = os.open(self._notes_path, os.O_RDWR | os.O_CREAT, 0o600)
        self.offset, self.size = self._last_pair()
        self.is_resumed = self.offset > 0
        os.ftruncate(self._file, self.size)

    def _last_pair(self) -> tuple[int, int]:
        """The newest note that the log really reaches (a power cut may have kept the note and lost the log)."""
        log_size = os.fstat(self._file).st_size
        count = os.fstat(self._notes).st_size // _PAIR.size
        for number in range(count - 1, -1, -1):
            offset, size = _PAIR.unpack(os.pread(self._notes, _PAIR.size, number * _PAIR.size))
            if size <= log_size:
                os.ftruncate(self._notes, (number + 1) * _PAIR.size)
                # Without output of the sandbox there are only our own words, which will be said again.
                return (offset, size) if offset else (0, 0)
        os.ftruncate(self._notes, 0)
        return 0, 0

    def write(self, output: bytes) -> None:
        """Take output of the sandbox."""
        held = self._masker.held
        try:
            self._append(self._masker.feed(output), self.offset + len(held) + len(output) - len(self._masker.held))
        except DiskFull:
            self._masker.held = held
            raise

    def say(self, text: str) -> None:
        """Words of ours between the outputs."""
        self._append(self._masker.end() + text.encode("utf-8", "replace"), self.offset)

    def flush(self) -> None:
        """Let go of held-back bytes: the output has ended."""
        held = self._masker.held
        if held:
            try:
                self._append(self._masker.end(), self.offset + len(held))
            except DiskFull:
                self._masker.held = held
                raise

    def _append(self, data: bytes, offset: int) -> None:
        if not data and offset == self.offset:
            return
        try:
            _write_at(self._file, data, self.size)
            _write_at(self._notes, _PAIR.pack(offset, self.size + len(data)), os.fstat(self._notes).st_size)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise DiskFull(f"no room for logs below {self._notes_path.parent}") from error
        self.size += len(data)
        self.offset = offset

    def close(self) -> None:
        os.close(self._file)
        os.close(self._notes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _write_at(descriptor: int, data: bytes, position: int) -> None:
    """Write all of `data` at `position`; after an error nothing of it counts, since sizes are ours to keep."""
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, position)
        view, position = view[written:], position + written
