"""Reading a tar that a job sends: a small reader of our own, since Python's `tarfile` believes what it is told.

A few bytes of a hostile archive make `tarfile` read gigabytes into memory (the length of a pax header, the map of a
sparse file, a list of all members) or recurse without end. Here a member is a name, a size and its bytes; of the many
extensions only long names and large sizes are understood, and everything that is held in memory is bounded.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import IO, Any

from appliance.errors import ImageError, SandboxError

_BLOCK = 512
_CHUNK = 1 << 16
_LARGEST_EXTENSION = 1 << 20
_EXTENSIONS_IN_A_ROW = 16
_PLAIN = (b"0", b"\0", b"7")


_KILLED = (137, 143)


class BrokenTar(Exception):
    """This is no tar, or one that asks for too much; the text says what."""


def failure(code: int, more: str = "") -> SandboxError | ImageError:
    """What it means that the tar in a sandbox ended with a code: that somebody killed it, or else the job's own trouble.

    That may be a file that it may not read, a full disk, a tar that is none: the step fails, and the job goes on.
    """
    kind = SandboxError if code in _KILLED else ImageError
    return kind(f"tar in the sandbox ended with code {code}{more}")


class Member(io.RawIOBase):
    """A plain file: its bytes can be read until the next member is asked for. Raises BrokenTar when it is cut off."""

    def __init__(self, name: str, size: int, stream: IO[bytes]) -> None:
        self.name = name  # as the job says it; lone surrogates stand for bytes that are no UTF-8
        self.size = size
        self.left = size
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        data = _exactly(self._stream, min(self.left, len(buffer), _CHUNK))
        buffer[: len(data)] = data
        self.left -= len(data)
        return len(data)


def members(stream: IO[bytes]) -> Iterator[Member]:
    """Every plain file of an uncompressed tar, in its order. Raises BrokenTar."""
    name: bytes | None = None
    size: int | None = None
    extensions = 0
    while (head := _head(stream)) is not None:
        kind, length = head[156:157], _number(head[124:136])
        if kind in (b"L", b"x"):
            extensions += 1
            text = _extension(stream, length, extensions)
            name, size = (text.rstrip(b"\0"), size) if kind == b"L" else _pax(text, name, size)
            continue
        length = length if size is None else size
        if kind in _PLAIN:
            member = Member((name or _name(head)).decode("utf-8", "surrogateescape"), length, stream)
            yield member
            _skip(stream, member.left)
        else:
            _skip(stream, length)
        _skip(stream, -length % _BLOCK)
        name, size, extensions = None, None, 0


def _head(stream: IO[bytes]) -> bytes | None:
    """The next header; None at the end, with the padding behind it taken."""
    head = stream.read(_BLOCK)
    if not head.strip(b"\0"):
        while stream.read(_CHUNK):
            pass
        return None
    if len(head) < _BLOCK:
        raise BrokenTar("it is cut off")
    if _number(head[148:156]) != sum(head) - sum(head[148:156]) + 8 * 32:
        raise BrokenTar("a header's checksum is wrong")
    return head


def _name(head: bytes) -> bytes:
    name = head[:100].partition(b"\0")[0]
    prefix = head[345:500].partition(b"\0")[0] if head[257:263] == b"ustar\0" else b""
    return prefix + b"/" + name if prefix else name


def _number(field: bytes) -> int:
    """Octal digits, or the whole field as a number when its first bit is set."""
    if field[0] & 0x80:
        if field[0] != 0x80:
            raise BrokenTar("a number is negative or too large")
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b" \0")
    if digits and not (digits.isdigit() and max(digits) < ord("8")):
        raise BrokenTar("a number is none")
    return int(digits or b"0", 8)


def _extension(stream: IO[bytes], length: int, extensions: int) -> bytes:
    if length > _LARGEST_EXTENSION or extensions > _EXTENSIONS_IN_A_ROW:
        raise BrokenTar("it says too much about one file")
    text = _exactly(stream, length)
    _skip(stream, -length % _BLOCK)
    return text


def _pax(text: bytes, name: bytes | None, size: int | None) -> tuple[bytes | None, int | None]:
    """Name and size of the next member from `LENGTH KEY=VALUE\\n` records. A sparse file's size would be another's."""
    while text:
        digits, _, _ = text[:20].partition(b" ")
        length = int(digits) if digits.isdigit() else 0
        if not len(digits) < length <= len(text):
            raise BrokenTar("a record is none")
        key, _, value = text[len(digits) + 1 : length].rstrip(b"\n").partition(b"=")
        if key == b"path":
            name = value
        elif key == b"size":
            if not value.isdigit() or len(value) > 20:
                raise BrokenTar("a number is none")
            size = int(value)
        elif key.startswith(b"GNU.sparse."):
            raise BrokenTar("it holds a sparse file")
        text = text[length:]
    return name, size


def _exactly(stream: IO[bytes], count: int) -> bytes:
    data = stream.read(count)
    if len(data) < count:
        raise BrokenTar("it is cut off")
    return data


def _skip(stream: IO[bytes], count: int) -> None:
    while count > 0:
        count -= len(_exactly(stream, min(count, _CHUNK)))
