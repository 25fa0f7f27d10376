"""`.circleci/orbs.lock`: which version and text each reference of a project stood for, and the source that insists on it.

TOML, sorted, so that two runs write the same bytes and a difference is readable in a review. With a lock, `node@5` is
the version that was locked, whatever has been published since; a text that is another than it was is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from appliance.errors import BadRequest
from appliance.language.orbs import OrbDocument, OrbSource
from appliance.orbs.names import fits, parse
from appliance.store.orbs import digest_of

LOCK_PATH = ".circleci/orbs.lock"
_HEAD = "# What the orbs of this project stood for. Written by `rondo orb lock`; run it again to take up new versions.\n"


@dataclass(frozen=True)
class Entry:
    """`name` is the exact version, or the URL; `digest` the SHA-256 of its text, in hex."""

    name: str
    digest: str


def write(entries: Mapping[str, Entry]) -> str:
    """The text of a lock file."""
    parts = [_HEAD, "version = 1\n"]
    for reference, entry in sorted(entries.items()):
        parts.append(f"\n[orbs.{_quoted(reference)}]\nresolved = {_quoted(entry.name)}\nsha256 = {_quoted(entry.digest)}\n")
    return "".join(parts)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def read(text: str) -> dict[str, Entry]:
    """The entries of a lock file. Raises BadRequest."""
    import tomllib  # most configs have none

    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadRequest(f"the lock file is not valid TOML: {error}") from None
    if document.get("version") != 1:
        raise BadRequest("the lock file is of a version that this Rondo does not know; write it anew with `rondo orb lock`")
    orbs = document.get("orbs", {})
    if not isinstance(orbs, dict):
        raise BadRequest("the lock file's `orbs` is not a table")
    return {reference: _entry(reference, value) for reference, value in orbs.items()}


def _entry(reference: str, value: object) -> Entry:
    if isinstance(value, dict):
        name, digest = value.get("resolved"), value.get("sha256")
        if isinstance(name, str) and isinstance(digest, str):
            return Entry(name, digest)
    raise BadRequest(f"the lock file's entry for {reference} lacks `resolved` or `sha256`")


def _locked_name(reference: str, name: str) -> str:
    """What to ask for: the exact version that was locked, else the reference itself.

    A lock file is long and reviewed with half an eye: it may choose among an orb's versions, not another orb.
    """
    wanted, locked = parse(reference), parse(name)
    if wanted is None or locked is None or not locked.is_exact:
        return reference
    if wanted.orb != locked.orb or not fits(wanted.version, locked.version):
        raise LookupError(f"{LOCK_PATH} says that it is {name}, which it cannot be; run `rondo orb lock`.")
    return name


class Recorder:
    """An `OrbSource` that notes what another one answered."""

    def __init__(self, source: OrbSource) -> None:
        self._source = source
        self.entries: dict[str, Entry] = {}

    def resolve(self, reference: str) -> OrbDocument:
        document = self._source.resolve(reference)
        self.entries[reference] = Entry(document.name, digest_of(document.text))
        return document


class Locked:
    """An `OrbSource` that gives what the lock file `text` says, or nothing."""

    def __init__(self, source: OrbSource, text: str) -> None:
        self._source = source
        self._entries: dict[str, Entry] = {}
        self._trouble: str | None = None
        try:
            self._entries = read(text)
        except BadRequest as error:
            self._trouble = f"{error}."

    def resolve(self, reference: str) -> OrbDocument:
        """The locked version. Raises LookupError when it is not locked, or not what it was."""
        if self._trouble is not None:
            raise LookupError(self._trouble)
        entry = self._entries.get(reference)
        if entry is None:
            raise LookupError(f"it is not in {LOCK_PATH}; run `rondo orb lock` and commit what it writes.")
        document = self._source.resolve(_locked_name(reference, entry.name))
        found = digest_of(document.text)
        if found != entry.digest:
            raise LookupError(
                f"{document.name} is not what {LOCK_PATH} says: its SHA-256 is {found[:12]}…, locked is"
                f" {entry.digest[:12]}…; if the change is wanted, run `rondo orb lock` and commit what it writes."
            )
        return document
