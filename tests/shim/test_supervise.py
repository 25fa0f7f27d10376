"""The supervisor itself, spoken to by hand, under every shell it has to run in."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from appliance import shim

SHELLS = [("dash",), ("bash",), ("busybox", "sh")]


class Supervised:
    """A supervisor on two pipes. `until` reads up to a mark and keeps the rest."""

    def __init__(self, process: asyncio.subprocess.Process, state: Path) -> None:
        self.process = process
        self.state = state
        self._held = b""

    async def say(self, *lines: str) -> None:
        await self.say_bytes("".join(f"{line}\n" for line in lines).encode())

    async def say_bytes(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        await self.process.stdin.drain()

    async def until(self, mark: bytes) -> bytes:
        """What came before `mark`, which is taken too."""
        assert self.process.stdout is not None
        async with asyncio.timeout(20):
            while mark not in self._held:
                data = await self.process.stdout.read(65536)
                assert data, f"the supervisor ended after {self._held!r}"
                self._held += data
        before, _, self._held = self._held.partition(mark)
        return before

    async def answer(self, nonce: str) -> tuple[bytes, list[str]]:
        """The output between the marks of `nonce`, and the words of its end."""
        await self.until(f"\x01begin {nonce}\n".encode())
        output = await self.until(f"\x01end {nonce} ".encode())
        return output, (await self.until(b"\n")).decode().split()

    async def run(self, command_id: str, script: str, nonce: str = "n0", kind: str = "fg") -> None:
        start = ("-" + line for line in ("set -- sh", 'exec $r_detach "$@" "$r_script"'))
        body = ("-" + line for line in script.split("\n"))
        await self.say(f"run {command_id} {kind} {nonce} 0 ;", *start, "=", *body, ".")


@pytest.fixture(params=SHELLS, ids=lambda words: words[0])
async def supervised(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Supervised]:
    if shutil.which(request.param[0]) is None:
        pytest.skip(f"no {request.param[0]} here")
    process = await asyncio.create_subprocess_exec(
        *request.param,
        *("-c", shim.text("supervise.sh"), "rondo", str(tmp_path / "state")),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
        cwd=tmp_path,
    )
    yield Supervised(process, tmp_path / "state")
    for file in (tmp_path / "state").glob("*.pid"):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(int(file.read_text().split()[0]), signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.communicate()


async def test_a_short_command_is_answered_in_one_go(supervised: Supervised) -> None:
    await supervised.run("1", "echo hello; exit 3")
    assert await supervised.answer("n0") == (b"hello\n", ["3", "-", "0"])


async def test_an_empty_output_and_a_missing_newline(supervised: Supervised) -> None:
    await supervised.run("1", ":", "a")
    assert await supervised.answer("a") == (b"", ["0", "-", "0"])
    await supervised.run("2", "printf x", "b")
    assert await supervised.answer("b") == (b"x", ["0", "-", "0"])


async def test_an_id_is_started_once_and_followed_after_that(supervised: Supervised) -> None:
    for nonce in ("a", "b"):
        await supervised.run("1", "echo once", nonce)
        assert (await supervised.answer(nonce))[0] == b"once\n"
    await supervised.say("follow 1 c 2 ;")
    assert await supervised.answer("c") == (b"ce\n", ["0", "5", "0"])
    await supervised.say("follow 1 d 5 ;")
    assert await supervised.answer("d") == (b"", ["0", "5", "0"])


async def test_a_long_command_is_streamed_and_ends_with_its_size(supervised: Supervised) -> None:
    os.mkfifo(supervised.state.parent / "gate")
    await supervised.run("1", "echo one; read x <gate; echo two; exit 4")
    await supervised.say("follow 1 a 0 ;")
    assert await supervised.until(b"\x01begin a\n") == b""
    assert await supervised.until(b"one\n") == b""
    await asyncio.to_thread((supervised.state.parent / "gate").write_text, "go\n")
    await supervised.until(b"\x01end a ")
    assert await supervised.until(b"\n") == b"4 8 0"


async def test_a_new_question_ends_the_old_answer(supervised: Supervised) -> None:
    await supervised.run("1", "echo one; sleep 1000")
    for nonce, offset in (("a", 0), ("b", 1), ("c", 4)):
        await supervised.say(f"follow 1 {nonce} {offset} ;")
        await supervised.until(f"\x01begin {nonce}\n".encode())
        if offset < 4:
            await supervised.until(b"one\n"[offset:])
    await supervised.say("kill 1 50 ;")
    assert await supervised.until(b"\x01end c ") == b""
    assert await supervised.until(b"\n") == b"143 4 0"


async def test_a_payload_cut_off_is_as_if_never_sent(supervised: Supervised) -> None:
    await supervised.say_bytes(b"run 1 fg a 0 ;\n-exec true\n=\n-echo ha")
    await supervised.say_bytes(b"\nsync ;\n")
    await supervised.run("1", "echo whole", "b")
    assert await supervised.answer("b") == (b"whole\n", ["0", "-", "0"])


async def test_a_line_cut_off_is_no_command(supervised: Supervised) -> None:
    await supervised.run("1", "echo on; sleep 1000")
    await supervised.say("follow 1 a 0 ;")
    await supervised.until(b"on\n")
    await supervised.say("kill 1", "kill 1 5", "follow 1 zz", "run 2 fg b", ";", "", "nonsense ;", "sync ;")
    await supervised.run("3", "echo queued", "c")
    await supervised.say("kill 1 50 ;")
    await supervised.until(b"\x01end a 143 3 0\n")
    assert (await supervised.answer("c"))[0] == b"queued\n"
    assert not (supervised.state / "2.log").exists()


async def test_what_it_never_got_it_says_so(supervised: Supervised) -> None:
    await supervised.say("follow 9 a 0 ;")
    assert await supervised.answer("a") == (b"", ["none", "0", "0"])


async def test_long_output_comes_in_parts_after_the_end(supervised: Supervised) -> None:
    await supervised.run("1", "head -c 40000000 /dev/zero", "a")
    output, _ = await supervised.answer("a")
    assert len(output) == 65536
    at, sizes = 0, []
    while at < 40_000_000:
        await supervised.say(f"follow 1 p{at} {at} ;")
        output, words = await supervised.answer(f"p{at}")
        at += len(output)
        sizes.append(len(output))
        assert words == ["0", "40000000", "0"]
    assert sizes == [16 << 20, 16 << 20, 40_000_000 - (32 << 20)]


async def test_output_opened_again_by_its_name_is_not_emptied(supervised: Supervised) -> None:
    await supervised.run("1", "echo one; echo two >/dev/stderr; echo three | tee /dev/stderr >/dev/null; echo four", "a")
    output, ended = await supervised.answer("a")
    assert (sorted(output.split()), ended[0]) == ([b"four", b"one", b"three", b"two"], "0")
    assert output.startswith(b"one\ntwo\n") and output.endswith(b"four\n")


async def test_an_end_is_not_told_before_the_log_is_written(supervised: Supervised) -> None:
    # The pump is the starter's only other child; pgrep is not everywhere, and neither is /proc/PID/children.
    find = f"read -r starter rest <{supervised.state}/starter; for stat in /proc/[0-9]*/stat; do read -r line <$stat"
    find += "; set -- ${line##*) }; [ $2 = $starter ] && [ ${line%% *} != $$ ] && pump=${line%% *}; done 2>/dev/null"
    stop = "kill -STOP $pump; echo last; (sleep 0.5; kill -CONT $pump) >/dev/null 2>&1 &"
    await supervised.run("1", f"{find}; sleep 5 & {stop}", "a")
    assert await supervised.answer("a") == (b"last\n", ["0", "-", "0"])


async def test_a_background_command_says_nothing_here(supervised: Supervised) -> None:
    os.mkfifo(supervised.state.parent / "gate")
    await supervised.run("b", "echo unheard; read x <gate", "-", "bg")
    await supervised.run("1", f"until grep unheard {supervised.state}/b.log >&2; do sleep 0.05; done", "a")
    assert await supervised.until(b"\x01begin a\n") == b""
    assert await supervised.until(b"\x01end a ") == b"unheard\n"
    assert (supervised.state / "b.log").read_text() == "unheard\n"
    assert not (supervised.state / "b.exit").exists()


async def test_its_files_are_for_its_user_alone_but_the_step_has_its_own_umask(supervised: Supervised) -> None:
    await supervised.run("1", f"umask; cd {supervised.state}; stat -c '%a %n' . 1.log 1.start 1.script bash_env")
    output = (await supervised.answer("n0"))[0].decode().split("\n")
    assert output[0].endswith(f"{os.umask(os.umask(0o022)):03o}"[-3:]) or output[0] == "0022"
    assert output[1:6] == ["700 .", "600 1.log", "600 1.start", "600 1.script", "600 bash_env"]


async def test_it_ends_with_its_input(supervised: Supervised) -> None:
    await supervised.run("1", "echo x")
    await supervised.answer("n0")
    assert supervised.process.stdin is not None
    supervised.process.stdin.close()
    async with asyncio.timeout(20):
        assert await supervised.process.wait() == 0


def test_its_text_fits_in_an_argument_and_has_no_comment_lines() -> None:
    text = shim.text("supervise.sh")
    assert len(text) < 16_000  # the kernel takes 128 KiB
    assert not any(line.lstrip().startswith("#") for line in text.splitlines())
