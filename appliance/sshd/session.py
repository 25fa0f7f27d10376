"""One SSH session (a channel with a shell or a command), as our services see it."""

from __future__ import annotations

import contextlib

import asyncssh

from appliance.errors import RondoError, printable


class Session(asyncssh.SSHServerProcess[bytes]):
    """asyncssh's server process in bytes, without any subsystem: sftp from the host side would follow a job's links."""

    def subsystem_requested(self, subsystem: str) -> bool:
        return False


class Gone(RondoError):
    """The client has left."""


async def send(session: Session, data: bytes) -> None:
    """Write to the client's stdout; waits while it does not take it. Raises Gone."""
    try:
        session.stdout.write(data)
        await session.stdout.drain()
    except (OSError, asyncssh.Error):
        raise Gone("the client has left") from None


def tell(session: Session, text: str) -> None:
    """A line (or some) for the person, on stderr. Does nothing when the client has left."""
    end = "\n" if session.term_type is None else "\r\n"
    lines = "".join(f"{printable(line)}{end}" for line in text.split("\n"))
    with contextlib.suppress(OSError, asyncssh.Error):
        session.stderr.write(lines.encode())


def finish(session: Session, code: int) -> None:
    """End the session with an exit code. May be repeated."""
    with contextlib.suppress(OSError, asyncssh.Error):
        session.exit(code)
