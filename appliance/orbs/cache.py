"""Answers of the world outside, kept on disk: texts by their digest, and for each question which text answered it.

A question whose answer never changes is never asked again; one whose answer may be old is asked again after a while,
and when nobody answers, the old answer stands: an appliance that has lost its network goes on building.
"""

from __future__ import annotations

import json
import logging
import os
import re
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from appliance.clock import Clock
from appliance.language.orbs import OrbDocument
from appliance.orbs.names import Unreachable
from appliance.store.orbs import digest_of

log = logging.getLogger(__name__)

_DIGEST = re.compile(r"[0-9a-f]{64}")
_MOST = 4_000  # questions; whoever may push can ask any number of them


@dataclass(frozen=True)
class _Kept:
    document: OrbDocument
    at_ms: int


class Cache:
    """A folder. Any number of threads and processes may use it at once: files are only ever replaced whole."""

    def __init__(self, folder: Path, clock: Clock, most: int = _MOST) -> None:
        self._questions = folder / "questions"
        self._texts = folder / "texts"
        self._clock = clock
        self._most = most

    def answer(self, question: str, fresh_s: float, ask: Callable[[], OrbDocument]) -> OrbDocument:
        """The kept answer when it is younger than `fresh_s`, else what `ask` says now.

        When `ask` raises Unreachable, an older answer will do; what else it raises comes out here.
        """
        kept = self._find(question)
        if kept is not None and self._clock.now_ms() - kept.at_ms < fresh_s * 1000:
            return kept.document
        try:
            document = ask()
        except Unreachable as error:
            if kept is None:
                raise
            log.warning("an orb comes from the cache", extra={"orb": kept.document.name, "error": str(error)})
            return kept.document
        self.keep(question, document)
        return document

    def keep(self, question: str, document: OrbDocument) -> None:
        """Note the answer to a question. A full disk loses the note, not the answer."""
        digest = digest_of(document.text)
        entry = {"question": question, "name": document.name, "digest": digest, "at_ms": self._clock.now_ms()}
        try:
            self._questions.mkdir(parents=True, exist_ok=True)
            self._texts.mkdir(parents=True, exist_ok=True)
            if not (self._texts / digest).exists():
                _write(self._texts / digest, document.text)
            _write(self._file(question), json.dumps(entry))
            self._prune()
        except OSError as error:
            log.warning("an orb was not kept in the cache", extra={"orb": document.name, "error": str(error)})

    def _find(self, question: str) -> _Kept | None:
        """What is kept for a question, if its text is still the one that was kept."""
        try:
            entry = json.loads(self._file(question).read_text("utf-8"))
            name, digest, at_ms = entry["name"], entry["digest"], entry["at_ms"]
            if entry["question"] != question or not isinstance(at_ms, int) or not _DIGEST.fullmatch(digest):
                return None
            text = (self._texts / digest).read_bytes().decode("utf-8")
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return _Kept(OrbDocument(text, str(name)), at_ms) if digest_of(text) == digest else None

    def _file(self, question: str) -> Path:
        return self._questions / f"{digest_of(question)}.json"

    def _prune(self) -> None:
        """Forget the oldest questions beyond the most that are kept, and the texts that answer none any more."""
        files = list(self._questions.glob("*.json"))
        if len(files) <= self._most:
            return
        files.sort(key=_age)
        for file in files[: len(files) - self._most * 3 // 4]:
            file.unlink(missing_ok=True)
        used = set()
        for file in self._questions.glob("*.json"):
            with suppress(OSError, ValueError, KeyError, TypeError):
                used.add(json.loads(file.read_text("utf-8"))["digest"])
        for text in self._texts.iterdir():
            if text.name not in used:
                text.unlink(missing_ok=True)


def _age(file: Path) -> float:
    with suppress(OSError):
        return file.stat().st_mtime
    return 0.0


def _write(path: Path, text: str) -> None:
    """A file that is there whole or not at all."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text.encode("utf-8"))
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
