"""Who a runner is, and which server it trusts: two files in a folder of its own, and a lock."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import asyncssh

from appliance import file_lock
from appliance.crypto import write_private
from appliance.errors import BadRequest, StoreError


@dataclass(frozen=True)
class Server:
    """Where to dial in."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def usual_folder() -> Path:
    """`~/.config/rondo/runner`, or where XDG_CONFIG_HOME says."""
    above = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(above).expanduser() / "rondo" / "runner"


class Identity:
    """The folder of a runner. `key` is ours; `known` are the host keys of servers, a line each: HOST:PORT KEY."""

    def __init__(self, folder: Path) -> None:
        """Makes the folder and the key at the first start. Raises StoreError."""
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.key = self._load_or_make_key(folder / "key")
        except OSError as error:
            raise StoreError(f"cannot use the folder {folder}: {error.strerror}; choose another with --folder") from None
        self.public_key = public_text(self.key)

    @property
    def known(self) -> Path:
        return self.folder / "known_servers"

    def locked(self) -> AbstractContextManager[None]:
        """One runner a folder, since two with one key would be one machine. Entering raises StoreError."""

        def refuse(holder: str) -> None:
            raise StoreError(f"another runner works with {self.folder} ({holder}); give this one its own with --folder")

        return file_lock.held(self.folder / "lock", refuse)

    def pinned(self, server: Server) -> str | None:
        """The host key ("ssh-ed25519 AAAA...") that the server has to show; None before the first time."""
        try:
            lines = self.known.read_text("utf-8").splitlines()
        except FileNotFoundError:
            return None
        for line in lines:
            name, _, key = line.partition(" ")
            if name == str(server):
                return key.strip()
        return None

    def pin(self, server: Server, host_key: str) -> None:
        text = self.known.read_text("utf-8") if self.known.exists() else ""
        others = [line for line in text.splitlines() if line.partition(" ")[0] != str(server)]
        write_private(self.known, "".join(f"{line}\n" for line in [*others, f"{server} {host_key}"]).encode())

    def _load_or_make_key(self, path: Path) -> asyncssh.SSHKey:
        if not path.exists():
            made = asyncssh.generate_private_key("ssh-ed25519", comment="rondo runner")
            write_private(path, made.export_private_key("openssh"))
        if path.stat().st_mode & 0o077:
            raise StoreError(f"{path} can be read by others: chmod 600 it, or remove it and enrol this machine anew")
        try:
            return asyncssh.read_private_key(str(path))
        except (asyncssh.KeyImportError, ValueError) as error:
            raise StoreError(f"{path} does not hold a key ({error}); remove it, and enrol this machine anew") from None


def public_text(key: asyncssh.SSHKey) -> str:
    """ "ssh-ed25519 AAAA...", without a comment."""
    return " ".join(key.export_public_key("openssh").decode().split()[:2])


def read_public_key(text: str) -> str:
    """The same of what a person gave. Raises BadRequest."""
    try:
        return public_text(asyncssh.import_public_key(text))
    except (asyncssh.KeyImportError, ValueError) as error:
        raise BadRequest(f"{text[:100]!r} is no public key: {error}") from None
