"""The log in the page: terminal control, growth, size, and connections that break."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from playwright.async_api import expect

from appliance.model import JobId
from tests.web.conftest import Visitor
from tests.web.world import World, job, workflow

pytestmark = pytest.mark.browser


async def started(world: World) -> JobId:
    """Job 1 with its first step running."""
    pipeline = await world.pipeline(await world.project("acme/app"), workflow("ci", job("build", "make")))
    build = await world.job_of(pipeline, "build")
    await world.start(build.id)
    return build.id


# A line of output, and what is shown of it: plain text, or text with its classes and style.
LINES: list[tuple[str, list[Any]]] = [
    ("plain", ["plain"]),
    ("\x1b[31mred\x1b[0m no", [["red", "fg-1"], " no"]),
    ("\x1b[1;4;92mx\x1b[22;24my\x1b[39mz", [["x", "bold underline fg-10"], ["y", "fg-10"], "z"]),
    ("\x1b[38;5;9ma\x1b[48;5;196mb", [["a", "fg-9"], ["b", "fg-9 background-color: rgb(255, 0, 0);"]]),
    ("\x1b[38;2;1;2;3mx", [["x", "color: rgb(1, 2, 3);"]]),
    ("\x1b[38;5;244mx", [["x", "color: rgb(128, 128, 128);"]]),
    ("\x1b[7mx", [["x", "ink-dark bg-7"]]),
    ("\x1b[999;38;5;mx", [["x", "fg-0"]]),
    ("10%\r 50%\r100% done", ["100% done"]),
    ("abcdef\rxy", ["xycdef"]),
    ("abcdef\rxy\x1b[K", ["xy"]),
    ("abc\b\bX", ["aXc"]),
    ("\b\b\bok", ["ok"]),
    ("a\x1b[2Kb", [" b"]),
    ("\x1b[31mab\r\x1b[32mc", [["c", "fg-2"], ["b", "fg-1"]]),
    ("é😀x\rab", ["abx"]),
    ("up\x1b[99999999Cdown\x1b[2J\x1b[1;1H\x1b[?1049h", ["updown"]),
    ("\x1b]8;;javascript:alert(1)\x07link\x1b]8;;\x1b\\", ["link"]),
    ("\x1b]52;c;aGk=\x07\x1b]0;title\x07x", ["x"]),
    ("\x1bP1$tx\x1b\\y", ["y"]),
    ("\x1b]0;never ends", []),
    ("cut\x1b[3", ["cut"]),
    ("cut\x1b", ["cut"]),
    ("\x00\x01a\x7f\x9bb\tc", ["ab\tc"]),
    ("\x1b(Bx\x1b=y", ["xy"]),
    ("<b>&amp;</b>", ["<b>&amp;</b>"]),
]

RENDER = """async ([folder, groups]) => {
    const { PLAIN, node, render } = await import(folder + "ansi.js");
    return groups.map((lines) => {
        let style = PLAIN;
        return lines.map((line) => {
            const out = render(line, style);
            style = out.style;
            return out.runs.map((run) => {
                const made = node(run);
                if (made.nodeType === Node.TEXT_NODE) return made.nodeValue;
                return [made.textContent, [made.className, made.style.cssText].filter(Boolean).join(" ")];
            });
        });
    });
}"""


async def rendered(visitor: Visitor, groups: list[list[str]]) -> Any:
    """What the page's own code makes of lines; the style goes on from line to line within a group."""
    page = await visitor.go("/login")
    folder = await page.eval_on_selector("script", "script => script.src.replace(/[^/]*$/, '')")
    return await page.evaluate(RENDER, [folder, groups])


async def test_lines_of_terminal_output(visitor: Visitor) -> None:
    found = await rendered(visitor, [[line] for line, _ in LINES])
    for (line, runs), group in zip(LINES, found, strict=True):
        assert group == [runs], repr(line)


async def test_a_colour_goes_on_in_the_next_line(visitor: Visitor) -> None:
    assert await rendered(visitor, [["\x1b[31ma", "b\x1b[0mc"]]) == [[[["a", "fg-1"]], [["b", "fg-1"], "c"]]]


async def test_a_log_grows_while_one_watches(visitor: Visitor) -> None:
    world = visitor.world
    job_id = await started(world)
    page = await visitor.go("/jobs/1")
    lines = page.locator("#step-0 .line")
    await expect(page.locator("#step-0 .log")).to_have_class("log is-waiting")
    world.write_log(job_id, 0, b"downloading   0%")
    await expect(lines).to_have_text(["downloading   0%"])
    for percent in range(1, 30):
        world.write_log(job_id, 0, f"\rdownloading {percent:3d}%".encode())
    await expect(lines).to_have_text(["downloading  29%"])
    world.write_log(job_id, 0, b"\rdone\x1b[K\n\xc3")
    world.write_log(job_id, 0, b"\xa9t\xc3\xa9\r\n\xff\xfe bad\n")
    await expect(lines).to_have_text(["done", "été"[0] + "té", "\ufffd\ufffd bad"])


async def test_a_log_without_output_says_so(visitor: Visitor) -> None:
    job_id = await started(visitor.world)
    await visitor.world.step(job_id, 0)
    page = await visitor.go("/jobs/1")
    await page.locator("#step-0 > summary").click()
    await expect(page.locator("#step-0 .log")).to_have_class("log is-blank")


