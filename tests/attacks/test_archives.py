"""Tars that a hostile job sends to us: they are read on the host, so nothing in them may cost more than it brings."""

from __future__ import annotations

import asyncio
import io
import tarfile
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from appliance.steps import files, tar
from tests.whole import ON_THIS_HOST, Place, house, until


def packed(fill: Callable[[tarfile.TarFile], None], form: int) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as made:
        fill(made)
    return out.getvalue()


def file(name: str, content: bytes) -> tuple[tarfile.TarInfo, io.BytesIO]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    return info, io.BytesIO(content)


def header(kind: bytes, size: int, name: str = "x") -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


def seen(data: bytes) -> list[tuple[str, bytes]]:
    return [(member.name, member.read()) for member in tar.members(io.BytesIO(data))]


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_what_honest_tars_hold_is_read(form: int) -> None:
    long = "deep/" * 45 + "file" if form != tarfile.USTAR_FORMAT else "deep/" * 25 + "file"
    wanted = [("./a", b"one"), ("empty", b""), (long, b"x" * 100_000), ("b", b"y" * 512)]

    def fill(made: tarfile.TarFile) -> None:
        for name, content in wanted:
            made.addfile(*file(name, content))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/shadow"
        made.addfile(link)
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        made.addfile(folder)

    assert seen(packed(fill, form)) == wanted


def test_a_member_that_was_not_read_is_passed_over() -> None:
    def fill(made: tarfile.TarFile) -> None:
        for name in "ab":
            made.addfile(*file(name, b"z" * 70_000))

    data = packed(fill, tarfile.GNU_FORMAT)
    found = [(member.name, member.read(10)) for member in tar.members(io.BytesIO(data))]
    assert found == [("a", b"z" * 10), ("b", b"z" * 10)]


class Endless(io.RawIOBase):
    """A stream that begins with `head` and goes on with `rest` for ever."""

    def __init__(self, head: bytes, rest: bytes) -> None:
        self._head, self._rest, self.given = head, rest, 0

    def read(self, count: int = -1, /) -> bytes:
        assert count >= 0, "everything of something endless"
        while len(self._head) < count:
            self._head += self._rest * (1 + count // len(self._rest))
        data, self._head = self._head[:count], self._head[count:]
        self.given += count
        assert self.given < 64 << 20, "it reads on and on"
        return data


PAX_OF_A_SPARSE_FILE = b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n"


@pytest.mark.parametrize(
    "stream",
    [
        Endless(header(tarfile.GNUTYPE_LONGNAME, 8 << 30), b"n" * 512),
        Endless(header(tarfile.XHDTYPE, 8 << 30), b"p" * 512),
        Endless(b"", header(tarfile.GNUTYPE_LONGNAME, 1) + b"n" * 512),  # one behind the other, for ever
        Endless(header(tarfile.XHDTYPE, len(PAX_OF_A_SPARSE_FILE)) + PAX_OF_A_SPARSE_FILE.ljust(512, b"\0"), b"9" * 512),
        io.BytesIO(header(tarfile.XHDTYPE, 9) + b"9 size=-1".ljust(512, b"\0")),
        io.BytesIO(header(tarfile.XHDTYPE, 9) + b"0 size=12".ljust(512, b"\0")),
        io.BytesIO(b"\xff" * 512),
        io.BytesIO(b"this is no tar" * 100),
        io.BytesIO(header(tarfile.REGTYPE, 1000) + b"cut"),
        io.BytesIO(header(tarfile.REGTYPE, 1000)[:300]),
    ],
)  # fmt: skip
def test_a_hostile_tar_is_refused_before_it_costs_anything(stream: io.IOBase) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(tar.BrokenTar):
            for member in tar.members(stream):  # type: ignore[arg-type]
                member.read()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20


def test_a_million_members_leave_nothing_in_memory() -> None:
    data = io.BytesIO(header(tarfile.REGTYPE, 0) * 20_000)
    tracemalloc.start()
    try:
        assert sum(1 for _ in tar.members(data)) == 20_000
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20


def test_a_sparse_file_of_a_terabyte_is_no_file() -> None:
    assert seen(header(tarfile.GNUTYPE_SPARSE, 0) + b"\0" * 1024) == []


class Silent:
    """A process in a sandbox whose tar never says a word."""

    async def read(self) -> bytes:
        await asyncio.Event().wait()
        return b""

    async def write_eof(self) -> None: ...

    async def kill(self) -> None: ...


class SilentSandbox:
    async def process(self, argv: Sequence[str]) -> Silent:
        return Silent()


async def test_tars_that_say_nothing_keep_nobody_else_from_working() -> None:
    """Pages are drawn and passwords compared on the loop's threads: no job may hold one."""
    sandbox: Any = SilentSandbox()
    stuck = [asyncio.create_task(files.each_file(sandbox, "/", "out", lambda *_: None, 1 << 30)) for _ in range(40)]
    try:
        async with asyncio.timeout(10):
            assert await asyncio.to_thread(lambda: "drawn") == "drawn"
    finally:
        for task in stuck:
            task.cancel()
        await asyncio.gather(*stuck, return_exceptions=True)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("../../etc/cron.d/x", "etc/cron.d/x"),
        ("/abs//./x", "abs/x"),
        ("C:\\x\\..\\y", "C:/x/y"),
        ("a\0b", "a_b"),
        ("right\u202eleft", "right_left"),
        ("%2e%2e/x", "%2e%2e/x"),  # a name like another: it is encoded once more in a URL
        ("é" * 300, "é" * 300),
        *((nothing, None) for nothing in ("", ".", "..", "/", "./../")),
    ],
)
def test_a_name_is_shown_without_its_tricks(name: str, shown: str | None) -> None:
    assert files.safe_path(name) == shown


async def test_names_that_climb_out_stay_below(tmp_path: Path) -> None:
    """What a job calls its artifacts becomes a path for people, never one of ours."""
    config = """
version: 2.1
jobs:
  build:
    machine: true
    steps:
      - run: |
          mkdir -p out/sub && cd out
          echo a > '..%2f..%2fetc'; echo b > "$(printf 'new\\nline')"; echo c > '...'; ln -s /etc/passwd link; mkfifo pipe
          ln -s / sub/root; echo d > "$(printf 'right\\342\\200\\256left')"
      - store_artifacts: {path: out, destination: ../../../../tmp/evil}
      - store_artifacts: {path: /etc/hostname, destination: /etc/cron.d/x}
"""
    async with house(tmp_path, ON_THIS_HOST) as (place, _):
        await place.commit({".circleci/config.yml": config})
        await place.push()
        await place.ended()
        paths = await until(lambda: stored(place))
    assert paths == sorted(
        ["tmp/evil/..%2f..%2fetc", "tmp/evil/new_line", "tmp/evil/...", "tmp/evil/right_left", "etc/cron.d/x"]
    )


async def stored(place: Place) -> list[str]:
    return place.read(lambda tx: sorted(row["path"] for row in tx.execute("SELECT path FROM artifacts")))
