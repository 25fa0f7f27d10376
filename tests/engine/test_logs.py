"""A log is masked whatever way it is cut, and exact after a crash at any byte."""

from __future__ import annotations

import base64
import contextlib
import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.engine.logs import LogWriter, Masker, Needles, needles
from appliance.errors import DiskFull

SECRETS = ["hunter2secret", "abcabcabd", "first-line-of-it\nx\nthird-line-of-it", "pass word&é"]
PIECES = [
    b"abc",
    b"abd",
    b"hunter2",
    b"secret",
    b"hunter2secret",
    b"abcabcabd",
    b"\n",
    b"\r\n",
    b"\xff\x00",
    b"first-line-of-it",
    base64.b64encode(b"x:hunter2secret."),
    b"pass%20word%26%C3%A9",
    b"pass word&\\u00e9",
]


def text(seed: int) -> bytes:
    chance = random.Random(seed)
    return b"".join(chance.choice(PIECES) for _ in range(40))


def fed(data: bytes, seed: int, wanted: Needles) -> bytes:
    chance, masker, out, at = random.Random(seed), Masker(wanted), b"", 0
    while at < len(data):
        size = chance.randint(1, 12)
        out += masker.feed(data[at : at + size])
        at += size
    return out + masker.end()


def test_no_secret_gets_through_however_it_is_cut() -> None:
    wanted = needles(SECRETS)
    for seed in range(400):
        out = fed(text(seed), seed, wanted)
        assert not [needle for needle in wanted if needle in out], seed


def test_the_cuts_do_not_change_the_result() -> None:
    wanted = needles(SECRETS)
    for seed in range(400):
        masker = Masker(wanted)
        assert fed(text(seed), seed, wanted) == masker.feed(text(seed)) + masker.end(), seed


def test_ordinary_text_is_not_held_back() -> None:
    assert Masker(needles(["hunter2secret"])).feed(b"progress: 42 %\r") == b"progress: 42 %\r"


def test_base64_is_masked_in_all_three_alignments() -> None:
    wanted = needles(["a-long-secret-value"])
    for before in (b"", b"u", b"us", b"user:"):
        encoded = base64.b64encode(before + b"a-long-secret-value" + b"!")
        assert b"****" in fed(encoded, 1, wanted), before


@pytest.mark.parametrize("value", ["abc", "", "true", "False"])
def test_short_and_common_values_are_not_masked(value: str) -> None:
    assert not needles([value])


def test_short_lines_of_a_multi_line_secret_do_not_blacken_the_log() -> None:
    wanted = needles(['{\n  "type": "account",\n}'])
    assert fed(b"{ }\n", 1, wanted) == b"{ }\n"
    assert fed(b'"type": "account",', 1, wanted) == b"****"


def test_a_writer_that_dies_anywhere_is_followed_without_a_gap_or_a_double(tmp_path: Path) -> None:
    """The next writer is given the output from the offset it asks for, as a sandbox gives it."""
    wanted = needles(SECRETS)
    for seed in range(150):
        output, chance, path = text(seed), random.Random(seed), tmp_path / f"{seed}.log"
        while True:
            writer = LogWriter(path, wanted)
            for _ in range(chance.randint(0, 6)):
                start = writer.offset + len(writer._masker.held)
                chunk = output[start : start + chance.randint(1, 15)]
                if not chunk:
                    break
                writer.write(chunk)
            start = writer.offset + len(writer._masker.held)
            if start == len(output):
                writer.flush()
                writer.close()
                break
            writer.close()  # what a kill leaves: no flush
            if chance.random() < 0.3:  # a power cut: the log's last bytes are gone, its notes are not
                path.write_bytes(path.read_bytes()[: -chance.randint(1, 9)])
            elif path.with_suffix(".idx").exists() and chance.random() < 0.3:  # killed between the log and the note
                path.write_bytes(path.read_bytes() + b"torn")
        whole = Masker(wanted)
        assert path.read_bytes() == whole.feed(output) + whole.end(), seed


