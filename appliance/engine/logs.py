"""A step's log on its way from the sandbox to its file: masked before it is stored, and exact across a restart.

Masking changes lengths and holds bytes back (a secret may be cut by a chunk's border), so the file's size does not tell
how much of the sandbox's output it holds. Therefore every append also notes the pair (bytes of output used up, size of
the file) in a second file. After `kill -9` the writer cuts the log back to the last noted pair and the reader asks the
sandbox for the output from there: what was written twice is the same, what was lost is fetched, nothing is doubled.

Most logs hold nothing but the output, byte for byte, and to make a file costs as much as all that is written to it. So
the notes begin, with the pair as it stands, before the first append that makes a difference: a log without them holds
exactly the output up to its size.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import struct
import urllib.parse
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import re2

from appliance.errors import DiskFull, lacks_room

MASK = b"****"
_LEAST_SECRET = 4  # characters; shorter ones would blacken the log (spec 1.13)
_LEAST_LINE = 8  # a line of a multi-line secret is a needle of its own from this length on
_HEAD = 16
_SHORT_BYTES = 32 << 10
_LONGEST = 1024  # a longer secret is looked for in pieces: what could begin a needle has to be held back and compared
_WIDTHS = (76, 64)
_WRAPPED_FROM, _WRAPPED_TO = 48, 16 << 10  # shorter ones stay on one line; of longer ones the lines would be too many
_NOT_SECRET = frozenset({"true", "false", "True", "False"})
_PAIR = struct.Struct("<QQ")


class Needles:
    """What to look for, and what a search for it needs: worked out once for all logs of a job."""

    def __init__(self, wanted: Iterable[bytes]) -> None:
        self.by_length = sorted(wanted, key=len, reverse=True)
        self.in_order = sorted(self.by_length)
        self.by_start: dict[bytes, list[bytes]] = {}  # by their first characters, of each the longest first
        for needle in self.by_length:
            self.by_start.setdefault(needle[:_LEAST_SECRET], []).append(needle)
        self._heads = sorted({needle[:_HEAD] for needle in self.in_order})
        self._pattern: Any = None
        self._looked_bytes = 0

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.by_length)

    def __len__(self) -> int:
        return len(self.by_length)

    @property
    def pattern(self) -> Any:
        """Finds heads. To make it takes a millisecond, and of thousands of needles more than an event loop has."""
        if self._pattern is None:
            self._pattern = _alternation(self._heads)
        return self._pattern

    def may_be_in(self, text: bytes) -> bool:
        """A first look: most logs are short and hold nothing, so the first ones are looked through without the pattern.

        By whichever is less: the places of the text, or the needles.
        """
        if self._pattern is not None or self._looked_bytes >= _SHORT_BYTES or len(text) >= _SHORT_BYTES:
            return bool(self._heads)
        self._looked_bytes += len(text)
        if len(text) > len(self._heads):
            return any(head in text for head in self._heads)
        return any(text[at : at + _LEAST_SECRET] in self.by_start for at in range(len(text) - _LEAST_SECRET + 1))


def needles(secrets: Iterable[str]) -> Needles:
    """What to look for: the values, long lines of multi-line values, and their base64 (wrapped too), URL and JSON forms."""
    found: set[bytes] = set()
    for secret in secrets:
        if len(secret) < _LEAST_SECRET or secret in _NOT_SECRET:
            continue
        parts = {secret, secret.replace("\n", "\r\n"), secret.strip()}
        if "\n" in secret.strip():
            parts |= {line.strip() for line in secret.splitlines() if len(line.strip()) >= _LEAST_LINE}
        for part in parts:
            found |= _forms(part)
        found |= _wrapped(secret.strip())
    pieces = {piece for needle in found if len(needle) >= _LEAST_SECRET for piece in _pieces(needle)}
    return Needles(pieces)


def _pieces(needle: bytes) -> Iterator[bytes]:
    """The needle in pieces of bounded size, none of them so short that it could be anything."""
    while len(needle) > _LONGEST + _LEAST_LINE:
        yield needle[:_LONGEST]
        needle = needle[_LONGEST:]
    yield needle


def _forms(text: str) -> set[bytes]:
    raw = text.encode()
    forms = {raw, urllib.parse.quote(text, safe="").encode(), json.dumps(text)[1:-1].encode()}
    if len(raw) >= _LEAST_LINE:
        forms |= _base64_cores(raw)
    return forms


def _wrapped(text: str) -> set[bytes]:
    """The lines into which `base64` (76 letters) and openssl (64) break a longer secret, such as the file of a key."""
    if not _WRAPPED_FROM < len(text) <= _WRAPPED_TO:
        return set()
    lines = set()
    for raw in (text.encode(), f"{text}\n".encode()):
        encoded = base64.b64encode(raw)
        lines |= {encoded[at : at + width] for width in _WIDTHS for at in range(0, len(encoded), width)}
    return {line for line in lines if len(line) >= _LEAST_LINE}


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

    re2 looks for the heads of all needles at once, at ten times the speed of a search for each; whether a needle is
    there is then compared. The whole needles in one pattern would be slow to compile, and at some megabytes refused.
    """

    def __init__(self, wanted: Needles) -> None:
        self._wanted = wanted
        self._most_held = len(wanted.by_length[0]) - 1 if wanted else 0
        self.held = b""

    def feed(self, data: bytes) -> bytes:
        """The masked bytes that are certain now."""
        if not self._wanted:
            return data
        text = self.held + data
        return self._take(text, len(text) - self._keep(text))

    def end(self) -> bytes:
        """The rest, masked; nothing is held back any more."""
        return self._take(self.held, len(self.held))

    def mask(self, text: str) -> str:
        """Words that stand for themselves, not a piece of the stream."""
        raw = text.encode("utf-8", "replace")
        return self._masked(raw, len(raw))[0].decode("utf-8", "replace")

    def _keep(self, text: bytes) -> int:
        """How many bytes at the end could begin a needle: usually none, so that live logs are not late."""
        tail = text[-self._most_held :] if self._most_held else b""
        return next((len(tail) - at for at in range(len(tail)) if self._is_beginning(tail, at)), 0)

    def _is_beginning(self, tail: bytes, at: int) -> bool:
        """Whether a needle begins like `tail` from `at` on, and is longer. Sorted, it stands behind where that would.

        Not by a set of all beginnings: those of one secret of 64 KiB are gigabytes.
        """
        if len(tail) - at >= _LEAST_SECRET and tail[at : at + _LEAST_SECRET] not in self._wanted.by_start:
            return False
        text = tail[at:]
        known = self._wanted.in_order
        place = bisect_right(known, text)
        return place < len(known) and known[place].startswith(text)

    def _take(self, text: bytes, cut: int) -> bytes:
        """Mask and give what stands before `cut`, or before the end of the needle that reaches over it; hold the rest."""
        masked, done = self._masked(text, cut)
        self.held = text[done:]
        return masked

    def _masked(self, text: bytes, cut: int) -> tuple[bytes, int]:
        pieces, done = [], 0
        for start, end in self._needles_in(text):
            if start >= cut:
                break
            pieces += [text[done:start], MASK]
            done = end
        cut = max(cut, done)
        pieces.append(text[done:cut])
        return b"".join(pieces), cut

    def _needles_in(self, text: bytes) -> Iterator[tuple[int, int]]:
        """Where needles begin and end: the first one first, of several in one place the longest."""
        at = 0
        if not self._wanted.may_be_in(text):
            return
        while (head := self._wanted.pattern.search(text, at)) is not None:
            start = head.start()
            near = self._wanted.by_start[text[start : start + _LEAST_SECRET]]
            needle = next((needle for needle in near if text.startswith(needle, start)), b"")
            if needle:
                yield start, start + len(needle)
            at = start + max(len(needle), 1)