async def test_five_megabytes_show_their_end_and_give_the_rest_on_demand(visitor: Visitor) -> None:
    world = visitor.world
    job_id = await started(world)
    count = 60_000
    world.write_log(job_id, 0, b"".join(b"line %06d %s\n" % (n, b"." * 75) for n in range(count)))
    await world.step(job_id, 0)
    page = await visitor.go("/jobs/1")
    await page.locator("#step-0 > summary").click()
    box, lines = page.locator("#step-0 .log"), page.locator("#step-0 .line")
    await expect(lines.last).to_contain_text(f"line {count - 1:06d}")
    assert await lines.count() <= 10_000
    earlier = page.get_by_role("button", name="Show earlier output")
    while await earlier.is_visible():
        first = await lines.first.inner_text()
        await earlier.click()
        await expect(lines.first).not_to_have_text(first)
        assert await lines.count() <= 20_100
    await expect(lines.first).to_contain_text("line 000000")
    numbers = await lines.evaluate_all("lines => lines.map(line => Number(line.textContent.slice(5, 11)))")
    assert numbers == list(range(len(numbers)))
    await page.get_by_role("button", name="Back to the end").click()
    await expect(lines.last).to_contain_text(f"line {count - 1:06d}")
    assert await box.evaluate("box => box.scrollHeight - box.scrollTop - box.clientHeight") < 40


async def test_a_flood_is_drawn_at_its_end_and_has_no_holes(visitor: Visitor) -> None:
    world = visitor.world
    job_id = await started(world)
    page = await visitor.go("/jobs/1")
    world.write_log(job_id, 0, b"line 0000000\n")
    lines = page.locator("#step-0 .line")
    await expect(lines).to_have_count(1)
    count = 1
    for _ in range(10):
        world.write_log(job_id, 0, b"".join(b"line %07d %s\n" % (n, b"." * 75) for n in range(count, count + 20_000)))
        count += 20_000
    await expect(lines.last).to_contain_text(f"line {count - 1:07d}", timeout=60_000)
    await page.get_by_role("button", name="Show earlier output").click()
    await page.get_by_role("button", name="Show earlier output").click()
    numbers = await lines.evaluate_all("lines => lines.map(line => Number(line.textContent.slice(5, 12)))")
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert len(numbers) <= 20_000


async def test_megabytes_without_a_newline_are_cut_into_lines(visitor: Visitor) -> None:
    world = visitor.world
    job_id = await started(world)
    world.write_log(job_id, 0, "é".encode() * 500_000)
    page = await visitor.go("/jobs/1")
    lines = page.locator("#step-0 .line")
    await expect(lines.nth(5)).to_be_attached()
    world.write_log(job_id, 0, b"\nend\n")
    await expect(lines.last).to_have_text("end")
    texts = await lines.evaluate_all("lines => lines.map(line => line.textContent)")
    assert set("".join(texts[:-1])) == {"é"} and max(len(text) for text in texts) <= 16 * 1024


async def test_a_flood_of_progress_stays_one_short_line(visitor: Visitor) -> None:
    world = visitor.world
    job_id = await started(world)
    page = await visitor.go("/jobs/1")
    for begin in range(0, 200_000, 10_000):
        world.write_log(job_id, 0, b"".join(b"\r%d of many" % n for n in range(begin, begin + 10_000)))
    lines = page.locator("#step-0 .line")
    await expect(lines.last).to_have_text("199999 of many")
    assert await page.evaluate("document.querySelectorAll('#step-0 .line').length") < 50


class Wire:
    """A proxy before the server that can cut everything that passes."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._open: set[asyncio.StreamWriter] = set()
        self.cuts = 0

    async def passing(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            there, back = await asyncio.open_connection("127.0.0.1", self._port)
            self._open |= {writer, back}
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, back))
                group.create_task(self._pump(there, writer))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()
        self._open.discard(writer)

    def cut(self) -> None:
        self.cuts += 1
        for writer in tuple(self._open):
            writer.transport.abort()


@asynccontextmanager
async def wire(world: World) -> AsyncIterator[tuple[Wire, str]]:
    made = Wire(int(world.url.rpartition(":")[2]))
    server = await asyncio.start_server(made.passing, "127.0.0.1", 0)
    try:
        yield made, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        made.cut()


async def test_a_broken_connection_loses_and_repeats_nothing(visitor: Visitor) -> None:
    world, page = visitor.world, visitor.page
    job_id = await started(world)
    async with wire(world) as (cable, url):
        await page.goto(f"{url}/jobs/1")
        lines = page.locator("#step-0 .line")
        written = 0
        for _ in range(4):
            for _ in range(25):
                world.write_log(job_id, 0, b"line %d\n" % written)
                written += 1
            await expect(lines).to_have_count(written)
            cable.cut()
        world.write_log(job_id, 0, b"line %d\n" % written)
        await expect(lines).to_have_count(written + 1)
        assert await lines.all_inner_texts() == [f"line {number}" for number in range(written + 1)]
        await page.close()
    lost = [text for text in visitor.complaints.heard if "ERR_" in text]
    assert lost, "nothing was cut"
    visitor.complaints.heard = [text for text in visitor.complaints.heard if text not in lost]


async def test_a_hidden_tab_holds_no_connection(visitor: Visitor) -> None:
    world = visitor.world
    job_id = await started(world)
    page = await visitor.go("/jobs/1")
    world.write_log(job_id, 0, b"one\n")
    lines = page.locator("#step-0 .line")
    await expect(lines).to_have_text(["one"])
    hide = "hidden => { Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });"
    hide += " document.dispatchEvent(new Event('visibilitychange')); }"
    await page.evaluate(hide, True)
    async with asyncio.timeout(10):
        while world.bell._listeners:  # noqa: ASYNC110  no stream listens any more; a bell has no bell of its own
            await asyncio.sleep(0.05)
    world.write_log(job_id, 0, b"two\n")
    await page.evaluate(hide, False)
    await expect(lines).to_have_text(["one", "two"])