def test_a_log_of_nothing_but_output_needs_no_notes(tmp_path: Path) -> None:
    wanted, notes = needles(["hunter2secret"]), tmp_path / "a.idx"
    with LogWriter(tmp_path / "a.log", wanted) as writer:
        writer.write(b"theirs, with hunter")
        writer.write(b"s in it\n")
        assert not notes.exists()
    with LogWriter(tmp_path / "a.log", wanted) as writer:
        assert writer.is_resumed and writer.offset == 27
        writer.write(b"hunter2secret\n")
        assert notes.exists()
    (tmp_path / "a.log").write_bytes((tmp_path / "a.log").read_bytes()[:-1])  # killed before its last byte
    with LogWriter(tmp_path / "a.log", wanted) as writer:
        assert writer.offset == 27
        writer.write(b"hunter2secret\n")
    assert (tmp_path / "a.log").read_text() == "theirs, with hunters in it\n****\n"


def test_what_we_say_before_any_output_is_said_again_after_a_crash(tmp_path: Path) -> None:
    with LogWriter(tmp_path / "a.log", needles([])) as writer:
        writer.say("ours\n")
    with LogWriter(tmp_path / "a.log", needles([])) as writer:
        assert not writer.is_resumed
        writer.say("ours\n")
        writer.write(b"theirs\n")
    with LogWriter(tmp_path / "a.log", needles([])) as writer:
        assert writer.is_resumed
        assert writer.offset == 7
    assert (tmp_path / "a.log").read_text() == "ours\ntheirs\n"


def test_what_we_say_at_the_end_is_not_said_twice_after_a_crash(tmp_path: Path) -> None:
    for _ in range(3):
        with LogWriter(tmp_path / "a.log", needles([])) as writer:
            writer.write(b"theirs\n"[writer.offset :])
            writer.flush()
            writer.say("exited with code 7\n")
    assert (tmp_path / "a.log").read_text() == "theirs\nexited with code 7\n"


def test_words_amid_the_output_let_no_half_of_a_secret_through(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    with contextlib.closing(LogWriter(path, needles(SECRETS))) as writer:
        writer.write(b"one\nhunter2")
        writer.interject("two\n")
        assert writer.offset == len(b"one\n")
        writer.write(b"secret\nthree\n")
        writer.flush()
        assert writer.offset == len(b"one\nhunter2secret\nthree\n")
    assert path.read_bytes() == b"one\ntwo\n****\nthree\n"


def test_a_full_disk_is_told_and_nothing_is_lost_or_doubled_when_there_is_room_again(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    with LogWriter(small_disk / "a.log", needles(["hunter2secret"])) as writer:
        writer.write(b"a" * 1000 + b"hunter2")
        fill(ballast)
        with pytest.raises(DiskFull):
            writer.write(b"secret" + b"b" * 100_000)
        ballast.unlink()
        writer.write(b"secret" + b"b" * 100_000)
        writer.flush()
    assert (small_disk / "a.log").read_bytes() == b"a" * 1000 + b"****" + b"b" * 100_000


def test_words_that_found_no_room_at_first_are_not_doubled_by_a_restart(small_disk: Path) -> None:
    path, ballast = small_disk / "a.log", small_disk / "ballast"
    with LogWriter(path, needles([])) as writer:
        writer.write(b"theirs\n")
        writer.flush()
        fill(ballast)
        with pytest.raises(DiskFull):  # there is room in the log's last page, and none for the notes
            writer.say("exited with code 7\n")
        ballast.unlink()
        writer.say("exited with code 7\n")
    with LogWriter(path, needles([])) as writer:
        assert writer.offset == len(b"theirs\n")
        writer.say("exited with code 7\n")
    assert path.read_text() == "theirs\nexited with code 7\n"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("mounts a small tmpfs, which only root may")
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(path: Path) -> None:
    """Write until there is no room left."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
