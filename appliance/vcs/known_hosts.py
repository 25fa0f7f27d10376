"""SSH towards git servers: the key that we show, and the host keys that we believe.

What a forge publishes on its pages is known from the start, and so are the lines of the settings. Any other server is
pinned when it is first fetched from, as ssh with `accept-new` does, in a file of ours: whoever stands in its place later
is refused.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

FORGES = (
    "github.com ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl",
    "gitlab.com ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAfuCHKVTjquxvt6CM6tdG4SLp1Btn/nOeHHE5UOzRdf",
    "bitbucket.org ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIazEu89wgQZ4bqs3d63QSMzYVa0MuJ2e2gKTKqu+UUO",
)
KEY_PREFIX = ".key-"
_LARGEST_FILE = 256 << 10


class KnownHosts:
    """`pinned` is a file that ssh adds to; `given` are lines of the settings."""

    def __init__(self, pinned: Path, given: Sequence[str] = ()) -> None:
        self.pinned = pinned
        self.fixed = pinned.with_name(pinned.name + ".fixed")
        self._lines = (*given, *FORGES)

    def prepare(self) -> None:
        """Write down what is known from the start: ssh reads files."""
        self.fixed.parent.mkdir(parents=True, exist_ok=True)
        self.fixed.write_text("".join(f"{line}\n" for line in self._lines), "utf-8")

    def lines(self) -> str:
        """All that is known, one a line: for jobs."""
        met = ""
        if self.pinned.exists():
            with self.pinned.open("rb") as file:
                met = file.read(_LARGEST_FILE).decode("utf-8", "replace")
        return "\n".join((*self._lines, *met.splitlines())) + "\n"

    def ssh_command(self, key: Path) -> str:
        """For git: ssh with this key alone, and no server but a known one, or one that was never met before."""
        files = " ".join(f'"{_plain(path)}"' for path in (self.pinned, self.fixed))
        options = {
            "BatchMode": "yes",
            "ConnectTimeout": "20",
            "ForwardAgent": "no",
            "PermitLocalCommand": "no",
            "IdentityFile": f'"{_plain(key)}"',
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "UserKnownHostsFile": files,
            "StrictHostKeyChecking": "accept-new",
            "HashKnownHosts": "no",  # people should be able to read and mend it
        }
        return " ".join(["ssh", *(shlex.quote(f"-o{name}={value}") for name, value in options.items())])


@contextlib.contextmanager
def key_file(folder: Path, private: str) -> Iterator[Path]:
    """A private key as the file that ssh wants, gone after the block. What a crash leaves there, `prepare` removes."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, name = tempfile.mkstemp(prefix=KEY_PREFIX, dir=folder)  # mode 0600
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(private)
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def _plain(path: Path) -> str:
    """ssh sees tokens in a % of a path."""
    return str(path).replace("%", "%%")
