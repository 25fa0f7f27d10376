"""A small editor: starts `rondo lsp` as a process and speaks JSON-RPC with it over its pipes."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60.0


class Editor:
    """One conversation. Messages that nobody has asked for yet wait in `_notes`."""

    def __init__(self, process: asyncio.subprocess.Process, root: Path) -> None:
        assert process.stdin is not None and process.stdout is not None
        self.process = process
        self.root = root
        self.stdin = process.stdin
        self._stdout = process.stdout
        self._last_id = 0
        self._version = 0
        self._notes: list[dict[str, Any]] = []

    # The wire

    def send_raw(self, body: bytes) -> None:
        self.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))

    async def notify(self, method: str, params: object) -> None:
        self.send_raw(json.dumps({"jsonrpc": "2.0", "method": method, "params": params}).encode())
        await self.stdin.drain()

    async def ask(self, method: str, params: object) -> Any:
        """The whole answer: with `result`, or with `error`."""
        self._last_id += 1
        wanted = self._last_id
        self.send_raw(json.dumps({"jsonrpc": "2.0", "id": wanted, "method": method, "params": params}).encode())
        await self.stdin.drain()
        async with asyncio.timeout(PATIENCE_S):
            while True:
                message = await self._read()
                if message.get("id") == wanted and "method" not in message:
                    return message
                self._notes.append(message)

    async def note(self, method: str) -> Any:
        """The next notification of a kind."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                for message in self._notes:
                    if message.get("method") == method:
                        self._notes.remove(message)
                        return message["params"]
                self._notes.append(await self._read())

    async def _read(self) -> dict[str, Any]:
        length = 0
        while (line := await self._stdout.readline()) != b"\r\n":
            assert line, "the server hung up"
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        found: dict[str, Any] = json.loads(await self._stdout.readexactly(length))
        return found

    # What an editor does

    async def initialize(self) -> Any:
        capabilities = {"textDocument": {"publishDiagnostics": {"relatedInformation": True}}}
        params = {"processId": None, "rootUri": self.root.as_uri(), "capabilities": capabilities}
        answer = await self.ask("initialize", params)
        await self.notify("initialized", {})
        return answer["result"]["capabilities"]

    def uri(self, name: str = ".circleci/config.yml") -> str:
        return (self.root / name).as_uri()

    async def open(self, text: str, name: str = ".circleci/config.yml") -> None:
        document = {"uri": self.uri(name), "languageId": "yaml", "version": 0, "text": text}
        await self.notify("textDocument/didOpen", {"textDocument": document})

    async def change(self, text: str) -> None:
        self._version += 1
        document = {"uri": self.uri(), "version": self._version}
        await self.notify("textDocument/didChange", {"textDocument": document, "contentChanges": [{"text": text}]})

    async def problems(self) -> list[dict[str, Any]]:
        """The next diagnostics of the config."""
        said = await self.note("textDocument/publishDiagnostics")
        assert said["uri"] == self.uri()
        found: list[dict[str, Any]] = said["diagnostics"]
        return found

    async def at(self, method: str, line: int, character: int) -> Any:
        position = {"line": line, "character": character}
        answer = await self.ask(f"textDocument/{method}", {"textDocument": {"uri": self.uri()}, "position": position})
        return answer["result"]

    async def leave(self) -> int:
        """Say goodbye as the protocol wants it; the exit code."""
        assert (await self.ask("shutdown", None))["result"] is None
        await self.notify("exit", None)
        return await self.ended()

    async def ended(self) -> int:
        async with asyncio.timeout(PATIENCE_S):
            return await self.process.wait()


@asynccontextmanager
async def editor(root: Path, *words: str) -> AsyncIterator[Editor]:
    """A running server, and an editor that has not said hello yet. `root` is the project's folder."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "appliance", "lsp", "--data", str(root / "data"), *words),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", "TMPDIR": str(root)},
        limit=64_000_000,
    )
    try:
        yield Editor(process, root)
    finally:
        if process.returncode is None:
            process.kill()
        if process.stdin is not None:
            process.stdin.close()
        await process.wait()
