"""What is sent to a shell on a machine, and what it answers.

The command line is the same for everything, since it shows in the list of processes and is read by the user's login
shell: bash, fish, csh and others take single quotes with nothing special in them alike. All else comes on stdin: one line
that the shell evaluates, which reads the script (a "-" before each line, then "."), and behind it what the script reads
itself. Every byte is taken with `read`, which takes no byte too many.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Mapping

from appliance import shim
from appliance.errors import SandboxError, printable
from appliance.executors.machine_channel import Channel
from appliance.executors.machine_link import Link
from appliance.executors.payload import quote

_LOADER = (
    'r_text=; r_line_end=$(printf "\\nx"); r_line_end=${r_line_end%x}; '
    "while IFS= read -r r_line; do case $r_line in -*) r_text=$r_text${r_line#-}$r_line_end ;; *) break ;; esac; done; "
    'eval "$r_text"\n'
)

MOST_BYTES = 1 << 20  # of what a script answers, and of what a login says before
_MOST_SHOWN = 500


class Answered(SandboxError):
    """The machine cannot do it, and has said why: to ask again is no use."""


class Script:
    """A text of ours with what it has to know, and the mark of its answers."""

    def __init__(self, *names: str, words: Mapping[str, str] | None = None, text: str = "") -> None:
        """`names` are files of `shim`; `words` become variables; values of those in `text` are shell words already."""
        self._nonce = secrets.token_hex(8)
        lines = [f"r_nonce={self._nonce}", *(f"{name}={word}" for name, word in (words or {}).items())]
        self._text = "\n".join([*lines, *(shim.text(name) for name in names), text])

    @property
    def text(self) -> bytes:
        return self._text.encode("utf-8", "surrogateescape")

    def encode(self) -> bytes:
        marked = "".join(f"-{line}\n" for line in self._text.split("\n"))
        return f"{_LOADER}{marked}.\n".encode("utf-8", "surrogateescape")

    @property
    def mark(self) -> bytes:
        return f"\x01{self._nonce} ".encode()

    async def first_answer(self, channel: Channel) -> tuple[str, str, bytes]:
        """The word and the rest of its first answer, and the bytes behind that. Raises Answered and SandboxError."""
        said = b""
        while True:
            at = said.find(self.mark)
            stop = said.find(b"\n", at)
            if at >= 0 and stop >= 0:
                word, _, rest = said[at + len(self.mark) : stop].decode("utf-8", "replace").strip().partition(" ")
                if word == "no":
                    raise Answered(printable(rest))
                return word, rest, said[stop + 1 :]
            data = await channel.read(MOST_BYTES)
            if not data:
                raise SandboxError(f"a shell on the machine {_silence(channel, said)}")
            said += data
            if len(said) > MOST_BYTES:
                raise SandboxError("a login on the machine says more than anybody can hear; does a profile print it?")


async def ask(link: Link, script: Script, data: bytes = b"", *, within_s: float) -> list[tuple[str, str]]:
    """Run a script to its end: its answers, each a word and the rest. Raises Answered, Unavailable and SandboxError."""
    answers = []
    try:
        async with asyncio.timeout(within_s):
            channel = await link.channel(link.shell)
            try:
                with contextlib.suppress(OSError):  # what it said before it ended is the better reason
                    await channel.write(script.encode() + data)
                channel.write_eof()
                word, rest, said = await script.first_answer(channel)
                answers.append((word, rest))
                while more := await channel.read(MOST_BYTES):
                    said += more
                    if len(said) > MOST_BYTES:
                        raise SandboxError("a script on the machine says more than anybody can hear")
            finally:
                channel.abort()
    except TimeoutError:
        raise SandboxError(f"a script on the machine has not ended in {within_s:g} s") from None
    for line in said.split(b"\n"):
        if line.startswith(script.mark):
            word, _, rest = line[len(script.mark) :].decode("utf-8", "replace").strip().partition(" ")
            if word == "no":
                raise Answered(printable(rest))
            answers.append((word, rest))
    return answers


def _silence(channel: Channel, said: bytes) -> str:
    if channel.problem is not None:
        return f"has not answered: {printable(str(channel.problem))}"
    words = (said + channel.complaint)[-_MOST_SHOWN:].decode("utf-8", "replace").strip()
    return f"has ended without an answer; it said: {printable(words)}" if words else "has ended without an answer"


def words(**values: str) -> dict[str, str]:
    """Variables r_NAME with these values."""
    return {f"r_{name}": quote(value) for name, value in values.items()}
