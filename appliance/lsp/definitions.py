"""Where a name is defined: in the config, or in an orb, which an editor can only open as a file."""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
import threading
from pathlib import Path

from appliance.lsp.places import Place, token_at
from appliance.lsp.reading import Reading
from appliance.lsp.uses import OrbUse, use_at

_ODD = re.compile(r"[^A-Za-z0-9._@-]+")


def definition_at(reading: Reading, line: int, column: int) -> Place | None:
    """Where what stands under the cursor is defined. Its `file` is the config's or an orb's exact name."""
    use = use_at(reading, line, column)
    if use is None:
        return None
    if isinstance(use.target, OrbUse):
        return _orb(reading, use.target)
    at = use.target.key
    return token_at(reading.lines(at.file), at.file, at.line, at.column)


def _orb(reading: Reading, use: OrbUse) -> Place | None:
    """The beginning of the orb's own text; for an inline one its name."""
    if use.scope is None:
        return None
    if use.scope.file == reading.file:
        return token_at(reading.lines(reading.file), reading.file, use.key.line, use.key.column)
    return Place(use.scope.file, 1, 1, 1)


class OrbFiles:
    """Orbs as read-only files in a temporary folder, written when somebody goes there, gone with `close`.

    Always a copy, also of what came from a folder: the text is the one that was compiled, whatever happened since.
    """

    def __init__(self) -> None:
        self._root: Path | None = None
        self._lock = threading.Lock()  # two configs are checked in two threads

    def path_of(self, name: str, text: str) -> Path:
        """The file of an orb's text. Its folder is named for the text, so an open file never changes."""
        digest = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:12]
        with self._lock:
            if self._root is None:
                self._root = Path(tempfile.mkdtemp(prefix="rondo-orbs-"))
            path = self._root / digest / f"{_ODD.sub('_', name)[-100:]}.yml"
            if not path.exists():
                path.parent.mkdir(exist_ok=True)
                path.write_text(text, "utf-8", errors="replace")
                path.chmod(0o444)
        return path

    def close(self) -> None:
        if self._root is not None:
            shutil.rmtree(self._root, ignore_errors=True)
            self._root = None
