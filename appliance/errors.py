"""What a caller of ours can handle. A failed job is data, not one of these; a bug is an assertion."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager


class RondoError(Exception):
    """The root. Its text is for a person: what was tried, on what, what to do."""


class SettingsError(RondoError):
    """Wrong options; `problems` holds one line each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class StoreError(RondoError):
    """The database could not do what was asked."""


class NotFound(RondoError):
    """There is no such thing, or not for this person."""


class Conflict(RondoError):
    """It is there already, or its state forbids what was asked."""


class Refused(RondoError):
    """Not allowed for this person or this event."""


class BadRequest(RondoError):
    """What came in is not what it should be."""


class InvalidConfig(BadRequest):
    """The config cannot run. The text is all of its problems, with lines and carets."""


class SandboxError(RondoError):
    """The executor could not do what was asked: infrastructure, not the job."""


class SandboxLost(SandboxError):
    """The sandbox is gone or its supervisor has ended."""


class ConnectionBroke(SandboxError):
    """The way to a sandbox broke amid something: it may have been done, or some of it, or nothing. The sandbox lives."""


class ImageError(RondoError):
    """The image cannot be had or cannot run a job: the user's to mend."""


class Unavailable(RondoError):
    """What was asked for cannot be had on this appliance: its administrator's to mend."""


class VcsError(RondoError):
    """A repository or forge could not be reached or read."""


class DiskFull(RondoError):
    """No room left where we write."""


def lacks_room(error: OSError) -> bool:
    """Whether it came for want of room."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def needing_room(what: str) -> Iterator[None]:
    """Raises DiskFull, naming `what` there is no room for, where the block finds none."""
    try:
        yield
    except OSError as error:
        if not lacks_room(error):
            raise
        raise DiskFull(f"no room for {what}: free some") from error


def printable(text: str, limit: int = 500) -> str:
    """`text` without anything that could move a terminal's cursor or reorder its line."""
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    return "".join(character if character.isprintable() else "�" for character in cut.replace("\t", " "))
