"""XML of a job, read as it comes and never whole in memory. No I/O.

The files are a job's words: no entity is ever declared (so nothing can be blown up or fetched), a tag is bounded, and so is
depth.
"""

from __future__ import annotations

from collections.abc import Callable
from xml.parsers import expat

_LONGEST_TAG_BYTES = 4 << 20  # the parser reads a tag from its beginning again with each chunk
_DEEPEST = 200


class BadFile(Exception):
    """The rest of this file cannot be read; says why."""


class XmlStream:
    """Feed it the bytes of one file. `start` is told of an element with its attributes, `end` of its end, `text` of texts.

    `path` are the names of the open elements: in all three calls with the one that is meant.
    """

    def __init__(
        self,
        start: Callable[[str, dict[str, str]], None],
        end: Callable[[str], None],
        text: Callable[[str], None] | None = None,
    ) -> None:
        self.path: list[str] = []
        self._on_start = start
        self._on_end = end
        self._on_text = text
        self._fed_bytes = 0
        self._last_event_at = 0
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._text
        self._parser.CommentHandler = self._moved
        self._parser.ProcessingInstructionHandler = self._moved
        self._parser.EntityDeclHandler = _refuse_entities
        self._parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)

    def feed(self, data: bytes, *, is_last: bool = False) -> None:
        """Raises BadFile, and what the calls raise."""
        self._fed_bytes += len(data)
        try:
            self._parser.Parse(data, is_last)
        except (expat.ExpatError, ValueError, LookupError) as error:  # the last two: unknown encodings
            raise BadFile(f"it is no good XML: {error}") from None
        if self._fed_bytes - self._last_event_at > _LONGEST_TAG_BYTES:
            raise BadFile(f"a tag in it is longer than {_LONGEST_TAG_BYTES >> 20} MiB")

    def _moved(self, *_: object) -> None:
        self._last_event_at = self._parser.CurrentByteIndex

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._moved()
        if len(self.path) >= _DEEPEST:
            raise BadFile(f"its elements lie more than {_DEEPEST} deep in each other")
        name = name.rpartition(":")[2]
        self.path.append(name)
        self._on_start(name, attributes)

    def _end(self, name: str) -> None:
        self._moved()
        self._on_end(self.path[-1])
        self.path.pop()

    def _text(self, text: str) -> None:
        self._moved()
        if self._on_text is not None:
            self._on_text(text)


def _refuse_entities(*_: object) -> None:
    raise BadFile("it declares entities, which are not read")
