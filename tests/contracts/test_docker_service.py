"""Service containers: their output from any mark on, their ends, and the ports they listen on."""

from __future__ import annotations

import asyncio
import itertools
import struct
from collections.abc import Iterable

import pytest

from appliance.executors.base import Container, Exit, LogMark, Readiness, Sandbox, SandboxSpec
from appliance.executors.docker import DockerExecutor
from appliance.executors.docker_service import _Reading
from tests.contracts.test_docker import executor  # noqa: F401  (a fixture)
from tests.contracts.worlds import quiet
from tests.engine_fixture import BUSYBOX, DEBIAN, Engine, add_image
from tests.whole import until

CHECKED = "rondo-test/checked:latest"


async def opened(executor: DockerExecutor, script: str, image: str = BUSYBOX) -> Sandbox:  # noqa: F811
    service = Container(image=image, entrypoint=("sh", "-c", script))
    return await executor.open(SandboxSpec(node="1.0", containers=(Container(image=BUSYBOX), service)), quiet)


@pytest.mark.docker
async def test_every_mark_is_a_place_to_go_on_from(executor: DockerExecutor) -> None:  # noqa: F811
    sandbox = await opened(executor, "for i in $(seq 300); do echo line $i; echo error $i >&2; done; exit 3")
    service = sandbox.service(1)
    async with asyncio.timeout(30):
        assert await service.exit() == Exit(3)
        pieces = [piece async for piece in service.output(LogMark())]
    whole = b"".join(text for text, _ in pieces)
    assert sorted(whole.splitlines()) == sorted(f"{what} {i}".encode() for i in range(1, 301) for what in ("line", "error"))
    assert pieces
    at = 0
    for text, mark in pieces:
        at += len(text)
        rest = [text async for text, _ in service.output(mark, is_followed=False)]
        assert b"".join(rest) == whole[at:]


@pytest.mark.docker
async def test_output_is_followed_as_it_comes_and_what_is_there_can_be_had(executor: DockerExecutor) -> None:  # noqa: F811
    sandbox = await opened(executor, "echo one; until [ -e /go ]; do sleep 0.1; done; echo two; sleep 1000")
    service = sandbox.service(1)
    async with asyncio.timeout(30):
        followed = service.output(LogMark())
        text, mark = await anext(followed)
        assert text == b"one\n"
        assert [text async for text, _ in service.output(mark, is_followed=False)] == []
        await followed.aclose()


@pytest.mark.docker
async def test_a_service_says_on_which_ports_it_listens_and_only_its_own(executor: DockerExecutor) -> None:  # noqa: F811
    sandbox = await opened(executor, "sleep 0.3; exec python3 -m http.server 8123 --bind 127.0.0.1", DEBIAN)
    listen = await sandbox.process(["nc", "-l", "-p", "5555"])
    service = sandbox.service(1)

    async def listens() -> Readiness | None:
        found = await service.readiness()
        return found if found.ports else None

    assert await until(listens, 30) == Readiness(ports=frozenset({8123}))
    await listen.kill()


@pytest.mark.docker
async def test_the_images_own_check_says_when_a_service_is_healthy(
    executor: DockerExecutor,  # noqa: F811
    docker_engine: Engine,
) -> None:
    check = "HEALTHCHECK --interval=200ms CMD [ -e /ready ]"
    add_image(docker_engine.socket, CHECKED, "busybox", ['CMD ["sh"]', check])
    sandbox = await opened(executor, "sleep 0.5; touch /ready; sleep 1000", CHECKED)
    service = sandbox.service(1)
    assert (await service.readiness()).is_healthy is False

    async def is_healthy() -> bool | None:
        return True if (await service.readiness()).is_healthy else None

    assert await until(is_healthy, 30)


def frame(text: bytes) -> bytes:
    return struct.pack(">BxxxL", 1, len(text)) + text


def cut(data: bytes, at: Iterable[int]) -> list[bytes]:
    return [data[begin:end] for begin, end in itertools.pairwise([0, *at, len(data)])]


def test_pieces_of_one_time_are_counted_however_the_stream_is_cut() -> None:
    lines = [
        (b"2026-11-22T03:22:13.000000001Z a\n"),
        (b"2026-11-22T03:22:13.000000001Z b\n"),
        (b"2026-11-22T03:22:13.000000001Z c\n"),
        (b"2026-11-22T03:22:14.5Z with spaces \n"),
    ]
    data = b"".join(map(frame, lines))
    for step in (1, 7, 30, 1000):
        reading = _Reading(LogMark())
        text = b"".join(reading.feed(part) for part in cut(data, range(step, len(data), step)))
        assert text == b"a\nb\nc\nwith spaces \n"
        assert reading.mark == LogMark(1795317734500000000, 1)
    again = _Reading(LogMark(1795317733000000001, 2))
    assert again.feed(data) == b"c\nwith spaces \n"
    assert _Reading(LogMark(1795317733000000001, 2)).feed(data[: len(frame(lines[0])) * 2]) == b""


def test_a_mark_whose_piece_was_dropped_is_followed_by_what_is_newer() -> None:
    lines = [b"2026-11-22T03:22:13.000000005Z late\n", b"2026-11-22T03:22:13.000000001Z early\n"]
    data = b"".join(map(frame, lines))
    reading = _Reading(LogMark(1795317733000000003, 1))
    assert reading.feed(data) + reading.end() == b"late\n"
    assert reading.mark == LogMark(1795317733000000005, 1)
    reading = _Reading(LogMark(1795317733000000003, 1))
    much_later = frame(b"2026-11-22T03:22:15Z now\n") + frame(b"2026-11-22T03:22:15.1Z then\n")
    assert reading.feed(data + much_later) == b"late\nnow\nthen\n"
    assert reading.mark == LogMark(1795317735100000000, 1)


def test_pieces_a_little_out_of_order_are_neither_lost_nor_doubled() -> None:
    stamps = (b"1", b"3", b"2", b"4")
    data = b"".join(frame(b"2026-11-22T03:22:13.00000000" + stamp + b"Z " + stamp) for stamp in stamps)
    reading = _Reading(LogMark(1795317733000000003, 1))
    assert reading.feed(data) == b"24"
    reading = _Reading(LogMark(1795317733000000002, 1))
    assert reading.feed(data) == b"4"


@pytest.mark.parametrize(
    ("stamp", "at_ns"),
    [
        (b"2026-11-22T03:22:13Z", 1795317733000000000),
        (b"2026-11-22T03:22:13.5+00:00", 1795317733500000000),
        (b"2026-11-22T05:22:13.000000007+02:00", 1795317733000000007),
    ],
)
def test_times_are_read_as_engines_write_them(stamp: bytes, at_ns: int) -> None:
    reading = _Reading(LogMark())
    assert reading.feed(frame(stamp + b" words\n")) == b"words\n"
    assert reading.mark == LogMark(at_ns, 1)


def test_a_line_without_a_time_is_a_line() -> None:
    reading = _Reading(LogMark())
    assert reading.feed(frame(b"no time here\n")) == b"no time here\n"
