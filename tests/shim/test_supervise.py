"""The supervisor itself, spoken to by hand, under every shell it has to run in."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from appliance import shim
from tests.shim.machines import COMMON, RARE, WITHOUT_PROC, make_machine


class Supervised:
    """A supervisor on two pipes. `until` reads up to a mark and keeps the rest."""

    def __init__(self, process: asyncio.subprocess.Process, state: Path, kind: str) -> None:
        self.process = process
        self.kind = kind
        self.state = state
        self._held = bytearray()

    def needs_proc(self) -> None:
        if self.kind in WITHOUT_PROC:
            pytest.skip("the test itself needs /proc")

    async def say(self, *lines: str) -> None:
        await self.say_bytes("".join(f"{line}\n" for line in lines).encode())

    async def say_bytes(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        await self.process.stdin.drain()

    async def until(self, mark: bytes) -> bytes:
        """What came before `mark`, which is taken too."""
        assert self.process.stdout is not None
        looked_at = 0
        async with asyncio.timeout(20):
            while (at := self._held.find(mark, looked_at)) < 0:
                looked_at = max(0, len(self._held) - len(mark))
                data = await self.process.stdout.read(65536)
                assert data, f"the supervisor ended after {self._held!r}"
                self._held += data
        before = bytes(self._held[:at])
        del self._held[: at + len(mark)]
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


@asynccontextmanager
async def supervisor(kind: str, folder: Path) -> AsyncIterator[Supervised]:
    """One on a machine of that kind; all it started is gone at the end."""
    machine = make_machine(kind, folder)
    process = await asyncio.create_subprocess_exec(
        *machine.argv,
        *("-c", shim.supervisor(), "rondo", str(folder / "state")),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
        cwd=folder,
        env=machine.environment,
    )
    yield Supervised(process, folder / "state", kind)
    for file in (folder / "state").glob("*.pid"):
        with contextlib.suppress(ProcessLookupError, ValueError, IndexError):
            end_group(int(file.read_text().split()[0]))
    end_group(process.pid)
    await process.communicate()


def end_group(pid: int) -> None:
    assert pid > 1  # 1 would mean everything
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


@pytest.fixture(params=[*COMMON, *(pytest.param(kind, marks=pytest.mark.slow) for kind in RARE)])
async def supervised(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Supervised]:
    async with supervisor(request.param, tmp_path) as made:
        yield made


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
    await supervised.run("1", "echo one; exec sleep 1000")
    for nonce, offset in (("a", 0), ("b", 1), ("c", 4)):
        await supervised.say(f"follow 1 {nonce} {offset} ;")
        await supervised.until(f"\x01begin {nonce}\n".encode())
        if offset < 4:
            await supervised.until(b"one\n"[offset:])
    await supervised.say("kill 1 50 ;")
    assert await supervised.until(b"\x01end c ") == b""
    assert await supervised.until(b"\n") == b"143 4 0"


async def test_a_kill_takes_all_of_the_group(supervised: Supervised) -> None:
    await supervised.run("1", "(trap '' TERM; exec sleep 1000) & echo $!; exec sleep 1000", "a")
    await supervised.say("follow 1 f 0 ;")
    await supervised.until(b"begin f\n")
    pid = int(await supervised.until(b"\n"))
    assert pid > 1
    await supervised.say("kill 1 1 ;")
    assert (await supervised.until(b"\x01end f ")) == b"" and (await supervised.until(b"\n")).startswith(b"143 ")
    if supervised.kind == "bare":
        os.kill(pid, signal.SIGKILL)  # without setsid there is no group
        return
    async with asyncio.timeout(20):
        while is_running(pid):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.02)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


async def test_a_payload_cut_off_is_as_if_never_sent(supervised: Supervised) -> None:
    await supervised.say_bytes(b"run 1 fg a 0 ;\n-exec true\n=\n-echo ha")
    await supervised.say_bytes(b"\nsync ;\n")
    await supervised.run("1", "echo whole", "b")
    assert await supervised.answer("b") == (b"whole\n", ["0", "-", "0"])


async def test_a_line_cut_off_is_no_command(supervised: Supervised) -> None:
    await supervised.run("1", "echo on; exec sleep 1000")
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
    await supervised.run("1", "head -c 20000000 /dev/zero", "a")
    output, _ = await supervised.answer("a")
    assert len(output) == 65536
    at, sizes = 0, []
    while at < 20_000_000:
        await supervised.say(f"follow 1 p{at} {at} ;")
        output, words = await supervised.answer(f"p{at}")
        at += len(output)
        sizes.append(len(output))
        assert words == ["0", "20000000", "0"]
    assert sizes == [16 << 20, 20_000_000 - (16 << 20)]


async def test_output_opened_again_by_its_name_is_not_emptied(supervised: Supervised) -> None:
    supervised.needs_proc()
    await supervised.run("1", "echo one; echo two >/dev/stderr; echo three | tee /dev/stderr >/dev/null; echo four", "a")
    output, ended = await supervised.answer("a")
    assert (sorted(output.split()), ended[0]) == ([b"four", b"one", b"three", b"two"], "0")
    assert output.startswith(b"one\ntwo\n") and output.endswith(b"four\n")


async def test_an_end_is_not_told_before_the_log_is_written(supervised: Supervised) -> None:
    supervised.needs_proc()
    # The pump is the starter's only other child; pgrep is not everywhere, and neither is /proc/PID/children.
    find = f"read -r starter rest <{supervised.state}/starter; for stat in /proc/[0-9]*/stat; do read -r line <$stat"
    find += '; set -- $line; [ "$4" = $starter ] && [ $1 != $$ ] && pump=$1; done 2>/dev/null'
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
    supervised.needs_proc()  # and GNU's `stat`
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


def test_a_shell_without_a_kill_of_its_own_is_refused(tmp_path: Path) -> None:
    """Tried without posh, and without anything that could end more than this test: the check comes before all else."""
    text = shim.text("supervise.sh").replace("command -v kill", "echo /usr/bin/kill")
    words = ("dash", "-c", text, "rondo", str(tmp_path / "state"))
    done = subprocess.run(words, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 1 and "no kill of its own" in done.stderr
    assert not (tmp_path / "state").exists()


def test_its_text_fits_in_an_argument_and_has_no_comment_lines() -> None:
    text = shim.text("supervise.sh")
    assert len(text) < 16_000  # the kernel takes 128 KiB
    assert not any(line.lstrip().startswith("#") for line in text.splitlines())