def _alternation(heads: Sequence[bytes]) -> Any:
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.max_mem = 64 << 20
    return re2.compile(b"|".join(re2.escape(head) for head in heads), options)


class LogWriter:
    """Appends one step's output to its file. Raises DiskFull when there is no room; what it was given is then unsaid."""

    def __init__(self, path: Path, secret_needles: Needles) -> None:
        self._masker = Masker(secret_needles)
        self._notes_path = path.with_suffix(".idx")
        self._noted = 0  # pairs
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        self._notes: int | None = None  # while the log is the output and nothing else
        with contextlib.suppress(FileNotFoundError):
            self._notes = os.open(self._notes_path, os.O_RDWR)
        self.offset, self.size = self._last_pair()
        self.is_resumed = self.offset > 0
        os.ftruncate(self._file, self.size)

    def _last_pair(self) -> tuple[int, int]:
        """The newest note that the log really reaches (a power cut may have kept the note and lost the log).

        Without what we said at that offset ourselves: whoever goes on says it again.
        """
        log_size = os.fstat(self._file).st_size
        if self._notes is None:
            return log_size, log_size
        notes = os.pread(self._notes, os.fstat(self._notes).st_size, 0)
        pairs = list(_PAIR.iter_unpack(notes[: len(notes) - len(notes) % _PAIR.size]))
        while pairs and pairs[-1][1] > log_size:
            pairs.pop()
        while len(pairs) > 1 and pairs[-2][0] == pairs[-1][0]:
            pairs.pop()
        offset, size = pairs[-1] if pairs else (0, 0)
        if not offset:  # only words of ours
            pairs, size = [], 0
        self._noted = len(pairs)
        os.ftruncate(self._notes, self._noted * _PAIR.size)
        return offset, size

    def look_for(self, masker: Masker) -> None:
        """Mask by this fresh one from now on; what is held back already is looked through by it too."""
        held, self._masker = self._masker.held, masker
        self._masker.held = held

    def write(self, output: bytes) -> None:
        """Take output of the sandbox."""
        held = self._masker.held
        try:
            self._append(self._masker.feed(output), self.offset + len(held) + len(output) - len(self._masker.held))
        except DiskFull:
            self._masker.held = held
            raise

    def say(self, text: str) -> None:
        """Words of ours between the outputs. Masked as well: a cache's key or a file's name may hold a secret."""
        self._append(self._masker.end() + self._masker.mask(text).encode("utf-8", "replace"), self.offset)

    def interject(self, text: str) -> None:
        """Words of ours amid the output: in front of what is held back, which may be the beginning of a secret."""
        self._append(self._masker.mask(text).encode("utf-8", "replace"), self.offset)

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
            if self._notes is None and len(data) != offset - self.offset:
                self._begin_notes()
            _write_at(self._file, data, self.size)
            self._note(offset, self.size + len(data))
        except OSError as error:
            if not lacks_room(error):
                raise
            raise DiskFull(f"no room for logs below {self._notes_path.parent}") from error
        self.size += len(data)
        self.offset = offset

    def _begin_notes(self) -> None:
        """They begin with the pair as it stands or, where there is no room for it, not at all."""
        notes = os.open(self._notes_path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            _write_at(notes, _PAIR.pack(self.offset, self.size), 0)
        except OSError:
            os.close(notes)
            raise
        self._notes, self._noted = notes, 1

    def _note(self, offset: int, size: int) -> None:
        if self._notes is not None:
            _write_at(self._notes, _PAIR.pack(offset, size), self._noted * _PAIR.size)
            self._noted += 1

    def close(self) -> None:
        os.close(self._file)
        if self._notes is not None:
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
