"""A command on a pseudo-terminal, as a person sits at it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

_LONGEST_S = 60.0


class Terminal:
    """What it shows is gathered in `shown`, with all its escape codes."""

    def __init__(self, master: int, process: subprocess.Popen[bytes]) -> None:
        self._master = master
        self.process = process
        self.shown = ""

    def until(self, text: str, longest_s: float = _LONGEST_S) -> str:
        """Wait until `text` shows behind what an earlier call waited for; what was shown up to it."""
        deadline = time.monotonic() + longest_s
        while text not in self.shown:
            assert time.monotonic() < deadline, f"no {text!r} in\n{self.shown}"
            assert self._read(), f"it ended without {text!r}:\n{self.shown}"
        before, _, self.shown = self.shown.partition(text)
        return before

    def _read(self) -> bool:
        if not select.select([self._master], [], [], 1.0)[0]:
            return True
        try:
            data = os.read(self._master, 65536)
        except OSError:  # the other end is closed
            return False
        self.shown += data.decode("utf-8", "replace")
        return bool(data)

    def type(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def ended(self, longest_s: float = _LONGEST_S) -> int:
        """The exit code; the rest is in `shown` then."""
        deadline = time.monotonic() + longest_s
        while self._read():
            assert time.monotonic() < deadline, self.shown
        return self.process.wait(10)

    @property
    def is_in_line_mode(self) -> bool:
        """Whether the terminal is left as a shell expects it."""
        modes = termios.tcgetattr(self._master)[3]
        return bool(modes & termios.ICANON) and bool(modes & termios.ECHO)


@contextmanager
def terminal(argv: Sequence[str], folder: Path, environment: Mapping[str, str]) -> Iterator[Terminal]:
    """The command as the leader of a session of its own; killed at the end, if it still runs."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))

    def take_terminal() -> None:
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)

    process = subprocess.Popen(
        argv,
        cwd=folder,
        env={**environment, "TERM": "xterm-256color"},
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        preexec_fn=take_terminal,
    )
    os.close(slave)
    try:
        yield Terminal(master, process)
    finally:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)
        os.close(master)
