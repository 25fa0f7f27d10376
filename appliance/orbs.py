"""Orbs from a folder: `NAMESPACE/NAME/VERSION.yml`, with `HEAD.yml` for the newest source of unknown number."""

from __future__ import annotations

import re
from pathlib import Path

from appliance.language.orbs import OrbDocument

_REFERENCE = re.compile(r"([A-Za-z0-9_-]+)/([A-Za-z0-9_-]+)@([A-Za-z0-9._:/-]+)\Z")
_NUMBERS = re.compile(r"\d+(?:\.\d+){0,2}\Z")
_PART = re.compile(r"[A-Za-z0-9._-]+\Z")


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
        found = _REFERENCE.match(reference)
        if found is None:
            raise LookupError("a mirror holds orbs by namespace/name@version only.")
        namespace, name, version = found.groups()
        folder = self._root / namespace / name
        if not folder.is_dir():
            raise LookupError(f"there is no {namespace}/{name} in the mirror.")
        file = _file_of(folder, version)
        if file is None and self._head_for_missing and (folder / "HEAD.yml").is_file():
            file = folder / "HEAD.yml"
        if file is None:
            listed = ", ".join(sorted(path.stem for path in folder.glob("*.yml"))) or "none"
            raise LookupError(f"the mirror has other versions of it only: {listed}.")
        try:
            return OrbDocument(file.read_text(encoding="utf-8"), f"{namespace}/{name}@{file.stem}")
        except (OSError, UnicodeError) as error:
            raise LookupError(f"it cannot be read from the mirror: {error}.") from error


def _file_of(folder: Path, version: str) -> Path | None:
    if version.startswith("dev:"):
        label = version.removeprefix("dev:")
        names = [f"dev:{label}.yml", f"dev_{label}.yml"] if _PART.match(label) else []
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
