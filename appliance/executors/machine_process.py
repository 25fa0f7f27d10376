"""Processes on a machine beside the supervised commands: each is a channel of its own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Mapping, Sequence

from appliance.errors import RondoError, SandboxError, SandboxLost
from appliance.executors.machine_channel import Channel
from appliance.executors.machine_link import Link
from appliance.executors.machine_script import Script, ask, words
from appliance.executors.payload import expand_home, exports, quote

log = logging.getLogger(__name__)

COOKIE = "RONDO_PROCESS"
READ_BYTES = 256 * 1024
_START_S = 30.0
_KILL_S = 30.0
_LAST_WORDS_S = 5.0


class MachineProcess:
    """See `base.Process`. `rest` came behind the first answer; `cut_off` as of `start_machine_process`."""

    def __init__(
        self, link: Link, channel: Channel, rest: bytes, cookie: str, cut_off: set[str], *, has_terminal: bool
    ) -> None:
        self._link = link
        self._channel = channel
        self._rest = rest
        self._cookie = cookie
        self._cut_off = cut_off
        self._has_terminal = has_terminal
        self._was_killed = False

    async def read(self) -> bytes:
        if self._rest:
            data, self._rest = self._rest, b""
            return data
        return await self._channel.read(READ_BYTES)

    async def write(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            await self._channel.write(data)

    async def write_eof(self) -> None:
        if self._has_terminal:
            await self.write(b"\x04")
        else:
            self._channel.write_eof()

    async def resize(self, columns: int, rows: int) -> None:
        if self._has_terminal:
            self._channel.resize(columns, rows)

    async def wait(self) -> int:
        try:
            return await self._channel.wait()
        except SandboxError:
            if self._was_killed:
                return 137
            raise

    async def kill(self) -> None:
        """When the machine cannot be reached now, what is left ends before the next process begins, or with the sandbox."""
        was_killed, self._was_killed = self._was_killed, True
        try:
            if self._channel.has_broken and not was_killed:
                self._cut_off.add(self._cookie)
            elif not was_killed and (self._has_terminal or not self._channel.has_ended):
                await self._end()
        finally:
            self._channel.abort()

    async def _end(self) -> None:
        text = f'r_end "{self._cookie}" HUP 50\nr_tell ok\n'
        try:
            await ask(self._link, Script("machine.sh", "machine_end.sh", text=text), within_s=_KILL_S)
            async with asyncio.timeout(_LAST_WORDS_S):
                while await self._channel.read(READ_BYTES):
                    pass
                await self._channel.wait()
        except (RondoError, TimeoutError) as problem:
            self._cut_off.add(self._cookie)
            log.warning("a process on a machine could not be ended", extra={"error": str(problem)})


async def start_machine_process(
    link: Link,
    where: Mapping[str, str],
    argv: Sequence[str],
    environment: Mapping[str, str],
    working_directory: str | None,
    tty: tuple[int, int] | None,
    cut_off: set[str],
) -> MachineProcess:
    """`where` finds the sandbox. Raises SandboxLost (its supervisor has ended), Answered, Unavailable and SandboxError.

    `cut_off` are the cookies of processes in the sandbox that may have outlived a connection: they are ended first.
    """
    cookie = f"{COOKIE}={secrets.token_hex(8)}"
    text = _text(argv, {**environment, COOKIE: cookie.partition("=")[2]}, working_directory)
    former = tuple(cut_off)
    names = ("machine.sh", *(["machine_end.sh"] if former else []), "machine_process.sh")
    script = Script(*names, words={**where, **words(former=" ".join(former))}, text=text)
    begin = script.encode() if tty is None else await _lay_down(link, where, script)
    channel = await link.channel(link.shell, tty=tty, terminal=environment.get("TERM", "xterm"))
    try:
        async with asyncio.timeout(_START_S):
            await channel.write(begin)
            word, _, rest = await script.first_answer(channel)
        if word == "gone":
            raise SandboxLost("the supervisor of the job has ended")
    except (TimeoutError, OSError) as problem:
        channel.abort()
        cut_off.add(cookie)
        raise SandboxError(f"cannot start {argv[0]} on the machine: {problem or 'no answer'}") from problem
    except BaseException:
        channel.abort()
        cut_off.add(cookie)
        raise
    cut_off.difference_update(former)
    return MachineProcess(link, channel, rest, cookie, cut_off, has_terminal=tty is not None)


async def _lay_down(link: Link, where: Mapping[str, str], script: Script) -> bytes:
    """A terminal shows what is typed, and takes short lines only: it is given the name of a file with all of it."""
    name = secrets.token_hex(8)
    keep = Script("machine.sh", words={**where, "r_name": name}, text=_KEEP)
    word, path = (await ask(link, keep, script.text, within_s=_START_S))[0]
    if word == "gone":
        raise SandboxLost("the supervisor of the job has ended")
    return f'r_file={quote(path)}; . "$r_file"\n'.encode()


def _text(argv: Sequence[str], environment: Mapping[str, str], working_directory: str | None) -> str:
    """After the exports nothing can be relied on but words of the shell itself."""
    return (
        f"r_tell ok\ncd -- {expand_home(working_directory or '~')} || exit 126\n"
        f"set -- {' '.join(map(quote, argv))}\n{exports(environment)}"
        'exec "$@"\n'
    )


_KEEP = """\
umask 077
cd -P -- "$r_base/$r_instance/$r_node/shells" 2>/dev/null || { r_tell gone; exit 0; }
cat >"$r_name" || r_fail "$PWD/$r_name cannot be written; is there room?"
r_tell ok "$PWD/$r_name"
"""
