"""One question to a Docker engine at a local socket, by hand: to load an HTTP library takes longer than the answer."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from appliance.errors import SandboxError

_READ_BYTES = 65536


@dataclass(frozen=True)
class Answer:
    """`version` is that of the API ("v1.41"), where the engine says it; `value` what was JSON in the body, if it had one."""

    version: str | None
    value: Any


def ask(path: str, method: str, target: str, body: Mapping[str, Any] | None = None, *, timeout_s: float) -> Answer:
    """Blocks; no part of the answer takes longer than `timeout_s`.

    Raises OSError when nobody answers at the socket `path`, SandboxError with the engine's words when it refuses, and
    ValueError for what is no answer. By HTTP/1.0 the answer comes in one piece and ends with the connection.
    """
    content = b"" if body is None else json.dumps(body).encode()
    kind = "Content-Type: application/json\r\n" if content else ""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout_s)
        connection.connect(path)
        connection.sendall(f"{method} {target} HTTP/1.0\r\n{kind}Content-Length: {len(content)}\r\n\r\n".encode() + content)
        said = b""
        while data := connection.recv(_READ_BYTES):
            said += data
    head, _, text = said.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    status = int(first.split(" ", 2)[1])
    if status >= 400:
        raise SandboxError(
            f"the Docker engine answers {status} to {target.partition('?')[0]}: {text[:2000].decode(errors='replace')}"
        )
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    version = headers.get("api-version")
    return Answer(f"v{version}" if version else None, json.loads(text) if text.strip() else None)
