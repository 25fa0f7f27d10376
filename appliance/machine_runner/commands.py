"""The SSH server inside a runner: runs the appliance's commands as the user of the runner, with pipes or a terminal.

Only the appliance at the other end of the connection may log in, by the same key that it showed as the door. No shells,
no subsystems, no forwarding of anything. As with OpenSSH, a command without a terminal outlives a lost connection unless
it minds SIGHUP, the end of its input or a closed output.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pwd
import signal
import struct
import subprocess
import termios
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import asyncssh

_READ_BYTES = 256 * 1024
_PIPE_BYTES = 1 << 20
_SET_PIPE_SIZE = getattr(fcntl, "F_SETPIPE_SZ", None)  # Linux has it
_STDERR = asyncssh.EXTENDED_DATA_STDERR
_OURS = ("NOTIFY_SOCKET", "LISTEN_", "RONDO_", "INVOCATION_ID", "JOURNAL_STREAM", "SYSTEMD_")
# The first terminal that a session leader opens becomes its controlling one.
_ON_A_TERMINAL = 'exec sh -c "$1" <>"$2" >&0 2>&1'


class Children:
    """The commands that run; told by SIGCHLD when one may have ended. One a process."""

    def __init__(self) -> None:
        self._running: set[Command] = set()

    def watch(self) -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, self._look)

    def add(self, command: Command) -> None:
        self._running.add(command)

    def drop(self, command: Command) -> None:
        self._running.discard(command)

    def _look(self) -> None:
        for command in tuple(self._running):
            command.finish_if_over()


class Host(asyncssh.SSHServer):
    """One connection of the appliance."""

    def __init__(self, children: Children, appliance_key: asyncssh.SSHKey) -> None:
        self._children = children
        self._appliance_key = appliance_key

    def begin_auth(self, username: str) -> bool:
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return key == self._appliance_key

    def session_requested(self) -> Command:
        return Command(self._children)


class Command(asyncssh.SSHServerSession[bytes]):
    """One command and its channel. Bytes go straight between pipes and channel, each side waiting for the other."""

    def __init__(self, children: Children) -> None:
        self._loop = asyncio.get_running_loop()
        self._children = children
        self._command = ""
        self._size: tuple[int, int] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._input: int | None = None
        self._outputs: dict[int, int | None] = {}  # their data types
        self._waiting = bytearray()  # for a pipe that is full
        self._is_at_eof = False
        self._is_over = False

    # What the appliance asks for

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        self._channel = chan

    def pty_requested(self, term_type: str, term_size: Any, term_modes: Any) -> bool:
        self._size = term_size[:2]
        return True

    def exec_requested(self, command: str) -> bool:
        self._command = command
        return True

    def session_started(self) -> None:
        try:
            self._start()
        except OSError as error:
            self._channel.write_stderr(f"rondo runner: cannot start a command: {error.strerror}\n".encode())
            self._channel.exit(126)
            self._is_over = True

    def terminal_size_changed(self, width: int, height: int, pixwidth: int, pixheight: int) -> None:
        if self._size is not None and self._input is not None:
            _set_size(self._input, width, height)

    def signal_received(self, name: str) -> None:
        number = _signal_number(name)
        if number is not None:
            self._send_signal(number)

    def connection_lost(self, exc: Exception | None) -> None:
        """Also when the connection broke. The process hears it as it would hear of a terminal that was hung up."""
        if not self._is_over:
            self._is_over = True
            self._send_signal(signal.SIGHUP)
        for output in tuple(self._outputs):
            self._close_output(output)
        self._close_input()

    # Its start and its end

    def _start(self) -> None:
        theirs: tuple[int, ...] = ()
        argv = ["sh", "-c", self._command]
        try:
            if self._size is None:
                their_input, self._input = os.pipe()
                output, their_output = os.pipe()
                errors, their_errors = os.pipe()
                self._outputs = {output: None, errors: _STDERR}
                theirs = (their_input, their_output, their_errors)
            else:
                ours, slave = os.openpty()
                _set_size(ours, *self._size)
                self._input, self._outputs = ours, {ours: None}
                argv = ["sh", "-c", _ON_A_TERMINAL, "sh", self._command, os.ttyname(slave)]
                theirs = (slave,) * 3
            self._process = _spawn(argv, self._environment(), *theirs)
        finally:
            for end in set(theirs):
                os.close(end)
        self._children.add(self)
        for end in {self._input, *self._outputs}:
            os.set_blocking(end, False)
            if _SET_PIPE_SIZE is not None:
                with contextlib.suppress(OSError):
                    fcntl.fcntl(end, _SET_PIPE_SIZE, _PIPE_BYTES)
        self.resume_writing()

    def _environment(self) -> dict[str, str]:
        user = pwd.getpwuid(os.geteuid())
        usual = {"HOME": user.pw_dir, "USER": user.pw_name, "LOGNAME": user.pw_name, "PATH": os.defpath}
        own = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
        asked: Mapping[str, str] = self._channel.get_environment()
        terminal = {"TERM": self._channel.get_terminal_type() or "dumb"} if self._size is not None else {}
        return {**usual, **own, **terminal, **asked}

    def finish_if_over(self) -> None:
        """Say how it ended, once it has and all its output is on the way."""
        if self._process is None or self._process.poll() is None:
            return
        self._children.drop(self)
        if self._is_over or self._outputs:
            return
        self._is_over = True
        code = self._process.returncode
        if code < 0:
            name = signal.Signals(-code).name.removeprefix("SIG")
            self._channel.exit_with_signal(name)
        else:
            self._channel.exit(code)

    def _send_signal(self, number: int) -> None:
        """To the command's process group; it is a session of its own."""
        if self._process is not None and self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)

    # Output

    def _read(self, output: int) -> None:
        try:
            data = os.read(output, _READ_BYTES)
        except BlockingIOError:
            return
        except OSError:  # EIO: the last process has closed the terminal
            data = b""
        if data:
            self._channel.write(data, self._outputs[output])
        else:
            self._close_output(output)
            self.finish_if_over()

    def pause_writing(self) -> None:
        for output in self._outputs:
            self._loop.remove_reader(output)

    def resume_writing(self) -> None:
        for output in self._outputs:
            self._loop.add_reader(output, self._read, output)

    def _close_output(self, output: int) -> None:
        self._loop.remove_reader(output)
        del self._outputs[output]
        if output == self._input:
            self._close_input()
        else:
            os.close(output)

    # Input

    def data_received(self, data: bytes, datatype: int | None) -> None:
        if not self._waiting:
            data = data[self._write(data) :]
        if data:
            if not self._waiting:
                assert self._input is not None
                self._channel.pause_reading()
                self._loop.add_writer(self._input, self._write_waiting)
            self._waiting += data

    def eof_received(self) -> bool:
        self._is_at_eof = True
        if not self._waiting:
            self._end_input()
        return True  # the output goes on

    def _write(self, data: bytes | bytearray) -> int:
        """As much as the pipe takes; all of it when nobody reads."""
        if self._input is None:
            return len(data)
        try:
            return os.write(self._input, data)
        except BlockingIOError:
            return 0
        except OSError:
            return len(data)

    def _write_waiting(self) -> None:
        del self._waiting[: self._write(self._waiting)]
        if self._waiting:
            return
        assert self._input is not None
        self._loop.remove_writer(self._input)
        self._channel.resume_reading()
        if self._is_at_eof:
            self._end_input()

    def _end_input(self) -> None:
        if self._size is None:
            self._close_input()
        # A terminal has no end but the one typed in.

    def _close_input(self) -> None:
        ours, self._input = self._input, None
        if ours is not None:
            self._loop.remove_writer(ours)
            os.close(ours)


def _spawn(argv: list[str], environment: Mapping[str, str], stdin: int, stdout: int, stderr: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        argv,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        env=environment,
        cwd=environment["HOME"] if Path(environment["HOME"]).is_dir() else "/",
        start_new_session=True,
    )


def _set_size(terminal: int, columns: int, rows: int) -> None:
    sizes = (min(max(size, 1), 10_000) for size in (rows, columns))
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", *sizes, 0, 0))


def _signal_number(name: str) -> int | None:
    found = getattr(signal, f"SIG{name}", None)
    return int(found) if isinstance(found, signal.Signals) else None
