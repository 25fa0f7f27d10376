"""Finding what a job asks in the output of the process that collects it (`supervised._ASKS`). No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterator

from appliance.errors import SandboxError
from appliance.executors.base import Ask

LARGEST_ASK_BYTES = 9 << 20
_LONGEST_HEAD = 256
_HEAD = re.compile(rb"\x01ask ([A-Za-z0-9._-]{1,64}) (\d{1,9})\Z")


class AskReader:
    """Cuts `ask ID SIZE`, a line, and then SIZE bytes out of what is fed to it."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> Iterator[Ask]:
        """What is here as a whole. Raises SandboxError for what no collector of ours has printed, or for too much."""
        self._held += data
        while (head_end := self._held.find(b"\n", 0, _LONGEST_HEAD)) >= 0:
            found = _HEAD.match(bytes(self._held[:head_end]))
            if found is None or int(found[2]) > LARGEST_ASK_BYTES:
                raise SandboxError("what the job asks cannot be understood")
            end = head_end + 1 + int(found[2])
            if len(self._held) < end:
                return
            body = bytes(self._held[head_end + 1 : end])
            del self._held[:end]
            yield Ask(found[1].decode(), body)
        if len(self._held) >= _LONGEST_HEAD:
            raise SandboxError("what the job asks cannot be understood")
