"""The language server itself: what the editor tells and asks, over standard input and output.

A config is checked at every change, in a thread, and only its newest text: while one text is being compiled the next
ones replace each other, and an answer that a newer text has overtaken is thrown away. So typing never waits, and
no timer is needed.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from lsprotocol import types
from pygls import uris
from pygls.lsp.server import LanguageServer
from pygls.workspace import PositionCodec

from appliance.errors import RondoError
from appliance.language import OrbSource, compile
from appliance.lsp.definitions import OrbFiles, definition_at
from appliance.lsp.diagnostics import diagnostics_of, failure
from appliance.lsp.hover import note_at
from appliance.lsp.places import Place
from appliance.lsp.reading import Reading, read_config

_CONFIG = re.compile(r"(?:.*/)?\.circleci/[^/]+\.ya?ml\Z")

OrbsFor = Callable[[Path], OrbSource | None]
"""The source of orbs for one compilation of a config, by the config's path. May raise RondoError."""


def is_config(uri: str) -> bool:
    path = uris.to_fs_path(uri)
    return path is not None and _CONFIG.match(path.replace("\\", "/")) is not None


@dataclass
class _Open:
    """A config that is open in the editor. `is_checked` off: its text is newer than its diagnostics."""

    uri: str
    file: str
    text: str
    is_checked: bool = False
    is_being_checked: bool = False
    reading: tuple[str, Reading | None] | None = None  # with the text it was made from


class Editor:
    """Everything one editor has open, and the answers to it."""

    def __init__(self, server: LanguageServer, orbs_for: OrbsFor, values: Mapping[str, object]) -> None:
        self._server = server
        self._orbs_for = orbs_for
        self._values = values
        self._open: dict[str, _Open] = {}
        self._orb_files = OrbFiles()
        self.is_shut_down = False

    def close(self) -> None:
        self._orb_files.close()

    # What the editor tells

    async def took_up(self, uri: str, text: str) -> None:
        """A config was opened or changed; says its problems when they are known."""
        if not is_config(uri):
            return
        config = self._open.get(uri)
        if config is None:
            config = self._open[uri] = _Open(uri, uris.to_fs_path(uri) or uri, text)
        config.text, config.is_checked = text, False
        if not config.is_being_checked:
            await self._check(config)

    def put_away(self, uri: str) -> None:
        if self._open.pop(uri, None) is not None:
            self._publish(uri, [])

    async def _check(self, config: _Open) -> None:
        config.is_being_checked = True
        try:
            while not config.is_checked:
                config.is_checked, text = True, config.text
                found = await asyncio.to_thread(self._diagnostics, config.file, text)
                if config.is_checked and self._open.get(config.uri) is config:
                    self._publish(config.uri, found)
        finally:
            config.is_being_checked = False

    def _publish(self, uri: str, found: list[types.Diagnostic]) -> None:
        self._server.text_document_publish_diagnostics(types.PublishDiagnosticsParams(uri, found))

    def _diagnostics(self, file: str, text: str) -> list[types.Diagnostic]:
        """In a thread."""
        sources: Mapping[str, str] = {file: text}
        locate = _Locator(self._codec, self._orb_files, file)
        try:
            compiled = compile(text, file=file, values=self._values, orbs=self._orbs_for(Path(file)))
        except RondoError as error:
            return [failure(str(error), file, locate.over(sources))]
        return diagnostics_of(compiled, file, locate.over(compiled.sources))

    @property
    def _codec(self) -> PositionCodec:
        return self._server.workspace.position_codec

    # What the editor asks

    async def hover(self, at: types.HoverParams) -> types.Hover | None:
        config = self._open.get(at.text_document.uri)
        return await asyncio.to_thread(self._hover, config, at.position) if config is not None else None

    async def definition(self, at: types.DefinitionParams) -> types.Location | None:
        config = self._open.get(at.text_document.uri)
        return await asyncio.to_thread(self._definition, config, at.position) if config is not None else None

    def _hover(self, config: _Open, position: types.Position) -> types.Hover | None:
        reading = self._reading(config)
        note = note_at(reading, *self._place_in(reading, position)) if reading is not None else None
        if reading is None or note is None:
            return None
        contents = types.MarkupContent(types.MarkupKind.Markdown, note.markdown)
        return types.Hover(contents, self._located(reading, note.place).range)

    def _definition(self, config: _Open, position: types.Position) -> types.Location | None:
        reading = self._reading(config)
        found = definition_at(reading, *self._place_in(reading, position)) if reading is not None else None
        return self._located(reading, found) if reading is not None and found is not None else None

    def _reading(self, config: _Open) -> Reading | None:
        """The newest text, read once however much is asked about it."""
        text, kept = config.text, config.reading
        if kept is not None and kept[0] == text:
            return kept[1]
        try:
            made = read_config(text, config.file, self._values, self._orbs_for(Path(config.file)))
        except RondoError:
            made = None  # said by the diagnostics
        config.reading = (text, made)
        return made

    def _place_in(self, reading: Reading, position: types.Position) -> tuple[int, int]:
        """Line and column, counted from 1 in characters."""
        lines = reading.lines(reading.file)
        if position.line >= len(lines):
            return position.line + 1, 1
        found = self._codec.position_from_client_units(lines, position)
        return found.line + 1, found.character + 1

    def _located(self, reading: Reading, place: Place) -> types.Location:
        return _Locator(self._codec, self._orb_files, reading.file).over(reading.sources)(place)


