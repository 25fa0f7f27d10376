"""What a start does before there are parts: the data folder and its lock, the pages' socket."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from appliance import file_lock
from appliance.api import server as web_server
from appliance.api.parts import Addresses
from appliance.crypto import write_private
from appliance.errors import SettingsError, StoreError
from appliance.settings import Settings


def data_folder(settings: Settings) -> Path:
    data = Path(settings.text("data")).expanduser().absolute()
    try:
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise SettingsError([f"cannot make the data folder {data}: {error.strerror}; choose another with --data"]) from None
    with contextlib.suppress(OSError):  # not ours, or a file system without modes
        data.chmod(data.stat().st_mode & ~0o077)  # made by somebody else, for all to read: keys, code, logs
    if not os.access(data, os.W_OK):
        raise SettingsError([f"no right to write to the data folder {data}"])
    return data


def locked(data: Path) -> AbstractContextManager[None]:
    """One appliance a data folder. Entering raises StoreError."""

    def refuse(holder: str) -> None:
        raise StoreError(f"another Rondo works on {data} ({holder}): stop it first, or choose another folder with --data")

    return file_lock.held(data / "lock", refuse)


@contextmanager
def bound(settings: Settings) -> Iterator[socket.socket]:
    """The pages' socket, bound before anything is begun."""
    host, port = settings.text("web.host"), settings.integer("web.port")
    try:
        listener = web_server.listen(host, port)
    except OSError as error:
        raise SettingsError(
            [f"cannot listen on {host}:{port} for the pages: {error.strerror}; choose another web.port (0: a free one)"]
        ) from None
    with contextlib.closing(listener):
        yield listener


def url_of(listener: socket.socket, settings: Settings) -> str:
    host = settings.text("web.host")
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{listener.getsockname()[1]}"


def note_addresses(data: Path, addresses: Addresses) -> None:
    """For the command line beside us: ports may be any free ones. Where they stay the same, a full disk does not matter."""
    for name, text in (("web_url", addresses.web), ("ssh_address", f"{addresses.ssh_host}:{addresses.ssh_port}")):
        path = data / name
        if not path.exists() or path.read_text() != text:
            write_private(path, text.encode())
