"""The keys of the terminal: one at a time, for questions, or all of them, for a shell."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_MOST_BYTES = 65536


class Keys:
    """Standard input, when it is a terminal that we may read."""

    def __init__(self) -> None:
        self._fd = sys.stdin.fileno()
        self._modes: list[Any] = termios.tcgetattr(self._fd)

    @staticmethod
    def of_this_terminal() -> Keys | None:
        """None where nobody sits: input or output is no terminal, or somebody else's (a job in the background)."""
        try:
            if not (sys.stdin.isatty() and sys.stdout.isatty()):
                return None
            if os.tcgetpgrp(sys.stdin.fileno()) != os.getpgrp():
                return None
            return Keys()
        except (OSError, ValueError, termios.error):
            return None

    @contextmanager
    def told(self, to: Callable[[bytes], None], *, raw: bool) -> Iterator[None]:
        """Bytes go to `to` as they are typed, until the block ends. Not `raw`: Ctrl-C still is what it always was."""
        loop = asyncio.get_running_loop()
        if raw:
            tty.setraw(self._fd)
        else:
            tty.setcbreak(self._fd)
        loop.add_reader(self._fd, self._read, to)
        try:
            yield
        finally:
            loop.remove_reader(self._fd)
            self.restore()

    def restore(self) -> None:
        """Leave the terminal as it was found. May be repeated."""
        with contextlib.suppress(termios.error):
            termios.tcsetattr(self._fd, termios.TCSADRAIN, self._modes)

    def _read(self, to: Callable[[bytes], None]) -> None:
        with contextlib.suppress(OSError):
            to(os.read(self._fd, _MOST_BYTES))