class _Locator:
    """Turns places into locations: UTF-16 units (or what was agreed on), a URI, a file for an orb."""

    def __init__(self, codec: PositionCodec, orb_files: OrbFiles, config: str) -> None:
        self._codec = codec
        self._orb_files = orb_files
        self._config = config

    def over(self, sources: Mapping[str, str]) -> Callable[[Place], types.Location]:
        lines = {name: text.splitlines() for name, text in sources.items()}

        def locate(place: Place) -> types.Location:
            known = lines.get(place.file, [])
            text = known[place.line - 1] if 0 < place.line <= len(known) else ""
            return types.Location(self._uri(place.file, sources), self._range(text, place))

        return locate

    def _range(self, text: str, place: Place) -> types.Range:
        start = self._codec.client_num_units(text[: place.column - 1])
        end = self._codec.client_num_units(text[: place.end - 1])
        return types.Range(types.Position(place.line - 1, start), types.Position(place.line - 1, end))

    def _uri(self, file: str, sources: Mapping[str, str]) -> str:
        path = file if file == self._config else str(self._orb_files.path_of(file, sources.get(file, "")))
        return uris.from_fs_path(path) or path


def serve(stdin: BinaryIO, stdout: BinaryIO, orbs_for: OrbsFor, values: Mapping[str, object], version: str) -> int:
    """Speak with one editor until it leaves; 0 when it said goodbye first, as the protocol wants it."""
    server = LanguageServer("rondo", version, text_document_sync_kind=types.TextDocumentSyncKind.Full)
    editor = Editor(server, orbs_for, values)
    _register(server, editor)
    try:
        server.start_io(stdin, stdout)
    finally:
        editor.close()
    return 0 if editor.is_shut_down else 1


def _register(server: LanguageServer, editor: Editor) -> None:
    @server.feature(types.TEXT_DOCUMENT_DID_OPEN)
    async def opened(params: types.DidOpenTextDocumentParams) -> None:
        await editor.took_up(params.text_document.uri, params.text_document.text)

    @server.feature(types.TEXT_DOCUMENT_DID_CHANGE)
    async def changed(params: types.DidChangeTextDocumentParams) -> None:
        document = server.workspace.text_documents.get(params.text_document.uri)
        if document is not None:
            await editor.took_up(params.text_document.uri, document.source)

    @server.feature(types.TEXT_DOCUMENT_DID_CLOSE)
    def closed(params: types.DidCloseTextDocumentParams) -> None:
        editor.put_away(params.text_document.uri)

    @server.feature(types.TEXT_DOCUMENT_HOVER)
    async def hover(params: types.HoverParams) -> types.Hover | None:
        return await editor.hover(params)

    @server.feature(types.TEXT_DOCUMENT_DEFINITION)
    async def definition(params: types.DefinitionParams) -> types.Location | None:
        return await editor.definition(params)

    @server.feature(types.SHUTDOWN)
    def shut_down(*_: object) -> None:
        editor.is_shut_down = True
