"""Orbs from a folder: `NAMESPACE/NAME/VERSION.yml`, with `HEAD.yml` for the newest source of unknown number."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from appliance.language.orbs import OrbDocument
from appliance.orbs.names import Reference, did_you_mean, listed, parse

_NUMBERS = re.compile(r"\d{1,9}(?:\.\d{1,9}){0,2}\Z")
_PART = re.compile(r"[A-Za-z0-9_-]+\Z")
_LABEL = re.compile(r"[A-Za-z0-9._-]+\Z")


class Mirror:
    """An `OrbSource` over a folder. It reads files while a config is compiled, in the compiler's thread.

    `1.2.3` is that file and no other; `1.2` and `1` the greatest number that begins so; `volatile` is HEAD, else the
    greatest of all; `dev:label` is `dev:label.yml` or `dev_label.yml`. With `head_for_missing`, HEAD stands for
    every version that is not there: right for trying configs out, wrong for running them.
    """

    def __init__(self, root: Path, *, head_for_missing: bool = False) -> None:
        self._root = root
        self._head_for_missing = head_for_missing

    def resolve(self, reference: str) -> OrbDocument:
        """The orb named so. Raises LookupError with the reason."""
        found = parse(reference)
        if found is None:
            raise LookupError("a mirror holds orbs by namespace/name@version only.")
        folder = self._root / found.namespace / found.name
        if not folder.is_dir():
            raise LookupError(f"there is no {found.orb} in the mirror.{self._near(found)}")
        file = _file_of(folder, found.version)
        if file is None and self._head_for_missing and (folder / "HEAD.yml").is_file():
            file = folder / "HEAD.yml"
        if file is None:
            others = listed(sorted((path.stem for path in folder.glob("*.yml")), key=_order))
            raise LookupError(f"the mirror has other versions of it only: {others}.")
        try:
            return OrbDocument(file.read_text(encoding="utf-8"), f"{found.orb}@{file.stem}")
        except (OSError, UnicodeError) as error:
            raise LookupError(f"it cannot be read from the mirror: {error}.") from error

    def files(self) -> Iterator[tuple[str, str, Path]]:
        """Every orb in the folder: its namespace/name, its version or HEAD, its file; in the order of names and numbers."""
        for folder in sorted(path for path in self._root.glob("*/*") if path.is_dir()):
            orb = f"{folder.parent.name}/{folder.name}"
            if _PART.match(folder.parent.name) and _PART.match(folder.name):
                yield from (
                    (orb, path.stem, path) for path in sorted(folder.glob("*.yml"), key=lambda path: _order(path.stem))
                )

    def _near(self, wanted: Reference) -> str:
        folder = self._root / wanted.namespace
        if folder.is_dir():
            return did_you_mean(wanted.name, [path.name for path in folder.iterdir()])
        return did_you_mean(wanted.namespace, [path.name for path in self._root.glob("*/")])


def _file_of(folder: Path, version: str) -> Path | None:
    if version.startswith("dev:"):
        label = version.removeprefix("dev:")
        names = [f"dev:{label}.yml", f"dev_{label}.yml"] if _LABEL.match(label) else []
        return next((folder / name for name in names if (folder / name).is_file()), None)
    if version == "volatile":
        head = folder / "HEAD.yml"
        return head if head.is_file() else _greatest(folder, ())
    if not _NUMBERS.match(version):
        return None
    exact = folder / f"{version}.yml"
    if exact.is_file():
        return exact
    wanted = _numbers(version)
    return _greatest(folder, wanted) if len(wanted) < 3 else None


def _greatest(folder: Path, prefix: tuple[int, ...]) -> Path | None:
    """The file with the greatest version that begins with `prefix`, compared by number."""
    files = [path for path in folder.glob("*.yml") if _NUMBERS.match(path.stem)]
    fitting = [path for path in files if _numbers(path.stem)[: len(prefix)] == prefix]
    return max(fitting, key=lambda path: _numbers(path.stem), default=None)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _order(version: str) -> tuple[bool, tuple[int, ...], str]:
    is_number = _NUMBERS.match(version) is not None
    return (not is_number, _numbers(version) if is_number else (), version)
